"""Means and variances over runs with different seeds (UniPose suppl. Tab. 6 and 7), from the tables that the runs left.

llmpose eval spread --runs runs/eval_seed0 --runs runs/eval_seed1 --runs runs/eval_seed2
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from eval import papers
from eval.benchmarks.base import Result
from eval.benchmarks.poses import error_columns
from eval.metrics.base import mean_and_variance
from eval.tables import Column, Row, Table, millimetres, percent
from llmpose.errors import UserError

_MEANS = [
    *(percent(key, label) for key, label in (("r_precision_top3", "R@3"), ("bleu4", "BLEU-4"), ("rouge_l", "ROUGE-L"))),
    percent("meteor", "METEOR"),
    *error_columns("smpl22"),
    millimetres("mpjpe_24_mm", "MPJPE, 24 joints", "smpl24"),
    millimetres("pa_mpjpe_24_mm", "PA-MPJPE, 24 joints", "smpl24"),
    *error_columns("hmr2_14", "14 joints"),
    Column("fid", "FID", "down", digits=3),
]
_ESTIMATED = {"mpjpe_mm": "mpjpe_24_mm", "pa_mpjpe_mm": "pa_mpjpe_24_mm"}
"""The tasks are rows here: what pose estimation measures on 24 joints must not stand below errors of 22."""


def spread_tables(folders: Sequence[Path]) -> list[Table]:
    """Two tables over the seven tasks: means and variances, in the units printed (percent, mm), each beside the
    paper's.
    """
    if len(folders) < 2:
        raise UserError(f"{len(folders)} runs given; a spread needs at least two: --runs A --runs B")
    ours: dict[str, dict[str, tuple[float, float]]] = {}
    for task in papers.OVER_THREE_RUNS:
        found = [Result.read(folder, task) for folder in folders]
        runs = [result.table.rows[0].values for result in found if result is not None]
        if len(runs) == len(folders):
            names = _ESTIMATED if task == "pose_estimation" else {}
            ours[task] = {names.get(key, key): both for key, both in mean_and_variance(runs).items()}
    if not ours:
        raise UserError(f"no benchmark has a table in all of {', '.join(str(folder) for folder in folders)}")
    return [_table("means", _MEANS, ours, 0, len(folders)), _table("variances", _variances(), ours, 1, len(folders))]


def _variances() -> list[Column]:
    """Shown in squared printed units: percent squared is ten thousand times the variance of a share."""
    return [replace(c, better="down", scale=c.scale**2, digits=2 if c.key != "fid" else 4) for c in _MEANS]


def _table(
    name: str, columns: list[Column], ours: dict[str, dict[str, tuple[float, float]]], which: int, n: int
) -> Table:
    keys = [column.key for column in columns]
    rows = [
        Row(task.replace("_", " "), "ours", {key: both[key][which] for key in keys if key in both})
        for task, both in ours.items()
    ]
    for task, both in papers.OVER_THREE_RUNS.items():
        scale = {column.key: column.scale for column in columns}
        rows.append(
            Row(task.replace("_", " "), "paper", {key: values[which] / scale[key] for key, values in both.items()})
        )
    protocol = f"{name} over {n} runs, unbiased; the paper's over 3 runs (UniPose suppl. Tab. 6 and 7)"
    return Table(f"seed_{name}", f"{name.capitalize()} over seeds", columns, rows, protocol, n, "", "each task's data")
