"""Examples to packed rows: side by side, with a layout that keeps them apart, and as little padding as can be had.

A micro-batch is a number of examples, as in the papers; how many rows it takes is decided here. Rows are filled by best
fit up to `row_tokens`, then made equally long. An example longer than a row is an error that names its record: nothing
is ever cut inside an image, a pose or an answer.
"""

import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from data.branches import merge_alike
from llmpose.errors import UserError
from llmpose.model.batch import IGNORE, Batch, Example, point_targets, prompt_table
from llmpose.model.layout import PADDING

Pixels = Callable[[list[Any]], dict[str, Tensor]]
Features = Callable[[list[Any]], Tensor]

_FILL = {"token_ids": 0, "labels": IGNORE, "sample": PADDING, "branch": 0, "block": 0, "position": 0, "task": -1}


@dataclass(kw_only=True)
class Collator:
    """Callable for a data loader: list of examples to `Batch`."""

    row_tokens: int
    """Length of a row at most."""
    pad_id: int = 0
    multiple_of: int = 8
    """Rows are padded to a multiple of this: 128, the tile of flex_attention, on a GPU."""
    tasks: tuple[str, ...] = ()
    """All tasks of the run, so that every rank reports the same names; without it, those of the batch."""
    pixels: Pixels | None = None
    """Images to pixels (the processor's); or
    features: images to what the frozen encoders made of them (data/features.py)."""
    features: Features | None = None
    image_id: int | None = None
    num_image_tokens: int = 0
    branches: bool = False
    """Merge examples that begin alike (data/branches.py)."""
    keypoint_id: int = -1
    """The placeholder of keypoints shown by example."""

    def __call__(self, examples: Sequence[Example]) -> Batch:
        if self.branches:
            image_id = -1 if self.image_id is None else self.image_id
            examples = merge_alike(
                examples,
                image_id,
                self.num_image_tokens,
                keypoint_id=self.keypoint_id,
                longest=self.row_tokens,
            )
        sizes = [len(example) for example in examples]
        for example in examples:
            self._check(example)
        rows = pack(sizes, self.row_tokens)
        length = max(sum(sizes[i] for i in row) for row in rows)
        length = min(-(-length // self.multiple_of) * self.multiple_of, max(self.row_tokens, length))
        order = [i for row in rows for i in row]
        batch = self._columns(examples, rows, order, length)
        supports, batch.prompts = prompt_table([prompt for i in order for prompt in examples[i].prompts])
        batch.points = point_targets([examples[i] for i in order])
        images = [*(image for i in order for image in examples[i].images), *supports]
        if self.features is not None:
            batch.image_features = self.features(images)
        elif self.pixels is not None:
            batch.pixels = self.pixels(images)
        elif images:
            raise UserError(f"{examples[order[0]].record_id}: an image, but this stage was built without images")
        return batch

    def _check(self, example: Example) -> None:
        where = f"record {example.record_id or '(unnamed)'} ({example.task or 'no task'})"
        if len(example) == 0:
            raise UserError(f"{where}: the example holds 0 tokens")
        if len(example) > self.row_tokens:
            raise UserError(
                f"{where}: the example takes {len(example)} tokens, a row holds {self.row_tokens}; raise "
                "row_tokens, or shorten the text"
            )
        # Trainer does not count the label of a row's first token, since other models shift theirs.
        assert int(example.labels[0]) == IGNORE, f"{where}: the first token of an example cannot be predicted"

    def _columns(self, examples: Sequence[Example], rows: list[list[int]], order: list[int], length: int) -> Batch:
        """Every column is written by one scatter: token t of the batch goes to row·length + offset."""
        sizes = torch.tensor([len(examples[i]) for i in order])
        starts = torch.cat([torch.tensor([len(examples[i]) for i in row]).cumsum(0) for row in rows]) - sizes
        row_of = torch.repeat_interleave(torch.arange(len(rows)), torch.tensor([len(row) for row in rows]))
        within = torch.arange(int(sizes.sum())) - torch.repeat_interleave(sizes.cumsum(0) - sizes, sizes)
        place = torch.repeat_interleave(row_of * length + starts, sizes) + within
        sample = torch.cat([torch.arange(len(row)) for row in rows])

        joined = {
            name: torch.cat([getattr(examples[i], name) for i in order])
            for name in ("token_ids", "labels", "branch", "block", "position")
        }
        joined["sample"] = torch.repeat_interleave(sample, sizes)
        joined["block"] = _unique_blocks(joined["block"], [examples[i] for i in order], rows, sizes)
        names = self.tasks or tuple(sorted({name for e in examples for name in (e.task, *e.branch_tasks)}))
        joined["task"] = torch.cat([_task_column(examples[i], names) for i in order])

        columns = {}
        for name, values in joined.items():
            fill = self.pad_id if name == "token_ids" else _FILL[name]
            flat = torch.full((len(rows) * length,), fill, dtype=torch.int64)
            columns[name] = flat.index_copy_(0, place, values).view(len(rows), length)
        ids = tuple(tuple(examples[i].record_id for i in row) for row in rows)
        return Batch(**columns, tasks=names, record_ids=ids)


def _unique_blocks(block: Tensor, examples: list[Example], rows: list[list[int]], sizes: Tensor) -> Tensor:
    """Pose blocks numbered through each row."""
    counts = [int(example.block.max()) for example in examples]
    before, number = [], 0
    for row in rows:
        seen = 0
        for _ in row:
            before.append(seen)
            seen += counts[number]
            number += 1
    return torch.where(block > 0, block + torch.repeat_interleave(torch.tensor(before), sizes), 0)


def _task_column(example: Example, names: tuple[str, ...]) -> Tensor:
    own = [names.index(task) for task in (example.branch_tasks or (example.task,))]
    if not example.branch_tasks:
        return torch.full_like(example.token_ids, own[0])
    return torch.tensor([own[0], *own])[example.branch]


def pack(sizes: Sequence[int], capacity: int) -> list[list[int]]:
    """Indices by row: as few rows as best fit finds, then as equally filled as they can be."""
    rows = _best_fit(sizes, capacity)
    low, high = max(max(sizes), -(-sum(sizes) // len(rows))), max(sum(sizes[i] for i in row) for row in rows)
    while low < high:
        middle = (low + high) // 2
        tried = _best_fit(sizes, middle)
        if len(tried) <= len(rows):
            rows, high = tried, middle
        else:
            low = middle + 1
    return [sorted(row) for row in rows]


def _best_fit(sizes: Sequence[int], capacity: int) -> list[list[int]]:
    """Longest first, each into the fullest row that still has room."""
    rows: list[list[int]] = []
    room: list[tuple[int, int]] = []  # (tokens left, row), ascending
    for i in sorted(range(len(sizes)), key=lambda i: (-sizes[i], i)):
        at = bisect.bisect_left(room, (sizes[i], -1))
        if at == len(room):
            rows.append([i])
            bisect.insort(room, (capacity - sizes[i], len(rows) - 1))
        else:
            left, row = room.pop(at)
            rows[row].append(i)
            bisect.insort(room, (left - sizes[i], row))
    return rows
