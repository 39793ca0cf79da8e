"""Keys and values of a decoding batch: rows can be dropped, repeated and closed up, and looked at without writing.

transformers' own caches append by copying everything at every token, or have one fixed length. This one grows in place
(room doubles when it runs out), and knows the three things that decoding a mixed batch needs:

    keep(rows, columns)   rows that have finished go, a shared prefix becomes many rows, beams change places, and the
                          padding that rows of different speed leave behind is closed up
    peek(rows)            a forward step that sees some rows and leaves no trace: how a pose is asked for while the
                          text of the other rows goes on
    crop(n)               the last n columns go

With `fixed` it has one length from the start, as compiled graphs want it, and what is not yet written is masked.
"""

from collections.abc import Generator
from contextlib import contextmanager

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

FIRST_ROOM = 64


class _Layer(CacheLayerMixin):
    """One attention layer's keys and values, (rows, heads, room, width), of which `length` columns are written."""

    is_sliding = False
    is_compileable = False
    is_croppable = True

    def __init__(self, fixed: int | None) -> None:
        super().__init__()
        self.fixed = fixed
        self.length = 0
        self.peeked: Tensor | None = None  # rows that a step looks at without writing

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.dtype, self.device = key_states.dtype, key_states.device
        self.keys = _room(key_states, self.fixed or FIRST_ROOM)
        self.values = _room(value_states, self.fixed or FIRST_ROOM)
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None
        assert self.values is not None
        start, stop = self.length, self.length + key_states.shape[2]
        if self.peeked is not None:
            seen = (self.keys[self.peeked, :, :start], self.values[self.peeked, :, :start])
            return torch.cat([seen[0], key_states], 2), torch.cat([seen[1], value_states], 2)
        if stop > self.keys.shape[2]:
            assert self.fixed is None, f"a cache of {self.fixed} columns was asked for {stop}"
            self.keys, self.values = (_grown(old, start, max(stop, 2 * start)) for old in (self.keys, self.values))
        self.keys[:, :, start:stop] = key_states
        self.values[:, :, start:stop] = value_states
        self.length = stop
        if self.fixed:
            return self.keys, self.values
        return self.keys[:, :, :stop], self.values[:, :, :stop]

    def keep(self, rows: Tensor, columns: Tensor | None) -> None:
        """`columns` (rows, new length): which written columns of each kept row stay, in order."""
        if not self.is_initialized:
            return
        assert self.keys is not None
        assert self.values is not None
        if columns is None:
            self.keys, self.values = self.keys[rows], self.values[rows]
            return
        kept: list[Tensor] = []
        for old in (self.keys, self.values):
            index = columns[:, None, :, None].expand(-1, old.shape[1], -1, old.shape[3])
            new = torch.gather(old[rows, :, : self.length], 2, index)
            kept.append(_grown(new, new.shape[2], self.fixed or new.shape[2] + FIRST_ROOM))
        self.keys, self.values = kept
        self.length = columns.shape[1]

    def crop(self, tokens_to_remove: int) -> None:
        self.length -= abs(tokens_to_remove)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        longest = self.get_max_length()
        return (longest if longest > 0 else self.length + query_length), 0

    def get_seq_length(self) -> int:
        return self.length

    def get_max_length(self) -> int:
        return self.fixed if self.fixed and self.peeked is None else -1

    def reset(self) -> None:
        self.length = 0


def _room(like: Tensor, columns: int) -> Tensor:
    rows, heads, length, width = like.shape
    return like.new_zeros(rows, heads, max(columns, length), width)


def _grown(old: Tensor, written: int, columns: int) -> Tensor:
    new = old.new_zeros(old.shape[0], old.shape[1], columns, old.shape[3])
    new[:, :, :written] = old[:, :, :written]
    return new


class DecodingCache(Cache):
    """See the module's text. `fixed`: its one length; None lets it grow."""

    def __init__(self, num_layers: int, fixed: int | None = None) -> None:
        self._own = [_Layer(fixed) for _ in range(num_layers)]
        super().__init__(layers=list(self._own))
        self.fixed = fixed

    def keep(self, rows: Tensor, columns: Tensor | None = None) -> None:
        for layer in self._own:
            layer.keep(rows, columns)

    def crop(self, tokens_to_remove: int) -> None:
        for layer in self._own:
            layer.crop(tokens_to_remove)

    @contextmanager
    def peek(self, rows: Tensor) -> Generator["DecodingCache", None, None]:
        """Inside, a forward call of `len(rows)` rows sees those rows of the cache and writes nothing."""
        for layer in self._own:
            layer.peeked = rows
        try:
            yield self
        finally:
            for layer in self._own:
                layer.peeked = None
