"""UniPose suppl. Fig. 5: a picture with several people, and words that say whose pose is meant.

The answer is compared with everybody in the picture: it has found whom it was asked for if it lies nearest to that
person's pose.
"""

from collections import defaultdict

import numpy as np
import torch
from torch import Tensor

from data.tasks.referring import referring_phrase
from eval.benchmarks.base import Bench, Benchmark, MissingNeed, Result
from eval.benchmarks.poses import error_columns, said_poses
from eval.benchmarks.taskset import TaskSet, chosen_rows, describe_need
from eval.metrics.body import PROTOCOLS, BodyError
from eval.predict import Question
from eval.tables import Row, Table, percent
from llmpose.errors import UserError

LIMIT = 200
_COLUMNS = [
    *error_columns("smpl24"),
    percent("found", "nearest to whom was meant"),
]


class Whom(Benchmark):
    name = "zero_shot_whom"
    title = "Reasoning-based pose estimation (UniPose suppl. Fig. 5)"
    needs = describe_need("pose_estimation") + "; pictures with several people, told apart by position or clothes"

    def measure(self, bench: Bench) -> Result | None:
        everybody = TaskSet.load("reasoning_estimation", bench, "test", limit=10**9)
        together = self._groups(everybody)
        meant = [k for k in sorted(together) if self._can_be_named(everybody, k)]
        if not meant:
            raise MissingNeed(
                f"no picture of {everybody.name} shows several people with a position or clothes; {self.needs}"
            )
        meant = [meant[i] for i in chosen_rows(len(meant), min(LIMIT, bench.limit or LIMIT))]
        crops = everybody.asked_as("pose_estimation")
        ids = [everybody.ids[k] for k in meant]
        asked = {
            "whole picture, and who is meant": [
                Question(i, lambda k=k: everybody.question(k)) for i, k in zip(ids, meant, strict=True)
            ],
            "whole picture, nobody named": [
                Question(i, lambda k=k: crops.conversation(k, whole=True).question)
                for i, k in zip(ids, meant, strict=True)
            ],
            "that person's crop (knows whom)": [
                Question(i, lambda k=k: crops.question(k)) for i, k in zip(ids, meant, strict=True)
            ],
        }
        answers = {
            kind: bench.answers(
                f"{self.name}_{k}", questions, grammar="pose", about={**everybody.about, "meant": len(meant)}
            )
            for k, (kind, questions) in enumerate(asked.items())
        }
        if not bench.is_main:
            return None
        joints = bench.joints(everybody.target_poses(), everybody.betas())
        rows = [
            self._row(bench, kind, said_poses(found, ids)[0], ids, meant, together, joints)
            for kind, found in answers.items()
        ]
        chance = float(np.mean([1 / len(together[k]) for k in meant]))
        rows.append(Row("chance", "baseline", {"found": chance}))
        protocol = (
            f"{PROTOCOLS['smpl24'].about}; pictures with at least two people; the phrase says position and clothes; "
            "found: among the people of the picture the answer lies nearest (MPJPE) to the one meant; "
            f"{everybody.protocol}"
        )
        return Result(Table(self.name, self.title, _COLUMNS, rows, protocol, len(meant), everybody.data_name))

    @staticmethod
    def _groups(everybody: TaskSet) -> dict[int, list[int]]:
        """Index -> indices of all people in its picture, where there are several."""
        by_image: dict[str, list[int]] = defaultdict(list)
        for index, image in enumerate(everybody.column("image")):
            if image is not None:
                by_image[image].append(index)
        return {index: people for people in by_image.values() if len(people) > 1 for index in people}

    @staticmethod
    def _can_be_named(everybody: TaskSet, index: int) -> bool:
        try:
            referring_phrase(everybody.item(index))  # type: ignore[arg-type]
        except UserError:
            return False
        return True

    @staticmethod
    def _row(
        bench: Bench,
        kind: str,
        poses: Tensor,
        ids: list[str],
        meant: list[int],
        together: dict[int, list[int]],
        joints: Tensor,
    ) -> Row:
        answered = bench.joints(poses)
        error = BodyError("smpl24")
        error.update(ids, answered, joints[meant])
        found = []
        for answer, k in zip(answered, meant, strict=True):
            people = together[k]
            distances = PROTOCOLS["smpl24"].mpjpe_mm(answer.expand(len(people), -1, -1), joints[torch.tensor(people)])
            found.append(people[int(distances.argmin())] == k)
        return Row(kind, "ours", {**error.compute(), "found": float(np.mean(found))})
