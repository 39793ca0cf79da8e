"""MacaquePose: monkeys on COCO's 17 points, in the authors' csv or in mmpose's json.

A csv row is an image: its name, then a json list of monkeys' points by name, then one of their outlines.
"""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from data.record import Record
from data.rejects import Rejects
from data.sources.base import Items, Source, not_the_dataset
from data.sources.coco import annotation_files, image_folder
from data.sources.coco_json import Layout, coco_records
from llmpose.body.skeleton import load_skeleton, plain_name
from llmpose.errors import UserError


def _read(root: Path, split: str | None, rejects: Rejects, *, annotations: str = "", images: str = "") -> Items:
    table = root / "annotations.csv"
    if not annotations and not any(root.glob("annotations/macaque_*.json")):
        if not table.is_file():
            raise not_the_dataset(root, "MacaquePose", "annotations/macaque_{train,test}.json, or annotations.csv")
        if split in (None, "train"):
            yield from _from_csv(table, images or "images", rejects)
        return
    layout = Layout(source="macaque", skeleton="coco17", num_keypoints=17)
    for path, name in annotation_files(root, split, annotations, "annotations/macaque_{split}.json"):
        below = images or image_folder(root, path, name)
        yield from coco_records(path, layout, split=name, images_below=below, rejects=rejects)


def _from_csv(path: Path, images: str, rejects: Rejects) -> Iterator[Record]:
    csv.field_size_limit(1 << 27)  # an outline is a long field
    with path.open(newline="", encoding="utf-8") as file:
        for row, columns in enumerate(csv.reader(file)):
            if row == 0:
                continue
            try:
                name, monkeys, outlines = columns[0], json.loads(columns[1]), json.loads(columns[2])
                parsed = [_monkey(points, outline) for points, outline in zip(monkeys, outlines, strict=True)]
            except (IndexError, ValueError, KeyError, TypeError) as error:
                rejects.add("row not readable", f"{path.name} line {row + 1}: {error}")
                continue
            for number, (points, box, area) in enumerate(parsed):
                yield Record(
                    id=f"macaque/{Path(name).stem}/{number}",
                    source="macaque",
                    split="train",
                    image=f"{images}/{name}",
                    box_xyxy_px=box,
                    keypoints=points,
                    skeleton="coco17",
                    attributes={
                        "category": "macaque",
                        "num_keypoints": int((points[:, 2] > 0).sum()),
                        "area": area,
                    },
                )


def _monkey(points: list[dict[str, Any]], outline: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray, float]:
    """Points, box and area of one. An outline may be in pieces; the box is around all of them."""
    skeleton = load_skeleton("coco17")
    found = np.zeros((17, 3), dtype=np.float32)
    for point in points:
        if point["position"] is not None:
            found[skeleton.index(plain_name(point["name"]))] = (*point["position"], 2)
    pieces = [np.array(piece["segment"], dtype=np.float64).reshape(-1, 2) for piece in outline if piece["segment"]]
    if not pieces:
        raise UserError("a monkey without an outline")
    corners = np.concatenate(pieces)
    low, high = corners.min(0), corners.max(0) + 1
    area = sum(_polygon_area(piece) for piece in pieces)
    return found, np.concatenate([low, high]).astype(np.float32), float(area)


def _polygon_area(corners: np.ndarray) -> float:
    """Shoelace formula."""
    x, y = corners.T
    return float(abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2)


MACAQUE = Source(
    name="macaque",
    title="MacaquePose",
    gives="images, boxes, masks, keypoints",
    layout=(
        "annotations/macaque_{train,test}.json (mmpose's) and images/",
        "or annotations.csv (the authors') and images/",
    ),
    where="http://www.pri.kyoto-u.ac.jp/datasets/macaquepose (form)",
    licence="research use after a form; images of Open Images (CC BY) and of zoos",
    reader=_read,
    options={
        "annotations": "one json file below --root instead of those above",
        "images": "folder of the images below --root (default: found by looking)",
    },
)
