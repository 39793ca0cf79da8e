"""COCO's json layout, which most keypoint datasets share: images, annotations, categories. One record per annotation.

What differs from set to set is a `Layout`: where the images lie, which skeleton a category has, what a box means.
Third-party files have their traps, and these are handled here once: `area` and `num_keypoints` may be missing or
wrong, unlabelled points may hold -1 or a stale position, boxes may be corners, polygons may be empty.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from data.record import Record
from data.rejects import Rejects
from data.sources.base import read_json
from llmpose.errors import UserError

Entry = Mapping[str, Any]

UNREADABLE = (AttributeError, IndexError, KeyError, TypeError, ValueError)
"""What reading an annotation of another form than its dataset's ends in."""


def _no_attributes(_annotation: Entry, _image: Entry, _category: Entry) -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class Layout:
    """How one dataset uses COCO's layout."""

    source: str
    skeleton: str | Callable[[Entry], str]
    """Its name, or from a category to its name."""
    num_keypoints: int | Callable[[Entry], int]
    """Of that skeleton, or from a category."""
    keypoint_key: str = "keypoints"
    box: Literal["xywh", "xyxy"] = "xywh"
    seen: Literal["coco", "labelled is visible"] = "coco"
    """What visibility 1 means: hidden, as in COCO, or visible, in sets that know no hidden points."""
    image_name: Callable[[Entry], str] = lambda image: image["file_name"]
    attributes: Callable[[Entry, Entry, Entry], dict[str, Any]] = _no_attributes
    """Further attributes from annotation, image and category."""
    amend: Callable[[Record, Entry, Entry], None] | None = None
    """Last touch: from annotation and image, into the record."""
    min_keypoints: int = 1
    """Instances with fewer labelled points are left out."""
    masks: bool = True
    crowds: bool = field(default=False)
    """Whether to keep regions marked iscrowd."""


def coco_records(path: Path, layout: Layout, *, split: str, images_below: str, rejects: Rejects) -> Iterator[Record]:
    """Records of one annotation file, image by image in the file's order; image paths start with `images_below`."""
    content = read_coco(path)
    categories = {category["id"]: category for category in content["categories"]}
    by_image: dict[Any, list[Entry]] = {image["id"]: [] for image in content["images"]}
    for place, annotation in enumerate(content["annotations"], start=1):
        try:
            image_id = annotation.get("image_id")
            its_image = by_image.get(image_id)
        except UNREADABLE as error:
            set_aside(rejects, f"{path.name}: annotations, number {place}", error)
            continue
        if its_image is not None:
            its_image.append(annotation)
        else:
            rejects.add("annotation without an image entry", f"{path.name}: annotation {annotation.get('id')}")
    for image in content["images"]:
        for annotation in by_image[image["id"]]:
            try:
                record = _record(annotation, image, categories, layout, split, images_below, rejects)
            except UNREADABLE as error:
                set_aside(rejects, f"{path.name}: annotation {annotation.get('id')}", error)
                continue
            if record is not None:
                yield record


def read_coco(path: Path) -> dict[str, Any]:
    """The three lists of a COCO file, or one line that says what it is instead."""
    content = read_json(path)
    missing = [
        key for key in ("images", "annotations", "categories") if not isinstance(content, dict) or key not in content
    ]
    if missing:
        held = ", ".join(list(content)[:8]) if isinstance(content, dict) else f"a {type(content).__name__}"
        raise UserError(f"{path}: not an annotation file in COCO's layout: lacks {', '.join(missing)}; it holds {held}")
    for key, needed in (("images", ("id", "file_name")), ("annotations", ()), ("categories", ("id",))):
        if not isinstance(content[key], list):
            raise UserError(f"{path}: {key} must be a list, it is a {type(content[key]).__name__}")
        for place, entry in enumerate(content[key], start=1):
            lacking = next((name for name in needed if not _is_word(entry, name)), None)
            if lacking is not None:
                raise UserError(f"{path}: {key}, number {place} has no {lacking}: {json.dumps(entry)[:80]}")
    return content


def _is_word(entry: Any, name: str) -> bool:
    """Whether an entry has a text under this name, or a number, where that is an id."""
    return isinstance(entry, dict) and isinstance(entry.get(name), str if name == "file_name" else (int, float, str))


def set_aside(rejects: Rejects, where: str, error: Exception) -> None:
    """Count what a reader stumbled over: a word where a number belongs, a short list, a key that is not there."""
    rejects.add("annotation not readable", " ".join(f"{where}: {type(error).__name__}: {error}".split()))


def points_of(flat: Any, num_keypoints: int, *, seen: str = "coco") -> np.ndarray | None:
    """(K, 3) float32 from x, y, v, x, y, v, ...; None for another length. Unlabelled points become 0, 0, 0."""
    if not isinstance(flat, list) or len(flat) != 3 * num_keypoints:
        return None
    points = np.array(flat, dtype=np.float32).reshape(-1, 3)
    labelled = points[:, 2] > 0
    points[~labelled] = 0
    if seen == "labelled is visible":
        points[labelled, 2] = 2
    return points


def corners(box: Any, kind: str = "xywh") -> np.ndarray | None:
    """(4,) float32 xyxy; None if it is not four numbers."""
    if not isinstance(box, list) or len(box) != 4:
        return None
    x, y, a, b = (float(value) for value in box)
    return np.array([x, y, x + a, y + b] if kind == "xywh" else [x, y, a, b], dtype=np.float32)


def mask_of(segmentation: Any, height: int, width: int) -> dict[str, Any] | None:
    """COCO's compressed run lengths from polygons or either kind of run lengths; None where there is no mask."""
    from pycocotools import mask

    if isinstance(segmentation, dict):
        rle = segmentation
        if isinstance(rle["counts"], list):
            rle = mask.frPyObjects(rle, height, width)  # pyright: ignore[reportCallIssue, reportArgumentType]  (its stubs lack this)
    elif isinstance(segmentation, list):
        # A polygon needs three corners; some files hold empty lists or single points.
        polygons = [polygon for polygon in segmentation if isinstance(polygon, list) and len(polygon) >= 6]
        if not polygons:
            return None
        rle = mask.merge(mask.frPyObjects(polygons, height, width))
    else:
        return None
    counts = rle["counts"]
    return {
        "size": [int(side) for side in rle["size"]],
        "counts": counts.decode("ascii") if isinstance(counts, bytes) else counts,
    }


def find_images(root: Path, folders: list[str], names: list[str]) -> str:
    """The first folder below root that holds one of the named images; else the first that exists, else the first."""
    for folder in folders:
        if any((root / folder / name).is_file() for name in names):
            return folder
    return next((folder for folder in folders if (root / folder).is_dir()), folders[0])


def _record(
    annotation: Entry,
    image: Entry,
    categories: Mapping[Any, Entry],
    layout: Layout,
    split: str,
    images_below: str,
    rejects: Rejects,
) -> Record | None:
    name = f"{layout.source}/{split}/{annotation.get('id')}"
    category = categories.get(annotation.get("category_id"), {})
    if annotation.get("iscrowd") and not layout.crowds:
        rejects.leave_out("marked as a crowd")
        return None
    count = layout.num_keypoints if isinstance(layout.num_keypoints, int) else layout.num_keypoints(category)
    points = points_of(annotation.get(layout.keypoint_key), count, seen=layout.seen)
    if points is None:
        if annotation.get(layout.keypoint_key) is None and layout.min_keypoints > 0:
            rejects.leave_out("without keypoints")
        else:
            rejects.add("keypoint list has the wrong length", name)
        return None
    # Recomputed: the file's own num_keypoints is missing in some sets and wrong in others.
    labelled = int((points[:, 2] > 0).sum())
    if labelled < layout.min_keypoints:
        rejects.leave_out(f"with fewer than {layout.min_keypoints} labelled keypoints")
        return None
    box = corners(annotation.get("bbox"), layout.box)
    if box is None:
        rejects.add("no box", name)
        return None
    size = float((box[2] - box[0]) * (box[3] - box[1]))
    record = Record(
        id=name,
        source=layout.source,
        split=split,
        image=f"{images_below}/{layout.image_name(image)}"
        if images_below not in ("", ".")
        else layout.image_name(image),
        width=image.get("width"),
        height=image.get("height"),
        box_xyxy_px=box,
        keypoints=points,
        skeleton=layout.skeleton if isinstance(layout.skeleton, str) else layout.skeleton(category),
        attributes={
            "annotation_id": annotation.get("id"),
            "image_id": image["id"],
            "category_id": annotation.get("category_id"),
            "category": str(category.get("name", "")),
            "num_keypoints": labelled,
            "area": float(annotation.get("area", size)),
            **layout.attributes(annotation, image, category),
        },
    )
    if layout.masks and annotation.get("segmentation") and record.height and record.width:
        record.mask_rle = mask_of(annotation["segmentation"], record.height, record.width)
    if layout.amend is not None:
        layout.amend(record, annotation, image)
    return record
