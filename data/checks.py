"""What a record must satisfy to enter a record set; what does not is set aside with its reason. Then it is trusted."""

import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from PIL import Image

from data.record import PairRecord, Record
from llmpose.body.skeleton import Skeleton
from llmpose.errors import UserError
from llmpose.pictures import DAMAGED

ImageCheck: TypeAlias = Literal["none", "exists", "header", "decode"]
"""How closely images are looked at: not at all; the file is there; its header agrees with the annotation and it is not
cut off; every pixel decodes (some 100 images/s a core)."""

_ROTATION_TOLERANCE = 1e-3
_FARTHEST_M = 100.0
"""A joint farther out than this is in other units: a person in millimetres is 1700 tall."""

_SAME_M = 1e-4
"""Joints that are nearer to each other than this are one point, written many times."""


def check_records(
    records: Sequence[Record],
    find_skeleton: Callable[[str], Skeleton],
    *,
    image_root: Path | None = None,
    images: ImageCheck = "header",
) -> list[str | None]:
    """For each record the reason to set it aside, or None."""
    reasons = _check_poses(records)
    for index, record in enumerate(records):
        if reasons[index] is None:
            reasons[index] = (
                _check_arrays(record, find_skeleton)
                or _check_texts(record.texts)
                or _check_attributes(record.attributes)
                or check_image(record, image_root, images)
                or _check_places(record)
            )
    return reasons


def check_pair(pair: PairRecord, known: Callable[[str], bool]) -> str | None:
    """The reason to set a pair aside, or None. `known` tells whether a record id exists."""
    if not known(pair.a) or not known(pair.b):
        return "pair names a pose that is not there"
    if not pair.texts:
        return "no text"
    return _check_texts(pair.texts)


def check_image(record: Record, image_root: Path | None, images: ImageCheck) -> str | None:
    """Look at a record's image as closely as asked. Fills in its size where the annotation does not say."""
    if images == "none" or record.image is None:
        return None
    path = Path(record.image) if image_root is None else image_root / record.image
    try:
        facts = path.stat()
    except OSError:
        return "image missing"
    if images == "exists":
        return None
    reason, size = _look(path, facts.st_mtime_ns, facts.st_size, images == "decode")
    if reason is not None:
        return reason
    if record.width is None or record.height is None:
        record.width, record.height = size
    wanted = (record.width, record.height)
    if size not in (wanted, wanted[::-1]):
        return "image has another size than its annotation says"
    return None


@lru_cache(maxsize=64)
def _look(path: Path, _changed: int, _bytes: int, decode: bool) -> tuple[str | None, tuple[int, int]]:
    """What is wrong with an image file, or None, and its size. Kept a while: the people of a picture come together."""
    try:
        with Image.open(path) as image:
            if decode:
                image.load()
            elif image.format == "JPEG" and _is_cut_off(path):
                return "image cut off", image.size
            return None, image.size
    except DAMAGED:
        return "image corrupt", (0, 0)


def _is_cut_off(path: Path) -> bool:
    """A whole JPEG ends with the marker FF D9; some cameras add a few bytes after it."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 4096))
        return b"\xff\xd9" not in file.read()


def _check_poses(records: Sequence[Record]) -> list[str | None]:
    """All poses of a batch at once: this is the check that would otherwise cost most."""
    reasons: list[str | None] = [None] * len(records)
    holders = []
    for index, record in enumerate(records):
        if record.pose_rotmat is None:
            continue
        if np.shape(record.pose_rotmat) != (22, 3, 3):
            reasons[index] = "pose is not 22 rotation matrices"
        else:
            holders.append(index)
    if not holders:
        return reasons
    rotmat = np.stack([records[index].pose_rotmat for index in holders]).astype(np.float64)
    finite = np.asarray(np.isfinite(rotmat).all((1, 2, 3)))
    rotmat[~finite] = 0
    gram = np.einsum("njki,njkl->njil", rotmat, rotmat)
    off = np.abs(gram - np.eye(3)).max((1, 2, 3))
    # The determinant tells a mirror image from a rotation: R^T R is the identity for both.
    proper = (np.linalg.det(rotmat) > 0).all(1)
    for place, index in enumerate(holders):
        if not finite[place]:
            reasons[index] = "pose holds NaN or infinite numbers"
        elif off[place] > _ROTATION_TOLERANCE or not proper[place]:
            reasons[index] = "pose holds what is not a rotation"
    return reasons


def _check_arrays(record: Record, find_skeleton: Callable[[str], Skeleton]) -> str | None:
    sides: tuple[Any, ...] = (record.width, record.height)
    if not all(side is None or (isinstance(side, (int, float)) and side > 0) for side in sides):
        return "image size is not two numbers"
    for name, shape in (("betas", (10,)), ("box_xyxy_px", (4,)), ("joints_m", (None, 3)), ("keypoints", (None, 3))):
        value = getattr(record, name)
        if value is None:
            continue
        got = np.shape(value)
        if len(got) != len(shape) or any(want not in (None, have) for want, have in zip(shape, got, strict=True)):
            return f"{name} has the wrong shape"
        if not np.isfinite(value).all():
            return f"{name} holds NaN or infinite numbers"
    if record.joints_m is not None and np.abs(record.joints_m).max(initial=0) > _FARTHEST_M:
        return "joints farther than 100 m (are they in millimetres?)"
    if record.joints_m is not None and len(record.joints_m) > 1 and np.ptp(record.joints_m, axis=0).max() < _SAME_M:
        return "all joints at the same place"
    if record.keypoints is not None:
        if record.skeleton is None:
            return "keypoints without a skeleton"
        try:
            skeleton = find_skeleton(record.skeleton)
        except UserError:
            return f"unknown skeleton {record.skeleton!r}"
        if len(record.keypoints) != skeleton.num_keypoints:
            return f"wrong number of keypoints for skeleton {skeleton.name!r}"
        if not np.isin(record.keypoints[:, 2], (0, 1, 2)).all():
            return "keypoint visibility is not 0, 1 or 2"
    return None


def _check_places(record: Record) -> str | None:
    """Boxes and points may reach over the edge of a picture, as cropped people do; what has no part in it is wrong."""
    size = (record.width, record.height)
    box, points = record.box_xyxy_px, record.keypoints
    if box is not None:
        if box[2] <= box[0] or box[3] <= box[1]:
            return "box of zero area"
        if None not in size and (box[2] <= 0 or box[3] <= 0 or box[0] >= size[0] or box[1] >= size[1]):
            return "box outside its image"
    if points is not None and None not in size:
        labelled = points[points[:, 2] > 0, :2]
        if len(labelled) and not ((labelled >= 0) & (labelled <= size)).all(1).any():
            return "keypoints outside their image"
    return None


def _check_attributes(attributes: Any) -> str | None:
    try:
        json.dumps(attributes, allow_nan=False)
    except (TypeError, ValueError):
        return "attributes that JSON cannot hold, such as NaN"
    return None


def oddity(record: Record) -> str | None:
    """What may be right, but is worth a look: a person at the edge, or a slip of the keyboard."""
    points = record.keypoints
    if points is None or record.width is None or record.height is None:
        return None
    inside = ((points[:, :2] >= 0) & (points[:, :2] <= (record.width, record.height))).all(1)
    return "with a labelled point outside its image" if (~inside & (points[:, 2] > 0)).any() else None


def _check_texts(texts: Sequence[Any]) -> str | None:
    if any(not isinstance(text, str) for text in texts):
        return "text is not a text"
    return "empty text" if any(not text.strip() for text in texts) else None
