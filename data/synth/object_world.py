"""The built-in things on disk, as MP-100 and AP-10K have theirs, so that the readers of those read them.

    OUT/mp100/images/<category>/000000000001.jpg
    OUT/mp100/annotations/mp100_split{1..5}_{train,val,test}.json   categories split into seen and unseen
    OUT/ap10k/data/000000000001.jpg                                 the four-legged animals (the same files, linked)
    OUT/ap10k/annotations/ap10k-{train,val,test}-split1.json        17 common points, pictures split 7:1:2
    OUT/skeletons/synth_<category>.yaml                             names, twins, links, a sentence for each point

MP-100 keeps 0-based skeleton links, AP-10K 1-based ones; both are written as their real files have them.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from data.folder import write_folder
from data.synth.object_points import QUADRUPED
from data.synth.object_scene import picture
from data.synth.objects import CATEGORIES, TEST_CATEGORIES, split_categories
from llmpose.body.rle import encode_rle

PRESETS: dict[str, int] = {"micro": 16, "tiny": 112, "small": 400, "large": 2000}
"""Pictures per category; an episode of MP-100 with one support takes sixteen."""
AP10K_ORDER = (
    "left eye",
    "right eye",
    "nose",
    "neck",
    "root of tail",
    "left shoulder",
    "left elbow",
    "left front paw",
    "right shoulder",
    "right elbow",
    "right front paw",
    "left hip",
    "left knee",
    "left back paw",
    "right hip",
    "right knee",
    "right back paw",
)
QUALITY = 92


def write_objects(
    out: str | Path,
    *,
    preset: str = "tiny",
    seed: int = 0,
    size_px: int = 160,
    processes: int | None = None,
    progress: Callable[[Iterable[Any], int], Iterable[Any]] = lambda items, total: items,
) -> Path:
    """Render every category and write the folder; it appears when whole. Same seed, same bytes."""
    per_category = PRESETS[preset]
    jobs = [(name, number) for name in CATEGORIES for number in range(per_category)]

    def fill(folder: Path) -> dict[str, Any]:
        pictures, annotations = folder / "mp100" / "images", folder / "mp100" / "annotations"
        for name in CATEGORIES:
            (pictures / name).mkdir(parents=True)
        annotations.mkdir()
        make = partial(_one, folder=str(pictures), per_category=per_category, seed=seed, size_px=size_px)
        instances = list(progress(_spread(make, jobs, processes), len(jobs)))
        for split in range(1, len(TEST_CATEGORIES) + 1):
            for part, names in split_categories(split).items():
                _dump(annotations / f"mp100_split{split}_{part}.json", _mp100(instances, set(names)))
        _write_ap10k(folder / "ap10k", pictures, instances, per_category)
        _write_skeletons(folder / "skeletons")
        return {"preset": preset, "seed": seed, "size_px": size_px, "count": len(jobs)}

    write_folder(Path(out), "llmpose.objects", fill)
    return Path(out)


def _spread(
    make: Callable[[tuple[str, int]], dict[str, Any]], jobs: list[tuple[str, int]], processes: int | None
) -> Iterator[dict[str, Any]]:
    count = processes if processes is not None else os.cpu_count() or 1
    if count <= 1:
        yield from map(make, jobs)
        return
    with ProcessPoolExecutor(count) as pool:
        yield from pool.map(make, jobs, chunksize=8)


def _one(job: tuple[str, int], folder: str, per_category: int, seed: int, size_px: int) -> dict[str, Any]:
    """Render one instance, write its picture, return its annotation; its id is its place among the jobs."""
    name, number = job
    place = list(CATEGORIES).index(name)
    taken = picture(CATEGORIES[name], np.random.default_rng([seed, place, number]), size_px)
    file_name = f"{name}/{number:012d}.jpg"
    taken.image.save(Path(folder) / file_name, quality=QUALITY)
    x0, y0, x1, y1 = (float(value) for value in taken.box_xyxy_px)
    return {
        "id": place * per_category + number + 1,
        "category": name,
        "number": number,
        "file_name": file_name,
        "size": size_px,
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "keypoints": [round(float(value), 2) for value in taken.keypoints.reshape(-1)],
        "segmentation": encode_rle(taken.mask),
    }


def _image(instance: dict[str, Any], file_name: str | None = None) -> dict[str, Any]:
    return {
        "id": instance["id"],
        "file_name": file_name or instance["file_name"],
        "width": instance["size"],
        "height": instance["size"],
    }


def _annotation(instance: dict[str, Any], category_id: int, keypoints: list[float]) -> dict[str, Any]:
    return {
        "id": instance["id"],
        "image_id": instance["id"],
        "category_id": category_id,
        "bbox": instance["bbox"],
        "area": instance["bbox"][2] * instance["bbox"][3],  # as MP-100 and AP-10K have it: the box's
        "keypoints": keypoints,
        "num_keypoints": sum(value > 0 for value in keypoints[2::3]),
        "segmentation": instance["segmentation"],
        "iscrowd": 0,
    }


def _mp100(instances: list[dict[str, Any]], names: set[str]) -> dict[str, Any]:
    ids = {name: place + 1 for place, name in enumerate(CATEGORIES)}
    chosen = [instance for instance in instances if instance["category"] in names]
    return {
        "images": [_image(instance) for instance in chosen],
        "annotations": [_annotation(instance, ids[instance["category"]], instance["keypoints"]) for instance in chosen],
        "categories": [
            {
                "id": ids[name],
                "name": name,
                "supercategory": CATEGORIES[name].super_category,
                "keypoints": list(CATEGORIES[name].keypoints),
                "skeleton": [list(link) for link in CATEGORIES[name].skeleton().links],
            }
            for name in CATEGORIES
            if name in names
        ],
    }


def _write_ap10k(folder: Path, pictures: Path, instances: list[dict[str, Any]], per_category: int) -> None:
    (folder / "annotations").mkdir(parents=True)
    (folder / "data").mkdir()
    for part in ("train", "val", "test"):
        content = _ap10k(instances, part, per_category)
        _dump(folder / "annotations" / f"ap10k-{part}-split1.json", content)
        shown = {image["id"] for image in content["images"]}
        for instance in instances:
            if instance["id"] in shown:
                os.link(pictures / instance["file_name"], folder / "data" / _ap10k_name(instance))


def _ap10k_name(instance: dict[str, Any]) -> str:
    return f"{instance['id']:012d}.jpg"


def _ap10k(instances: list[dict[str, Any]], part: str, per_category: int) -> dict[str, Any]:
    """The four-legged animals on AP-10K's seventeen points; pictures are dealt 7:1:2 within each species."""
    species = [name for name, category in CATEGORIES.items() if set(QUADRUPED) <= set(category.keypoints)]
    ids = {name: place + 1 for place, name in enumerate(species)}
    last = {"train": 0.7, "val": 0.8, "test": 1.0}
    first = {"train": 0.0, "val": 0.7, "test": 0.8}
    chosen = [
        instance
        for instance in instances
        if instance["category"] in ids and first[part] <= (instance["number"] + 0.5) / per_category < last[part]
    ]

    def seventeen(instance: dict[str, Any]) -> list[float]:
        place = {name: k for k, name in enumerate(CATEGORIES[instance["category"]].keypoints)}
        triples = np.asarray(instance["keypoints"]).reshape(-1, 3)
        return [float(value) for name in AP10K_ORDER for value in triples[place[name]]]

    links = [(a, b) for a, b in CATEGORIES[species[0]].links if a in AP10K_ORDER and b in AP10K_ORDER]
    return {
        "images": [{**_image(instance, _ap10k_name(instance)), "background": 1} for instance in chosen],
        "annotations": [_annotation(instance, ids[instance["category"]], seventeen(instance)) for instance in chosen],
        "categories": [
            {
                "id": ids[name],
                "name": name,
                "supercategory": CATEGORIES[name].super_category,
                "keypoints": [word.replace(" ", "_") for word in AP10K_ORDER],
                "skeleton": [[AP10K_ORDER.index(a) + 1, AP10K_ORDER.index(b) + 1] for a, b in links],
            }
            for name in species
        ],
    }


def _write_skeletons(folder: Path) -> None:
    folder.mkdir()
    for category in CATEGORIES.values():
        skeleton = category.skeleton()
        text = yaml.safe_dump(skeleton.to_dict(), sort_keys=False, width=110)
        (folder / f"{skeleton.name}.yaml").write_text(text, encoding="utf-8")


def _dump(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")
