"""Keypoints of categories that training never saw: shown by example, told in words, and named (KptLLM++ §4.2–4.3).

MP-100's protocol: the published episodes of the test categories, PCK@0.2 over the longest side of the query's box,
each pair of supports and query counted alike. Objects are cut out by their true boxes.

    DATA/mp100_1      split 1 of MP-100, whole: llmpose data prepare mp100 --option number=1, or the built-in things
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from random import Random

import numpy as np

from data.keypoints import KeypointObjects
from data.record_set import RecordSet
from data.sources.mp100 import Episode, mp100_episodes
from data.tasks.keypoint_tasks import GRAMMAR_OF, Form, Told, keypoint_task, name_in
from eval import papers
from eval.benchmarks.base import Bench, Benchmark, MissingNeed, Result
from eval.benchmarks.taskset import chosen_rows
from eval.metrics.pck import Pck, SemanticAccuracy, mp100_length
from eval.predict import Prediction, Question
from eval.tables import Column, Headline, Row, Table, percent
from llmpose.talk.conversation import Conversation
from llmpose.talk.rows import COORDINATES

SET = "mp100_1"
HOW_TO_GET_IT = (
    "MP-100, split 1 (llmpose data prepare mp100 --option number=1); llmpose data objects makes one of its own"
)
THRESHOLD = 0.2
_KEY = "pck_0.2_by_instance"
_COLUMNS: list[Column] = [percent(_KEY, "PCK@0.2"), Column("nme_pooled", "error / box side", "down", digits=3)]
MEAN_KEYPOINT = "mean keypoint"
_NO_NAME = "point "
"""MP-100's categories without names have point 1, point 2, …: nobody can name those."""


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
    """The objects of DATA/mp100_1, the pairs of its test split, and where answers lie in their pictures."""

    __test__ = False

    def __init__(self, bench: Bench) -> None:
        folder = Path(bench.sets.get(SET, bench.data_dir / SET))
        if not folder.is_dir():
            raise MissingNeed(f"{folder} is not there; it holds {HOW_TO_GET_IT}")
        if bench.model.prompts is None:
            raise MissingNeed("this model takes no keypoint prompts; train one: launch/recipes/kptllm")
        self.bench, self.records = bench, RecordSet.load(folder)
        self.objects = KeypointObjects(self.records, size_px=bench.processor.vision[0].side, keep=True)
        if len(self.objects) != len(self.records):
            raise MissingNeed(f"{folder}: some records have no image, box or keypoints; prepare the set anew")
        self.splits = self.records.column("split")
        self.form: Form = bench.model.config.keypoint_answers or "described"
        sums = {name: file["sha256"] for name, file in self.records.manifest.get("files", {}).items()}
        self.about = {"set": SET, "files": sums}

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
        grammar = GRAMMAR_OF[self.form] if kind.detects else "text"
        about = {**self.about, "task": task, "told": told, "count": len(asked), "key": key}
        return self.bench.answers(key, questions, grammar=grammar, about=about)

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


class VisualPrompts(Benchmark):
    """KptLLM++ Tab. 2: a keypoint shown in one or five support images, found in another image."""

    def __init__(self, shots: str) -> None:
        self.shots = int(shots)
        self.name = f"keypoint_visual_{shots}shot"
        self.title = f"Keypoints by example, {shots}-shot, unseen categories (KptLLM++ Tab. 2)"
        self.needs = f"DATA/{SET}: {HOW_TO_GET_IT}"

    def measure(self, bench: Bench) -> Result | None:
        test = TestObjects(bench)
        pairs: list[tuple[int, int, np.ndarray]] = []
        asked: list[Asked] = []
        for number, episode in enumerate(test.pairs(self.shots)):
            # MP-100 scores what is visible in the query and in every support.
            scored = test.visible(episode.query) & np.all([test.visible(row) for row in episode.supports], 0)
            # A labelled point may lie outside every support's crop: then nothing can show it, and it counts as missed.
            pairs.append((number, episode.query, scored))
            asked += [Asked(number, episode.query, k, episode.supports) for k in np.flatnonzero(scored).tolist()]
        askable = [one for one in asked if any(test.objects.crop(row).points[one.keypoint, 2] for row in one.supports)]
        answers = test.ask("keypoint_visual", askable, "name", key=self.name)
        if not bench.is_main:
            return None
        nowhere = {one.id: np.array([-9.0, -9.0], np.float32) for one in asked}
        values, per_pair = test.scores(pairs, nowhere | said_points(answers))
        mean = {one.id: test.mean_point for one in asked}
        copied = {one.id: _copied(test, one) for one in asked}
        table = Table(
            self.name,
            self.title,
            _COLUMNS,
            [
                Row(bench.method, "ours", values),
                Row(MEAN_KEYPOINT, "baseline", test.scores(pairs, mean)[0], note="of the seen categories"),
                Row("where it lies in the support", "baseline", test.scores(pairs, copied)[0]),
                *papers.MP100[self.shots],
            ],
            protocol="PCK over the longest side of the cleaned box, mean over pairs; true boxes; published episodes of "
            f"split 1{'' if bench.limit is None else f', {len(pairs)} of them'}",
            n=len(pairs),
            data=bench.data_name or SET,
            paper_data="MP-100 split 1",
            headlines=[Headline("visual_prompt_unseen", _KEY, MEAN_KEYPOINT)] if self.shots == 1 else [],
        )
        return Result(table, per_pair, "PCK@0.2", True)


def _copied(test: TestObjects, one: Asked) -> np.ndarray:
    """The mean of its places in the supports' crops."""
    return np.mean([test.objects.crop(row).points[one.keypoint, :2] for row in one.supports], 0)


class TextualPrompts(Benchmark):
    """Keypoints told by name or by description, in categories that training never saw (KptLLM++ §4.4, on MP-100)."""

    name = "keypoint_textual"
    title = "Keypoints in words, unseen categories (KptLLM++ §4.4)"
    needs = f"DATA/{SET}: {HOW_TO_GET_IT}"

    def measure(self, bench: Bench) -> Result | None:
        test = TestObjects(bench)
        rows = [test.test_rows[i] for i in chosen_rows(len(test.test_rows), bench.limit)]
        pairs = [(0, row, test.visible(row)) for row in rows]
        asked = [Asked(0, row, k) for _, row, scored in pairs for k in np.flatnonzero(scored).tolist()]
        told: dict[Told, dict[str, Prediction]] = {}
        for kind in ("name", "description"):
            told[kind] = test.ask("keypoint_textual", asked, kind, key=f"{self.name}_{kind}")
        if not bench.is_main:
            return None
        ours = {kind: test.scores(pairs, said_points(answers)) for kind, answers in told.items()}
        mean = test.scores(pairs, {one.id: test.mean_point for one in asked})[0]
        table = Table(
            self.name,
            self.title,
            _COLUMNS,
            [
                *(Row(f"{bench.method}, by {kind}", "ours", values) for kind, (values, _) in ours.items()),
                Row(MEAN_KEYPOINT, "baseline", mean, note="of the seen categories"),
            ],
            protocol="PCK over the longest side of the cleaned box, mean over objects; true boxes; test split",
            n=len(pairs),
            data=bench.data_name or SET,
            headlines=[Headline("textual_prompt_unseen", _KEY, MEAN_KEYPOINT)],
        )
        return Result(table, ours["name"][1], "PCK@0.2", True)


class Semantics(Benchmark):
    """KptLLM++ Tab. 1: the name of a keypoint that is shown, in categories that training never saw."""

    name = "keypoint_semantic"
    title = "What is this keypoint called, unseen categories (KptLLM++ Tab. 1)"
    needs = f"DATA/{SET}: {HOW_TO_GET_IT}"

    def measure(self, bench: Bench) -> Result | None:
        test = TestObjects(bench)
        rows = [test.test_rows[i] for i in chosen_rows(len(test.test_rows), bench.limit)]
        asked = [
            Asked(0, row, k)
            for row in rows
            for k in test.objects.crop(row).shown
            if not test.objects.skeleton(row).keypoints[k].startswith(_NO_NAME)
        ]
        answers = test.ask("keypoint_semantic", asked, "name", key=self.name)
        if not bench.is_main:
            return None
        names = [test.objects.skeleton(one.row).keypoints[one.keypoint] for one in asked]
        ids = [one.id for one in asked]
        commonest = self._commonest(test)
        said = [name_in(answers[name].text) for name in ids]
        table = Table(
            self.name,
            self.title,
            [percent("accuracy", "accuracy")],
            [
                Row(bench.method, "ours", _accuracy(ids, said, names)),
                Row("commonest name", "baseline", _accuracy(ids, [commonest] * len(ids), names), note="of training"),
                *papers.KEYPOINT_SEMANTICS,
            ],
            protocol="equal in lower case, without article and full stop; left is not right; unnamed points left out",
            n=len(asked),
            data=bench.data_name or SET,
            paper_data="MP-100 split 1",
            notes=["The papers publish no rule by which names are compared; this is ours."],
            headlines=[Headline("keypoint_semantic", "accuracy", "commonest name")],
        )
        right = {i: float(a == b) for i, a, b in zip(ids, said, names, strict=True)}
        return Result(table, right, "accuracy", True)

    @staticmethod
    def _commonest(test: TestObjects) -> str:
        names = Counter(
            name
            for row, split in enumerate(test.splits)
            if split == "train"
            for name, shown in zip(test.objects.skeleton(row).keypoints, test.visible(row), strict=True)
            if shown
        )
        return names.most_common(1)[0][0] if names else ""


def _accuracy(ids: list[str], said: list[str], names: list[str]) -> dict[str, float]:
    metric = SemanticAccuracy()
    metric.update(ids, said, names)
    return metric.compute()
