"""MP-100's five splits in one table, with their mean (KptLLM++ Tab. 2): each split is a model of its own.

llmpose eval keypoint_visual_1shot keypoint_visual_5shot --model SPLIT1 --out runs/split1
llmpose eval keypoint_visual_1shot_split2 keypoint_visual_5shot_split2 --model SPLIT2 --out runs/split2
…
llmpose eval mp100 --runs runs/split1 --runs runs/split2 …
"""

from collections.abc import Sequence
from pathlib import Path

from eval import papers_keypoints as papers
from eval.benchmarks.base import Result
from eval.tables import Row, Table, percent
from llmpose.errors import UserError

_COLUMNS = [*(percent(f"split{number}", f"split {number}") for number in range(1, 6)), percent("mean", "mean")]


def split_tables(folders: Sequence[Path]) -> list[Table]:
    """1-shot and 5-shot, from the tables that the runs left; the mean only where all five splits are there."""
    if not folders:
        raise UserError("no runs given; name the --out of each split's run: --runs runs/split1 --runs runs/split2 …")
    tables = [table for shots in (1, 5) if (table := _table(shots, folders)) is not None]
    if not tables:
        names = ", ".join(str(folder) for folder in folders)
        raise UserError(f"no table of keypoint_visual_1shot or keypoint_visual_5shot, of any split, in {names}")
    return tables


def _table(shots: int, folders: Sequence[Path]) -> Table | None:
    methods: dict[str, dict[str, float]] = {}
    kinds: dict[str, str] = {}
    count = 0
    for number in range(1, 6):
        name = f"keypoint_visual_{shots}shot{'' if number == 1 else f'_split{number}'}"
        found = [result for folder in folders if (result := Result.read(folder, name)) is not None]
        if len(found) > 1:
            raise UserError(f"{name} stands in {len(found)} of the runs; give one run for each split")
        for row in found[0].table.rows if found else []:
            if row.kind != "paper":
                methods.setdefault(row.method, {})[f"split{number}"] = row.values[papers.PCK]
                kinds[row.method] = row.kind
        count += bool(found)
    if not count:
        return None
    for values in methods.values():
        if len(values) == 5:
            values["mean"] = sum(values.values()) / 5
    return Table(
        f"mp100_{shots}shot",
        f"Keypoints by example, {shots}-shot, MP-100 (KptLLM++ Tab. 2)",
        _COLUMNS,
        [*(Row(name, kinds[name], values) for name, values in methods.items()), *papers.MP100_MEANS[shots]],  # type: ignore[arg-type]
        protocol="PCK@0.2 over the longest side of the cleaned box, mean over pairs, then over splits; true boxes",
        n=count,
        data="the runs' sets",
        paper_data="MP-100",
        notes=[] if count == 5 else [f"{count} of 5 splits; the mean is over all five."],
    )
