"""MPII Human Pose: the json files that 2D work shares (HRNet's), or the authors' own release file (.mat).

Both count pixels from 1, as MATLAB does, and both are moved to 0. A person's box hangs on `center` and `scale`
(height / 200): HRNet moves it down a little and widens it, everybody's numbers depend on that, so it is done here too.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from data.record import Record
from data.rejects import Rejects
from data.sources.base import Items, Source, not_the_dataset, read_json
from llmpose.errors import UserError

_FILES = {"train": "train.json", "val": "valid.json", "test": "test.json"}
_PIXELS_PER_SCALE = 200
_HEAD_SHARE = 0.6
"""PCKh's head size is this share of the head box's diagonal."""


def _read(root: Path, split: str | None, rejects: Rejects, *, annotations: str = "", images: str = "images") -> Items:
    if annotations:
        path = root / annotations
        name = split or next((name for name, file in _FILES.items() if Path(file).stem in path.stem), "train")
        yield from _from_mat(path, images) if path.suffix == ".mat" else _from_json(path, name, images, rejects)
        return
    files = [(root / folder / file, name) for name, file in _FILES.items() for folder in ("annot", "annotations")]
    found = [(path, name) for path, name in files if path.is_file() and split in (None, name)]
    for path, name in found:
        yield from _from_json(path, name, images, rejects)
    if found:
        return
    release = sorted(root.glob("mpii_human_pose*.mat"))
    if not release or split not in (None, "train"):
        raise not_the_dataset(
            root, "MPII Human Pose", "annot/{train,valid}.json, or mpii_human_pose_v1_u12_1.mat (train)"
        )
    yield from _from_mat(release[0], images)


def _from_json(path: Path, split: str, images: str, rejects: Rejects) -> Iterator[Record]:
    content = read_json(path)
    if not isinstance(content, list) or not content or not {"image", "center", "scale"} <= set(content[0]):
        raise UserError(f"{path}: not MPII's json: expected a list of image, center, scale, joints, joints_vis")
    heads = _head_sizes(path.parent / "gt_valid.mat", len(content)) if split == "val" else None
    for row, entry in enumerate(content):
        name = f"mpii/{split}/{row}"
        joints, seen = entry.get("joints"), entry.get("joints_vis")
        points = None
        if joints is not None:
            if np.shape(joints) != (16, 2) or np.shape(seen) != (16,):
                rejects.add("keypoint list has the wrong length", name)
                continue
            known = np.array(seen, dtype=np.float32)[:, None] > 0
            points = np.where(known, np.concatenate([np.array(joints) - 1, np.full((16, 1), 2)], axis=1), 0)
        attributes: dict[str, Any] = {"row": row, "scale": float(entry["scale"])}
        if heads is not None:
            attributes["head_size_px"] = float(heads[row])
        yield Record(
            id=name,
            source="mpii",
            split=split,
            image=_image(images, entry["image"]),
            box_xyxy_px=person_box(entry["center"], entry["scale"]),
            keypoints=None if points is None else points.astype(np.float32),
            skeleton=None if points is None else "mpii16",
            attributes=attributes,
        )


def person_box(centre: Any, scale: float) -> np.ndarray:
    """(4,) xyxy from MPII's centre and scale, with HRNet's 15 pixels per scale down and 1.25 times the size."""
    x, y = float(centre[0]) - 1, float(centre[1]) - 1 + 15 * scale
    half = 1.25 * scale * _PIXELS_PER_SCALE / 2
    return np.array([x - half, y - half, x + half, y + half], dtype=np.float32)


def _head_sizes(path: Path, count: int) -> np.ndarray | None:
    """(N,) from gt_valid.mat, whose head boxes (2, 2, N) stand in the order of valid.json."""
    if not path.is_file():
        return None
    from scipy.io import loadmat

    try:
        boxes = np.asarray(loadmat(path)["headboxes_src"], dtype=np.float64)
    except (OSError, ValueError, KeyError, NotImplementedError) as error:
        raise UserError(f"{path}: not MPII's gt_valid.mat ({error})") from None
    if boxes.shape != (2, 2, count):
        raise UserError(f"{path}: head boxes are {boxes.shape}, expected (2, 2, {count}) as valid.json has people")
    return _HEAD_SHARE * np.linalg.norm(boxes[1] - boxes[0], axis=0)


def _from_mat(path: Path, images: str) -> Iterator[Record]:
    """The annotated people of the release file: all of them belong to the official training set."""
    from scipy.io import loadmat

    try:
        release = loadmat(path, squeeze_me=True, struct_as_record=False)["RELEASE"]
        entries = np.atleast_1d(release.annolist)
    except (OSError, ValueError, KeyError, AttributeError, NotImplementedError) as error:
        raise UserError(f"{path}: not MPII's release file ({error}); expected RELEASE.annolist") from None
    for entry, place in zip(entries, range(len(entries)), strict=True):
        for person, rect in enumerate(np.atleast_1d(getattr(entry, "annorect", np.array([])))):
            record = _from_rect(rect, f"mpii/release/{place}/{person}", _image(images, str(entry.image.name)))
            if record is not None:
                yield record


def _from_rect(rect: Any, name: str, image: str) -> Record | None:
    """A person of the release file; None for those of test images, who have no points."""
    fields: Mapping[str, Any] = getattr(rect, "__dict__", {})
    points_struct: Any = fields.get("annopoints")
    place: Any = fields.get("objpos")
    if not hasattr(points_struct, "point") or not hasattr(place, "x"):
        return None
    points = np.zeros((16, 3), dtype=np.float32)
    for point in np.atleast_1d(points_struct.point):
        # is_visible is text or a number, and is missing for the points of the head.
        seen = str(getattr(point, "is_visible", "1")).strip() not in ("0", "0.0")
        points[int(point.id)] = (float(point.x) - 1, float(point.y) - 1, 2 if seen else 1)
    scale = float(fields["scale"])
    attributes: dict[str, Any] = {"scale": scale}
    if all(key in fields for key in ("x1", "y1", "x2", "y2")):
        diagonal = np.hypot(float(fields["x2"]) - float(fields["x1"]), float(fields["y2"]) - float(fields["y1"]))
        attributes["head_size_px"] = _HEAD_SHARE * float(diagonal)
    return Record(
        id=name,
        source="mpii",
        split="train",
        image=image,
        box_xyxy_px=person_box((float(place.x), float(place.y)), scale),
        keypoints=points,
        skeleton="mpii16",
        attributes=attributes,
    )


def _image(folder: str, name: str) -> str:
    return name if folder in ("", ".") else f"{folder}/{name}"


MPII = Source(
    name="mpii",
    title="MPII Human Pose",
    gives="images, boxes, keypoints, head sizes (valid)",
    layout=(
        "annot/{train,valid}.json, annot/gt_valid.mat (head boxes, for PCKh), images/",
        "or the authors' mpii_human_pose_v1_u12_1.mat and images/",
    ),
    where="http://human-pose.mpi-inf.mpg.de (json: with HRNet or mmpose)",
    licence="non-commercial research; images not to be redistributed",
    reader=_read,
    options={
        "annotations": "one json or mat file below --root instead of those above",
        "images": "folder of the images below --root (default images)",
    },
)
