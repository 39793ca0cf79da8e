"""Human-Art: people in photographs, paintings, cartoons and sculptures, on COCO's 17 points or on 21.

File names begin with "HumanArt/images/…", whatever the folder is called on disk. The annotations' own skeleton is that
of 21 points although `keypoints` holds 17.
"""

from pathlib import Path

from data.rejects import Rejects
from data.sources.base import Items, Source, choice, not_the_dataset
from data.sources.coco_json import Entry, Layout, coco_records, find_images, read_coco
from llmpose.errors import UserError

_NAMES = {"train": "training", "val": "validation", "test": "testing"}


def _picture(annotation: Entry, image: Entry, _category: Entry) -> dict[str, object]:
    # The json calls the scene "category"; here a category is what the box holds, so it goes under another name.
    facts = {
        "scene": image.get("category"),
        "description": image.get("description"),
        "title": image.get("picture_name"),
    }
    return {**facts, "self_contact": annotation.get("self_contact", [])}


def _read(
    root: Path,
    split: str | None,
    rejects: Rejects,
    *,
    points: str = "17",
    scene: str = "",
    annotations: str = "",
    images: str = "",
) -> Items:
    choice(points, ("17", "21"), "option points")
    for path, name in _files(root, split, scene, annotations):
        below, strip = (images, True) if images else _find(root, path)
        layout = Layout(
            source="humanart",
            skeleton="coco17" if points == "17" else "humanart21",
            num_keypoints=int(points),
            keypoint_key="keypoints" if points == "17" else "keypoints_21",
            attributes=_picture,
            image_name=_without_root if strip else lambda image: image["file_name"],
        )
        yield from coco_records(path, layout, split=name, images_below=below, rejects=rejects)


def _without_root(image: Entry) -> str:
    """HumanArt/images/real_human/… -> real_human/…"""
    return image["file_name"].removeprefix("HumanArt/").removeprefix("images/")


def _find(root: Path, path: Path) -> tuple[str, bool]:
    """The folder the names start from, and whether they do so without their first folders."""
    entries = read_coco(path)["images"][:20]
    if any((root / entry["file_name"]).is_file() for entry in entries):
        return ".", False
    return find_images(root, ["images", ".", "HumanArt/images"], [_without_root(entry) for entry in entries]), True


def _files(root: Path, split: str | None, scene: str, given: str) -> list[tuple[Path, str]]:
    if given:
        path = root / given
        if not path.is_file():
            raise UserError(f"{path}: no such file (option annotations)")
        return [(path, split or next((name for name, word in _NAMES.items() if word in path.stem), "val"))]
    found = []
    for name, word in _NAMES.items():
        path = root / "annotations" / f"{word}_humanart{'_' + scene if scene else ''}.json"
        if split in (None, name) and path.is_file():
            found.append((path, name))
    if not found:
        raise not_the_dataset(root, "Human-Art", "annotations/{training,validation}_humanart.json and images/")
    return found


HUMANART = Source(
    name="humanart",
    title="Human-Art, people in photographs and works of art",
    gives="images, boxes, keypoints, scene, description",
    layout=("annotations/{training,validation,testing}_humanart[_<scene>].json", "images/<kind>/<scene>/%012d.jpg"),
    where="https://github.com/IDEA-Research/HumanArt (form)",
    licence="non-commercial after a form; asks not to share privately",
    reader=_read,
    options={
        "points": "17 (COCO's) or 21 (default 17)",
        "scene": "only the annotation files of this scene",
        "annotations": "one json file below --root instead of those above",
        "images": "folder of the images below --root (default: found by looking)",
    },
)
