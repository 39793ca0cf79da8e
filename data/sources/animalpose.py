"""AnimalPose: dogs, cats, cows, horses and sheep on 20 points, in the authors' own json or in mmpose's.

Two traps: the authors' boxes are corners, mmpose's are corner and size; and mmpose's file calls every animal by one
category ("cat"), so there the species comes from the image's name, where it says (ca, co, do, ho, sh).
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from data.record import Record
from data.rejects import Rejects
from data.sources.base import Items, Source, not_the_dataset, read_json
from data.sources.coco import annotation_files
from data.sources.coco_json import (
    UNREADABLE,
    Entry,
    Layout,
    coco_records,
    corners,
    find_images,
    points_of,
    read_coco,
    set_aside,
)
from llmpose.errors import UserError

_SPECIES = {"ca": "cat", "co": "cow", "do": "dog", "ho": "horse", "sh": "sheep"}
_FOLDERS = ["images", ".", "data", "animalpose_image_part2", "VOC2012/JPEGImages"]


def _read(root: Path, split: str | None, rejects: Rejects, *, annotations: str = "", images: str = "") -> Items:
    own = root / (annotations or "keypoints.json")
    if own.is_file() and isinstance(content := read_json(own), dict) and isinstance(content.get("images"), dict):
        if split in (None, "train"):
            yield from _authors(content, own, root, images, rejects)
        return
    layout = Layout(
        source="animalpose",
        skeleton="animalpose",
        num_keypoints=20,
        attributes=lambda _annotation, image, _category: {"category": species_of(image["file_name"])},
    )
    if not annotations and not any(root.glob("annotations/animalpose_*.json")):
        raise not_the_dataset(root, "AnimalPose", "keypoints.json, or annotations/animalpose_{train,val,test}.json")
    for path, name in annotation_files(root, split, annotations, "annotations/animalpose_{split}.json"):
        names = [image["file_name"] for image in read_coco(path)["images"][:50]]
        below = images or find_images(root, _FOLDERS, names)
        yield from coco_records(path, layout, split=name, images_below=below, rejects=rejects)


def species_of(file_name: str) -> str:
    """ca110.jpeg -> cat; images from PASCAL VOC (2007_000063.jpg) do not say."""
    found = re.fullmatch(r"([a-z]{2})\d+", Path(file_name).stem)
    return _SPECIES.get(found[1], "animal") if found else "animal"


def _authors(content: dict[str, Any], path: Path, root: Path, images: str, rejects: Rejects) -> Iterator[Record]:
    """The authors' file: images by id, boxes as corners, points as a list of lists whose flag 1 means seen."""
    try:
        names = {str(number): str(name) for number, name in content["images"].items()}
        categories = {category["id"]: category["name"] for category in content["categories"]}
        entries: list[Entry] = content["annotations"]
    except (KeyError, TypeError):
        raise UserError(f"{path}: not AnimalPose's keypoints.json: expected images, annotations, categories") from None
    below = images or find_images(root, _FOLDERS, list(names.values())[:50])
    for row, entry in enumerate(entries):
        try:
            record = _animal(entry, row, names, categories, below, rejects)
        except UNREADABLE as error:
            set_aside(rejects, f"{path.name}: annotations, number {row + 1}", error)
            continue
        if record is not None:
            yield record


def _animal(
    entry: Entry, row: int, names: dict[str, str], categories: dict[Any, str], below: str, rejects: Rejects
) -> Record | None:
    name = f"animalpose/train/{entry.get('id', row)}"
    image = names.get(str(entry.get("image_id")))
    flat = np.ravel(entry.get("keypoints", [])).tolist()
    points = points_of(flat, 20, seen="labelled is visible")
    box = corners(entry.get("bbox"), "xyxy")
    if image is None or points is None or box is None:
        reason = "annotation without an image entry" if image is None else "keypoint list has the wrong length"
        rejects.add(reason if image is None or points is None else "no box", name)
        return None
    if not (points[:, 2] > 0).any():
        rejects.leave_out("with fewer than 1 labelled keypoints")
        return None
    return Record(
        id=name,
        source="animalpose",
        split="train",
        image=image if below == "." else f"{below}/{image}",
        box_xyxy_px=box,
        keypoints=points,
        skeleton="animalpose",
        attributes={
            "category": categories.get(entry.get("category_id"), "animal"),
            "category_id": entry.get("category_id"),
            "num_keypoints": int((points[:, 2] > 0).sum()),
            "area": float((box[2] - box[0]) * (box[3] - box[1])),
        },
    )


ANIMALPOSE = Source(
    name="animalpose",
    title="AnimalPose, five domestic animals",
    gives="images, boxes, keypoints, species",
    layout=(
        "keypoints.json and images/ (the authors')",
        "or annotations/animalpose_{train,val,test}.json (mmpose's) and images",
    ),
    where="https://github.com/noahcao/animal-pose-dataset",
    licence="none stated; PASCAL VOC and web images; treat as research only",
    reader=_read,
    options={
        "annotations": "one json file below --root instead of those above",
        "images": "folder of the images below --root (default: found by looking)",
    },
)
