"""UniPose Tab. 5: a pose changed as an instruction says."""

from eval import papers
from eval.benchmarks.base import Bench, Benchmark, Result
from eval.benchmarks.poses import PoseScores, error_columns, said_poses, trivial_rows, without_pose
from eval.benchmarks.taskset import TaskSet, describe_need
from eval.tables import Column, Headline, Table

COPY = "copying pose A"
_COLUMNS = [
    *error_columns("smpl22"),
    Column("fid", "FID", "down", digits=3),
]


class PoseEditing(Benchmark):
    name = "pose_editing"
    title = "Pose editing (UniPose Tab. 5)"
    needs = describe_need("pose_editing")

    def measure(self, bench: Bench) -> Result | None:
        test = TaskSet.load(self.name, bench, "test")
        answers = bench.answers(self.name, test.questions(), grammar="pose", about=test.about)
        if not bench.is_main:
            return None
        poses, without = said_poses(answers, test.ids)
        scores = PoseScores(bench, test)
        source, _ = test.pair_poses()
        rows = [
            scores.row(bench.method, "ours", poses),
            scores.row(COPY, "baseline", source, "the answer that changes nothing"),
            *trivial_rows(bench, test, scores),
        ]
        notes = without_pose(without)
        if scores.features is None:
            notes.append("No FID: pass --retrieval DIR, a pose-text retrieval model.")
        table = Table(
            self.name,
            self.title,
            _COLUMNS,
            [*rows, *papers.POSE_EDITING],
            protocol=f"{scores.protocol.about}; mean shape for both; error of the produced pose to pose B; nearest in "
            "training: pose B of the pair whose pose A (joints) and instruction (words) are nearest together; FID: "
            f"pose features of this run's retrieval model, poses B against produced ones; {bench.pose_protocol}; "
            f"{test.protocol}",
            n=len(test),
            data=test.data_name,
            paper_data="PoseFix",
            notes=notes,
            headlines=[Headline(self.name, "mpjpe_mm", COPY, "random training pose")],
        )
        return Result(table, scores.per_record(poses), "mm", False)
