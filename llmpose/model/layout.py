"""The one rule of attention: who sees whom in a row that mixes text, poses, packed samples and branches.

Every token of a row carries four integers:

    sample    which packed example it belongs to; -1 is padding
    branch    0 = the prefix that all continuations share, k > 0 = the k-th continuation of that prefix
    block     0 = causal, k > 0 = the k-th pose block of the row; inside a block attention runs both ways
    position  what the rotary embedding is told; restarts with every sample, and with every branch after the prefix

A query token q sees a key token k iff

    sample[q] == sample[k] != -1
    and (branch[k] == 0 or branch[k] == branch[q])
    and (k comes no later than q, or block[k] == block[q] > 0)

That gives causal text, poses modelled as a whole (UniPose §3.2 "Mixed Attention Mechanism"), several poses per sample,
packing without leaks, and shared prefixes. The rule is written once (`may_see`) and handed to whatever computes the
attention: a boolean mask for sdpa, an additive one for eager, a BlockMask for flex_attention, and the same three with
the keys of a cache in front; or small masks, one for each sample of a packed row (llmpose/model/segments.py).
FlashAttention-2 knows plain text only, packed or not: with a pose block or a branch it is an error, never a silent
causal mask. Which of them runs is chosen in llmpose/model/attention.py.

Shape letters: B rows, T tokens of this call, K keys (past + T, or the whole length of a static cache).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from llmpose.errors import UserError

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

PADDING = -1
"""The `sample` of a token that is not there."""

AttentionName = Literal["eager", "sdpa", "flex_attention", "flash_attention_2", "segments"]


@dataclass(frozen=True, eq=False)
class Layout:
    """Where every token of a row stands; four int64 tensors (B, T).

    Two poses in one sample, then a second sample packed behind it, then padding (`.` is text, `p` a pose token):

        .   .   p   p   .   p   p   .   .   _
        0   0   0   0   0   0   0   1   1  -1    sample
        0   0   1   1   0   2   2   0   0   0    block
        0   1   2   3   4   5   6   0   1   0    position
    """

    sample: Tensor
    branch: Tensor
    block: Tensor
    position: Tensor

    @classmethod
    def causal(cls, is_real: Tensor, past: Layout | None = None) -> Layout:
        """Plain text, one sample per row; `is_real` (B, T) is False on padding, wherever it stands.

        With `past`, the positions go on where each row's past ended.
        """
        start = past.next_position() if past is not None else torch.zeros(len(is_real), 1, dtype=torch.int64)
        position = (is_real.cumsum(1) - 1 + start.to(is_real.device)).clamp(min=0)
        nothing = torch.zeros_like(position)
        return cls(torch.where(is_real, 0, PADDING), nothing, nothing, position)

    @classmethod
    def cat(cls, parts: Sequence[Layout]) -> Layout:
        """Side by side along the row: what a cache holds, then what comes now."""
        return cls(*(torch.cat([getattr(part, name) for part in parts], dim=1) for name in cls.names()))

    @staticmethod
    def names() -> tuple[str, str, str, str]:
        return ("sample", "branch", "block", "position")

    def tensors(self) -> dict[str, Tensor]:
        return {name: getattr(self, name) for name in self.names()}

    def to(self, device: torch.device | str) -> Layout:
        return Layout(*(tensor.to(device) for tensor in self.tensors().values()))

    def select(self, rows: Tensor) -> Layout:
        """Rows by index, repeated if an index is: how a cached prefix is shared by several continuations."""
        return Layout(*(tensor[rows] for tensor in self.tensors().values()))

    def padded_to(self, length: int) -> Layout:
        """With padding on the right up to `length` (a static cache is longer than what it holds)."""
        missing = length - self.sample.shape[1]
        fill = {"sample": PADDING, "branch": 0, "block": 0, "position": 0}
        padded = (torch.nn.functional.pad(t, (0, missing), value=fill[n]) for n, t in self.tensors().items())
        return Layout(*padded) if missing > 0 else self

    def next_position(self) -> Tensor:
        """(B, 1): the position that the next token of each row's prefix takes."""
        seen = torch.where(self.sample != PADDING, self.position, -1)
        return seen.max(dim=1, keepdim=True).values + 1

    @property
    def shape(self) -> torch.Size:
        return self.sample.shape

    @property
    def device(self) -> torch.device:
        return self.sample.device

    def is_causal(self) -> bool:
        """True where FlashAttention-2 would be right: no pose block and no branch anywhere."""
        return not bool((self.block > 0).any() | (self.branch > 0).any())

    def is_single_run(self) -> bool:
        """True for causal rows of one sample each without padding: no mask is needed at all."""
        one = (self.sample == self.sample[:, :1]).all() & (self.sample != PADDING).all()
        return self.is_causal() and bool(one & (self.position.diff(dim=1) == 1).all())


def may_see(q: Layout, k: Layout, first: int) -> Tensor:
    """The rule as a table (B, T, K): True where the query (row) sees the key (column).

    `first` is the index among the keys of the first query: 0 without a cache, the length of the past with one.
    Without a cache, for the row drawn in `Layout` (# = sees), and for a prefix `a b` with two branches:

        . . p p . p p . . _                a b 1 1 2 2
      . # . . . . . . . . .              a # . . . . .
      . # # . . . . . . . .              b # # . . . .
      p # # # # . . . . . .              1 # # # . . .
      p # # # # . . . . . .              1 # # # # . .
      . # # # # # . . . . .              2 # # . . # .
      p # # # # # # # . . .              2 # # . . # #
      p # # # # # # # . . .
      . . . . . . . . # . .
      . . . . . . . . # # .
      _ . . . . . . . . . .
    """
    sample_q, sample_k = q.sample[:, :, None], k.sample[:, None, :]
    branch_q, branch_k = q.branch[:, :, None], k.branch[:, None, :]
    block_q, block_k = q.block[:, :, None], k.block[:, None, :]
    index_q = torch.arange(first, first + q.shape[1], device=q.device)[:, None]
    index_k = torch.arange(k.shape[1], device=q.device)[None, :]
    same_sample = (sample_q == sample_k) & (sample_k != PADDING)
    visible_branch = (branch_k == 0) | (branch_k == branch_q)
    in_time = (index_k <= index_q) | ((block_q == block_k) & (block_q > 0))
    return same_sample & visible_branch & in_time


def draw(layout: Layout, row: int = 0) -> list[str]:
    """One string per query, `#` where it sees the key: for docs and tests."""
    table = may_see(layout, layout, 0)[row]
    return ["".join("#" if seen else "." for seen in line) for line in table.tolist()]


def _keys(layout: Layout, past: Layout | None, num_keys: int | None) -> tuple[Layout, int]:
    """All keys of this call, and the index of the first query among them."""
    first = 0 if past is None else past.shape[1]
    keys = layout if past is None else Layout.cat([past, layout])
    return (keys if num_keys is None else keys.padded_to(num_keys)), first


def dense_mask(
    layout: Layout, past: Layout | None = None, num_keys: int | None = None, window: int | None = None
) -> Tensor:
    """(B, 1, T, K) bool for sdpa. `num_keys`: length of a static cache; `window`: the model's sliding window.

    A padding query sees itself alone, so that no softmax runs over nothing (some kernels return NaN there).
    """
    keys, first = _keys(layout, past, num_keys)
    seen = may_see(layout, keys, first)
    if window is not None:
        seen = seen & (layout.position[:, :, None] - keys.position[:, None, :] < window)
    itself = torch.arange(first, first + layout.shape[1], device=layout.device)[:, None] == torch.arange(
        keys.shape[1], device=layout.device
    )
    return (seen | (itself & (layout.sample == PADDING)[:, :, None]))[:, None]


def additive_mask(seen: Tensor, dtype: torch.dtype) -> Tensor:
    """A boolean mask as numbers to add to the scores: 0 where seen, the dtype's minimum elsewhere (eager attention)."""
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill(~seen, torch.finfo(dtype).min)


def block_mask(
    layout: Layout, past: Layout | None = None, num_keys: int | None = None, window: int | None = None
) -> BlockMask:
    """The same rule for flex_attention, which skips every 128 × 128 tile that holds nothing to see."""
    from torch.nn.attention.flex_attention import create_block_mask

    keys, first = _keys(layout, past, num_keys)

    def rule(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        same_sample = (layout.sample[b, q] == keys.sample[b, k]) & (keys.sample[b, k] != PADDING)
        visible_branch = (keys.branch[b, k] == 0) | (keys.branch[b, k] == layout.branch[b, q])
        same_block = (layout.block[b, q] == keys.block[b, k]) & (layout.block[b, q] > 0)
        seen = same_sample & visible_branch & ((k <= q + first) | same_block)
        if window is not None:
            seen = seen & (layout.position[b, q] - keys.position[b, k] < window)
        return seen

    rows, num_queries = layout.shape
    compiled = layout.device.type == "cuda"
    return create_block_mask(rule, rows, None, num_queries, keys.shape[1], device=str(layout.device), _compile=compiled)


def attention_mask(
    layout: Layout,
    implementation: AttentionName,
    dtype: torch.dtype,
    past: Layout | None = None,
    num_keys: int | None = None,
    window: int | None = None,
) -> Any:
    """What a decoder of transformers wants as its `attention_mask`, for the implementation that it runs."""
    if implementation == "flash_attention_2":
        return _flash_mask(layout, past, num_keys)
    if implementation == "flex_attention":
        return block_mask(layout, past, num_keys, window)
    if implementation == "sdpa" and past is None and num_keys is None and window is None and layout.is_single_run():
        return None
    seen = dense_mask(layout, past, num_keys, window)
    return seen if implementation == "sdpa" else additive_mask(seen, dtype)


def _flash_mask(layout: Layout, past: Layout | None, num_keys: int | None) -> Tensor | None:
    """FlashAttention-2 knows causal rows only: by `flash_bounds`, behind a cache by a 2D mask of what is real."""
    if not layout.is_causal() or (past is not None and not past.is_causal()):
        raise UserError(
            "flash_attention_2 cannot attend both ways inside a pose block nor keep branches apart, and this row has "
            "one of them; use attn: auto, flex_attention or sdpa (flash_attention_2 is right for rows of plain text)"
        )
    if num_keys is not None:
        raise UserError("flash_attention_2 cannot tell the empty places of a static cache; use attn: auto or sdpa")
    if past is None:
        return None
    samples = torch.cat([past.sample, layout.sample], 1)
    if bool((samples > 0).any()):
        raise UserError("flash_attention_2 cannot decode behind packed samples; use attn: auto or sdpa")
    real = samples != PADDING
    return None if bool(real.all()) else real.to(torch.int64)


def flash_bounds(layout: Layout) -> dict[str, Any]:
    """Where each sample ends in all rows laid end to end, as FlashAttention's kernels are told; padding is one, too.

        0 0 1 1 1 | 0 0 0 _ _     bounds 0 2 5 8 10

    Without them, transformers reads the samples off the positions in a batch of one row, and in others not at all.
    """
    first = torch.ones_like(layout.sample, dtype=torch.bool)
    first[:, 1:] = layout.sample[:, 1:] != layout.sample[:, :-1]
    starts = torch.nonzero(first.flatten()).flatten()
    bounds = torch.cat([starts, starts.new_tensor([first.numel()])]).to(torch.int32)
    longest = layout.shape[1]  # an upper bound will do
    return {"cu_seq_lens_q": bounds, "cu_seq_lens_k": bounds, "max_length_q": longest, "max_length_k": longest}
