"""UniPose Tab. 3: a pose from a description."""

from eval import papers
from eval.benchmarks.base import Bench, Benchmark, Result
from eval.benchmarks.poses import PoseScores, error_columns, said_poses, trivial_rows, without_pose
from eval.benchmarks.taskset import TaskSet, describe_need
from eval.tables import Column, Headline, Row, Table, percent

KS = (5, 10, 20)
_COLUMNS = [
    *(percent(f"r_t2p_{k}", f"T2P@{k}") for k in KS),
    *(percent(f"r_p2t_{k}", f"P2T@{k}") for k in KS),
    *error_columns("smpl22"),
    Column("fid", "FID", "down", digits=3),
]


class TextToPose(Benchmark):
    name = "text_to_pose"
    title = "Text to pose (UniPose Tab. 3)"
    needs = describe_need("text_to_pose")

    def measure(self, bench: Bench) -> Result | None:
        test = TaskSet.load(self.name, bench, "test")
        answers = bench.answers(self.name, test.questions(), grammar="pose", about=test.about)
        if not bench.is_main:
            return None
        poses, without = said_poses(answers, test.ids)
        scores = PoseScores(bench, test, recall_ks=KS)
        rows = [scores.row(bench.method, "ours", poses), *trivial_rows(bench, test, scores)]
        notes = without_pose(without)
        if scores.features is None:
            notes.append("No recalls and no FID: pass --retrieval DIR, a pose-text retrieval model.")
        else:
            true = scores.row("true poses", "baseline", scores.true).values
            ceiling = {name: value for name, value in true.items() if name.startswith("r_")}
            rows.append(Row("true poses", "baseline", ceiling, note="what the retrieval model itself can tell"))
        table = Table(
            self.name,
            self.title,
            _COLUMNS,
            [*rows, *papers.TEXT_TO_POSE],
            protocol=f"{scores.protocol.about}; mean shape for both; prompt: the first caption, one pose each. "
            "T2P and P2T: produced poses and their prompts rank each other over the whole test set, by this run's "
            "retrieval model (UniPose took PoseScript's); FID: its pose features, true against produced; "
            f"{bench.pose_protocol}; {test.protocol}",
            n=len(test),
            data=test.data_name,
            paper_data="PoseScript",
            notes=notes,
            headlines=[Headline(self.name, "mpjpe_mm", "mean pose", "random training pose")],
        )
        return Result(table, scores.per_record(poses), "mm", False)
