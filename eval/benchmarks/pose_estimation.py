"""UniPose Tab. 4: the pose of the person in a picture, on 3DPW, Human3.6M, or the built-in world."""

import numpy as np
import torch
from torch import Tensor

from eval import papers
from eval.benchmarks.base import Bench, Benchmark, MissingNeed, Result
from eval.benchmarks.poses import PoseScores, error_columns, said_poses, trivial_rows, without_pose
from eval.benchmarks.taskset import TaskSet, describe_need
from eval.tables import Headline, Table
from llmpose.errors import UserError

PUBLISHED_COLUMNS = error_columns("hmr2_14", "14 joints")
OWN_COLUMNS = [*error_columns("smpl24", "24 joints"), *PUBLISHED_COLUMNS]
"""Of the built-in world: the papers' errors are of other joints, so they stand in columns of their own."""
FIRST_EXTRA, NUM_EXTRA = 25, 19
"""Where the regressed points stand among the 44 of an HMR 2.0 file."""


class PoseEstimation(Benchmark):
    """`dataset`: "" is what the data folder holds for pose estimation, else 3DPW or H36M, scored as HMR 2.0 does."""

    def __init__(self, dataset: str = "") -> None:
        self.dataset = dataset
        self.name = f"pose_estimation_{dataset.lower()}" if dataset else "pose_estimation"
        self.title = f"Pose estimation{f' on {dataset}' if dataset else ''} (UniPose Tab. 4)"
        regressor = "; SMPL_to_J19.pkl of 4D-Humans in LLMPOSE_BODY_MODELS" if dataset else ""
        self.needs = describe_need("pose_estimation", dataset) + regressor

    def measure(self, bench: Bench) -> Result | None:
        # HMR 2.0's file of Human3.6M has no poses, and its points are all that is scored.
        needs = ("image", "joints_m") if self.dataset else ()
        test = TaskSet.load("pose_estimation", bench, "test", dataset=self.dataset, needs=needs)
        # Built before anything is asked: what it needs may be missing.
        scores = self._as_hmr2(bench, test) if self.dataset else self._as_smpl(bench, test)
        answers = bench.answers(self.name, test.questions(), grammar="pose", about=test.about)
        if not bench.is_main:
            return None
        poses, without = said_poses(answers, test.ids)
        rows, notes = [scores.row(bench.method, "ours", poses)], without_pose(without)
        try:  # 3DPW and Human3.6M have no training split here: the baselines come from DATA/people, where it is
            rows += trivial_rows(bench, test, scores)
        except MissingNeed as error:
            notes.append(f"No trivial baselines: {error}")
        shape = "the truth has its own body shape, the answer the mean shape"
        published = self.dataset or "3DPW"
        table = Table(
            self.name,
            self.title,
            PUBLISHED_COLUMNS if self.dataset else OWN_COLUMNS,
            [*rows, *papers.POSE_ESTIMATION[published]],
            protocol=f"{scores.protocol.about}; {shape}; the person's box is the true one; "
            f"{bench.pose_protocol}; {test.protocol}",
            n=len(test),
            data=test.data_name,
            paper_data=published,
            notes=notes,
            headlines=[]
            if self.dataset
            else [Headline("pose_estimation", "mpjpe_mm", "mean pose", "random training pose")],
        )
        return Result(table, scores.per_record(poses), "mm", False)

    @staticmethod
    def _as_smpl(bench: Bench, test: TaskSet) -> PoseScores:
        """24 joints of the body model, the truth with its own shape."""
        true = bench.joints(test.target_poses(), test.betas())
        return PoseScores(bench, test, protocol="smpl24", true_joints=true)

    @staticmethod
    def _as_hmr2(bench: Bench, test: TaskSet) -> PoseScores:
        """14 points that HMR 2.0 reads off the mesh with its own regressor, against those of its evaluation file."""
        from llmpose.body.regressors import load_regressor

        try:
            regressor = load_regressor("extra19", num_vertices=bench.body.num_vertices)
        except UserError as error:
            raise MissingNeed(str(error)) from error
        if bench.body.is_stand_in:
            raise MissingNeed(
                "HMR 2.0's regressor fits SMPL's mesh, not the stand-in; put SMPL into LLMPOSE_BODY_MODELS"
            )
        known = [(attributes or {}).get("joints") for attributes in test.attributes()]
        if set(known) != {"hmr44"}:
            raise MissingNeed(
                "the records do not carry the 44 joints of an HMR 2.0 evaluation file; prepare them with: hmr"
            )
        joints = torch.from_numpy(np.stack(test.column("joints_m"))).reshape(len(test), -1, 3)
        extra = slice(FIRST_EXTRA, FIRST_EXTRA + NUM_EXTRA)
        valid = torch.zeros(joints.shape[:2], dtype=torch.bool)
        for row, attributes in enumerate(test.attributes()):
            valid[row, attributes["joints_known"]] = True

        def regressed(rotmat: Tensor) -> Tensor:
            parts = [bench.body.regress(regressor, part) for part in rotmat.split(256)]
            return torch.cat(parts).cpu()

        return PoseScores(
            bench, test, protocol="hmr2_14", joints=regressed, true_joints=joints[:, extra], valid=valid[:, extra]
        )
