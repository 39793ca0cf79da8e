"""AP-10K and APT-36K: mammals on the same 17 points. AP-10K's categories are species, their super-categories families.

AP is a mean over species there, so the species stays on every record; cross-family tests choose by the family.
"""

import re
from pathlib import Path

from data.rejects import Rejects
from data.sources.base import Items, Source, choice, not_the_dataset
from data.sources.coco import annotation_files, image_folder
from data.sources.coco_json import Entry, Layout, coco_records, find_images, read_coco

_SPLITS = ("train", "val", "test")


def _species(_annotation: Entry, image: Entry, category: Entry) -> dict[str, object]:
    background = {"background": image["background"]} if "background" in image else {}
    return {"supercategory": category.get("supercategory", ""), **background}


def _read_ap10k(
    root: Path,
    split: str | None,
    rejects: Rejects,
    *,
    number: str = "1",
    annotations: str = "",
    images: str = "",
    families: str = "",
) -> Items:
    choice(number, ("1", "2", "3"), "option number")
    layout = Layout(source="ap10k", skeleton="ap10k", num_keypoints=17, attributes=_species)
    wanted = {name.strip() for name in families.split(",") if name.strip()}
    for path, name in annotation_files(root, split, annotations, f"annotations/ap10k-{{split}}-split{number}.json"):
        below = images or image_folder(root, path, name)
        for record in coco_records(path, layout, split=name, images_below=below, rejects=rejects):
            if not wanted or wanted & {record.attributes["supercategory"], record.attributes["category"]}:
                yield record
            else:
                rejects.leave_out("of another family")


AP10K = Source(
    name="ap10k",
    title="AP-10K, mammals",
    gives="images, boxes, keypoints, species and family",
    layout=("annotations/ap10k-{train,val,test}-split{1,2,3}.json", "data/%012d.jpg"),
    where="https://github.com/AlexTheBad/AP-10K",
    licence="CC BY 4.0 (mmpose's documentation says non-commercial)",
    reader=_read_ap10k,
    options={
        "number": "which of the three random splits: 1, 2 or 3 (default 1)",
        "families": "only these families or species, comma-separated, for tests across them: Bovidae,Canidae",
        "annotations": "one json file below --root instead of those above",
        "images": "folder of its images below --root (default: found by looking)",
    },
)


# ---- APT-36K --------------------------------------------------------------------------------------------------------


def _unix_name(image: Entry) -> str:
    """Its json was written on Windows, with the author's drive in front: D:\\…\\antelope\\clip1\\1.jpg."""
    parts = [part for part in re.split(r"[\\/]+", image["file_name"]) if part]
    clip = next((place for place, part in enumerate(parts) if part.lower().startswith("clip")), None)
    # species/clip/frame is what every copy of the data set has in common.
    kept = parts if clip is None else parts[max(0, clip - 1) :]
    return "/".join("".join(character for character in part if character.isascii()) for part in kept)


def _clip(annotation: Entry, image: Entry, category: Entry) -> dict[str, object]:
    return {
        "supercategory": category.get("supercategory", ""),
        "track_id": annotation.get("track_id"),
        "video_id": image.get("video_id"),
    }


def _read_apt36k(root: Path, split: str | None, rejects: Rejects, *, annotations: str = "", images: str = "") -> Items:
    layout = Layout(
        source="apt36k", skeleton="ap10k", num_keypoints=17, attributes=_clip, image_name=_unix_name, masks=False
    )
    paths = (
        [root / annotations]
        if annotations
        else sorted((*root.glob("*apt*36k*.json"), *root.glob("annotations/*.json")))
    )
    if not paths:
        raise not_the_dataset(
            root, "APT-36K", "apt36k_annotations.json or annotations/*.json, and <species>/clip*/*.jpg"
        )
    for path in paths:
        name = next((name for name in _SPLITS if name in path.stem), "train")
        if split is not None and name != split:
            continue
        content = read_coco(path)
        names = [_unix_name(image) for image in content["images"][:20]]
        folders = [".", "data", "images", *sorted(entry.name for entry in root.glob("*AP-36k*"))]
        below = images or find_images(root, folders, names)
        for record in coco_records(path, layout, split=name, images_below=below, rejects=rejects):
            record.sequence = str(Path(record.image or "").parent)
            yield record


APT36K = Source(
    name="apt36k",
    title="APT-36K, mammals in short videos",
    gives="images, boxes, keypoints, species, tracks",
    layout=(
        "*apt36k*.json or annotations/*{train,val,test}*.json",
        "<species>/<clip>/*.jpg, here, in data/ or AP-36k-patr1/",
    ),
    where="https://github.com/pandorgan/APT-36K",
    licence="README says MIT, data not told apart from code; images from web videos",
    reader=_read_apt36k,
    options={
        "annotations": "one json file below --root instead of those above",
        "images": "folder below --root that holds the species (default: found by looking)",
    },
)
