"""Generic keypoint detection, told in words, on the data sets that people compare on (KptLLM++ §4.4–4.5, Tab. 4, 6–12).

Every keypoint is asked for by its description, in a crop around the object's box. Whose boxes these are decides what a
number means, so both stand in every table, in columns of their own:

    true boxes     the annotated ones, as the paper has it throughout
    found boxes    a detector's: DATA/<set>_boxes.json or --set <set>_boxes=FILE, what llmpose keypoints --objects …
                   writes or COCO's results; `found_boxes` says how they are put to pictures and species

AP and AR are COCO's, with the skeleton's sigmas; a pose's score is the mean confidence of its keypoints, times the
score of a found box. PCK is over the longest side of the true box, averaged over kinds of keypoints (mmpose's way); a
true object takes the found box that covers it best, and has missed everything where none covers it by half.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from data.crops import Square, person_square
from data.keypoints import KeypointObjects, ObjectCrop, cut_object
from data.record_set import RecordSet
from data.tasks.keypoint_tasks import keypoint_task
from eval.benchmarks.base import Bench, Benchmark, MissingNeed, Result
from eval.benchmarks.found_boxes import categorised, overlap, place_boxes, read_boxes
from eval.benchmarks.keypoint_protocols import SETS
from eval.benchmarks.taskset import chosen_rows
from eval.metrics.keypoints import AP_NAMES, FoundInstance, ImageRow, KeypointAP, TrueInstance, instance_score
from eval.metrics.pck import Pck
from eval.predict import Prediction, Question
from eval.tables import Column, Row, Table, percent
from llmpose.body.skeleton import Skeleton
from llmpose.talk.conversation import Conversation
from llmpose.talk.keypoints import point_grammar

MEAN_KEYPOINT = "mean keypoint"
_MOST_TO_AVERAGE = 500
_COVERS = 0.5
_CROPS_KEPT = 256
_FOUND = "found_"


@dataclass
class Asked:
    """One object to be asked about: cut out of its picture by a box."""

    id: str
    row: int
    """Of the record whose picture it is in."""
    box_xyxy_px: np.ndarray
    square: Square
    """What is cut out of the picture."""
    keypoints: list[int]
    score: float = 1.0
    """Of the box."""
    category: int = 1
    found: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))
    """(K, 3) x, y in the picture, confidence."""


class DetectionSet(Benchmark):
    """One of `SETS`."""

    def __init__(self, name: str) -> None:
        self.set = SETS[name]
        self.name = f"keypoints_{name}"
        self.title = f"Keypoints in words, {self.set.title}"
        self.needs = f"DATA/{name}: {self.set.how}"

    def measure(self, bench: Bench) -> Result | None:
        objects, rows = self._objects(bench)
        skeleton = _one_skeleton(objects, rows)
        named = bench.sets.get(f"{self.set.name}_boxes")
        boxes_file = Path(named or bench.data_dir / f"{self.set.name}_boxes.json")
        asked, notes = {"": self._by_true_boxes(objects, rows)}, list(self.set.notes)
        if named or boxes_file.is_file():
            asked[_FOUND], told = self._by_found_boxes(objects, rows, boxes_file)
            notes += told
        else:
            notes.append(f"No found boxes: {boxes_file} is not there; --set {self.set.name}_boxes=FILE names another.")
        answers = {kind: self._ask(bench, objects, own, skeleton, kind) for kind, own in asked.items()}
        if not bench.is_main:
            return None
        values: dict[str, float] = {}
        mean_values: dict[str, float] = {}
        mean = _mean_points(objects)
        per_object: dict[str, float] = {}
        for kind, own in asked.items():
            for one in own:
                one.found = _placed(one, answers[kind], skeleton.num_keypoints)
            scores, shares = self._scores(objects, rows, skeleton, own)
            values |= {kind + key: value for key, value in scores.items()}
            per_object = per_object or shares
            if mean is not None:
                for one in own:
                    one.found = np.column_stack([one.square.to_image(mean, 1), np.ones(len(mean))])
                    one.score = max(one.score, 1e-6)
                scores, _ = self._scores(objects, rows, skeleton, own)
                mean_values |= {kind + key: value for key, value in scores.items()}
        baseline = [Row(MEAN_KEYPOINT, "baseline", mean_values, note="of its train split")] if mean is not None else []
        table = Table(
            self.name,
            self.title,
            self._columns(),
            [Row(bench.method, "ours", values), *baseline, *self.set.published],
            protocol=self._protocol(bench, rows),
            n=len(rows),
            data=bench.data_name or self.set.name,
            paper_data=self.set.title.partition(" (")[0],
            notes=notes,
        )
        return Result(table, per_object, "OKS" if self.set.has_ap else f"PCK@{self.set.thresholds[-1]:g}", True)

    # -- what is asked ------------------------------------------------------------------------------------------------

    def _objects(self, bench: Bench) -> tuple[KeypointObjects, list[int]]:
        """The set's objects, and the rows that are tested: whole pictures, at most the bench's limit of them."""
        folder = Path(bench.sets.get(self.set.name, bench.data_dir / self.set.name))
        if not folder.is_dir():
            raise MissingNeed(f"{folder} is not there; make it: {self.set.how}")
        if not bench.processor.vision:
            raise MissingNeed("this model sees no images")
        objects = KeypointObjects(RecordSet.load(folder), size_px=bench.processor.vision[0].side)
        splits = objects.records.column("split")
        pictures: dict[str, list[int]] = defaultdict(list)
        for row, image in enumerate(objects.records.column("image")):
            if self.set.split in (None, splits[row]):
                pictures[image or f"record {row}"].append(row)
        if not pictures:
            raise MissingNeed(f"{folder}: no records of the split {self.set.split!r}; make them: {self.set.how}")
        names = list(pictures)
        return objects, [row for i in chosen_rows(len(names), bench.limit) for row in pictures[names[i]]]

    def _by_true_boxes(self, objects: KeypointObjects, rows: Sequence[int]) -> list[Asked]:
        attributes = objects.records.attributes()
        asked = []
        for row in rows:
            record = objects.records[row]
            assert record.keypoints is not None
            labelled = np.flatnonzero(record.keypoints[:, 2] > 0).tolist()
            if not labelled:
                continue  # nobody said where its keypoints are: it is neither asked for nor counted
            # AP ranks poses by all of their keypoints; PCK needs those alone that are scored.
            keypoints = list(range(len(record.keypoints))) if self.set.has_ap else labelled
            category = _category(attributes[row]) if self.set.by_category else 1
            box = np.asarray(record.box_xyxy_px, np.float64)
            asked.append(Asked(f"{row}", row, box, person_square(box, margin=objects.margin), keypoints, 1.0, category))
        return asked

    def _by_found_boxes(
        self, objects: KeypointObjects, rows: Sequence[int], path: Path
    ) -> tuple[list[Asked], list[str]]:
        """The boxes of tested pictures, and what has to be said about them."""
        placed, told = place_boxes(read_boxes(path), objects.records, rows)
        notes = [told]
        if self.set.by_category:
            placed, told = categorised(placed, objects.records, rows)
            notes += [told] if told else []
        asked = []
        for one in placed:
            keypoints = list(range(objects.skeleton(one.row).num_keypoints))
            square = person_square(one.box.box_xyxy_px, margin=objects.margin)
            category = one.box.category_id if self.set.by_category else 1
            asked.append(
                Asked(
                    f"found {one.number}", one.row, one.box.box_xyxy_px, square, keypoints, one.box.score, category
                )
            )  # fmt: skip
        return asked, notes

    def _ask(
        self, bench: Bench, objects: KeypointObjects, asked: Sequence[Asked], skeleton: Skeleton, kind: str
    ) -> dict[str, Prediction]:
        task = keypoint_task("keypoint_textual")
        wordings = task.templates(bench.templates)
        by_id = {one.id: one for one in asked}

        @lru_cache(maxsize=_CROPS_KEPT)
        def crop(which: str) -> ObjectCrop:
            one = by_id[which]
            nowhere = np.zeros((skeleton.num_keypoints, 3), np.float32)
            picture = objects.records[one.row].load_image()
            return cut_object(picture, one.box_xyxy_px, nowhere, objects.size_px, margin=objects.margin)

        def conversation(one: Asked, keypoint: int) -> Conversation:
            # One wording and one crop for all keypoints of an object: they share what they begin with.
            wording = Random(f"{bench.seed} {one.id}").choice(wordings)
            return task.question(crop(one.id), keypoint, skeleton, wording=wording, told="description")

        questions = [
            Question(f"{one.id}/{keypoint}", lambda one=one, keypoint=keypoint: conversation(one, keypoint))
            for one in asked
            for keypoint in one.keypoints
        ]
        # Answers are kept; other boxes are other questions, though there be as many.
        boxes = repr([(one.id, one.row, one.box_xyxy_px.round(2).tolist()) for one in asked])
        whose = sha256(boxes.encode()).hexdigest() if kind else "true"
        about = {"set": self.set.name, "boxes": whose, "count": len(questions)}
        grammar = point_grammar(bench.model.config)
        reading = "densest" if bench.model.config.keypoint_positions == "text" else "said"
        key = f"{self.name}{'_found' if kind else ''}"
        return bench.answers(key, questions, grammar=grammar, about=about, points=reading)

    # -- what is measured ---------------------------------------------------------------------------------------------

    def _scores(
        self, objects: KeypointObjects, rows: Sequence[int], skeleton: Skeleton, asked: Sequence[Asked]
    ) -> tuple[dict[str, float], dict[str, float]]:
        values: dict[str, float] = {}
        shares: dict[str, float] = {}
        if self.set.thresholds:
            metric = self._pck(objects, rows, asked)
            values |= metric.compute()
            ids = sorted(metric.rows)
            shares = dict(zip(ids, metric.per_instance(self.set.thresholds[-1]).tolist(), strict=True))
        if self.set.has_ap:
            values |= {key: value for key, value in self._ap(objects, rows, skeleton, asked).items() if value >= 0}
        return values, shares

    def _ap(
        self, objects: KeypointObjects, rows: Sequence[int], skeleton: Skeleton, asked: Sequence[Asked]
    ) -> dict[str, float]:
        if skeleton.sigmas is None:
            raise MissingNeed(f"skeleton {skeleton.name!r} has no sigmas, which AP needs; add them to its file")
        metric = KeypointAP(skeleton.sigmas, pool_categories=not self.set.by_category)
        attributes, images = objects.records.attributes(), objects.records.column("image")
        pictures: dict[str, ImageRow] = defaultdict(ImageRow)
        for row in rows:
            record = objects.records[row]
            assert record.keypoints is not None
            x0, y0, x1, y1 = (float(value) for value in record.box_xyxy_px)  # type: ignore[union-attr]
            area = float(attributes[row].get("area") or (x1 - x0) * (y1 - y0))
            true = TrueInstance(
                record.keypoints, area, (x0, y0, x1 - x0, y1 - y0), _category(attributes[row]),
                is_crowd=bool(attributes[row].get("crowd")),
            )  # fmt: skip
            pictures[images[row] or f"record {row}"].true.append(true)
        for one in asked:
            score = one.score * instance_score(one.found[one.keypoints, 2])
            found = FoundInstance(one.found[:, :2], score, one.category)
            pictures[images[one.row] or f"record {one.row}"].found.append(found)
        metric.update(list(pictures), list(pictures.values()))
        return {key: value for key, value in metric.compute().items() if key in AP_NAMES}

    def _pck(self, objects: KeypointObjects, rows: Sequence[int], asked: Sequence[Asked]) -> Pck:
        metric = Pck(self.set.thresholds)
        images = objects.records.column("image")
        by_picture: dict[str | None, list[Asked]] = defaultdict(list)
        for one in asked:
            by_picture[images[one.row]].append(one)
        for row in rows:
            record = objects.records[row]
            assert record.keypoints is not None
            box = np.asarray(record.box_xyxy_px, np.float64)
            near = max(by_picture[images[row]], key=lambda one: overlap(one.box_xyxy_px, box), default=None)
            hit = near is not None and overlap(near.box_xyxy_px, box) >= _COVERS
            found = near.found if near is not None and hit else np.full((len(record.keypoints), 3), -1e6)
            length = max(float(box[2] - box[0]), float(box[3] - box[1]), 1.0)
            metric.update([f"{row}"], [found], [record.keypoints], [length])
        return metric

    def _columns(self) -> list[Column]:
        columns: list[Column] = []
        for kind, boxes in (("", "true boxes"), (_FOUND, "found boxes")):
            if self.set.has_ap:
                names = {"ap": "AP", "ap50": "AP50", "ap75": "AP75", "ap_medium": "APm", "ap_large": "APl", "ar": "AR"}
                kept = names if not kind else {"ap": "AP", "ar": "AR"}
                columns += [percent(kind + key, f"{label}, {boxes}") for key, label in kept.items()]
            columns += [percent(f"{kind}pck_{t:g}_by_type", f"PCK@{t:g}, {boxes}") for t in self.set.thresholds]
            if self.set.thresholds and not kind:
                pooled = self.set.thresholds[-1]
                columns.append(percent(f"pck_{pooled:g}_pooled", f"PCK@{pooled:g}, {boxes}, pooled"))
        return columns

    def _protocol(self, bench: Bench, rows: Sequence[int]) -> str:
        words = ["keypoints asked for by description in a square crop of 1.25 times the box, no flip test, no NMS"]
        if bench.model.config.keypoint_positions == "text":
            words.append("points at the densest place of what their digits may be")
        if self.set.has_ap:
            mean = "mean over categories" if self.set.by_category else "one category"
            words.append(f"COCO's AP and AR, {mean}, score = mean confidence of the keypoints (times the found box's)")
        if self.set.thresholds:
            words.append("PCK over the longest side of the true box, strict <, mean over kinds of keypoints")
        words.append(
            f"split {self.set.split or 'all'}, {len(rows)} objects{'' if bench.limit is None else ' of some pictures'}"
        )
        return "; ".join(words)


def _placed(one: Asked, answers: Mapping[str, Prediction], count: int) -> np.ndarray:
    """(K, 3) in the picture; the crop's middle without confidence where an answer was cut off or nothing was asked."""
    points = np.tile(np.array([0.5, 0.5, 0.0]), (count, 1))
    for keypoint in one.keypoints:
        own = answers[f"{one.id}/{keypoint}"].points
        if own:
            points[keypoint] = own[-1]
    return np.column_stack([one.square.to_image(points[:, :2], 1), points[:, 2]])


def _mean_points(objects: KeypointObjects) -> np.ndarray | None:
    """(K, 2) where each keypoint lies in the crops of the train split, on average; None without one."""
    rows = [row for row, split in enumerate(objects.records.column("split")) if split == "train"]
    if not rows:
        return None
    chosen = [objects.crop(rows[i]).points for i in chosen_rows(len(rows), _MOST_TO_AVERAGE)]
    stacked = np.stack(chosen)
    shown = stacked[:, :, 2:] > 0
    count = shown.sum(0)
    mean = (stacked[:, :, :2] * shown).sum(0) / np.maximum(count, 1)
    return np.where(count > 0, mean, 0.5)


def _one_skeleton(objects: KeypointObjects, rows: Sequence[int]) -> Skeleton:
    names = {objects.skeleton(row).name for row in rows}
    if len(names) > 1:
        raise MissingNeed(f"records of several skeletons ({', '.join(sorted(names))}); prepare one data set for each")
    return objects.skeleton(rows[0])


def _category(attributes: Mapping[str, Any]) -> int:
    value = attributes.get("category_id")
    return int(value) if value is not None else 1
