"""AnimalWeb: animal faces on 9 points, one small text file (.pts) beside every image.

version: 1
n_points: 9
{
642.11 869.16
...
}
"""

import hashlib
from pathlib import Path

import numpy as np

from data.record import Record
from data.rejects import Rejects
from data.sources.base import Items, Source, not_the_dataset
from llmpose.errors import UserError

_GROW = 0.125
"""MP-100 puts its boxes around these faces this share of their size outside the points; so do we."""

_SUFFIXES = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG")
_TEST_SHARE = 20
"""Per cent. No split is published with the images; a face's side is decided by its name, the same on every machine."""


def _read(root: Path, split: str | None, rejects: Rejects) -> Items:
    paths = sorted(root.rglob("*.pts"))
    if not paths:
        raise not_the_dataset(root, "AnimalWeb", "<name>.pts beside <name>.jpg")
    for path in paths:
        name = path.relative_to(root).with_suffix("").as_posix()
        found = split_of(name)
        if split not in (None, found):
            continue
        try:
            points = read_pts(path)
        except UserError as error:
            rejects.add("points not readable", str(error))
            continue
        image = next((path.with_suffix(suffix) for suffix in _SUFFIXES if path.with_suffix(suffix).is_file()), None)
        if image is None:
            rejects.add("image missing", name)
            continue
        species = path.stem.rpartition("_")[0] or path.stem
        low, high = points[:, :2].min(0), points[:, :2].max(0)
        margin = _GROW * (high - low)
        box = np.concatenate([low - margin, high + margin]).astype(np.float32)
        yield Record(
            id=f"animalweb/{name}",
            source="animalweb",
            split=found,
            image=image.relative_to(root).as_posix(),
            box_xyxy_px=box,
            keypoints=points,
            skeleton="animalweb",
            attributes={
                "category": species,
                "num_keypoints": 9,
                "area": float((box[2] - box[0]) * (box[3] - box[1])),
            },
        )


def read_pts(path: Path) -> np.ndarray:
    """(9, 3) float32, all visible; AnimalWeb labels every point of a face it takes."""
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        inside = text[text.index("{") + 1 : text.index("}")].split()
        points = np.array(inside, dtype=np.float32).reshape(-1, 2)
    except ValueError:
        raise UserError(f"{path}: not a .pts file of points between braces") from None
    if len(points) != 9:
        raise UserError(f"{path}: has {len(points)} points, expected 9")
    return np.concatenate([points, np.full((9, 1), 2, dtype=np.float32)], axis=1)


def split_of(name: str) -> str:
    """train or test, from the hash of the name."""
    return "test" if int(hashlib.sha256(name.encode()).hexdigest(), 16) % 100 < _TEST_SHARE else "train"


ANIMALWEB = Source(
    name="animalweb",
    title="AnimalWeb, animal faces",
    gives="images, boxes, keypoints, species",
    layout=("<anything>/<species>_<number>.pts beside .jpg",),
    where="https://fdmaproject.wordpress.com/author/fdmaproject (authors' page)",
    licence="research; images from the web; treat as research only",
    reader=_read,
    splits=("train", "test"),
)
