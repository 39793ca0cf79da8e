"""Examples that begin alike become one example with branches: the image is read once, each question continues it.

    <image> | where is the nose?   0.512 0.200        prefix   branch 1
    <image> | and the left wrist?  0.311 0.640                 branch 2

Under the rule of attention (llmpose/model/layout.py) a branch sees the prefix and itself, at the positions that it
would have alone: loss and gradients are those of separate sequences, at a fraction of the tokens.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from llmpose.model.batch import IGNORE, Example

Picture = bytes
"""A digest of an image's pixels: equal pictures are equal images."""


def digest(image: Image.Image | np.ndarray) -> Picture:
    """What an image is known by, whichever file it came from."""
    array = np.ascontiguousarray(image)
    return hashlib.blake2b(array.tobytes(), digest_size=16, salt=repr(array.shape).encode()[:16]).digest()


@dataclass(frozen=True)
class Alike:
    """Examples, and how many leading tokens can be read once for all of them."""

    examples: list[Example]
    prefix: int

    @property
    def saved(self) -> int:
        """Tokens that need not be read again."""
        return (len(self.examples) - 1) * self.prefix


def merge_alike(
    examples: Sequence[Example],
    image_id: int,
    num_image_tokens: int,
    *,
    at_least: int = 16,
    keypoint_id: int = -1,
    longest: int | None = None,
) -> list[Example]:
    """Merge the examples that share a prefix of `at_least` tokens, those that share most with each other; the others
    stay as they are, and what is merged has `longest` tokens at most."""
    groups: dict[tuple[object, ...], list[Example]] = {}
    merged: list[Example] = []
    for example in examples:
        # One with branches of its own: a pose that something follows (llmpose/talk/row_writer.py).
        if example.branch.any():
            merged.append(example)
            continue
        head = example.token_ids[:at_least]
        seen = -(-int((head == image_id).sum()) // num_image_tokens) if num_image_tokens else 0
        pictures = tuple(digest(image) for image in example.images[:seen])
        groups.setdefault((tuple(head.tolist()), pictures), []).append(example)
    for group in groups.values():
        for alike in split_alike(group, image_id, num_image_tokens, keypoint_id):
            if len(alike.examples) == 1 or alike.prefix < at_least:
                merged.extend(alike.examples)
                continue
            for fitting in _fitting(alike, longest):
                one = len(fitting) == 1
                merged.append(fitting[0] if one else merge(fitting, alike.prefix, image_id, num_image_tokens))
    return merged


def split_alike(group: Sequence[Example], image_id: int, num_image_tokens: int, keypoint_id: int = -1) -> list[Alike]:
    """The group as one, or in parts that share more with each other: whichever saves more tokens.

    Branches do not branch again, so three texts about one pose may go together or, with all others, begin at a system
    message, but not both.
    """
    prefix = shared_prefix(group, image_id, num_image_tokens, keypoint_id) if len(group) > 1 else 0
    whole = Alike(list(group), prefix)
    parts: dict[tuple[object, ...], list[Example]] = {}
    for example in group:
        parts.setdefault(_what_stands_at(example, prefix, image_id, num_image_tokens), []).append(example)
    if len(parts) < 2:
        return [whole]
    found = [one for part in parts.values() for one in split_alike(part, image_id, num_image_tokens, keypoint_id)]
    return found if sum(one.saved for one in found) > whole.saved else [whole]


def _what_stands_at(example: Example, place: int, image_id: int, num_image_tokens: int) -> tuple[object, ...]:
    """The token, with the whole pose block or the picture that it belongs to."""
    token = int(example.token_ids[place])
    if token == image_id and num_image_tokens:
        number = int((example.token_ids[:place] == image_id).sum()) // num_image_tokens
        return token, digest(example.images[number])
    block = int(example.block[place])
    return (token, *example.token_ids[example.block == block].tolist()) if block else (token,)


def _fitting(alike: Alike, longest: int | None) -> list[list[Example]]:
    """Its examples, as few lists as keep each within `longest` tokens once merged."""
    lists: list[list[Example]] = []
    room = 0
    for example in alike.examples:
        tail = len(example) - alike.prefix
        if not lists or (longest is not None and tail > room):
            lists.append([])
            room = (longest or 0) - alike.prefix
        lists[-1].append(example)
        room -= tail
    return lists


def shared_prefix(examples: Sequence[Example], image_id: int, num_image_tokens: int, keypoint_id: int = -1) -> int:
    """Number of leading tokens that can be read once for all of the examples.

    It ends before the first label (a position that predicts belongs to its continuation) and before the first keypoint
    that is shown by example, and never inside a pose block or an image. Images count as equal when their pixels are.
    """
    first, length = examples[0], min(len(example) for example in examples) - 1
    for example in examples:
        free = (example.labels[:length] == IGNORE) & (example.branch[:length] == 0)
        for name in ("token_ids", "block", "position"):
            free &= getattr(example, name)[:length] == getattr(first, name)[:length]
        length = _leading(free)
    length = min(length, _leading(first.token_ids != keypoint_id))
    for example in examples:
        cut = int(example.block[length])
        if cut > 0:
            length = min(length, _leading(example.block != cut))
    is_image = first.token_ids[:length] == image_id
    for number in range(-(-int(is_image.sum()) // num_image_tokens) if num_image_tokens else 0):
        begin = int(torch.nonzero(is_image)[number * num_image_tokens])
        different = len({digest(example.images[number]) for example in examples}) > 1
        if different or begin + num_image_tokens > length:
            return begin
    return length


def _leading(true: Tensor) -> int:
    """How many leading values are true."""
    return int(true.long().cumprod(0).sum())


def merge(examples: Sequence[Example], prefix: int, image_id: int, num_image_tokens: int) -> Example:
    """The first `prefix` tokens once, then what follows them in each example as a branch of its own."""
    first = examples[0]
    prefix_images = int((first.token_ids[:prefix] == image_id).sum()) // max(num_image_tokens, 1)
    prefix_blocks = int(first.block[:prefix].max()) if prefix else 0
    parts: dict[str, list[Tensor]] = {
        name: [getattr(first, name)[:prefix]] for name in ("token_ids", "labels", "branch", "block", "position")
    }
    images, blocks = list(first.images[:prefix_images]), prefix_blocks
    for number, example in enumerate(examples, start=1):
        assert not example.branch.any(), "branches of branches are not expressible"
        block = example.block[prefix:]
        parts["block"].append(torch.where(block > 0, block - prefix_blocks + blocks, 0))
        parts["branch"].append(torch.full_like(block, number))
        for name in ("token_ids", "labels", "position"):
            parts[name].append(getattr(example, name)[prefix:])
        blocks += max(int(block.max()) - prefix_blocks, 0)
        images.extend(example.images[prefix_images:])
    return replace(
        first,
        **{name: torch.cat(columns) for name, columns in parts.items()},
        images=images,
        prompts=[prompt for example in examples for prompt in example.prompts],
        points=[point for example in examples for point in example.points],
        record_id=", ".join(dict.fromkeys(example.record_id for example in examples)),
        branch_tasks=tuple(example.task for example in examples),
    )
