"""Attention for packed rows on a CPU: every sample by itself, so that strangers cost each other nothing.

With a dense mask the attention of a row costs the square of the row, although a sample never looks at another one. Here
the tokens of all rows lie side by side, are cut where a sample begins, and every piece attends to itself alone, with
its own small mask; padding is left out. Everything else in a layer runs on the packed tokens as before.

    row 0   a a a a b b b _        pieces  aaaa  bbb  _  ccccc  dd  _
    row 1   c c c c c d d _        each but padding: one call of sdpa

A sample with branches is cut further: its prefix attends to itself, and a few branches at a time to the prefix and to
themselves. The cuts and masks are made once per forward (`segments_of`) and used by every layer (`attend`), which
transformers calls by the name `SEGMENTS`. The rule of attention is still written once, in llmpose/model/layout.py.

Shape letters: B rows, T tokens of a row, N = B·T tokens of all rows, H heads, D width of a head.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from llmpose.errors import UserError
from llmpose.model.layout import PADDING, Layout, may_see

SEGMENTS = "segments"
"""The name under which transformers finds this attention."""

TOKENS_OF_BRANCHES = 64
"""Branches are taken together up to so many tokens: fewer would spend their time copying the prefix's keys."""


@dataclass
class Piece:
    """Consecutive tokens that look at the same keys."""

    length: int
    keys: tuple[int, ...] = ()
    """Indices of the pieces that hold the keys, in order; none for padding, which attends to nothing."""
    seen: Tensor | None = None
    """(queries, keys) bool; None where the piece is plain causal text that sees itself alone."""
    added: dict[torch.dtype, Tensor] = field(default_factory=dict)

    def mask(self, dtype: torch.dtype) -> Tensor | None:
        """`seen` as numbers to add to the scores, made once for all layers."""
        if self.seen is not None and dtype not in self.added:
            zeros = torch.zeros(self.seen.shape, dtype=dtype, device=self.seen.device)
            self.added[dtype] = zeros.masked_fill_(~self.seen, float("-inf"))
        return self.added.get(dtype)


Segments = list[Piece]
"""The pieces of all rows, one after the other: their lengths sum to B·T."""


def segments_of(layout: Layout) -> Segments | None:
    """The pieces of a batch of rows; None where a sample does not lie in one piece, which nothing here makes."""
    rows, length = layout.shape
    sample = layout.sample
    begins = torch.ones_like(sample, dtype=torch.bool)
    begins[:, 1:] = sample[:, 1:] != sample[:, :-1]
    at = torch.nonzero(begins.flatten()).flatten()
    names = sample.flatten()[at]
    owners = torch.stack([at // length, names], dim=1)[names != PADDING]
    if len(owners.unique(dim=0)) != len(owners):
        return None
    flat = Layout(*(tensor.reshape(1, -1) for tensor in layout.tensors().values()))
    starts = at.tolist()
    pieces: Segments = []
    for start, end, name in zip(starts, [*starts[1:], rows * length], names.tolist(), strict=True):
        if name == PADDING:
            pieces.append(Piece(end - start))
        else:
            part = Layout(*(tensor[:, start:end] for tensor in flat.tensors().values()))
            pieces.extend(_pieces(part, len(pieces)))
    return pieces


def _pieces(sample: Layout, first: int) -> Iterator[Piece]:
    """One piece for a sample, or a prefix and its branches; `first` is the index of the first piece."""
    if sample.is_causal():
        yield Piece(sample.shape[1], keys=(first,))
        return
    parts = [_slice(sample, start, end) for start, end in _cuts(sample.branch[0])]
    prefix = parts[0]
    yield Piece(prefix.shape[1], (first,), None if prefix.is_causal() else may_see(prefix, prefix, 0)[0])
    for number, part in enumerate(parts[1:], start=1):
        seen = may_see(part, Layout.cat([prefix, part]), prefix.shape[1])[0]
        yield Piece(part.shape[1], (first, first + number), seen)


def _slice(layout: Layout, start: int, end: int) -> Layout:
    return Layout(*(tensor[:, start:end] for tensor in layout.tensors().values()))


def _cuts(branch: Tensor) -> list[tuple[int, int]]:
    """From where to where: the prefix, then groups of whole branches; one piece where the prefix goes on behind one."""
    change = (torch.nonzero(branch.diff()).flatten() + 1).tolist()
    if int(branch[0]) != 0 or bool((branch.diff() < 0).any()) or not change:
        return [(0, len(branch))]
    cuts = [change[0]]
    for end in [*change[1:], len(branch)]:
        if len(cuts) > 1 and end - cuts[-2] <= TOKENS_OF_BRANCHES:
            cuts[-1] = end
        else:
            cuts.append(end)
    return list(zip([0, *cuts[:-1]], cuts, strict=True))


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None = None,
    dropout: float = 0.0,
    scaling: float | None = None,
    segments: Segments | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """(B, H, T, D) queries, and keys and values that may have fewer heads, to (B, T, H, D), as transformers asks."""
    if segments is None or attention_mask is not None:
        raise ValueError(f"{SEGMENTS} attention needs the row's segments and no mask; set another attn_implementation")
    if other := [name for name in ("softcap", "position_bias", "s_aux") if kwargs.get(name) is not None]:
        raise UserError(f"this language model's attention has {other[0]}, which {SEGMENTS} has not; use attn: eager")
    rows, heads, length, _ = query.shape
    sizes = [piece.length for piece in segments]
    # (B, T, H, D) is how the projections lie in memory, so these are views; splitting them makes no copy.
    queries, keys, values = (
        states.transpose(1, 2).reshape(rows * length, states.shape[1], -1).split(sizes)
        for states in (query, key, value)
    )
    shared = key.shape[1] != heads
    outs = []
    for piece, asked in zip(segments, queries, strict=True):
        if not piece.keys:
            outs.append(asked.new_zeros(piece.length, heads, value.shape[-1]))
            continue
        k, v = (_join([states[i] for i in piece.keys]) for states in (keys, values))
        mask = piece.mask(query.dtype)
        out = scaled_dot_product_attention(
            asked.transpose(0, 1)[None],
            k.transpose(0, 1)[None],
            v.transpose(0, 1)[None],
            attn_mask=mask,
            dropout_p=dropout,
            is_causal=mask is None,
            scale=scaling,
            enable_gqa=shared,
        )
        outs.append(out[0].transpose(0, 1))
    return torch.cat(outs).view(rows, length, heads, -1), None


def _join(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


AttentionInterface.register(SEGMENTS, attend)
