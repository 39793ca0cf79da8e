"""What the tables about produced poses share: rows from poses, and the trivial poses to compare with."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from eval import baselines
from eval.benchmarks.base import Bench
from eval.benchmarks.features import pose_features, text_features
from eval.benchmarks.neighbours import nearest_training
from eval.benchmarks.taskset import TaskSet
from eval.metrics.body import PROTOCOLS, BodyError
from eval.metrics.retrieval import fid, recall_table
from eval.predict import Prediction
from eval.tables import Column, Row, RowKind, millimetres
from llmpose.body.pose import Pose

MAX_TRAIN = 4000
"""Training records that the baselines draw and look up answers in."""


def error_columns(protocol: str, label: str = "") -> list[Column]:
    """MPJPE and PA-MPJPE over one protocol's joints, as `PoseScores.row` fills them; `label` says which joints."""
    key, about = PROTOCOLS[protocol].key, f", {label}" if label else ""
    return [
        millimetres(key("mpjpe_mm"), f"MPJPE{about}", protocol),
        millimetres(key("pa_mpjpe_mm"), f"PA-MPJPE{about}", protocol),
    ]


def said_poses(answers: dict[str, Prediction], ids: Sequence[str]) -> tuple[Tensor, int]:
    """(N, 22, 3, 3), the first pose of each answer, the rest pose where there is none; and how many had none."""
    rest = Pose.rest().rotmat
    found = [answers[record_id].first_pose() for record_id in ids]
    return torch.stack([rest if pose is None else pose for pose in found]), sum(pose is None for pose in found)


def without_pose(count: int) -> list[str]:
    return [f"{count} answers held no pose and count as the rest pose."] if count else []


class PoseScores:
    """Scores any list of poses against one test set's true poses; what stays the same is computed once.

    `joints`: how produced rotations become the protocol's joints, and `true_joints` with `valid` (B, J) the truth,
    where they are not simply the body model's own.
    """

    def __init__(
        self,
        bench: Bench,
        test: TaskSet,
        *,
        protocol: str = "smpl22",
        recall_ks: Sequence[int] = (),
        joints: Callable[[Tensor], Tensor] | None = None,
        true_joints: Tensor | None = None,
        valid: Tensor | None = None,
    ) -> None:
        self.bench, self.test, self.protocol, self.ks = bench, test, PROTOCOLS[protocol], tuple(recall_ks)
        self.joints, self.valid = joints or bench.joints, valid
        self.true_joints = bench.joints(self.true) if true_joints is None else true_joints
        self.features = (
            None if bench.retrieval is None or not test.yaw_free else pose_features(bench.retrieval, self.true)
        )
        self.text_features = None
        if self.features is not None and self.ks:
            self.text_features = text_features(bench.retrieval, test.first_texts())

    @cached_property
    def true(self) -> Tensor:
        """The true poses: only asked for where `true_joints` or features are made of them."""
        return self.test.target_poses()

    def error(self, poses: Tensor) -> BodyError:
        metric = BodyError(self.protocol)
        metric.update(self.test.ids, self.joints(poses), self.true_joints, valid=self.valid)
        return metric

    def row(self, method: str, kind: RowKind, poses: Tensor, note: str = "") -> Row:
        error, key = self.error(poses), self.protocol.key
        values = {key(name) if name.endswith("_mm") else name: value for name, value in error.compute().items()}
        intervals = {key(name): (i.low, i.high) for name, i in error.intervals().items()} if kind == "ours" else {}
        if self.features is not None:
            generated = pose_features(self.bench.retrieval, poses)
            values["fid"] = fid(self.features, generated)
            if self.text_features is not None:
                values |= recall_table(generated, self.text_features, self.ks)
        return Row(method, kind, values, intervals, note)

    def per_record(self, poses: Tensor) -> dict[str, float]:
        error = self.error(poses)
        return dict(zip(error.ids, error.values("mpjpe_mm").tolist(), strict=True))


Guess = Literal["mean", "random", "nearest"]
ALL_GUESSES: tuple[Guess, ...] = ("mean", "random", "nearest")


def trivial_rows(bench: Bench, test: TaskSet, scores: PoseScores, guesses: Sequence[Guess] = ALL_GUESSES) -> list[Row]:
    """The mean training pose, a random one (what guessing reaches), that of the most similar training question."""
    train = TaskSet.load(test.task, bench, "train", limit=MAX_TRAIN)
    poses = train.target_poses()
    rows = []
    if "mean" in guesses:
        rows.append(scores.row("mean pose", "baseline", baselines.repeated(baselines.mean_pose(poses), len(test))))
    if "random" in guesses:
        drawn = torch.from_numpy(baselines.draw(len(poses), len(test), bench.seed))
        rows.append(scores.row("random training pose", "baseline", poses[drawn]))
    if "nearest" in guesses:
        near = torch.from_numpy(nearest_training(bench, test, train))
        rows.append(scores.row(f"pose of the nearest training {test.input_name}", "baseline", poses[near]))
    return rows
