"""MP-100's five splits in one table: each from a run of its own, the mean where all are there."""

from pathlib import Path

import pytest

from eval.benchmarks.base import Result
from eval.papers_keypoints import CROSS, MP100_MEANS, mp100
from eval.splits import split_tables
from eval.tables import Row, Table, percent
from llmpose.errors import UserError


def leave(folder: Path, split: int, value: float) -> Path:
    name = f"keypoint_visual_1shot{'' if split == 1 else f'_split{split}'}"
    rows = [Row("this model", "ours", {"pck_0.2_by_instance": value}), *mp100(1, split)]
    Result(Table(name, name, [percent("pck_0.2_by_instance", "PCK")], rows, "", 1)).write(folder)
    return folder


def test_the_mean_is_over_five_splits(tmp_path: Path) -> None:
    runs = [leave(tmp_path / str(split), split, split / 10) for split in range(1, 6)]
    (table,) = split_tables(runs)
    ours = table.row("this model").values
    assert [ours[f"split{split}"] for split in range(1, 6)] == [0.1, 0.2, 0.3, 0.4, 0.5]
    assert ours["mean"] == pytest.approx(0.3)
    assert "mean" not in split_tables(runs[:4])[0].row("this model").values


def test_a_split_twice_or_none_at_all_is_told(tmp_path: Path) -> None:
    runs = [leave(tmp_path / "a", 2, 0.1), leave(tmp_path / "b", 2, 0.2)]
    with pytest.raises(UserError, match="stands in 2 of the runs"):
        split_tables(runs)
    with pytest.raises(UserError, match="no table"):
        split_tables([tmp_path / "nothing"])
    with pytest.raises(UserError, match="no runs"):
        split_tables([])


def test_the_papers_means_are_means_of_its_splits() -> None:
    for rows in MP100_MEANS.values():
        for row in rows:
            splits = [row.values[f"split{split}"] for split in range(1, 6)]
            assert sum(splits) / 5 == pytest.approx(row.values["mean"], abs=2e-4)
    assert [row.method for row in mp100(1, 3)][-1] == "KptLLM"
    assert CROSS["vehicle"][-1].values == {"pck_0.2_by_instance": 0.4623}
