"""Prompts for decoding: which of them begin alike, so that an image asked many questions is read once."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from llmpose.model.batch import Example


@dataclass
class Prompts:
    """`prefixes[which[i]]` followed by `rests[i]` is prompt i; a rest may be empty."""

    prefixes: list[Example]
    which: list[int]
    rests: list[Example]


def split_prompts(prompts: Sequence[Example], *, image_id: int, share: bool, keypoint_id: int = -1) -> Prompts:
    """Prompts about the very same images share what they have in common up to behind the last image.

    A keypoint that is shown by example is each prompt's own.

    A rest always keeps at least one token, whose answer is the row's own.
    """
    groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for number, prompt in enumerate(prompts):
        key = tuple(id(image) for image in prompt.images) if share and prompt.images else (-1, number)
        groups[key].append(number)
    found = Prompts([], [0] * len(prompts), [replace(prompt_part(prompt, 0, 0), prompts=[]) for prompt in prompts])
    for members in groups.values():
        members_own = [prompts[member] for member in members]
        common = _common_length(members_own, image_id, keypoint_id) if len(members) > 1 else 0
        if common:
            first = prompts[members[0]]
            found.prefixes.append(replace(prompt_part(first, 0, common), images=first.images, prompts=[]))
        for member in members:
            if not common:
                found.prefixes.append(prompts[member])
            else:
                found.rests[member] = prompt_part(prompts[member], common, len(prompts[member]))
            found.which[member] = len(found.prefixes) - 1
    return found


def _common_length(prompts: Sequence[Example], image_id: int, keypoint_id: int) -> int:
    """Tokens that all prompts share; 0 unless all their image placeholders are among them."""
    shortest = min(len(prompt) for prompt in prompts) - 1
    first = prompts[0]
    length = shortest
    for other in prompts[1:]:
        same = (first.token_ids[:shortest] == other.token_ids[:shortest]) & (
            first.block[:shortest] == other.block[:shortest]
        )
        length = min(length, int(same.to(torch.int8).cumprod(0).sum()))
    is_prompt = first.token_ids[:length] == keypoint_id
    length = min(length, int((~is_prompt).to(torch.int8).cumprod(0).sum()))
    while length > 0 and first.block[length - 1] > 0:  # a pose is read as a whole
        length -= 1
    has_image_behind = any(bool((prompt.token_ids[length:] == image_id).any()) for prompt in prompts)
    return 0 if has_image_behind else length


def prompt_part(prompt: Example, start: int, stop: int) -> Example:
    """Tokens start ... stop-1, without images; keypoint prompts stay with it."""
    fields = ("token_ids", "labels", "branch", "block", "position")
    cut = {name: getattr(prompt, name)[start:stop] for name in fields}
    return replace(prompt, **cut, images=[])


def batches(prompts: Sequence[Example], size: int) -> list[list[int]]:
    """Numbers of prompts in batches: those about the same images together, long ones with long ones."""
    groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for number, prompt in enumerate(prompts):
        groups[tuple(id(image) for image in prompt.images) or (-1, number)].append(number)
    ordered = sorted(groups.values(), key=lambda members: -max(len(prompts[member]) for member in members))
    numbers = [member for members in ordered for member in members]
    return [numbers[start : start + size] for start in range(0, len(numbers), size)]
