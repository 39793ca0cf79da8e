"""CarFusion: cars on 14 slots (two of them never labelled), in the authors' text files or converted to COCO's layout.

A text line is "x, y, keypoint from 1, instance, visibility"; visibility 1 and 3 mean seen, 2 hidden. Boxes are not
annotated: everybody takes the points' extent, moved out by a tenth and grown by a quarter, cut at the frame.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data.record import Record
from data.rejects import Rejects
from data.sources.base import Items, Source, not_the_dataset
from data.sources.coco import annotation_files, image_folder
from data.sources.coco_json import Layout, coco_records
from llmpose.errors import UserError

_NUM_KEYPOINTS = 14
_WIDTH, _HEIGHT = 1920, 1080


def _read(root: Path, split: str | None, rejects: Rejects, *, annotations: str = "", images: str = "") -> Items:
    if annotations or any(root.glob("annotations/car_keypoints_*.json")):
        layout = Layout(source="carfusion", skeleton="carfusion", num_keypoints=_NUM_KEYPOINTS, masks=False)
        for path, name in annotation_files(root, split, annotations, "annotations/car_keypoints_{split}.json"):
            below = images or image_folder(root, path, name)
            yield from coco_records(path, layout, split=name, images_below=below, rejects=rejects)
        return
    paths = sorted(root.glob("*/*/gt/*.txt"))
    if not paths:
        raise not_the_dataset(
            root, "CarFusion", "annotations/car_keypoints_{train,test}.json or {train,test}/*/gt/*.txt"
        )
    for path in paths:
        name = path.parts[-4]
        if split in (None, name):
            yield from _from_text(path, name, root, rejects)


def _from_text(path: Path, split: str, root: Path, rejects: Rejects) -> Iterator[Record]:
    place = path.parent.parent
    name = f"{place.name}/{path.stem}"
    try:
        cars = read_cars(path)
    except UserError as error:
        rejects.add("points not readable", str(error))
        return
    for car, points in sorted(cars.items()):
        box = box_of(points)
        yield Record(
            id=f"carfusion/{split}/{name}/{car}",
            source="carfusion",
            split=split,
            image=f"{(place / 'images_jpg').relative_to(root).as_posix()}/{path.stem}.jpg",
            width=_WIDTH,
            height=_HEIGHT,
            box_xyxy_px=box,
            keypoints=points,
            skeleton="carfusion",
            attributes={
                "category": "car",
                "num_keypoints": int((points[:, 2] > 0).sum()),
                "area": float((box[2] - box[0]) * (box[3] - box[1])),
            },
            sequence=place.name,
        )


def read_cars(path: Path) -> dict[int, np.ndarray]:
    """Instance -> (14, 3) points of one text file."""
    cars: dict[int, np.ndarray] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            x, y, keypoint, car, seen = (float(value) for value in line.replace(",", " ").split())
        except ValueError:
            raise UserError(f"{path}: line {number} is not x, y, keypoint, instance, visibility") from None
        if not 1 <= keypoint <= _NUM_KEYPOINTS:
            raise UserError(f"{path}: line {number} names keypoint {keypoint:g}, expected 1 to {_NUM_KEYPOINTS}")
        points = cars.setdefault(int(car), np.zeros((_NUM_KEYPOINTS, 3), dtype=np.float32))
        points[int(keypoint) - 1] = (x, y, 1 if seen == 2 else 2)
    return cars


def box_of(points: np.ndarray) -> np.ndarray:
    """(4,) xyxy around a car's labelled points."""
    labelled = points[points[:, 2] > 0, :2]
    low, size = labelled.min(0), np.ptp(labelled, axis=0)
    start = np.maximum(low - size / 10, 0)
    end = np.minimum(start + 1.25 * size, (_WIDTH, _HEIGHT))
    return np.concatenate([start, end]).astype(np.float32)


CARFUSION = Source(
    name="carfusion",
    title="CarFusion, cars in traffic",
    gives="images, boxes, keypoints",
    layout=(
        "annotations/car_keypoints_{train,test}.json and images",
        "or {train,test}/car_<place>/{gt/*.txt,images_jpg/*.jpg}",
    ),
    where="http://www.cs.cmu.edu/~ILIM/projects/IM/CarFusion (form)",
    licence="research after a form, no redistribution",
    reader=_read,
    splits=("train", "test"),
    options={
        "annotations": "one json file below --root instead of those above",
        "images": "folder of the images below --root (default: found by looking)",
    },
)
