"""Keypoints of categories that training never saw: shown by example, told in words, and named (KptLLM++ §4.2–4.3).

MP-100's protocol: the published episodes of the test categories, PCK@0.2 over the longest side of the query's box,
each pair of supports and query counted alike. `keypoint_objects` says which sets they read.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from data.tasks.keypoint_tasks import Told, name_in
from eval import papers_keypoints as papers
from eval.benchmarks.base import Bench, Benchmark, Result
from eval.benchmarks.keypoint_objects import SET, THRESHOLD, Asked, TestObjects, need_of, read_points, said_points
from eval.benchmarks.taskset import chosen_rows
from eval.metrics.pck import SemanticAccuracy
from eval.predict import Prediction
from eval.tables import Column, Headline, Row, Table, percent

_KEY = "pck_0.2_by_instance"
_COLUMNS: list[Column] = [percent(_KEY, "PCK@0.2"), Column("nme_pooled", "error / box side", "down", digits=3)]
MEAN_KEYPOINT = "mean keypoint"
AS_SAID, EXPECTED = ", digits as said", ", at expected values"
_NO_NAME = "point "
"""MP-100's categories without names have point 1, point 2, …: nobody can name those."""


def _headline(task: str) -> Headline:
    return Headline(task, _KEY, MEAN_KEYPOINT, shown_as=f"pck_{THRESHOLD}")


class PairedPrompts(Benchmark):
    """A keypoint shown in one or five support images, found in another image: MP-100's episodes.

    Rows are kinds of questions. Where the model writes points in digits, each stands there by three readings of them:
    the densest place of what they may be, the digits as said, and the expected value.
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
            found = {words: test.scores(pairs, nowhere | points) for words, points in readings(test, own).items()}
            rows += [Row(f"{method}{words}", "ours", values) for words, (values, _) in found.items()]
            per_pair = per_pair or found[""][1]
            if test.writes_digits:
                notes += reading_notes(*(values for values, _ in found.values()))
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
            f"{'' if bench.limit is None else f', {len(pairs)} of them'}{reading_protocol(test)}",
            n=len(pairs),
            data=bench.data_name or self.set_name,
            paper_data=self.paper_data,
            notes=notes[:2],
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


def readings(test: TestObjects, answers: Mapping[str, Prediction]) -> dict[str, dict[str, np.ndarray]]:
    """Words behind a method's name -> the points of its answers, by each reading; the one that counts comes first."""
    if not test.writes_digits:
        return {"": said_points(answers)}
    return {
        "": read_points(answers, "densest"),
        AS_SAID: said_points(answers),
        EXPECTED: read_points(answers, "mean"),
    }


def reading_protocol(test: TestObjects) -> str:
    return "; points at the densest place of what their digits may be" if test.writes_digits else ""


def reading_notes(densest: Mapping[str, float], said: Mapping[str, float], mean: Mapping[str, float]) -> list[str]:
    """What the readings of the digits win."""
    before, after = said["nme_pooled"], mean["nme_pooled"]
    verdict = "lower the error" if after < before else "do not lower the error"
    more = "more" if densest[_KEY] > said[_KEY] else "not more"
    return [
        f"Expected values of the digits {verdict}: {after:.4f} against {before:.4f} of the box's side.",
        f"The densest place finds {more} than the digits: {densest[_KEY]:.1%} against {said[_KEY]:.1%}.",
    ]


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
    """KptLLM++ Tab. 3: trained without a group of categories, tested on it; without published rows for other groups."""

    def __init__(self, group: str) -> None:
        self.group, self.set_name = group, f"mp100_cross_{group}"
        self.name = f"keypoint_cross_{group}"
        like = "KptLLM++ Tab. 3" if group in papers.CROSS else "as in KptLLM++ Tab. 3"
        self.title = f"Keypoints by example, trained without {group.replace('_', ' ')} ({like})"
        self.paper_data = f"MP-100, {group.replace('_', ' ')}"

    def published(self) -> list[Row]:
        return papers.CROSS.get(self.group, [])


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
        ours = {
            f"by {kind}{words}": test.scores(pairs, points)
            for kind, answers in told.items()
            for words, points in readings(test, answers).items()
        }
        mean = test.scores(pairs, {one.id: test.mean_point for one in asked})[0]
        table = Table(
            self.name,
            self.title,
            _COLUMNS,
            [
                *(Row(f"{bench.method}, {kind}", "ours", values) for kind, (values, _) in ours.items()),
                Row(MEAN_KEYPOINT, "baseline", mean, note="of the seen categories"),
            ],
            protocol="PCK over the longest side of the cleaned box, mean over objects; true boxes; test split"
            f"{reading_protocol(test)}",
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
