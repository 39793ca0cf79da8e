"""AI Challenger and CrowdPose: many people per picture, 14 points each, neither with an area.

AI Challenger's own file lists people by name with visibility 1 seen, 2 hidden, 3 not labelled; mmpose's is COCO-like.
CrowdPose's category lists COCO's links, which point past its 14 points; the links of our skeleton file are its own.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from data.record import Record
from data.rejects import Rejects
from data.sources.base import Items, Source, not_the_dataset, read_json
from data.sources.coco import annotation_files, image_folder
from data.sources.coco_json import UNREADABLE, Entry, Layout, coco_records, corners, points_of, set_aside
from llmpose.errors import UserError

_NUM_KEYPOINTS = 14


def _read_aic(root: Path, split: str | None, rejects: Rejects, *, annotations: str = "", images: str = "") -> Items:
    if annotations or any(root.glob("annotations/aic_*.json")):
        layout = Layout(source="aic", skeleton="aic14", num_keypoints=_NUM_KEYPOINTS, masks=False)
        for path, name in annotation_files(root, split, annotations, "annotations/aic_{split}.json"):
            below = images or _aic_images(root, name) or image_folder(root, path, name)
            yield from coco_records(path, layout, split=name, images_below=below, rejects=rejects)
        return
    words = {"train": "train", "val": "validation"}
    found = [
        (path, name)
        for name, word in words.items()
        if split in (None, name)
        for path in sorted(root.rglob(f"keypoint_{word}_annotations_*.json"))
    ]
    if not found:
        raise not_the_dataset(
            root, "AI Challenger", "annotations/aic_{train,val}.json or keypoint_*_annotations_*.json"
        )
    for path, name in found:
        below = images or _aic_images(root, name) or f"keypoint_{words[name]}_images"
        yield from _from_people(path, name, below, rejects)


def _aic_images(root: Path, split: str) -> str | None:
    word = {"train": "train", "val": "validation"}.get(split, split)
    found = sorted(root.glob(f"**/keypoint_{word}_images*"), key=lambda path: len(path.parts))
    return found[-1].relative_to(root).as_posix() if found else None


def _from_people(path: Path, split: str, below: str, rejects: Rejects) -> Iterator[Record]:
    """The challenge's own file: per image, boxes as corners and points by the name of the person."""
    content = read_json(path)
    first = content[0] if isinstance(content, list) and content else None
    if not isinstance(first, dict) or "keypoint_annotations" not in first:
        raise UserError(f"{path}: not AI Challenger's json: expected a list with image_id and keypoint_annotations")
    for place, entry in enumerate(content, start=1):
        try:
            people = sorted(entry["keypoint_annotations"].items())
            found = [(f"aic/{split}/{entry['image_id']}/{person}", person, flat) for person, flat in people]
            records = [(name, _person(entry, person, flat, name, split, below)) for name, person, flat in found]
        except UNREADABLE as error:
            set_aside(rejects, f"{path.name}: number {place}", error)
            continue
        for name, record in records:
            if isinstance(record, str):
                rejects.add(record, name)
            elif record.attributes["num_keypoints"] == 0:
                rejects.leave_out("with fewer than 1 labelled keypoints")
            else:
                yield record


def _person(entry: Entry, person: str, flat: Any, name: str, split: str, below: str) -> Record | str:
    """A record, or the reason why there is none."""
    if not isinstance(flat, list) or len(flat) != 3 * _NUM_KEYPOINTS:
        return "keypoint list has the wrong length"
    recoded = np.array(flat, dtype=np.float64).reshape(-1, 3)
    # 1 seen, 2 hidden, 3 not labelled -> COCO's 2, 1, 0
    recoded[:, 2] = 3 - recoded[:, 2]
    points = points_of(recoded.ravel().tolist(), _NUM_KEYPOINTS)
    box = corners(entry.get("human_annotations", {}).get(person), "xyxy")
    if points is None or box is None:
        return "no box"
    return Record(
        id=name,
        source="aic",
        split=split,
        image=f"{below}/{entry['image_id']}.jpg",
        box_xyxy_px=box,
        keypoints=points,
        skeleton="aic14",
        attributes={
            "category": "person",
            "num_keypoints": int((points[:, 2] > 0).sum()),
            "area": float((box[2] - box[0]) * (box[3] - box[1])),
        },
    )


def _read_crowdpose(
    root: Path, split: str | None, rejects: Rejects, *, annotations: str = "", images: str = ""
) -> Items:
    layout = Layout(
        source="crowdpose",
        skeleton="crowdpose14",
        num_keypoints=_NUM_KEYPOINTS,
        attributes=lambda _annotation, image, _category: {"crowd_index": image.get("crowdIndex")},
    )
    patterns = (
        "annotations/mmpose_crowdpose_{split}.json",
        "annotations/crowdpose_{split}.json",
        "json/crowdpose_{split}.json",
    )
    there = [pattern for pattern in patterns if any(root.glob(pattern.format(split="*")))]
    if not there and not annotations:
        raise not_the_dataset(root, "CrowdPose", "annotations/mmpose_crowdpose_{train,val,test}.json and images/")
    for path, name in annotation_files(root, split, annotations, there[0] if there else patterns[0]):
        below = images or image_folder(root, path, name)
        yield from coco_records(path, layout, split=name, images_below=below, rejects=rejects)


_OPTIONS = {
    "annotations": "one json file below --root instead of those above",
    "images": "folder of the images below --root (default: found by looking)",
}

AIC = Source(
    name="aic",
    title="AI Challenger, people",
    gives="images, boxes, keypoints",
    layout=(
        "annotations/aic_{train,val}.json (mmpose's)",
        "or keypoint_{train,validation}_annotations_*.json and its images",
    ),
    where="https://github.com/AIChallenger/AI_Challenger_2017",
    licence="research only",
    reader=_read_aic,
    splits=("train", "val"),
    options=_OPTIONS,
)

CROWDPOSE = Source(
    name="crowdpose",
    title="CrowdPose, people in crowds",
    gives="images, boxes, keypoints, crowd index",
    layout=("annotations/mmpose_crowdpose_{train,val,test}.json or json/crowdpose_*.json", "images/"),
    where="https://github.com/Jeff-sjtu/CrowdPose",
    licence="research only",
    reader=_read_crowdpose,
    options=_OPTIONS,
)
