"""COCO keypoints, and anybody's own annotations in the same layout: a skeleton file is all that has to be added.

    llmpose data prepare coco --root coco --out records/coco --split train
    llmpose data prepare coco --root mine --option annotations=stools.json --option skeleton=stool.yaml --out …

The built-in world is written in this layout too. What it knows beyond COCO stands in an extra key "llmpose" of each
annotation: the pose in the camera's frame, its shape, clothes and place, which the reader takes over.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from data.record import Record
from data.rejects import Rejects
from data.sources.base import Items, Source, not_the_dataset, number
from data.sources.coco_json import Entry, Layout, coco_records, find_images, read_coco
from llmpose.body.skeleton import Skeleton, load_skeleton
from llmpose.errors import UserError

_SPLITS = ("train", "val", "test")


def _read(
    root: Path,
    split: str | None,
    rejects: Rejects,
    *,
    annotations: str = "",
    images: str = "",
    skeleton: str = "coco17",
    min_keypoints: int | str = 1,
    masks: str = "yes",
    crowds: str = "no",
) -> Items:
    found = load_skeleton(_beside(root, skeleton))
    layout = Layout(
        source="coco",
        skeleton=found.name,
        num_keypoints=found.num_keypoints,
        min_keypoints=int(number(min_keypoints, "min_keypoints", 0, found.num_keypoints)),
        masks=masks != "no",
        crowds=crowds == "yes",
        attributes=lambda annotation, _image, _category: {"crowd": True} if annotation.get("iscrowd") else {},
        amend=amend_from_world,
    )
    for path, name in annotation_files(root, split, annotations, "annotations/person_keypoints_{split}{year}.json"):
        below = images or image_folder(root, path, name)
        yield from coco_records(path, layout, split=name, images_below=below, rejects=rejects)


def annotation_files(root: Path, split: str | None, given: str, pattern: str) -> list[tuple[Path, str]]:
    """The annotation file of each split. `given` names one file, `pattern` says where they lie, {split} and {year}."""
    if given:
        path = root / given
        if not path.is_file():
            raise UserError(f"{path}: no such file (option annotations)")
        return [(path, split or next((name for name in _SPLITS if name in path.stem), "train"))]
    files = []
    for name in _SPLITS if split is None else (split,):
        years = ("", "2017", "2014") if "{year}" in pattern else ("",)
        candidates = [root / pattern.format(split=name, year=year) for year in years]
        files += [(path, name) for path in candidates if path.is_file()][:1]
    if not files:
        usual = pattern.format(split=split or "{train,val}", year="2017")
        raise not_the_dataset(
            root, "a dataset in COCO's layout", f"{usual}, or a file named by --option annotations=FILE.json"
        )
    return files


def image_folder(root: Path, path: Path, split: str) -> str:
    """Where the images of an annotation file lie, by looking for the first few."""
    names = [image["file_name"] for image in read_coco(path)["images"][:20]]
    years = (f"{split}2017", f"{split}2014", split)
    folders = [*years, *(f"images/{name}" for name in years), "images", ".", "data"]
    return find_images(root, folders, names)


def amend_from_world(record: Record, annotation: Entry, image: Entry) -> None:
    """Take over what the built-in world knows of a person: pose, shape, clothes, place; and the camera."""
    extra = annotation.get("llmpose")
    if isinstance(extra, dict):
        rest = dict(extra)
        pose = rest.pop("pose", None)
        if pose is not None:
            import torch

            from llmpose.body.pose import Pose

            camera_frame = Pose.from_axis_angle(torch.tensor(pose, dtype=torch.float64))
            record.pose_rotmat = camera_frame.from_frame("camera").rotmat.numpy()
        betas = rest.pop("betas", None)
        if betas is not None:
            record.betas = np.array(betas, dtype=np.float32)
        record.texts = list(rest.pop("texts", []))
        record.attributes.update(rest)
    if isinstance(image.get("camera"), dict):
        record.camera = image["camera"]


def _beside(root: Path, skeleton: str) -> str:
    """A skeleton file may be given relative to the dataset's folder."""
    return str(root / skeleton) if skeleton.endswith((".yaml", ".yml")) and (root / skeleton).is_file() else skeleton


def _skeletons(root: Path, options: Mapping[str, Any]) -> dict[str, Skeleton]:
    name = options.get("skeleton", "")
    if not name.endswith((".yaml", ".yml")):
        return {}
    found = load_skeleton(_beside(root, name))
    return {found.name: found}


COCO = Source(
    name="coco",
    title="COCO keypoints, or your own annotations in COCO's layout",
    gives="images, boxes, masks, keypoints (the built-in world: poses too)",
    layout=(
        "annotations/person_keypoints_{train,val}2017.json",
        "{train,val}2017/*.jpg (or images/{train,val,test}/)",
    ),
    where="https://cocodataset.org",
    licence="annotations CC BY 4.0; images under Flickr's terms",
    reader=_read,
    skeletons=_skeletons,
    options={
        "annotations": "one json file below --root instead of those above",
        "images": "folder of its images below --root (default: found by looking)",
        "skeleton": "name, or a .yaml file of your own (default coco17)",
        "min_keypoints": "leave out instances with fewer labelled points (default 1; 0 keeps all)",
        "masks": "yes or no (default yes)",
        "crowds": "yes keeps regions marked as crowds, which AP with found boxes ignores; with min_keypoints=0",
    },
)
