"""A detector's boxes: read from a file, and each put to the picture and to the category that it is of.

    {"images": [{id, file_name}], "annotations": [{image_id, bbox}]}     by the picture's file name
    [{image_id, bbox, score, category_id}]                               COCO's results: by the record's image_id

`llmpose keypoints --objects …` writes the first kind. It numbers pictures itself, so its ids say nothing about records;
its `box_score` is the detector's, its `score` the keypoints'. A file name may begin further up or further down than the
record's (dog.jpg, images/dog.jpg); a name that several pictures end in is none's.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from data.record_set import RecordSet
from llmpose.errors import UserError

_NO_CATEGORY = -1


@dataclass(frozen=True)
class FoundBox:
    """One object that a detector found."""

    image: str
    """File name of its picture, or its image_id."""
    box_xyxy_px: np.ndarray
    score: float = 1.0
    category_id: int = 1
    category: str = ""
    """Its name, where the file has one."""


@dataclass(frozen=True)
class BoxFile:
    """What stands in a file; boxes without an inside are left out."""

    path: Path
    boxes: list[FoundBox]
    is_by_name: bool
    """Whether `image` is a file name."""


@dataclass(frozen=True)
class Placed:
    """A box and the row of a record whose picture it is in."""

    number: int
    """Of the box in its file."""
    row: int
    box: FoundBox


def read_boxes(path: Path) -> BoxFile:
    """Either kind of file."""
    if not path.is_file():
        raise UserError(f"{path}: no such file of found boxes")
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        has_names = isinstance(content, dict) and "images" in content
        names = {one["id"]: str(one["file_name"]) for one in content["images"]} if has_names else {}
        categories = content.get("categories", []) if isinstance(content, dict) else []
        words = {one["id"]: str(one.get("name", "")) for one in categories}
        entries: list[Mapping[str, Any]] = content["annotations"] if isinstance(content, dict) else content
        found = [_box(entry, names[entry["image_id"]] if has_names else entry["image_id"], words) for entry in entries]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: expected a list of image_id, bbox (x, y, width, height), score, or COCO's images and annotations "
            f"as llmpose keypoints writes them ({error!r})"
        ) from None
    return BoxFile(path, [one for one in found if (one.box_xyxy_px[2:] > one.box_xyxy_px[:2]).all()], has_names)


def _box(entry: Mapping[str, Any], image: Any, words: Mapping[Any, str]) -> FoundBox:
    x, y, w, h = (float(value) for value in entry["bbox"])
    # Beside keypoints, `score` says how sure these are, not how sure the box is.
    score = entry.get("box_score", 1.0 if "keypoint_scores" in entry else entry.get("score", 1.0))
    number = int(entry.get("category_id", 1))
    name = str(entry.get("object") or words.get(entry.get("category_id"), ""))
    return FoundBox(str(image), np.array([x, y, x + w, y + h]), float(score), number, name)


def place_boxes(file: BoxFile, records: RecordSet, rows: Sequence[int]) -> tuple[list[Placed], str]:
    """The boxes in the pictures of `rows`, the rows that are tested, and how many of how many these are, in words.

    Names are looked up among all pictures of the set, so that a picture of another split takes its own boxes.
    """
    image_of = [image or f"record {row}" for row, image in enumerate(records.column("image"))]
    if file.is_by_name:
        lookup = _NameLookup(image_of)
        pictures = [lookup(box.image) for box in file.boxes]
    else:
        attributes = records.attributes()
        # Each split may count from 1: a number is that of a tested picture first.
        known = [row for row in (*range(len(attributes)), *rows) if attributes[row].get("image_id") is not None]
        own = {str(attributes[row]["image_id"]): row for row in known}
        pictures = [image_of[own[box.image]] if box.image in own else None for box in file.boxes]
    if not any(pictures):
        raise _no_match(file, records, image_of)
    first: dict[str, int] = {}
    for row in rows:
        first.setdefault(image_of[row], row)
    placed = [
        Placed(number, first[picture], box)
        for number, (box, picture) in enumerate(zip(file.boxes, pictures, strict=True))
        if picture is not None and picture in first
    ]
    hit = len({one.row for one in placed})
    words = f"Found boxes: {len(placed)} of {len(file.boxes)} in {file.path.name} lie in {hit} of {len(first)} pictures"
    strangers = pictures.count(None)
    return placed, words + (f"; {strangers} are of no picture of the set." if strangers else ".")


class _NameLookup:
    """A picture by its file name, or by the end of its path."""

    def __init__(self, images: Sequence[str]) -> None:
        self._by_base: dict[str, dict[tuple[str, ...], str]] = defaultdict(dict)
        for image in images:
            parts = _parts(image)
            self._by_base[parts[-1]][parts] = image

    def __call__(self, name: str) -> str | None:
        parts = _parts(name)
        known = self._by_base.get(parts[-1], {})
        if parts in known:
            return known[parts]
        close = [image for own, image in known.items() if _is_end(own, parts) or _is_end(parts, own)]
        return close[0] if len(close) == 1 else None


def _parts(name: str) -> tuple[str, ...]:
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    return tuple(parts) or (name,)


def _is_end(short: tuple[str, ...], long: tuple[str, ...]) -> bool:
    return long[-len(short) :] == short


def _no_match(file: BoxFile, records: RecordSet, images: Sequence[str]) -> UserError:
    theirs = list(dict.fromkeys(box.image for box in file.boxes))
    if file.is_by_name:
        ours, what = list(dict.fromkeys(images)), "pictures are called"
        hint = "name pictures as the records do, unlike any other's end"
    else:
        ours = list(dict.fromkeys(str(e["image_id"]) for e in records.attributes() if e.get("image_id") is not None))
        what, hint = "image_id are", "give COCO's form with images and their file_name, as llmpose keypoints writes it"
    return UserError(
        f"{file.path}: none of its {len(file.boxes)} boxes is of a record: its {what} {_some(theirs)}, the records' "
        f"{_some(ours)}; {hint}"
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:2])) + (", …" if len(names) > 2 else "") if names else "not there"


def categorised(placed: Sequence[Placed], records: RecordSet, rows: Sequence[int]) -> tuple[list[Placed], str]:
    """The boxes with `category_id` as the records have it, and in words where that comes from ("" from the ids).

    By name, where a name in the file is one of the set's categories; else by category_id, where one is the set's and
    not all are 1; what matches none then is of no species of the set. Where neither says anything, a box is of the
    category of the true object in its picture that it covers best: any box counts, its species is not judged.
    """
    attributes = records.attributes()
    ids = {int(entry["category_id"]) for entry in attributes if entry.get("category_id") is not None}
    named = {
        _plain(entry.get("category", "")): int(entry["category_id"])
        for entry in attributes
        if entry.get("category_id") is not None
    }
    named.pop("", None)
    if any(_plain(one.box.category) in named for one in placed):
        own = [named.get(_plain(one.box.category), _NO_CATEGORY) for one in placed]
        return _with(placed, own), f"Species of found boxes by name{_strangers(own)}."
    given = {one.box.category_id for one in placed}
    if ids & given and (given != {1} or len(ids) == 1):
        return list(placed), ""
    images = records.column("image")
    by_picture: dict[str | None, list[int]] = defaultdict(list)
    for row in rows:
        by_picture[images[row]].append(row)
    own = []
    for one in placed:
        there = by_picture[images[one.row]] if images[one.row] else [one.row]
        covered = max(there, key=lambda row: overlap(one.box.box_xyxy_px, _corners(records, row)))
        own.append(int(attributes[covered].get("category_id") or 1))
    return _with(placed, own), "The found boxes' categories are not the set's: each takes that of the object it covers."


def _with(placed: Sequence[Placed], categories: Sequence[int]) -> list[Placed]:
    return [
        replace(one, box=replace(one.box, category_id=number)) for one, number in zip(placed, categories, strict=True)
    ]


def _strangers(categories: Sequence[int]) -> str:
    count = Counter(categories)[_NO_CATEGORY]
    return f"; {count} of {len(categories)} have none of the set's" if count else ""


def _plain(name: object) -> str:
    return " ".join(str(name).replace("_", " ").lower().split())


def _corners(records: RecordSet, row: int) -> np.ndarray:
    return np.asarray(records[row].box_xyxy_px, np.float64)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes xyxy."""
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    both = float(np.prod(np.maximum(high - low, 0)))
    return both / max(float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])) - both, 1e-9)
