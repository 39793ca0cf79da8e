"""The scripts of eval/speed that compare ways to do the same work: they run, and say ratios of what they measured."""

import pytest

from eval.speed import common, decoding, loss, packing


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(common.SIZES, "tiny", common.Size(32, 1, 2, 48, 512))


def test_one_pose_in_a_step_and_token_by_token() -> None:
    (row,) = decoding.measure("tiny", "cpu", "float32", num_pose_tokens=12, batches=(2,), repeats=1)
    assert row["times faster"] == pytest.approx(row["causal, ms"] / row["mixed, ms"])
    assert (row["batch"], row["pose tokens"]) == (2, 12)


def test_packed_rows_and_branches_hold_fewer_tokens_and_are_bound_by_them() -> None:
    rows = packing.measure("tiny", "cpu", "float32", repeats=1, image_tokens=24, batches=1)
    by_name = {(row["what"], row["rows as"]): row for row in rows}
    for (what, form), row in by_name.items():
        padded = by_name[what, "padded"]
        assert row["times padded"] == pytest.approx(row["examples/s"] / padded["examples/s"])
        assert row["tokens"] <= padded["tokens"]
        if form != "padded":
            assert row["real"] > 0.99
            assert row["bound"] == pytest.approx(padded["tokens"] / (row["tokens"] * row["real"]))
    mixed = "stage 2, both mixed, three each"
    assert by_name[mixed, "branches"]["tokens"] < by_name[mixed, "packed"]["tokens"]
    assert by_name["4 images, 8 questions each", "branches"]["bound"] > 2


def test_chunks_of_the_loss_need_less_memory_than_all_logits() -> None:
    rows = loss.measure("cpu", "float32", words=800, positions=128, width=16, share=0.3, repeats=1)
    peaks = [next(value for name, value in row.items() if "peak" in name) for row in rows]
    assert peaks[0] > 2 * peaks[1] > 2 * peaks[2]
