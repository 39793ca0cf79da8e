"""A cache that grows, drops, closes up and is looked at without being written."""

from typing import Any

import pytest
import torch
from transformers import DynamicCache, LlamaConfig, LlamaModel

from llmpose.model.attention import cache_word
from llmpose.talk.cache import DecodingCache


@pytest.fixture(scope="module")
def model() -> LlamaModel:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=50, hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1,
    )  # fmt: skip
    config._attn_implementation = "sdpa"
    return LlamaModel(config).eval()


@torch.no_grad()
def read(model: LlamaModel, cache: Any, ids: torch.Tensor, start: int) -> torch.Tensor:
    """Causal reading of `ids` behind `start` tokens, with a mask of our own."""
    total = cache.get_mask_sizes(ids.shape[1], 0)[0] if isinstance(cache, DecodingCache) else start + ids.shape[1]
    seen = torch.arange(total)[None, :] <= torch.arange(start, start + ids.shape[1])[:, None]
    mask = seen.expand(len(ids), 1, -1, -1)
    position = torch.arange(start, start + ids.shape[1]).expand(len(ids), -1)
    out = model(input_ids=ids, attention_mask=mask, position_ids=position, use_cache=True, **{cache_word(model): cache})
    return out.last_hidden_state


@pytest.mark.parametrize("fixed", [None, 200])
def test_reading_in_pieces_is_transformers_own_cache(model: LlamaModel, fixed: int | None) -> None:
    ids = torch.randint(0, 50, (3, 150), generator=torch.Generator().manual_seed(1))
    cache, theirs = DecodingCache(2, fixed), DynamicCache()
    start = 0
    for length in (10, 1, 70, 1, 1, 60):
        piece = ids[:, start : start + length]
        torch.testing.assert_close(read(model, cache, piece, start), read(model, theirs, piece, start))
        start += length
        assert cache.get_seq_length() == start


@pytest.mark.parametrize("fixed", [None, 64])
def test_a_look_leaves_nothing_behind(model: LlamaModel, fixed: int | None) -> None:
    ids = torch.randint(0, 50, (3, 20), generator=torch.Generator().manual_seed(2))
    cache = DecodingCache(2, fixed)
    read(model, cache, ids[:, :10], 0)
    with cache.peek(torch.tensor([2, 0])):
        looked = read(model, cache, ids[[2, 0], 10:15], 10)
    assert cache.get_seq_length() == 10
    written = read(model, cache, ids[:, 10:15], 10)
    torch.testing.assert_close(looked, written[[2, 0]])


def test_rows_are_dropped_repeated_and_cropped(model: LlamaModel) -> None:
    ids = torch.randint(0, 50, (3, 20), generator=torch.Generator().manual_seed(3))
    cache, fresh = DecodingCache(2), DecodingCache(2)
    read(model, cache, ids[:, :15], 0)
    cache.crop(5)
    rows = torch.tensor([2, 0, 2, 2])
    cache.keep(rows)
    read(model, fresh, ids[rows, :10], 0)
    torch.testing.assert_close(read(model, cache, ids[rows, 10:], 10), read(model, fresh, ids[rows, 10:], 10))


def test_columns_are_closed_up(model: LlamaModel) -> None:
    """Columns 3 and 7 of row 0, and 0 and 1 of row 1, were padding that nobody saw."""
    ids = torch.randint(0, 50, (2, 12), generator=torch.Generator().manual_seed(4))
    cache = DecodingCache(2)
    read(model, cache, ids, 0)
    before = [(layer.keys.clone(), layer.values.clone()) for layer in cache.layers]
    columns = torch.tensor([[c for c in range(12) if c not in (3, 7)], list(range(2, 12))])
    cache.keep(torch.tensor([0, 1]), columns)
    assert cache.get_seq_length() == 10
    for layer, (keys, values) in zip(cache.layers, before, strict=True):
        for row in (0, 1):
            assert torch.equal(layer.keys[row, :, :10], keys[row][:, columns[row]])
            assert torch.equal(layer.values[row, :, :10], values[row][:, columns[row]])
