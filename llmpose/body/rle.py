"""Masks as COCO's run lengths: columns first, runs of 0 and 1 in turn, packed into text.

The text holds each run as a signed number of 6-bit digits, 5 bits of value and one "more follows", offset by 48 so that
it prints; from the fourth run on, the difference to the run two before is stored. pycocotools writes the same strings.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmpose.errors import UserError


def encode_rle(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """(H, W) bool -> {"size": [H, W], "counts": text}."""
    mask = np.asarray(mask, bool)
    if mask.ndim != 2:
        raise UserError(f"a mask is (H, W), got {mask.shape}")
    return {"size": [int(side) for side in mask.shape], "counts": _pack(run_lengths(mask))}


def run_lengths(mask: NDArray[np.bool_]) -> list[int]:
    """Lengths of the runs 0, 1, 0, ... down the columns; the first is 0 if the mask starts with a 1."""
    flat = np.asarray(mask, bool).ravel(order="F")
    changes = np.flatnonzero(np.diff(flat)) + 1
    edges = np.concatenate([[0], changes, [flat.size]])
    runs = np.diff(edges).tolist()
    return [0, *runs] if flat.size and flat[0] else runs


def decode_rle(rle: dict[str, Any]) -> NDArray[np.bool_]:
    """COCO's dict, with counts as text, bytes or a list of run lengths -> (H, W) bool."""
    try:
        height, width = rle["size"]
        counts = rle["counts"]
    except (KeyError, TypeError, ValueError):
        raise UserError(f"a run-length mask is a dict with size [H, W] and counts, got {str(rle)[:80]}") from None
    if isinstance(counts, bytes):
        counts = counts.decode("ascii")
    runs = _unpack(counts) if isinstance(counts, str) else [int(run) for run in counts]
    if sum(runs) != height * width or min(runs, default=0) < 0:
        raise UserError(
            f"run lengths of a mask add up to {sum(runs)}, its size {height} x {width} has {height * width}"
        )
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape(width, height).T


def _pack(runs: list[int]) -> str:
    text = []
    for index, run in enumerate(runs):
        value = run - runs[index - 2] if index > 2 else run
        while True:
            digit = value & 0x1F
            value >>= 5
            more = value != -1 if digit & 0x10 else value != 0
            text.append(chr((digit | 0x20 if more else digit) + 48))
            if not more:
                break
    return "".join(text)


def _unpack(text: str) -> list[int]:
    runs: list[int] = []
    value, shift = 0, 0
    for character in text:
        code = ord(character) - 48
        value |= (code & 0x1F) << shift
        shift += 5
        if code & 0x20:
            continue
        if code & 0x10:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value, shift = 0, 0
    return runs
