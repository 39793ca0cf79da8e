"""What must not change the numbers: packing, branches, padding, caches, attention implementations, checkpointing."""

import pytest
import torch
from tiny_models import (
    FIRST_POSE,
    NUM_POSE_TOKENS,
    QUERY,
    as_row,
    make_example,
    random_pixels,
    stack_rows,
    text_config,
    tiny_config,
    tiny_model,
)
from torch import Tensor
from transformers import AutoModelForCausalLM, DynamicCache, StaticCache

from llmpose.errors import UserError
from llmpose.model.batch import IGNORE, Batch
from llmpose.model.layout import Layout
from llmpose.model.modeling import LlmPoseForConditionalGeneration

FAMILIES = ["llama", "mistral", "qwen2", "gemma3"]


def cut(batch: dict[str, Tensor] | Batch, part: slice) -> dict[str, Tensor]:
    return {key: value[:, part] for key, value in batch.items() if isinstance(value, Tensor)}


def gradients(model: LlmPoseForConditionalGeneration, loss: Tensor) -> Tensor:
    model.zero_grad()
    loss.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("family", [*FAMILIES, "gemma2"])
def test_without_blocks_the_logits_are_those_of_the_bare_language_model(family: str):
    model = tiny_model(family, vision=False)
    bare = AutoModelForCausalLM.from_config(tiny_config(family, vision=False).text_config).eval()
    bare.load_state_dict(model.language.state_dict())
    ids = make_example("ttat").token_ids[None]
    torch.testing.assert_close(model(input_ids=ids).logits, bare(input_ids=ids).logits)
    padded = torch.cat([torch.zeros(1, 3, dtype=ids.dtype), ids], dim=1)
    real = (torch.arange(padded.shape[1]) >= 3)[None].long()
    torch.testing.assert_close(model(input_ids=padded, attention_mask=real).logits[:, 3:], bare(input_ids=ids).logits)


@pytest.mark.parametrize("family", FAMILIES)
def test_padding_left_or_right_changes_nothing(family: str):
    text = {"sliding_window": 6} if family in ("mistral", "gemma3") else {}
    model = tiny_model(family, vision=False, text=text)
    example = make_example("tptqta")
    alone = model(**as_row(example), return_logits=True).logits
    for left, right in ((4, 0), (0, 5), (3, 2)):
        padded = model(**as_row(example, left, right), return_logits=True)
        part = padded.logits[:, left : left + len(example)]
        torch.testing.assert_close(part, alone)


@pytest.mark.parametrize("family", FAMILIES)
def test_eager_sdpa_and_flex_attention_agree(family: str, monkeypatch: pytest.MonkeyPatch):
    # flex_attention for CPU is compiled C++; uncompiled it runs the same mathematics, and without a compiler.
    import torch._dynamo.config

    monkeypatch.setattr(torch._dynamo.config, "disable", True, raising=False)
    monkeypatch.setenv("TORCHDYNAMO_DISABLE", "1")
    batch = stack_rows([make_example("tptqta", seed=1), make_example("tqa", seed=2), make_example("ttqtp", seed=3)])
    logits = {}
    for name in ("eager", "sdpa", "flex_attention"):
        model = tiny_model(family, vision=False, attn=name)
        with torch.no_grad():
            logits[name] = model(**batch, return_logits=True).logits[batch.sample >= 0]
    torch.testing.assert_close(logits["eager"], logits["sdpa"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(logits["flex_attention"], logits["sdpa"], atol=1e-5, rtol=1e-5)


@pytest.fixture
def mixed() -> tuple[LlmPoseForConditionalGeneration, Batch]:
    return tiny_model(vision=False), stack_rows([make_example("tqtap", seed=4)])


def test_two_pose_blocks_do_not_see_each_other_forwards(mixed):
    model, _ = mixed
    example = make_example("tptpt", seed=5)
    row = as_row(example)
    before = model(**row, return_logits=True).logits
    second = torch.nonzero(example.block == 2).flatten()
    row["token_ids"][0, second] = FIRST_POSE
    after = model(**row, return_logits=True).logits
    first = int(second[0])
    torch.testing.assert_close(after[:, :first], before[:, :first], rtol=0, atol=0)
    assert not torch.allclose(after[:, first:], before[:, first:])


def test_inside_a_pose_block_the_first_token_sees_the_last():
    model = tiny_model(vision=False)
    example = make_example("tpt", seed=6)
    row = as_row(example)
    before = model(**row, return_logits=True).logits
    inside = torch.nonzero(example.block == 1).flatten()
    row["token_ids"][0, inside[-1]] = FIRST_POSE if row["token_ids"][0, inside[-1]] != FIRST_POSE else FIRST_POSE + 1
    after = model(**row, return_logits=True).logits
    assert not torch.allclose(after[:, inside[0]], before[:, inside[0]])
    torch.testing.assert_close(after[:, : inside[0]], before[:, : inside[0]], rtol=0, atol=0)


def test_changing_the_target_codes_of_queries_changes_no_logit(mixed):
    model, batch = mixed
    before = model(**batch, return_logits=True)
    changed = batch.labels.clone()
    queries = batch.token_ids == QUERY
    changed[queries] = FIRST_POSE
    after = model(**{**batch, "labels": changed}, return_logits=True)
    torch.testing.assert_close(after.logits, before.logits, rtol=0, atol=0)
    assert after.loss != before.loss


def test_every_query_of_a_block_is_its_own():
    model = tiny_model(vision=False)
    ids = torch.tensor([[1, 30, *[QUERY] * NUM_POSE_TOKENS, 31, 30, *[QUERY] * NUM_POSE_TOKENS, 31]])
    embedded = model.embed(ids)[0]
    torch.testing.assert_close(embedded[2 : 2 + NUM_POSE_TOKENS], model.pose_queries.weight)
    torch.testing.assert_close(embedded[9 : 9 + NUM_POSE_TOKENS], model.pose_queries.weight)


@pytest.mark.parametrize("kind", ["dynamic", "static"])
@pytest.mark.parametrize("attn", ["eager", "sdpa"])
@pytest.mark.parametrize("family", FAMILIES)
def test_cached_decoding_equals_the_full_forward(family: str, attn: str, kind: str):
    """A ragged batch, left-padded; then a whole pose in one step for one row while another row says one word."""
    model = tiny_model(family, vision=False, attn=attn)
    whole = text_config("llama", sliding_window=None)  # a static cache made for sliding layers would forget keys
    examples = [make_example("tptqa", seed=7), make_example("tttqa", seed=8)]
    batch = stack_rows(examples)
    full = model(**batch, return_logits=True).logits
    cache = DynamicCache() if kind == "dynamic" else StaticCache(config=whole, max_cache_len=64)
    length, past, parts = batch.token_ids.shape[1], None, []
    block_at = int(torch.nonzero(batch.block[0] == 2)[0])
    steps = [slice(0, block_at), slice(block_at, block_at + NUM_POSE_TOKENS)]
    steps += [slice(i, i + 1) for i in range(block_at + NUM_POSE_TOKENS, length)]
    with torch.no_grad():
        for part in steps:
            out = model(**cut(batch, part), cache=cache, past=past, return_logits=True)
            past = out.layout
            parts.append(out.logits)
    real = batch.sample >= 0
    torch.testing.assert_close(torch.cat(parts, 1)[real], full[real], atol=1e-5, rtol=1e-5)


def test_rows_that_decode_at_different_speeds_keep_their_own_numbers():
    """One row gets a whole pose, the other one word and padding in the same step, then both go on."""
    model = tiny_model(vision=False)
    slow, fast = make_example("tta", seed=9), make_example("tqa", seed=10)
    alone = [model(**as_row(example), return_logits=True).logits[0] for example in (slow, fast)]
    start = 4  # both have three words and one more; then `fast` has its block
    wide = NUM_POSE_TOKENS + 1
    columns = {}
    for name, fill in (("token_ids", 0), ("sample", -1), ("branch", 0), ("block", 0), ("position", 0)):
        a, b = as_row(slow)[name][0], as_row(fast)[name][0]
        step = torch.full((2, wide), fill)
        step[0, 0], step[1] = a[start], b[start : start + wide]
        columns[name] = [
            torch.stack([a[:start], b[:start]]),
            step,
            torch.stack([a[start + 1 :][:3], b[start + wide :][:3]]),
        ]
    cache, past, outs = DynamicCache(), None, []
    with torch.no_grad():
        for i in range(3):
            out = model(**{name: parts[i] for name, parts in columns.items()}, cache=cache, past=past)
            past = out.layout
            outs.append(out.logits)
    torch.testing.assert_close(outs[1][0, 0], alone[0][start])
    torch.testing.assert_close(outs[1][1], alone[1][start : start + wide])
    torch.testing.assert_close(outs[2][0], alone[0][start + 1 :][:3])
    torch.testing.assert_close(outs[2][1], alone[1][start + wide :][:3])


def test_a_cache_that_forgets_keys_is_refused():
    model = tiny_model("gemma3", vision=False)
    cache = StaticCache(config=model.config.text_config, max_cache_len=32)
    with pytest.raises(ValueError, match="forgets keys"):
        model(token_ids=torch.ones(1, 3, dtype=torch.int64), cache=cache)


@pytest.mark.parametrize("how", ["repeated rows", "branches of one row"])
def test_continuations_of_a_cached_prefix_equal_separate_rows(how: str):
    model = tiny_model(vision=False)
    prefix = make_example("tpt", seed=11)
    tails = [make_example("tqa", seed=12 + i) for i in range(3)]
    length = len(prefix)
    rows = []
    for tail in tails:
        block = torch.where(tail.block > 0, tail.block + 1, 0)
        both = {
            "token_ids": torch.cat([prefix.token_ids, tail.token_ids])[None],
            "block": torch.cat([prefix.block, block])[None],
        }
        size = both["token_ids"].shape[1]
        zeros = torch.zeros(1, size, dtype=torch.int64)
        rows.append({**both, "sample": zeros, "branch": zeros, "position": torch.arange(size)[None]})
    separate = [model(**row).logits[0, length:] for row in rows]
    with torch.no_grad():
        first = model(**cut(rows[0], slice(0, length)), cache=DynamicCache())
        cache, past = first.cache, first.layout
        if how == "repeated rows":
            which = torch.zeros(3, dtype=torch.int64)
            cache.batch_select_indices(which)
            new = {key: torch.cat([row[key][:, length:] for row in rows]) for key in rows[0]}
            logits = list(model(**new, cache=cache, past=past.select(which)).logits)
        else:
            new = {key: torch.cat([row[key][:, length:] for row in rows], dim=1) for key in rows[0]}
            sizes = [row["token_ids"].shape[1] - length for row in rows]
            new["branch"] = torch.cat([torch.full((1, n), i + 1) for i, n in enumerate(sizes)], dim=1)
            blocks = [torch.where(row["block"][:, length:] > 0, i + 5, 0) for i, row in enumerate(rows)]
            new["block"] = torch.cat(blocks, dim=1)
            logits = list(model(**new, cache=cache, past=past).logits[0].split(sizes))
    for mine, theirs in zip(logits, separate, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_activation_checkpointing_changes_neither_loss_nor_gradients():
    model = tiny_model().train()
    batch = stack_rows([make_example("tiqta", seed=13), make_example("tipta", seed=14)])
    plain = model(**batch, pixels=random_pixels(2))
    expected = gradients(model, plain.loss)
    # renamed in transformers 5.23
    getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()
    saved = model(**batch, pixels=random_pixels(2))
    torch.testing.assert_close(saved.loss, plain.loss, rtol=0, atol=0)
    torch.testing.assert_close(gradients(model, saved.loss), expected)


def test_features_from_a_cache_equal_pixels():
    model = tiny_model()
    batch = stack_rows([make_example("tiqta", seed=15), make_example("tiia", seed=16)])
    pixels = random_pixels(3)
    features = model.encode_images(pixels)
    torch.testing.assert_close(
        model(**batch, image_features=features, return_logits=True).logits,
        model(**batch, pixels=pixels, return_logits=True).logits,
    )


def test_the_right_image_fills_the_right_placeholder():
    model = tiny_model()
    batch = stack_rows([make_example("ti", seed=17), make_example("tit", seed=18)])
    pixels = random_pixels(2)
    both = model(**batch, pixels=pixels, return_logits=True).logits
    second = {name: value[1:] for name, value in pixels.items()}
    alone = model(**as_row(make_example("tit", seed=18)), pixels=second, return_logits=True).logits
    torch.testing.assert_close(both[1:], alone)


def test_one_image_too_few_is_an_error_that_counts():
    model = tiny_model()
    row = stack_rows([make_example("tiit")])
    with pytest.raises(UserError, match=r"4 vision tokens \(1 images of 4 each\), the tokens hold 8 places"):
        model(**row, pixels=random_pixels(1))
    none = {name: value[:0] for name, value in random_pixels(1).items()}
    for nothing in ({}, {"pixels": none}, {"image_features": next(iter(none.values())).new_zeros(0, 4, 28)}):
        with pytest.raises(UserError, match=r"0 vision tokens .* the tokens hold 8 places"):
            model(**row, **nothing)


def test_no_tokens_and_no_vision_are_errors():
    with pytest.raises(UserError, match="0 tokens"):
        tiny_model(vision=False)(token_ids=torch.zeros(1, 0, dtype=torch.int64))
    with pytest.raises(UserError, match="without a vision encoder"):
        tiny_model(vision=False).encode_images({})


def test_a_cache_without_the_layout_of_its_past_is_refused():
    model = tiny_model(vision=False)
    out = model(token_ids=torch.ones(1, 3, dtype=torch.int64), use_cache=True)
    with pytest.raises(ValueError, match="the cache holds 3 tokens"):
        model(token_ids=torch.ones(1, 1, dtype=torch.int64), cache=out.cache)


def test_labels_are_not_shifted():
    model = tiny_model(vision=False)
    ids = make_example("ta", seed=19).token_ids[None]
    labels = torch.full_like(ids, IGNORE)
    labels[0, 2] = 7
    out = model(token_ids=ids, labels=labels, return_logits=True)
    torch.testing.assert_close(out.loss, -out.logits[0, 2].log_softmax(-1)[7])


def test_layout_of_the_past_survives_selection_of_rows():
    layout = Layout.causal(torch.tensor([[True, True], [False, True]]))
    chosen = layout.select(torch.tensor([1, 1, 0]))
    assert chosen.sample.tolist() == [[-1, 0], [-1, 0], [0, 0]]
