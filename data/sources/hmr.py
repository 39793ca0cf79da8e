"""The evaluation files of HMR 2.0 (4D-Humans), which TokenHMR and the built-in world use too: one .npz row per person.

SMPL parameters there stand in the camera's frame and are turned into ours on the way in. Points come twice: 25 in
OpenPose's order ("body") and 19 extra ones, LSP's 14 and five more of MPII and Human3.6M. `scale` is in pixels.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data.record import Record
from data.rejects import Rejects
from data.sources.base import Items, Source, as_text, not_the_dataset
from data.sources.coco_json import find_images
from data.sources.npz import read_npz, same_length
from llmpose.body.pose import Pose
from llmpose.errors import UserError

_SPLITS = ("train", "val", "test")
_NEEDED = ("imgname", "center", "scale")
_WANTED = (
    "body_pose",
    "has_body_pose",
    "betas",
    "has_betas",
    "body_keypoints_2d",
    "extra_keypoints_2d",
    "body_keypoints_3d",
    "extra_keypoints_3d",
    "gender",
    "personid",
)

OPENPOSE_OF_COCO = (0, 16, 15, 18, 17, 5, 2, 6, 3, 7, 4, 12, 9, 13, 10, 14, 11)
"""For each of COCO's 17 points its place among OpenPose's 25."""

NUM_OPENPOSE, NUM_EXTRA = 25, 19


def _read(root: Path, split: str | None, rejects: Rejects, *, file: str = "", images: str = "") -> Items:
    for path in _files(root, file):
        name = split_of(path)
        if split is None or name == split:
            yield from hmr_records(path, root, source="hmr", split=name, images=images, rejects=rejects)


def _files(root: Path, given: str) -> list[Path]:
    if given:
        return [root / given]
    found = sorted(root.glob("*.npz")) or sorted((root / "hmr").glob("*.npz"))
    if not found:
        raise not_the_dataset(root, "a folder of HMR 2.0 evaluation files", "*.npz or hmr/*.npz")
    return found


def split_of(path: Path) -> str:
    """h36m_val_p2.npz -> val, 3dpw_test.npz -> test; what names none is an evaluation file."""
    return next((name for name in _SPLITS if name in path.stem), "test")


def hmr_records(path: Path, root: Path, *, source: str, split: str, images: str, rejects: Rejects) -> Iterator[Record]:
    """Records of one file. `images`: the folder below root that its image names start from; "" looks for it."""
    arrays = read_npz(path, _NEEDED, _WANTED)
    count = same_length(arrays, path)
    names = [as_text(name) for name in arrays["imgname"]]
    below = images or find_images(root, [".", "images", path.parent.name, f"{path.parent.name}/images"], names[:20])
    centre, scale = _numbers(arrays, "center", (2,), path), arrays["scale"].reshape(count, -1).astype(np.float64)
    half = np.broadcast_to(scale, (count, 2)) / 2
    boxes = np.concatenate([centre - half, centre + half], axis=1).astype(np.float32)
    rotmat = viewer_poses(arrays["body_pose"], path) if "body_pose" in arrays else None
    has_pose = _flags(arrays, "has_body_pose", count) & (rotmat is not None)
    betas = _numbers(arrays, "betas", (10,), path) if "betas" in arrays else None
    has_betas = _flags(arrays, "has_betas", count) & (betas is not None)
    points = _points_2d(arrays, count, path)
    joints = _points_3d(arrays, count, path)
    for row, name in enumerate(names):
        keypoints, skeleton = points(row)
        joints_m, known = joints(row)
        attributes: dict[str, Any] = {"file": path.name, "row": row}
        if known:
            attributes |= {"joints": "hmr44", "joints_known": known}
        if "gender" in arrays:
            attributes["gender"] = {"m": "male", "f": "female"}.get(
                as_text(arrays["gender"][row]), as_text(arrays["gender"][row])
            )
        yield Record(
            id=f"{source}/{path.stem}/{row}",
            source=source,
            split=split,
            image=name if below == "." else f"{below}/{name}",
            box_xyxy_px=boxes[row],
            pose_rotmat=rotmat[row] if rotmat is not None and has_pose[row] else None,
            betas=betas[row].astype(np.float32) if betas is not None and has_betas[row] else None,
            joints_m=joints_m,
            keypoints=keypoints,
            skeleton=skeleton,
            attributes=attributes,
            sequence=str(Path(name).parent),
            frame=_trailing_number(name),
        )


def viewer_poses(axis_angle: np.ndarray, path: Path) -> np.ndarray:
    """(N, 22, 3, 3) in the world frame from (N, 72 or 66) axis-angle whose root stands in the camera's frame."""
    if axis_angle.ndim > 2:
        axis_angle = axis_angle.reshape(len(axis_angle), -1)
    if axis_angle.ndim != 2 or axis_angle.shape[1] not in (66, 72) or axis_angle.dtype.kind != "f":
        raise UserError(f"{path}: poses are {axis_angle.shape} of {axis_angle.dtype}, expected (N, 72) radians")
    return Pose.from_axis_angle(torch.from_numpy(axis_angle.astype(np.float64))).from_frame("camera").rotmat.numpy()


def camera_to_world(points_m: np.ndarray) -> np.ndarray:
    """(..., 3) x right, y down, z forward -> x right, y forward, z up."""
    return np.stack([points_m[..., 0], points_m[..., 2], -points_m[..., 1]], axis=-1)


def _points_2d(arrays: dict[str, np.ndarray], count: int, path: Path) -> Any:
    """A function from a row to its keypoints and their skeleton: COCO's 17 where "body" has any, else LSP's 14."""
    body = _numbers(arrays, "body_keypoints_2d", (NUM_OPENPOSE, 3), path, count)[:, OPENPOSE_OF_COCO]
    extra = _numbers(arrays, "extra_keypoints_2d", (NUM_EXTRA, 3), path, count)[:, :14]

    def at(row: int) -> tuple[np.ndarray | None, str | None]:
        for points, skeleton in ((body[row], "coco17"), (extra[row], "lsp14")):
            if (points[:, 2] > 0).any():
                return confident_points(points), skeleton
        return None, None

    return at


def confident_points(points: np.ndarray) -> np.ndarray:
    """(K, 3) with a confidence -> with COCO's visibility: what has any confidence is visible, the rest 0, 0, 0."""
    known = points[:, 2:] > 0
    return np.where(known, np.concatenate([points[:, :2], np.full_like(points[:, 2:], 2)], axis=1), 0).astype(
        np.float32
    )


def _points_3d(arrays: dict[str, np.ndarray], count: int, path: Path) -> Any:
    """A function from a row to its 25 + 19 joints in the world frame and which of them are known."""
    body = _numbers(arrays, "body_keypoints_3d", (NUM_OPENPOSE, 4), path, count)
    extra = _numbers(arrays, "extra_keypoints_3d", (NUM_EXTRA, 4), path, count)
    joints = np.concatenate([body, extra], axis=1)

    def at(row: int) -> tuple[np.ndarray | None, list[int]]:
        known = joints[row, :, 3] > 0
        if not known.any():
            return None, []
        world = np.where(known[:, None], camera_to_world(joints[row, :, :3]), 0)
        return world.astype(np.float32), np.flatnonzero(known).tolist()

    return at


def _numbers(
    arrays: dict[str, np.ndarray], name: str, shape: tuple[int, ...], path: Path, count: int | None = None
) -> np.ndarray:
    """One array, its shape checked; zeros where the file has none and `count` is given."""
    if name not in arrays and count is not None:
        return np.zeros((count, *shape), np.float32)
    array = arrays[name]
    if array.shape[1:] != shape or array.dtype.kind not in "fiu":
        wanted = " x ".join(map(str, shape))
        raise UserError(f"{path}: {name} is {array.shape} of {array.dtype}, expected numbers (N, {wanted})")
    return array


def _flags(arrays: dict[str, np.ndarray], name: str, count: int) -> np.ndarray:
    return arrays[name].reshape(count) > 0 if name in arrays else np.ones(count, dtype=bool)


def _trailing_number(name: str) -> int | None:
    """image_00042.jpg -> 42."""
    digits = Path(name).stem
    digits = digits[len(digits.rstrip("0123456789")) :]
    return int(digits) if digits and int(digits) < 2**31 else None


HMR = Source(
    name="hmr",
    title="HMR 2.0 evaluation files (3DPW, Human3.6M, LSPET, the built-in world)",
    gives="images, boxes, poses in the viewer's frame, keypoints, 3D joints",
    layout=("*.npz or hmr/*.npz (imgname, center, scale in pixels, body_pose, betas, …)", "the images that they name"),
    where="https://github.com/shubham-goel/4D-Humans (files), images from each dataset",
    licence="that of each dataset: research only, no redistribution",
    reader=_read,
    options={
        "file": "one .npz below --root (default: all)",
        "images": "folder below --root that image names start from (default: found by looking)",
    },
)
