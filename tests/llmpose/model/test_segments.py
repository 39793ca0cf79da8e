"""Attention by sample: cut where it may be cut, equal to the dense mask in every number."""

import pytest
import torch
from tiny_models import make_example, stack_rows, tiny_model

from llmpose.model.batch import Batch
from llmpose.model.layout import PADDING, Layout
from llmpose.model.segments import TOKENS_OF_BRANCHES, attend, segments_of


def layout_of(sample: list[int], branch: list[int] | None = None, block: list[int] | None = None) -> Layout:
    length = len(sample)
    values = (sample, branch or [0] * length, block or [0] * length, list(range(length)))
    return Layout(*(torch.tensor([value]) for value in values))


def packed_rows() -> Batch:
    """Two rows: samples with poses packed behind padding, and a prefix with four branches, one of them with a pose."""
    two = [make_example("tpqta", seed=1), make_example("tqa", seed=2), make_example("tta", seed=3)]
    prefix, tails = make_example("tpt", seed=4), [make_example(kinds, seed=5) for kinds in ("ta", "tqa", "ta", "tta")]
    columns: dict[str, list[torch.Tensor]] = {name: [] for name in ("token_ids", "labels", "branch", "block")}
    for number, part in enumerate([prefix, *tails]):
        for name in ("token_ids", "labels"):
            columns[name].append(getattr(part, name))
        columns["branch"].append(torch.full_like(part.branch, number))
        columns["block"].append(torch.where(part.block > 0, part.block + number, 0))
    starts = [0, *[len(prefix)] * len(tails)]
    position = torch.cat([part.position + at for at, part in zip(starts, [prefix, *tails], strict=True)])
    second = {name: torch.cat(parts) for name, parts in columns.items()}
    second |= {"position": position, "sample": torch.zeros_like(position)}
    first = {
        name: torch.cat([getattr(example, name) for example in two]) for name in ("token_ids", "labels", "position")
    }
    first["branch"] = torch.zeros_like(first["position"])
    first["block"] = torch.cat([torch.where(e.block > 0, e.block + 3 * i, 0) for i, e in enumerate(two)])
    first["sample"] = torch.cat([torch.full_like(e.position, i) for i, e in enumerate(two)])
    length = max(len(first["sample"]), len(second["sample"])) + 3
    fill = {"labels": -100, "sample": PADDING}
    gaps = [(2, length - len(first["sample"]) - 2), (0, length - len(second["sample"]))]
    rows = list(zip((first, second), gaps, strict=True))
    pad = torch.nn.functional.pad
    return Batch(
        {name: torch.stack([pad(row[name], gap, value=fill.get(name, 0)) for row, gap in rows]) for name in first}
    )


def numbers(model: torch.nn.Module, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits of what is there, loss, gradients."""
    model.zero_grad()
    out = model(**batch, return_logits=True)
    out.loss.backward()
    found = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    return out.logits[batch.sample != PADDING], out.loss, found


@pytest.mark.parametrize("cut", [1, TOKENS_OF_BRANCHES])
@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2"])
def test_logits_loss_and_gradients_are_those_of_the_dense_mask(family: str, cut: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("llmpose.model.segments.TOKENS_OF_BRANCHES", cut)
    text = {"sliding_window": None} if family == "mistral" else {}
    model = tiny_model(family, vision=False, text=text)
    results = {}
    for attn in ("sdpa", "auto"):
        model.config.attn = attn
        results[attn] = numbers(model, packed_rows())
        assert model.language.config._attn_implementation == ("segments" if attn == "auto" else "sdpa")
    for mine, theirs in zip(results["auto"], results["sdpa"], strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


def test_activation_checkpointing_changes_no_gradient():
    model = tiny_model(vision=False).train()
    _, loss, expected = numbers(model, packed_rows())
    # renamed in transformers 5.23
    getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()
    _, again, found = numbers(model, packed_rows())
    torch.testing.assert_close(again, loss, rtol=0, atol=0)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padded_rows_are_cut_at_their_padding(side: str):
    batch = stack_rows([make_example("tpta", seed=6), make_example("tqa", seed=7)], side=side)
    model = tiny_model(vision=False)
    found = numbers(model, batch)
    model.config.attn = "eager"
    for mine, theirs in zip(found, numbers(model, batch), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


def test_a_row_is_cut_where_a_sample_begins_and_padding_attends_to_nothing():
    pieces = segments_of(layout_of([0, 0, 0, 1, 1, PADDING], block=[0, 1, 1, 0, 0, 0]))
    assert [(piece.length, piece.keys) for piece in pieces] == [(3, (0,)), (2, (1,)), (1, ())]
    assert pieces[0].seen.long().tolist() == [[1, 0, 0], [1, 1, 1], [1, 1, 1]]
    assert pieces[1].seen is None  # plain causal text needs no mask


def test_equal_sample_numbers_in_two_rows_stay_apart():
    pieces = segments_of(Layout.causal(torch.ones(2, 3, dtype=torch.bool)))
    assert [(piece.length, piece.keys) for piece in pieces] == [(3, (0,)), (3, (1,))]


def test_branches_attend_to_their_prefix_and_to_themselves(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("llmpose.model.segments.TOKENS_OF_BRANCHES", 3)
    pieces = segments_of(layout_of([0] * 7, branch=[0, 0, 1, 2, 2, 3, 3]))
    assert [(piece.length, piece.keys) for piece in pieces] == [(2, (0,)), (3, (0, 1)), (2, (0, 2))]
    assert pieces[1].seen.long().tolist() == [[1, 1, 1, 0, 0], [1, 1, 0, 1, 0], [1, 1, 0, 1, 1]]


def test_a_prefix_that_goes_on_behind_a_branch_stays_in_one_piece():
    pieces = segments_of(layout_of([0] * 5, branch=[0, 1, 1, 0, 0]))
    assert [(piece.length, piece.keys) for piece in pieces] == [(5, (0,))]
    assert pieces[0].seen.long().tolist()[3] == [1, 0, 0, 1, 0]


def test_a_sample_in_two_pieces_falls_back_to_the_dense_mask():
    assert segments_of(layout_of([0, 1, 0])) is None
    layout = layout_of([0, 1, 0])
    model = tiny_model(vision=False)
    model(token_ids=torch.tensor([[3, 4, 5]]), **layout.tensors())
    assert model.language.config._attn_implementation == "sdpa"


def test_a_cache_and_a_sliding_window_keep_the_dense_mask():
    model = tiny_model(vision=False)
    model(token_ids=torch.tensor([[3, 4, 5]]), use_cache=True)
    assert model.language.config._attn_implementation == "sdpa"
    sliding = tiny_model("mistral", vision=False, text={"sliding_window": 2})
    sliding(token_ids=torch.tensor([[3, 4, 5]]))
    assert sliding.language.config._attn_implementation == "sdpa"


def test_a_call_without_segments_is_refused():
    states = torch.zeros(1, 1, 2, 4)
    with pytest.raises(ValueError, match="needs the row's segments"):
        attend(torch.nn.Identity(), states, states, states)
