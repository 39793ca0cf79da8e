"""Animal Kingdom: 850 species of every class on 23 points, in the authors' MPII-like lists or COCO-like files.

Protocols: P1 mixes everything; P2 tests on species never seen; P3 stays within one class. Traps: a joint that is not
visible stands at (-1, -1), not at (0, 0); the category is the animal's class, the species is in `animal`; one keypoint
name ends in a blank.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data.record import Record
from data.rejects import Rejects
from data.sources.base import Items, Source, choice, not_the_dataset, read_json
from data.sources.coco_json import UNREADABLE, Entry, Layout, coco_records, find_images, points_of, read_coco, set_aside

_PROTOCOLS = ("P1", "P2", "P3_amphibian", "P3_bird", "P3_fish", "P3_mammal", "P3_reptile")
_PIXELS_PER_SCALE = 200
_NUM_KEYPOINTS = 23


def _taxonomy(annotation: Entry, _image: Entry, category: Entry) -> dict[str, object]:
    return {
        "category": str(annotation.get("animal", category.get("name", ""))).strip(),
        "class": annotation.get("animal_parent_class", category.get("name")),
        "subclass": annotation.get("animal_subclass"),
        "protocol": annotation.get("protocol"),
    }


def _read(
    root: Path, split: str | None, rejects: Rejects, *, protocol: str = "P1", annotations: str = "", images: str = ""
) -> Items:
    choice(protocol, _PROTOCOLS, "protocol")
    layout = Layout(
        source="animal_kingdom",
        skeleton="animal_kingdom",
        num_keypoints=_NUM_KEYPOINTS,
        attributes=_taxonomy,
        seen="labelled is visible",
    )
    for path, name in _files(root, split, protocol, annotations):
        content = read_json(path)
        key = "image" if isinstance(content, list) else "file_name"
        entries = content if isinstance(content, list) else read_coco(path)["images"]
        names = [entry[key] for entry in entries[:20] if isinstance(entry, dict) and isinstance(entry.get(key), str)]
        below = images or find_images(root, ["dataset", "pose_estimation/dataset", "images", "."], names)
        if isinstance(content, list):
            yield from _from_list(content, name, protocol, below, rejects)
            continue
        for record in coco_records(path, layout, split=name, images_below=below, rejects=rejects):
            record.sequence = Path(record.image or "").parent.name
            yield record


def _files(root: Path, split: str | None, protocol: str, given: str) -> list[tuple[Path, str]]:
    if given:
        path = root / given
        return [(path, split or ("train" if "train" in path.stem else "test"))]
    found = []
    for name in ("train", "test") if split is None else (split,):
        candidates = [
            *(root / f"{base}annotation/ak_{protocol}/{name}.json" for base in ("", "pose_estimation/")),
            *(root / f"{base}annotations/ak_{protocol}/{name}.json" for base in ("", "pose_estimation/")),
        ]
        found += [(path, name) for path in candidates if path.is_file()][:1]
    if not found:
        raise not_the_dataset(root, "Animal Kingdom", f"pose_estimation/annotation/ak_{protocol}/{{train,test}}.json")
    return found


def _from_list(entries: list[Entry], split: str, protocol: str, below: str, rejects: Rejects) -> Iterator[Record]:
    """The authors' own lists: joints and joints_vis, centre and scale as MPII has them."""
    for row, entry in enumerate(entries):
        name = f"animal_kingdom/{protocol}/{split}/{row}"
        try:
            record = _animal(entry, name, split, below, rejects)
        except UNREADABLE as error:
            set_aside(rejects, name, error)
            continue
        if record is not None:
            yield record


def _animal(entry: Entry, name: str, split: str, below: str, rejects: Rejects) -> Record | None:
    joints, seen = np.array(entry.get("joints", []), dtype=np.float64), np.ravel(entry.get("joints_vis", []))
    if joints.shape != (_NUM_KEYPOINTS, 2) or seen.shape != (_NUM_KEYPOINTS,):
        rejects.add("keypoint list has the wrong length", name)
        return None
    flat = np.concatenate([joints, seen[:, None]], axis=1).ravel().tolist()
    points = points_of(flat, _NUM_KEYPOINTS, seen="labelled is visible")
    assert points is not None
    if not (points[:, 2] > 0).any():
        rejects.leave_out("with fewer than 1 labelled keypoints")
        return None
    box = _box(points, entry)
    return Record(
        id=name,
        source="animal_kingdom",
        split=split,
        image=entry["image"] if below == "." else f"{below}/{entry['image']}",
        box_xyxy_px=box,
        keypoints=points,
        skeleton="animal_kingdom",
        attributes={
            **_taxonomy(entry, {}, {}),
            "num_keypoints": int((points[:, 2] > 0).sum()),
            "area": float((box[2] - box[0]) * (box[3] - box[1])),
            "scale": float(entry["scale"]),
        },
        sequence=Path(entry["image"]).parent.name,
    )


def _box(points: np.ndarray, entry: Entry) -> np.ndarray:
    """The points' own extent, half a pixel in, as the COCO-like files have it; the square of centre and scale where
    that leaves nothing (one point, or points on a line)."""
    labelled = points[points[:, 2] > 0, :2]
    low, high = labelled.min(0) + 0.5, labelled.max(0) - 0.5
    if (high - low > 1).all():
        return np.concatenate([low, high]).astype(np.float32)
    centre, half = np.array(entry["center"], dtype=np.float64), float(entry["scale"]) * _PIXELS_PER_SCALE / 2
    return np.concatenate([centre - half, centre + half]).astype(np.float32)


ANIMAL_KINGDOM = Source(
    name="animal_kingdom",
    title="Animal Kingdom, animals of every class",
    gives="images, boxes, keypoints, species and class",
    layout=(
        "pose_estimation/annotation/ak_{P1,P2,P3_<class>}/{train,test}.json",
        "pose_estimation/dataset/<clip>/<frame>.jpg",
    ),
    where="https://sutdcv.github.io/Animal-Kingdom (form)",
    licence="research after a form, no redistribution",
    reader=_read,
    splits=("train", "test"),
    options={
        "protocol": f"one of {', '.join(_PROTOCOLS)} (default P1)",
        "annotations": "one json file below --root instead of those above",
        "images": "folder of the images below --root (default: found by looking)",
    },
)
