"""Which records a text dataset is made of: the counts per source and split, and farthest point sampling within each."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from data.build.select import farthest_points
from data.captions.normalize import CHUNK, Orientation, facing_viewer, text_joints
from data.record_set import RecordSet
from llmpose.body.model import BodyModel
from llmpose.body.pose import Pose
from llmpose.errors import UserError

Progress = Callable[[str, int, int], None]
"""Called with a step's name, what was done since the last call, and the step's total."""

PAPER_COUNTS: dict[tuple[str, str], int] = {
    ("h36m", "train"): 15_000,
    ("mpi_inf_3dhp", "train"): 25_000,
    ("coco", "train"): 5_000,
    ("mpii", "train"): 5_000,
    ("3dpw", "test"): 2_000,
}
"""Images of ImageScript and ImageDiff by source and split (UniPose suppl. §A.1-A.2)."""


def quiet(step: str, done: int, total: int) -> None:
    """No progress shown."""


@dataclass(frozen=True)
class Group:
    """The records of one source and split."""

    source: str
    split: str
    rows: np.ndarray
    """Places in the record set."""
    count: int
    """How many of them are wanted."""


def groups(records: RecordSet, count: int | None, needs: tuple[str, ...]) -> list[Group]:
    """Records that know all of `needs`, by source and split, and how many to take of each.

    Without a count: the paper's where a source has one, else everything. With one: so many in the training split, its
    sources in the paper's proportion where all have one and by their size otherwise; the same share of other splits.
    """
    usable = np.ones(len(records), dtype=bool)
    for name in needs:
        usable &= records.has(name)
    sources, splits = np.array(records.column("source")), np.array(records.column("split"))
    keys = sorted({*zip(sources[usable].tolist(), splits[usable].tolist(), strict=True)}, key=_train_first)
    rows = {key: np.flatnonzero(usable & (sources == key[0]) & (splits == key[1])) for key in keys}
    if not rows:
        raise UserError(f"none of {len(records)} records has {' and '.join(needs)}, so there is nothing to choose from")
    wanted = _counts({key: len(places) for key, places in rows.items()}, count)
    return [Group(*key, rows[key], wanted[key]) for key in keys if wanted[key]]


def _train_first(key: tuple[str, str]) -> tuple[int, str, str]:
    order = {"train": 0, "val": 1, "test": 2}
    return order.get(key[1], 3), key[1], key[0]


def _counts(there: dict[tuple[str, str], int], count: int | None) -> dict[tuple[str, str], int]:
    if count is None:
        return {key: min(size, PAPER_COUNTS.get(key, size)) for key, size in there.items()}
    if count < 1:
        raise UserError(f"--count is {count}; give 1 or more")
    train = {key: size for key, size in there.items() if key[1] == "train"} or there
    by_paper = all(key in PAPER_COUNTS for key in train)
    counts = _share_out({key: PAPER_COUNTS[key] if by_paper else size for key, size in train.items()}, train, count)
    share = sum(counts.values()) / sum(train.values())
    for key, size in there.items():
        if key not in counts:
            counts[key] = min(size, max(1, round(size * share)))
    return counts


def _share_out(
    weights: dict[tuple[str, str], int], limits: dict[tuple[str, str], int], count: int
) -> dict[tuple[str, str], int]:
    """`count` by weights, none above its limit; what one cannot give the others do."""
    counts = dict.fromkeys(weights, 0)
    left = min(count, sum(limits.values()))
    while left:
        open_keys = [key for key in weights if counts[key] < limits[key]]
        total = sum(weights[key] for key in open_keys)
        given = 0
        for key in open_keys:
            more = min(limits[key] - counts[key], max(1, left * weights[key] // total), left - given)
            counts[key] += more
            given += more
        left -= given
    return counts


def normal_joints(
    records: RecordSet, body: BodyModel, *, orientation: Orientation = "heading", progress: Progress = quiet
) -> Tensor:
    """(N, J, 3) joints of all records on the neutral body, as texts see them; NaN where a record has no pose."""
    size = text_joints(Pose.rest(1).rotmat, body).shape[1]
    joints = torch.full((len(records), size, 3), float("nan"))
    there = np.flatnonzero(records.has("pose_rotmat"))
    for start in range(0, len(there), CHUNK):
        rows = there[start : start + CHUNK]
        facing = facing_viewer(records.poses(rows), orientation=orientation)
        joints[torch.from_numpy(rows)] = text_joints(facing, body)
        progress("joints", len(rows), len(there))
    return joints


def choose(joints_m: Tensor, group: Group, *, progress: Progress = quiet) -> np.ndarray:
    """The group's count of places, by farthest point sampling; all of them, in order, if that is what is wanted."""
    if group.count >= len(group.rows):
        return group.rows
    name = f"choosing {group.source} {group.split}"
    chosen = farthest_points(
        joints_m[torch.from_numpy(group.rows)], group.count, progress=lambda done: progress(name, done, group.count)
    )
    return group.rows[chosen.numpy()]
