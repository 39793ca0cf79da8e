"""Drawn masks: who sees whom, for the rows that people draw when they explain the model."""

import os
from itertools import pairwise

import pytest
import torch
from tiny_models import make_example, stack_rows

from llmpose.errors import UserError
from llmpose.model.layout import (
    PADDING,
    Layout,
    additive_mask,
    attention_mask,
    block_mask,
    dense_mask,
    draw,
    flash_bounds,
    may_see,
)


def row(sample: list[int], branch: list[int] | None = None, block: list[int] | None = None) -> Layout:
    length = len(sample)
    values = (sample, branch or [0] * length, block or [0] * length, list(range(length)))
    return Layout(*(torch.tensor([value]) for value in values))


def test_two_poses_in_one_sample_and_a_second_sample_behind_it():
    layout = row([0, 0, 0, 0, 0, 0, 0, 1, 1, PADDING], block=[0, 0, 1, 1, 0, 2, 2, 0, 0, 0])
    assert draw(layout) == [
        "#.........",
        "##........",
        "####......",
        "####......",
        "#####.....",
        "#######...",
        "#######...",
        ".......#..",
        ".......##.",
        "..........",
    ]


def test_branches_see_their_prefix_and_themselves():
    layout = row([0] * 6, branch=[0, 0, 1, 1, 2, 2])
    assert draw(layout) == ["#.....", "##....", "###...", "####..", "##..#.", "##..##"]


def test_a_pose_block_inside_a_branch_stays_inside_it():
    layout = row([0] * 7, branch=[0, 1, 1, 1, 2, 2, 2], block=[0, 0, 1, 1, 0, 2, 2])
    assert draw(layout) == ["#......", "##.....", "####...", "####...", "#...#..", "#...###", "#...###"]


def test_equal_block_numbers_in_two_samples_stay_apart():
    layout = row([0, 0, 1, 1], block=[1, 1, 1, 1])
    assert draw(layout) == ["##..", "##..", "..##", "..##"]


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_is_seen_by_nobody_on_either_side(side: str):
    sample = [PADDING, PADDING, 0, 0, 0] if side == "left" else [0, 0, 0, PADDING, PADDING]
    lines = draw(row(sample))
    column = (0, 1) if side == "left" else (3, 4)
    assert all(line[c] == "." for line in lines for c in column)


def test_a_padding_query_sees_itself_alone_so_that_no_softmax_is_empty():
    seen = dense_mask(row([PADDING, 0, 0]))[0, 0]
    assert seen.tolist() == [[True, False, False], [False, True, False], [False, True, True]]


def test_the_second_of_two_calls_sees_what_one_call_would_have_shown():
    layout = row([0] * 9, block=[0, 1, 1, 0, 0, 2, 2, 2, 0])
    whole = may_see(layout, layout, 0)
    past = Layout(*(tensor[:, :5] for tensor in layout.tensors().values()))
    new = Layout(*(tensor[:, 5:] for tensor in layout.tensors().values()))
    assert torch.equal(dense_mask(new, past)[:, 0], whole[:, 5:])
    longer = dense_mask(new, past, num_keys=12)[:, 0]
    assert torch.equal(longer[..., :9], whole[:, 5:])
    assert not longer[..., 9:].any()


def test_a_sliding_window_counts_positions_of_its_own_sample():
    layout = Layout(*(torch.tensor([v]) for v in ([0, 0, 0, 0, 1, 1], [0] * 6, [0] * 6, [0, 1, 2, 3, 0, 1])))
    lines = dense_mask(layout, window=2)[0, 0].long().tolist()
    assert lines[3] == [0, 0, 1, 1, 0, 0]
    assert lines[5] == [0, 0, 0, 0, 1, 1]


def test_flex_attention_and_sdpa_are_given_the_same_rule():
    batch = stack_rows([make_example("tptqta", seed=1), make_example("tqa", seed=2)])
    layout = batch.layout()
    keys = Layout.cat([layout, layout])
    for past in (None, layout):
        dense = dense_mask(layout, past)[:, 0] & (layout.sample != PADDING)[:, :, None]
        flex = block_mask(layout, past)
        length = (keys if past else layout).shape[1]
        index = torch.arange(length)
        table = torch.stack(
            [flex.mask_mod(torch.tensor(b), torch.tensor(0), index[: dense.shape[1], None], index) for b in range(2)]
        )
        assert torch.equal(table, dense)


def test_the_additive_mask_is_zero_where_the_boolean_one_is_true():
    seen = dense_mask(row([0, 0, PADDING]))
    added = additive_mask(seen, torch.float32)
    assert torch.equal(added == 0, seen)
    assert torch.isfinite(added).all()


def test_plain_rows_need_no_mask_under_sdpa():
    assert attention_mask(row([0, 0, 0]), "sdpa", torch.float32) is None
    assert attention_mask(row([0, 0, 1]), "sdpa", torch.float32) is not None


def test_flash_attention_with_a_pose_block_is_an_error_and_never_a_causal_mask():
    with pytest.raises(UserError, match="flash_attention_2 cannot"):
        attention_mask(row([0, 0, 0], block=[0, 1, 1]), "flash_attention_2", torch.float32)
    with pytest.raises(UserError, match="keep branches apart"):
        attention_mask(row([0, 0, 0], branch=[0, 1, 2]), "flash_attention_2", torch.float32)
    with pytest.raises(UserError, match="static cache"):
        attention_mask(row([0, 0]), "flash_attention_2", torch.float32, num_keys=8)


def test_flash_attention_behind_a_cache_is_told_what_is_real():
    past, new = row([PADDING, 0, 0]), row([0])
    assert attention_mask(new, "flash_attention_2", torch.float32, past).tolist() == [[0, 1, 1, 1]]
    with pytest.raises(UserError, match="behind packed samples"):
        attention_mask(row([1]), "flash_attention_2", torch.float32, row([0, 1, 1]))


def test_flash_attention_is_told_where_every_sample_of_every_row_ends():
    first, second = row([0, 0, 1, 1, 1]), row([0, 0, 0, PADDING, PADDING])
    rows = Layout(*(torch.cat([getattr(first, name), getattr(second, name)]) for name in Layout.names()))
    bounds = flash_bounds(rows)["cu_seq_lens_q"].tolist()
    assert bounds == [0, 2, 5, 8, 10]
    seen = torch.zeros(10, 10, dtype=torch.bool)
    for start, end in pairwise(bounds):
        seen[start:end, start:end] = torch.ones(end - start, end - start).tril().bool()
    by_rule = torch.block_diag(*may_see(rows, rows, 0).int()).bool()
    real = (rows.sample != PADDING).flatten()
    assert torch.equal(seen[real], by_rule[real])


def test_positions_go_on_where_the_past_of_each_row_ended():
    past = Layout.causal(torch.tensor([[True, True, True], [False, False, True]]))
    new = Layout.causal(torch.ones(2, 2, dtype=torch.bool), past)
    assert new.position.tolist() == [[3, 4], [1, 2]]


@pytest.mark.gpu
@pytest.mark.skipif(
    not torch.cuda.is_available() or bool(os.environ.get("CUDA_VISIBLE_DEVICES") == ""), reason="no CUDA"
)
def test_flex_attention_trains_on_a_gpu_with_the_gradients_of_sdpa():
    from tiny_models import tiny_model

    batch = stack_rows([make_example("tptqta", seed=1), make_example("tqa", seed=2)]).to("cuda")
    gradients = {}
    for name in ("sdpa", "flex_attention"):
        model = tiny_model(vision=False, attn=name, text={"hidden_size": 64, "head_dim": 16}).cuda().train()
        model(**batch).loss.backward()
        gradients[name] = torch.cat([p.grad.flatten() for p in model.language.model.parameters()])
    torch.testing.assert_close(gradients["sdpa"], gradients["flex_attention"], rtol=1e-3, atol=1e-5)
