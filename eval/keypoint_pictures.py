"""Pictures of what a model finds by example: the support with its points, the query with answers and truth."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from eval.benchmarks.base import Bench, MissingNeed, Result
from eval.benchmarks.keypoint_objects import Asked, TestObjects
from eval.benchmarks.keypoints import VisualPrompts, readings
from eval.report_sections import pick_by_rule, side_by_side

if TYPE_CHECKING:
    from eval.predict import Prediction

SHOTS = "1"
SIDE = 280
COLOURS = ("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#00a5a5", "#d4a800", "#f032e6", "#7a4b1e", "#556b2f")
KEYPOINT_RULE = (
    "Left: the support with the points that are shown. Right: the query; a dot is the answer, the ring of its colour "
    "the truth, and the line between them the error. Of all pairs the best, the median and the worst by PCK@0.2, then "
    "the median pair of each unseen category; picked by that rule, not by hand."
)


def keypoint_pictures(bench: Bench, results: Mapping[str, Result]) -> list[tuple[Image.Image, str]]:
    """(support | query, caption) of pairs picked by rule, from answers that are kept; none where nothing was asked."""
    benchmark = VisualPrompts(SHOTS)
    result = results.get(benchmark.name)
    if result is None or not result.scores or bench.model_dir is None:
        return []
    try:
        test = TestObjects(bench)
    except MissingNeed:
        return []
    pairs, asked = benchmark.asked(test)
    (answers,) = benchmark.answers(test, asked).values()
    by_pair: dict[str, list[Asked]] = {}
    for one in asked:
        by_pair.setdefault(f"{one.pair}/{one.row}", []).append(one)
    known = {name: result.scores[name] for name in by_pair if name in result.scores}
    rows = {f"{pair}/{row}": row for pair, row, _ in pairs}
    found: list[tuple[Image.Image, str]] = []
    for rank, name in _picked(known, {pair: _category(test, row) for pair, row in rows.items()}):
        image = side_by_side(_drawn(test, by_pair[name], answers))
        found.append((image, f"{_category(test, rows[name])}: {known[name] * 100:.0f} % right, {rank}"))
    return found


def _picked(scores: Mapping[str, float], category: Mapping[str, str]) -> list[tuple[str, str]]:
    """(what it is, pair): best, median and worst of all, then each category's median; no pair twice."""
    picked = {name: f"{rank} of all" for rank, name in pick_by_rule(scores, higher_is_better=True)}
    for one in sorted({category[name] for name in scores}):
        own = {name: score for name, score in scores.items() if category[name] == one}
        order = sorted(own, key=lambda name: (-own[name], name))
        middle = order[len(order) // 2]
        picked.setdefault(middle, "median of its category")
    return [(rank, name) for name, rank in picked.items()]


def _category(test: TestObjects, row: int) -> str:
    return str(test.records[row].attributes.get("category", ""))


def _drawn(test: TestObjects, asked: Sequence[Asked], answers: "Mapping[str, Prediction]") -> list[Image.Image]:
    support, query = asked[0].supports[0], asked[0].row
    left, right = (_enlarged(test, row) for row in (support, query))
    shown, truth = (test.objects.crop(row).points[:, :2] * SIDE for row in (support, query))
    said = {name: point * SIDE for name, point in readings(test, answers)[""].items()}  # what the scores count
    pen, other = ImageDraw.Draw(left), ImageDraw.Draw(right)
    for one in asked:
        colour = COLOURS[one.keypoint % len(COLOURS)]
        _dot(pen, shown[one.keypoint], colour)
        at = truth[one.keypoint]
        other.ellipse([*(at - 6), *(at + 6)], outline=colour, width=2)
        if one.id in said:
            other.line([*at, *said[one.id]], fill=colour, width=1)
            _dot(other, said[one.id], colour)
    return [left, right]


def _enlarged(test: TestObjects, row: int) -> Image.Image:
    return test.objects.crop(row).square.cut(test.records[row].load_image(), SIDE).convert("RGB")


def _dot(pen: ImageDraw.ImageDraw, at: np.ndarray, colour: str) -> None:
    pen.ellipse([*(at - 4), *(at + 4)], fill=colour, outline="white")
