"""People in .npz files, one row each, as HMR 2.0 and SPIN lay them out; what both share, and telling them apart.

    HMR 2.0   scale in pixels; body_pose (N, 72), betas; 25 points of OpenPose ("body") and 19 extra ones
    SPIN      scale / 200;     pose (N, 72), shape;      24 points, `part` in 2D and `S` in 3D, LSP's 14 first;
              other files with the same keys hold the 17 points of Human3.6M or MPI-INF-3DHP instead

SMPL parameters and 3D points stand in the camera's frame there, and are turned into ours on the way in.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data.record import Record
from data.sources.base import as_text
from data.sources.coco_json import find_images
from data.sources.npz import read_npz, same_length
from llmpose.errors import UserError

_NEEDED = ("imgname", "center", "scale")
_OF_HMR = (
    "body_pose",
    "has_body_pose",
    "betas",
    "has_betas",
    "body_keypoints_2d",
    "extra_keypoints_2d",
    "body_keypoints_3d",
    "extra_keypoints_3d",
)
_OF_SPIN = ("pose", "shape", "has_smpl", "part", "S")
_PIXELS_PER_SCALE = 200
"""MPII's unit of scale, which SPIN kept."""

OPENPOSE_OF_COCO = (0, 16, 15, 18, 17, 5, 2, 6, 3, 7, 4, 12, 9, 13, 10, 14, 11)
"""For each of COCO's 17 points its place among OpenPose's 25."""

NUM_OPENPOSE, NUM_EXTRA, NUM_LSP = 25, 19, 14

PointsAt = Callable[[int], tuple[np.ndarray | None, str | None]]
JointsAt = Callable[[int], tuple[np.ndarray | None, list[int]]]


@dataclass
class _People:
    """The columns of one file, in one form."""

    half_px: np.ndarray
    rotmat: np.ndarray | None
    has_pose: np.ndarray
    betas: np.ndarray | None
    has_betas: np.ndarray
    points: PointsAt
    joints: JointsAt
    joints_name: str


def people_records(
    path: Path,
    root: Path,
    *,
    source: str,
    split: str,
    images: str = "",
    skeleton17: str = "h36m17",
    split_of_image: Callable[[str], str] | None = None,
) -> Iterator[Record]:
    """Records of one file. `images`: the folder below root that image names start from, "" looks for it; `skeleton17`:
    whose 17 points a file of 17 holds; `split_of_image`: where the split hangs on the image's name, not the file's."""
    arrays = read_npz(path, _NEEDED, (*_OF_HMR, *_OF_SPIN, "gender"))
    count = same_length(arrays, path)
    names = [as_text(name) for name in arrays["imgname"]]
    folders = [".", "images", path.parent.name, f"{path.parent.name}/images", f"{path.parent.name}/../images"]
    below = images or find_images(root, folders, names[:20])
    is_hmr = any(name in arrays for name in _OF_HMR)
    people = _hmr(arrays, count, path) if is_hmr else _spin(arrays, count, path, skeleton17)
    centre = numbers(arrays, "center", (2,), path)
    boxes = np.concatenate([centre - people.half_px, centre + people.half_px], axis=1).astype(np.float32)
    for row, name in enumerate(names):
        keypoints, skeleton = people.points(row)
        joints_m, known = people.joints(row)
        attributes: dict[str, Any] = {"file": path.name, "row": row}
        if known:
            attributes |= {"joints": people.joints_name, "joints_known": known}
        if "gender" in arrays:
            attributes["gender"] = full_gender(as_text(arrays["gender"][row]))
        rotmat = people.rotmat[row] if people.rotmat is not None and people.has_pose[row] else None
        betas = people.betas[row] if people.betas is not None and people.has_betas[row] else None
        yield Record(
            id=f"{source}/{path.stem}/{row}",
            source=source,
            split=split if split_of_image is None else split_of_image(name),
            image=name if below == "." else f"{below}/{name}",
            box_xyxy_px=boxes[row],
            pose_rotmat=rotmat,
            betas=None if betas is None else betas.astype(np.float32),
            joints_m=joints_m,
            keypoints=keypoints,
            skeleton=skeleton,
            attributes=attributes,
            sequence=str(Path(name).parent),
            frame=trailing_number(name),
        )


def _hmr(arrays: dict[str, np.ndarray], count: int, path: Path) -> _People:
    """4D-Humans' columns. `scale` is the side of the box, or its width and height."""
    body = numbers(arrays, "body_keypoints_2d", (NUM_OPENPOSE, 3), path, count)[:, OPENPOSE_OF_COCO]
    extra = numbers(arrays, "extra_keypoints_2d", (NUM_EXTRA, 3), path, count)[:, :NUM_LSP]
    joints = np.concatenate(
        [
            numbers(arrays, "body_keypoints_3d", (NUM_OPENPOSE, 4), path, count),
            numbers(arrays, "extra_keypoints_3d", (NUM_EXTRA, 4), path, count),
        ],
        axis=1,
    )

    # As 4D-Humans' own loader: OpenPose's limbs in 3D come from another model's fit, the extra points are the measured.
    joints[:, 1:15, 3] = 0

    def points(row: int) -> tuple[np.ndarray | None, str | None]:
        """COCO's 17 where "body" has any, else LSP's 14."""
        for found, skeleton in ((body[row], "coco17"), (extra[row], "lsp14")):
            if (found[:, 2] > 0).any():
                return confident_points(found), skeleton
        return None, None

    has_pose = "body_pose" in arrays
    return _People(
        half_px=np.broadcast_to(arrays["scale"].reshape(count, -1).astype(np.float64), (count, 2)) / 2,
        rotmat=viewer_poses(arrays["body_pose"], path) if has_pose else None,
        has_pose=_flags(arrays, "has_body_pose", count),
        betas=numbers(arrays, "betas", (10,), path) if "betas" in arrays else None,
        has_betas=_flags(arrays, "has_betas", count),
        points=points,
        joints=_joints_at(joints),
        joints_name="hmr44",
    )


def _spin(arrays: dict[str, np.ndarray], count: int, path: Path, skeleton17: str) -> _People:
    """SPIN's columns."""
    num_points = arrays["part"].shape[1] if "part" in arrays else arrays["S"].shape[1] if "S" in arrays else 24
    if num_points not in (17, 24):
        raise UserError(f"{path}: {num_points} points a person, expected SPIN's 24 or the 17 of {skeleton17}")
    skeleton, used = (skeleton17, 17) if num_points == 17 else ("lsp14", NUM_LSP)
    part = numbers(arrays, "part", (num_points, 3), path, count)[:, :used]

    def points(row: int) -> tuple[np.ndarray | None, str | None]:
        return (confident_points(part[row]), skeleton) if (part[row, :, 2] > 0).any() else (None, None)

    return _People(
        half_px=np.broadcast_to(arrays["scale"].reshape(count, -1).astype(np.float64) * _PIXELS_PER_SCALE, (count, 2))
        / 2,
        rotmat=viewer_poses(arrays["pose"], path) if "pose" in arrays else None,
        has_pose=_flags(arrays, "has_smpl", count),
        betas=numbers(arrays, "shape", (10,), path) if "shape" in arrays else None,
        has_betas=_flags(arrays, "has_smpl", count),
        points=points,
        joints=_joints_at(numbers(arrays, "S", (num_points, 4), path, count)),
        joints_name=skeleton17 if num_points == 17 else "spin24",
    )


# ---- frames, points, small checks ------------------------------------------------------------------------------------


def viewer_poses(axis_angle: np.ndarray, path: Path) -> np.ndarray:
    """(N, 22, 3, 3) in the world frame from (N, 72 or 66) axis-angle whose root stands in the camera's frame."""
    if axis_angle.ndim > 2:
        axis_angle = axis_angle.reshape(len(axis_angle), -1)
    if axis_angle.ndim != 2 or axis_angle.shape[1] not in (66, 72) or axis_angle.dtype.kind != "f":
        raise UserError(f"{path}: poses are {axis_angle.shape} of {axis_angle.dtype}, expected (N, 72) radians")
    import torch

    from llmpose.body.pose import Pose

    return Pose.from_axis_angle(torch.from_numpy(axis_angle.astype(np.float64))).from_frame("camera").rotmat.numpy()


def camera_to_world(points_m: np.ndarray) -> np.ndarray:
    """(..., 3) x right, y down, z forward -> x right, y forward, z up."""
    return np.stack([points_m[..., 0], points_m[..., 2], -points_m[..., 1]], axis=-1)


def confident_points(points: np.ndarray) -> np.ndarray:
    """(K, 3) with a confidence -> with COCO's visibility: what has any confidence is visible, the rest 0, 0, 0."""
    known = points[:, 2:] > 0
    seen = np.concatenate([points[:, :2], np.full_like(points[:, 2:], 2)], axis=1)
    return np.where(known, seen, 0).astype(np.float32)


def box_around(points: np.ndarray, grow: float = 1.2) -> np.ndarray:
    """(4,) xyxy: the square around labelled points (K, 3), `grow` times their longer side, as SPIN cuts people out."""
    labelled = points[points[:, 2] > 0, :2]
    low, high = labelled.min(0), labelled.max(0)
    centre, half = (low + high) / 2, grow * (high - low).max() / 2
    return np.concatenate([centre - half, centre + half]).astype(np.float32)


def numbers(
    arrays: dict[str, np.ndarray], name: str, shape: tuple[int, ...], path: Path, count: int | None = None
) -> np.ndarray:
    """One array, its shape checked; zeros where the file has none and `count` is given."""
    if name not in arrays and count is not None:
        return np.zeros((count, *shape), np.float32)
    array = arrays[name]
    if array.shape[1:] != shape or array.dtype.kind not in "fiu":
        wanted = " x ".join(map(str, shape))
        raise UserError(f"{path}: {name} is {array.shape} of {array.dtype}, expected numbers (N x {wanted})")
    return array


def full_gender(text: str) -> str:
    return {"m": "male", "f": "female", "n": "neutral"}.get(text, text)


def trailing_number(name: str) -> int | None:
    """image_00042.jpg -> 42."""
    stem = Path(name).stem
    digits = stem[len(stem.rstrip("0123456789")) :]
    return int(digits) if digits and int(digits) < 2**31 else None


def _joints_at(joints: np.ndarray) -> JointsAt:
    """A function from a row of (N, J, 4) joints with confidence to its joints in the world frame and those known."""

    def at(row: int) -> tuple[np.ndarray | None, list[int]]:
        known = joints[row, :, 3] > 0
        if not known.any():
            return None, []
        world = np.where(known[:, None], camera_to_world(joints[row, :, :3]), 0)
        return world.astype(np.float32), np.flatnonzero(known).tolist()

    return at


def _flags(arrays: dict[str, np.ndarray], name: str, count: int) -> np.ndarray:
    return arrays[name].reshape(count) > 0 if name in arrays else np.ones(count, dtype=bool)
