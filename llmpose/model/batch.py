"""The typed boundary between data and model: an `Example` is a tokenised conversation, a `Batch` what the model gets.

Labels stand where they are predicted (no shift anywhere): a text position holds the *next* token, a pose query its own
pose token, everything else `IGNORE`. So one cross-entropy serves text and poses alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from llmpose.model.layout import Layout
from llmpose.model.prompts import PromptState

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

IGNORE = -100
"""The label of a position that predicts nothing."""


@dataclass(frozen=True, eq=False)
class Prompt:
    """A keypoint shown by example, behind one `<keypoint>` placeholder: where it lies in each support image."""

    images: tuple[Image.Image | np.ndarray, ...]
    points_square: tuple[tuple[float, float] | None, ...]
    """x, y as shares of the square that the encoders see; None where the image does not show it."""


@dataclass
class Example:
    """One conversation as tokens, not yet packed. All five tensors are int64 of shape (T,).

    `block` is unique within the example, `branch` is 0 unless the example holds several continuations of one prefix.
    `images` are in the order of their placeholders; every image owns `num_image_tokens` placeholders in a row.
    `prompts` are in the order of theirs, one each; their support images stand in no row.
    """

    token_ids: Tensor
    labels: Tensor
    branch: Tensor
    block: Tensor
    position: Tensor
    images: list[Image.Image | np.ndarray] = field(default_factory=list)
    task: str = ""
    record_id: str = ""
    branch_tasks: tuple[str, ...] = ()
    """Where its branches are different tasks: the task of branch 1, 2, ..."""
    prompts: list[Prompt] = field(default_factory=list)
    points: list[tuple[float, float, int]] = field(default_factory=list)
    """Of each `<point>` that is answered, in order: x, y in [0,1], and how many labels its conversation has."""

    def __len__(self) -> int:
        return len(self.token_ids)

    def layout(self) -> Layout:
        """As one row of its own, (1, T)."""
        sample = torch.zeros_like(self.token_ids)
        return Layout(sample[None], self.branch[None], self.block[None], self.position[None])


@dataclass(init=False, eq=False)
class Batch(Mapping[str, Any]):
    """Rows of packed examples; a mapping, so that Trainer and accelerate take it as it is: `model(**batch)`.

    Made from keywords, or from one mapping (as Trainer does when it moves a batch to its device).

    token_ids, labels, sample, branch, block, position   (B, T) int64
    task              (B, T) int64, index into `tasks` of the example that the token belongs to, -1 on padding
    pixels            encoder name -> (N, 3, H, W) float32; N = 0 where no example has an image (ranks stay in step)
    image_features    (N, P, C) what the frozen encoders made of the images, instead of pixels
    prompts           keypoint prompts (`prompt_table`); their support images come last among the N
    points            (Q, 3) float32, `Example.points` of all rows, in the order of their `<point>` tokens
    tasks             the names that `task` points to
    record_ids        per row, the records packed into it, in order: for the guard that names a bad batch
    """

    token_ids: Tensor
    labels: Tensor
    sample: Tensor
    branch: Tensor
    block: Tensor
    position: Tensor
    task: Tensor | None = None
    pixels: dict[str, Tensor] | None = None
    image_features: Tensor | None = None
    prompts: dict[str, Tensor] | None = None
    points: Tensor | None = None
    tasks: tuple[str, ...] = ()
    record_ids: tuple[tuple[str, ...], ...] = ()

    def __init__(self, given: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        values = {**(given or {}), **more}
        for name in ("token_ids", "labels", *Layout.names()):
            setattr(self, name, values.pop(name))
        for name, value in values.items():
            assert name in _FIELDS, f"a batch has no {name}"
            setattr(self, name, value)

    def layout(self) -> Layout:
        return Layout(self.sample, self.branch, self.block, self.position)

    @property
    def num_examples(self) -> int:
        return sum(len(ids) for ids in self.record_ids)

    def _map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        changed: dict[str, Any] = {}
        for name, value in self.items():
            if isinstance(value, Tensor):
                changed[name] = change(value)
            elif isinstance(value, dict):
                changed[name] = {key: change(tensor) for key, tensor in value.items()}
        return Batch({**self, **changed})

    def to(self, device: torch.device | str, **kwargs: Any) -> Batch:
        return self._map(lambda tensor: tensor.to(device, **kwargs))

    def pin_memory(self) -> Batch:
        return self._map(lambda tensor: tensor.pin_memory())

    def __getitem__(self, name: str) -> Any:
        value = getattr(self, name, None) if name in _FIELDS else None
        if value is None:
            raise KeyError(name)
        return value

    def __iter__(self) -> Iterator[str]:
        return (name for name in _FIELDS if getattr(self, name) is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)


_FIELDS = tuple(item.name for item in fields(Batch))


def point_targets(examples: Sequence[Example]) -> Tensor | None:
    """(Q, 3) of all points that these examples answer; None where there are none."""
    found = [point for example in examples for point in example.points]
    return torch.tensor(found, dtype=torch.float32) if found else None


def prompt_table(prompts: Sequence[Prompt]) -> tuple[list[Any], dict[str, Tensor] | None]:
    """The different support images of these prompts, and where the prompts lie in them; no prompts, no table.

    Keypoints of the same support images stand together, G groups of up to K keypoints in up to S images:

    support   (G, S) int64, which of the images
    points    (G, S, K, 2) float32, x and y in the square
    state     (G, S, K) int64, a `PromptState` each
    place     (Q,) int64, where prompt q stands among the G·K
    """
    if not prompts:
        return [], None
    images: dict[int, Any] = {}
    groups: dict[tuple[int, ...], list[int]] = {}
    for number, prompt in enumerate(prompts):
        images.update((id(image), image) for image in prompt.images)
        groups.setdefault(tuple(id(image) for image in prompt.images), []).append(number)
    shots, most = max(map(len, groups)), max(map(len, groups.values()))
    number_of = {key: number for number, key in enumerate(images)}
    support = torch.zeros(len(groups), shots, dtype=torch.int64)
    points = torch.zeros(len(groups), shots, most, 2)
    state = torch.full((len(groups), shots, most), int(PromptState.PADDING))
    place = torch.zeros(len(prompts), dtype=torch.int64)
    for g, (keys, members) in enumerate(groups.items()):
        support[g, : len(keys)] = torch.tensor([number_of[key] for key in keys])
        for k, member in enumerate(members):
            place[member] = g * most + k
            for s, point in enumerate(prompts[member].points_square):
                state[g, s, k] = int(PromptState.ABSENT if point is None else PromptState.GIVEN)
                if point is not None:
                    points[g, s, k] = torch.tensor(point)
    return list(images.values()), {"support": support, "points": points, "state": state, "place": place}
