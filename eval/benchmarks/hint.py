"""UniPose Fig. 5: a description beside the image, which the model never saw together with one in training.

Three answers to the same pictures: without words, with true words, with the words of somebody else. Words that help
must be true ones: if the third row is as good as the second, it was not the meaning that helped.
"""

import numpy as np

from eval.benchmarks.base import Bench, Benchmark, Result
from eval.benchmarks.poses import PoseScores, error_columns, said_poses
from eval.benchmarks.taskset import TaskSet, describe_need
from eval.metrics.base import bootstrap_mean
from eval.predict import Question
from eval.tables import Column, Row, Table, percent

LIMIT = 300
PLAIN, TRUE, FALSE = "image alone", "image and its description", "image and another's description"
_COLUMNS = [
    *error_columns("smpl24"),
    Column("change_mm", "change of MPJPE", "down"),
    percent("improved", "improved"),
]


class Hint(Benchmark):
    name = "zero_shot_hint"
    title = "Text-enhanced pose estimation (UniPose Fig. 5)"
    needs = describe_need("image_to_text")

    def measure(self, bench: Bench) -> Result | None:
        limit = min(LIMIT, bench.limit or LIMIT)
        hinted = TaskSet.load("text_enhanced_estimation", bench, "test", limit=limit)
        plain = hinted.asked_as("pose_estimation")
        texts = hinted.first_texts()
        others = np.roll(np.arange(len(texts)), len(texts) // 2 or 1)
        asked = {
            PLAIN: plain.questions(),
            TRUE: hinted.questions(),
            FALSE: [
                Question(i, lambda k=k: hinted.conversation(k, text=texts[others[k]]).question)
                for k, i in enumerate(hinted.ids)
            ],
        }
        answers = {
            kind: bench.answers(f"{self.name}_{k}", questions, grammar="pose", about=hinted.about)
            for k, (kind, questions) in enumerate(asked.items())
        }
        if not bench.is_main:
            return None
        scores = PoseScores(
            bench, plain, protocol="smpl24", true_joints=bench.joints(plain.target_poses(), plain.betas())
        )
        errors = {kind: scores.error(said_poses(found, plain.ids)[0]) for kind, found in answers.items()}
        before = errors[PLAIN].values("mpjpe_mm")
        rows = []
        for kind, error in errors.items():
            row = Row(kind, "ours", error.compute())
            if kind != PLAIN:
                change = error.values("mpjpe_mm") - before
                interval = bootstrap_mean(change, seed=bench.seed)
                row.values |= {"change_mm": interval.value, "improved": float((change < 0).mean())}
                row.intervals["change_mm"] = (interval.low, interval.high)
            rows.append(row)
        protocol = (
            f"{scores.protocol.about}; the words stand behind a question of training; change: paired over the same "
            f"pictures, with the 95 % bootstrap interval of its mean; {plain.protocol}"
        )
        return Result(Table(self.name, self.title, _COLUMNS, rows, protocol, len(plain), plain.data_name))
