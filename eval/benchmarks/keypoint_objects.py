"""What benchmarks of keypoints of things share: a set's objects, how the model is asked about them, what it answered.

    DATA/mp100_1                  split 1 of MP-100, whole (mp100_2 … mp100_5 the others), or the built-in things
    DATA/mp100_cross_vehicle      all of MP-100, vehicles kept for the test: --option without=vehicle

Objects are cut out by their true boxes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from random import Random

import numpy as np

from data.keypoints import KeypointObjects
from data.record_set import RecordSet
from data.sources.mp100 import Episode, mp100_episodes
from data.tasks.keypoint_tasks import Told, keypoint_task
from eval.benchmarks.base import Bench, MissingNeed
from eval.benchmarks.taskset import chosen_rows
from eval.metrics.pck import Pck, mp100_length
from eval.predict import Prediction, Question
from llmpose.talk.conversation import Conversation
from llmpose.talk.keypoints import point_grammar
from llmpose.talk.rows import COORDINATES

SET = "mp100_1"
THRESHOLD = 0.2


def need_of(set_name: str) -> str:
    """What lies in DATA/<set_name>, and how to get it."""
    if set_name.startswith("mp100_cross_"):
        option = f"without={set_name.removeprefix('mp100_cross_')}"
        return f"all of MP-100, one group kept for the test (llmpose data prepare mp100 --option {option})"
    number = set_name.removeprefix("mp100_")
    own = "; llmpose data objects makes its like" if number == "1" else ""
    return f"MP-100, split {number} (llmpose data prepare mp100 --option number={number}){own}"


@dataclass(frozen=True, eq=False)
class Asked:
    """One keypoint of one query, as benchmarks ask for it."""

    pair: int
    row: int
    keypoint: int
    supports: tuple[int, ...] = ()

    @property
    def id(self) -> str:
        return f"{self.pair}/{self.row}/{self.keypoint}"


class TestObjects:
    """The objects of a set of MP-100, the pairs of its test split, and where answers lie in their pictures."""

    __test__ = False

    def __init__(self, bench: Bench, set_name: str = SET) -> None:
        folder = Path(bench.sets.get(set_name, bench.data_dir / set_name))
        if not folder.is_dir():
            raise MissingNeed(f"{folder} is not there; it holds {need_of(set_name)}")
        if bench.model.prompts is None:
            raise MissingNeed("this model takes no keypoint prompts; train one: launch/recipes/kptllm")
        self.bench, self.records = bench, RecordSet.load(folder)
        self.objects = KeypointObjects(self.records, size_px=bench.processor.vision[0].side, keep=True)
        if len(self.objects) != len(self.records):
            raise MissingNeed(f"{folder}: some records have no image, box or keypoints; prepare the set anew")
        self.splits = self.records.column("split")
        sums = {name: file["sha256"] for name, file in self.records.manifest.get("files", {}).items()}
        self.about = {"set": set_name, "files": sums}
        self.writes_digits = bench.model.config.keypoint_positions == "text"

    @cached_property
    def test_rows(self) -> list[int]:
        return [row for row, split in enumerate(self.splits) if split == "test"]

    def pairs(self, shots: int) -> list[Episode]:
        """The published ones, or as many of them as the bench allows, spread evenly."""
        episodes = list(mp100_episodes(self.records, shots=shots))
        return [episodes[i] for i in chosen_rows(len(episodes), self.bench.limit)]

    def visible(self, row: int) -> np.ndarray:
        keypoints = self.keypoints[row]
        return keypoints[:, 2] > 0

    @cached_property
    def keypoints(self) -> dict[int, np.ndarray]:
        column = self.records.column("keypoints")
        return {row: np.asarray(values, np.float32).reshape(-1, 3) for row, values in enumerate(column)}

    def length_px(self, row: int) -> float:
        record = self.records[row]
        assert record.box_xyxy_px is not None
        x0, y0, x1, y1 = (float(value) for value in record.box_xyxy_px)
        assert record.width is not None
        assert record.height is not None
        return max(mp100_length((x0, y0, x1 - x0, y1 - y0), record.width, record.height), 1.0)

    def in_picture(self, row: int, points: np.ndarray) -> np.ndarray:
        """Shares of the crop to pixels of the picture."""
        return self.objects.crop(row).square.to_image(points, 1)

    @cached_property
    def mean_point(self) -> np.ndarray:
        """Where keypoints of the seen categories lie in their crops, on average."""
        rows = [row for row, split in enumerate(self.splits) if split == "train"]
        if not rows:
            raise MissingNeed("the set has no train split, which the baselines are made of")
        chosen = [rows[i] for i in chosen_rows(len(rows), 500)]
        found = [crop.points[crop.points[:, 2] > 0, :2] for crop in map(self.objects.crop, chosen)]
        return np.concatenate(found).mean(0)

    def ask(self, task: str, asked: Sequence[Asked], told: Told, *, key: str) -> dict[str, Prediction]:
        """The model's answers to questions about keypoints."""
        kind = keypoint_task(task)
        wordings = kind.templates(self.bench.templates)

        def conversation(one: Asked) -> Conversation:
            skeleton = self.objects.skeleton(one.row)
            supports = tuple(self.objects.crop(row) for row in one.supports)
            wording = Random(f"{self.bench.seed} {one.id}").choice(wordings)
            query = self.objects.crop(one.row)
            return kind.question(query, one.keypoint, skeleton, supports, wording=wording, told=told)

        questions = [Question(one.id, lambda one=one: conversation(one)) for one in asked]
        grammar = point_grammar(self.bench.model.config) if kind.detects else "text"
        about = {**self.about, "task": task, "told": told, "count": len(asked), "key": key}
        reading = "densest" if kind.detects and self.writes_digits else "said"
        return self.bench.answers(key, questions, grammar=grammar, about=about, points=reading)

    def scores(
        self, pairs: Sequence[tuple[int, int, np.ndarray]], points: Mapping[str, np.ndarray]
    ) -> tuple[dict[str, float], dict[str, float]]:
        """PCK over (pair, row, which keypoints are scored), and per pair; `points`: shares of the crop, by question."""
        metric = Pck((THRESHOLD,))
        ids: list[str] = []
        for pair, row, scored in pairs:
            truth = self.keypoints[row].copy()
            truth[:, 2] = scored
            predicted = np.zeros((len(truth), 2), np.float32)
            for keypoint in np.flatnonzero(scored).tolist():
                predicted[keypoint] = points[Asked(pair, row, keypoint).id]
            ids.append(f"{pair}/{row}")
            metric.update(ids[-1:], [self.in_picture(row, predicted)], [truth], [self.length_px(row)])
        shares = metric.per_instance(THRESHOLD)
        return metric.compute(), dict(zip(ids, shares.tolist(), strict=True))


def said_points(answers: Mapping[str, Prediction]) -> dict[str, np.ndarray]:
    """The point at the end of every answer, shares of the crop; the middle where an answer was cut off before it."""
    found: dict[str, np.ndarray] = {}
    for name, answer in answers.items():
        matches = COORDINATES.findall(answer.text)
        found[name] = np.array([float(value) for value in matches[-1]] if matches else [0.5, 0.5], np.float32)
    return found


def read_points(answers: Mapping[str, Prediction], reading: str) -> dict[str, np.ndarray]:
    """The same by another reading of the digits: "mean" or "densest"."""
    found = said_points(answers)
    read = {name: own.readings[-1][reading] for name, own in answers.items() if own.readings}
    return found | {name: np.array(place, np.float32) for name, place in read.items()}
