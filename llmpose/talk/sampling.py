"""Choosing among words: the most likely one, or one drawn by chance from a number that belongs to its row alone.

A row draws its chance numbers from its own generator, seeded by its own prompt: so what a row says does not depend on
who else is in the batch.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Choice(NamedTuple):
    """ids (...,), and their log-probabilities (...,) among all that may be said (at temperature 1)."""

    ids: Tensor
    logprobs: Tensor


def log_probabilities(logits: Tensor, allowed: Tensor | None) -> Tensor:
    """(..., V) in float32; -inf where an id may not be said."""
    logits = logits.float()
    if allowed is not None:
        logits = logits.masked_fill(~allowed, -torch.inf)
    return logits.log_softmax(-1)


def choose(logprobs: Tensor, *, temperature: float, top_p: float = 1.0, chance: Tensor | None = None) -> Choice:
    """One id per row of `logprobs` (..., V). `chance` (...,) in [0, 1): needed where temperature > 0.

    Drawing walks down the words from the likeliest one until their probabilities add up to `chance`; nucleus sampling
    (top_p) cuts the walk short, and keeps at least one word.
    """
    if temperature <= 0:
        best = logprobs.max(-1)
        return Choice(best.indices, best.values)
    assert chance is not None
    ordered = (logprobs / temperature).softmax(-1).sort(dim=-1, descending=True, stable=True)
    total = ordered.values.cumsum(-1)
    kept = (total - ordered.values < top_p).sum(-1, keepdim=True).clamp(min=1)
    mass = total.gather(-1, kept - 1)
    place = (total <= chance.to(total)[..., None] * mass).sum(-1, keepdim=True).clamp(max=kept - 1)
    ids = ordered.indices.gather(-1, place)
    return Choice(ids[..., 0], logprobs.gather(-1, ids)[..., 0])
