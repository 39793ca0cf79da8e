"""Keypoints of categories that training never saw: shown by example, told in words, and named (KptLLM++ §4.2–4.3).

MP-100's protocol: the published episodes of the test categories, PCK@0.2 over the longest side of the query's box,
each pair of supports and query counted alike. Objects are cut out by their true boxes.

    DATA/mp100_1                  split 1 of MP-100, whole (mp100_2 … mp100_5 the others), or the built-in things
    DATA/mp100_cross_vehicle      all of MP-100, vehicles kept for the test: --option without=vehicle
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from random import Random
from typing import ClassVar

import numpy as np

from data.keypoints import KeypointObjects
from data.record_set import RecordSet
from data.sources.mp100 import Episode, mp100_episodes
from data.tasks.keypoint_tasks import Told, keypoint_task, name_in
from eval import papers_keypoints as papers
from eval.benchmarks.base import Bench, Benchmark, MissingNeed, Result
from eval.benchmarks.taskset import chosen_rows
from eval.metrics.pck import Pck, SemanticAccuracy, mp100_length
from eval.predict import Prediction, Question
from eval.tables import Column, Headline, Row, Table, percent
from llmpose.talk.conversation import Conversation
from llmpose.talk.keypoints import point_grammar
from llmpose.talk.rows import COORDINATES

SET = "mp100_1"
THRESHOLD = 0.2
_KEY = "pck_0.2_by_instance"
_COLUMNS: list[Column] = [percent(_KEY, "PCK@0.2"), Column("nme_pooled", "error / box side", "down", digits=3)]
MEAN_KEYPOINT = "mean keypoint"
_NO_NAME = "point "
"""MP-100's categories without names have point 1, point 2, …: nobody can name those."""


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
        refine = kind.detects and self.writes_digits
        return self.bench.answers(key, questions, grammar=grammar, about=about, refine_points=refine)

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


def refined_points(answers: Mapping[str, Prediction]) -> dict[str, np.ndarray]:
    """The same at the expected value of the digits' distribution."""
    found = said_points(answers)
    return found | {name: np.array(own.points[-1][:2], np.float32) for name, own in answers.items() if own.points}


def _headline(task: str) -> Headline:
    return Headline(task, _KEY, MEAN_KEYPOINT, shown_as=f"pck_{THRESHOLD}")


class PairedPrompts(Benchmark):
    """A keypoint shown in one or five support images, found in another image: MP-100's episodes.

    Rows are kinds of questions; each stands there a second time with its points at expected values, where the model
    writes them in digits.
    """

    set_name = SET
    shots = 1
    asks: ClassVar[Mapping[str, str]] = {"": "keypoint_visual"}
    """What a row's name says beside the model's -> task."""
    headline = ""
    paper_data = ""

    @property
    def needs(self) -> str:  # type: ignore[override]
        return f"DATA/{self.set_name}: {need_of(self.set_name)}"

    def published(self) -> list[Row]:
        raise NotImplementedError

    def measure(self, bench: Bench) -> Result | None:
        test = TestObjects(bench, self.set_name)
        pairs, asked = self.asked(test)
        answers = self.answers(test, asked)
        if not bench.is_main:
            return None
        nowhere = {one.id: np.array([-9.0, -9.0], np.float32) for one in asked}
        rows, notes, per_pair = [], [], {}
        for name, own in answers.items():
            method = f"{bench.method}, {name}" if name else bench.method
            values, shares = test.scores(pairs, nowhere | said_points(own))
            rows.append(Row(method, "ours", values))
            per_pair = per_pair or shares
            if test.writes_digits:
                refined, _ = test.scores(pairs, nowhere | refined_points(own))
                rows.append(Row(f"{method}, at expected values", "ours", refined))
                notes.append(refinement_note(values, refined))
        mean = {one.id: test.mean_point for one in asked}
        copied = {one.id: _copied(test, one) for one in asked}
        table = Table(
            self.name,
            self.title,
            _COLUMNS,
            [
                *rows,
                Row(MEAN_KEYPOINT, "baseline", test.scores(pairs, mean)[0], note="of the seen categories"),
                Row("where it lies in the support", "baseline", test.scores(pairs, copied)[0]),
                *self.published(),
            ],
            protocol="PCK over the longest side of the cleaned box, mean over pairs; true boxes; published episodes"
            f"{'' if bench.limit is None else f', {len(pairs)} of them'}",
            n=len(pairs),
            data=bench.data_name or self.set_name,
            paper_data=self.paper_data,
            notes=notes[:1],
            headlines=[_headline(self.headline)] if self.headline else [],
        )
        return Result(table, per_pair, "PCK@0.2", True)

    def asked(self, test: TestObjects) -> tuple[list[tuple[int, int, np.ndarray]], list[Asked]]:
        """(pair, query, which keypoints are scored), and the questions."""
        pairs: list[tuple[int, int, np.ndarray]] = []
        asked: list[Asked] = []
        for number, episode in enumerate(test.pairs(self.shots)):
            # MP-100 scores what is visible in the query and in every support.
            scored = test.visible(episode.query) & np.all([test.visible(row) for row in episode.supports], 0)
            pairs.append((number, episode.query, scored))
            asked += [Asked(number, episode.query, k, episode.supports) for k in np.flatnonzero(scored).tolist()]
        return pairs, asked

    def answers(self, test: TestObjects, asked: Sequence[Asked]) -> dict[str, dict[str, Prediction]]:
        """By kind of question. A labelled point may lie outside every support's crop: nothing can show it, so it is not
        asked for, and counts as missed.
        """
        askable = [one for one in asked if any(test.objects.crop(row).points[one.keypoint, 2] for row in one.supports)]
        return {
            name: test.ask(task, askable, "name", key=f"{self.name}{f'_{task}' if name else ''}")
            for name, task in self.asks.items()
        }


def refinement_note(plain: Mapping[str, float], refined: Mapping[str, float]) -> str:
    """Whether expected values lower the error."""
    before, after = plain["nme_pooled"], refined["nme_pooled"]
    verdict = "lower the error" if after < before else "do not lower the error"
    return f"Expected values of the digits {verdict}: {after:.4f} against {before:.4f} of the box's side."


class VisualPrompts(PairedPrompts):
    """KptLLM++ Tab. 2, one of its five splits."""

    def __init__(self, shots: str, split: str = "1") -> None:
        self.shots, self.split, self.set_name = int(shots), int(split), f"mp100_{split}"
        self.name = f"keypoint_visual_{shots}shot{'' if split == '1' else f'_split{split}'}"
        where = "" if split == "1" else f", split {split}"
        self.title = f"Keypoints by example, {shots}-shot, unseen categories{where} (KptLLM++ Tab. 2)"
        self.headline = "visual_prompt_unseen" if (shots, split) == ("1", "1") else ""
        self.paper_data = f"MP-100 split {split}"

    def published(self) -> list[Row]:
        return papers.mp100(self.shots, self.split)


class CombinedPrompts(PairedPrompts):
    """KptLLM++ Tab. 15: shown by example alone, and told by name besides."""

    name = "keypoint_combined"
    title = "Keypoints by example and in words together, unseen categories (KptLLM++ Tab. 15)"
    asks: ClassVar[Mapping[str, str]] = {"visual and textual": "keypoint_combined", "visual": "keypoint_visual"}
    paper_data = "MP-100 split 1"

    def published(self) -> list[Row]:
        return papers.COMBINED


class CrossGroups(PairedPrompts):
    """KptLLM++ Tab. 3: trained without a group of categories, tested on it."""

    def __init__(self, group: str) -> None:
        self.group, self.set_name = group, f"mp100_cross_{group}"
        self.name = f"keypoint_cross_{group}"
        self.title = f"Keypoints by example, trained without {group.replace('_', ' ')} (KptLLM++ Tab. 3)"
        self.paper_data = f"MP-100, {group.replace('_', ' ')}"

    def published(self) -> list[Row]:
        return papers.CROSS[self.group]


def _copied(test: TestObjects, one: Asked) -> np.ndarray:
    """The mean of its places in the supports' crops."""
    return np.mean([test.objects.crop(row).points[one.keypoint, :2] for row in one.supports], 0)


class TextualPrompts(Benchmark):
    """Keypoints told by name or by description, in categories that training never saw (KptLLM++ §4.4, on MP-100)."""

    name = "keypoint_textual"
    title = "Keypoints in words, unseen categories (KptLLM++ §4.4)"
    needs = f"DATA/{SET}: {need_of(SET)}"

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
        ours = {f"by {kind}": test.scores(pairs, said_points(answers)) for kind, answers in told.items()}
        if test.writes_digits:
            for kind, answers in told.items():
                ours[f"by {kind}, at expected values"] = test.scores(pairs, refined_points(answers))
        mean = test.scores(pairs, {one.id: test.mean_point for one in asked})[0]
        table = Table(
            self.name,
            self.title,
            _COLUMNS,
            [
                *(Row(f"{bench.method}, {kind}", "ours", values) for kind, (values, _) in ours.items()),
                Row(MEAN_KEYPOINT, "baseline", mean, note="of the seen categories"),
            ],
            protocol="PCK over the longest side of the cleaned box, mean over objects; true boxes; test split",
            n=len(pairs),
            data=bench.data_name or SET,
            headlines=[_headline("textual_prompt_unseen")],
        )
        return Result(table, ours["by name"][1], "PCK@0.2", True)


class Semantics(Benchmark):
    """KptLLM++ Tab. 1: the name of a keypoint that is shown, in categories that training never saw."""

    name = "keypoint_semantic"
    title = "What is this keypoint called, unseen categories (KptLLM++ Tab. 1)"
    needs = f"DATA/{SET}: {need_of(SET)}"

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
                *papers.SEMANTICS,
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
