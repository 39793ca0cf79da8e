"""3DPW: people filmed in the wild with SMPL poses from worn sensors; raw sequence files, SPIN's npz, or HMR 2.0's npz.

Raw files are pickles of Python 2; they are read as data by the restricted unpickler. Poses stand in the recording's own
world, so every frame's camera turns the root: R_camera = R_ext R_root, and from there it goes into our viewer's frame.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from data.record import Record
from data.rejects import Rejects
from data.sources.base import Items, Source, as_text, not_the_dataset, number
from data.sources.people import box_around, camera_to_world, confident_points, full_gender, people_records
from llmpose.body.unpickle import load_arrays
from llmpose.errors import UserError

_FOLDERS = {"train": "train", "val": "validation", "test": "test"}

OPENPOSE18_OF_COCO = (0, 15, 14, 17, 16, 5, 2, 6, 3, 7, 4, 11, 8, 12, 9, 13, 10)
"""For each of COCO's 17 points its place among the 18 of `poses2d`."""


def _read(
    root: Path, split: str | None, rejects: Rejects, *, file: str = "", images: str = "", step: int | str = 1
) -> Items:
    paths = [root / file] if file else sorted(root.glob("*.npz"))
    for path in paths:
        name = next((name for name in ("train", "val", "test") if name in path.stem), "test")
        if split is None or name == split:
            yield from people_records(path, root, source="3dpw", split=name, images=images)
    if paths:
        return
    if not (root / "sequenceFiles").is_dir():
        raise not_the_dataset(root, "3DPW", "sequenceFiles/{train,validation,test}/*.pkl, or *.npz of SPIN or HMR 2.0")
    for name, folder in _FOLDERS.items():
        if split is None or name == split:
            for path in sorted((root / "sequenceFiles" / folder).glob("*.pkl")):
                yield from _sequence(path, name, int(number(step, "step", 1, 1e6)), rejects)


def _sequence(path: Path, split: str, step: int, rejects: Rejects) -> Iterator[Record]:
    try:
        content = load_arrays(path)
        missing = [key for key in ("poses", "betas", "cam_poses", "campose_valid") if key not in content]
        if missing:
            raise UserError(f"{path}: lacks {', '.join(missing)}; it holds {', '.join(sorted(content))}")
        people = range(len(content["poses"]))
        motions = [_camera_poses(content, person, path) for person in people]
    except UserError as error:
        rejects.add("sequence file not readable", str(error))
        return
    name = as_text(content.get("sequence", path.stem))
    for person in people:
        yield from _person(content, person, motions[person], name, split, step, rejects)


def _person(
    content: dict[str, Any], person: int, rotmat: np.ndarray, name: str, split: str, step: int, rejects: Rejects
) -> Iterator[Record]:
    valid = np.asarray(content["campose_valid"][person]).astype(bool)
    rejects.leave_out("with a camera marked invalid by the authors", int((~valid[: len(rotmat)][::step]).sum()))
    betas = np.asarray(content["betas"][person], dtype=np.float32).ravel()[:10]
    genders = content.get("genders")
    gender = full_gender(as_text(genders[person])) if genders is not None else "neutral"
    camera = _intrinsics(content.get("cam_intrinsics"))
    for frame in range(0, len(rotmat), step):
        if not valid[frame]:
            continue
        points = _points(content, person, frame)
        joints_m = _joints(content, person, frame)
        attributes: dict[str, Any] = {"person": person, "gender": gender}
        if joints_m is not None:
            attributes["joints"] = "smpl24"
        yield Record(
            id=f"3dpw/{name}/{person}/{frame}",
            source="3dpw",
            split=split,
            image=f"imageFiles/{name}/image_{frame:05d}.jpg",
            box_xyxy_px=None if points is None else box_around(points),
            pose_rotmat=rotmat[frame],
            betas=betas,
            joints_m=joints_m,
            keypoints=points,
            skeleton=None if points is None else "coco17",
            attributes=attributes,
            sequence=name,
            frame=frame,
            camera=camera,
        )


def _camera_poses(content: dict[str, Any], person: int, path: Path) -> np.ndarray:
    """(F, 22, 3, 3) in the viewer's frame."""
    poses = np.asarray(content["poses"][person], dtype=np.float64)
    extrinsic = np.asarray(content["cam_poses"], dtype=np.float64)
    if poses.ndim != 2 or poses.shape[1] != 72 or extrinsic.shape != (len(poses), 4, 4):
        raise UserError(f"{path}: poses {poses.shape} and cam_poses {extrinsic.shape}, expected (F, 72) and (F, 4, 4)")
    import roma
    import torch

    from llmpose.body.pose import Pose

    rotmat = roma.rotvec_to_rotmat(torch.from_numpy(poses.reshape(-1, 24, 3)[:, :22]))
    rotmat[:, 0] = torch.from_numpy(extrinsic[:, :3, :3]) @ rotmat[:, 0]
    return Pose.from_camera(rotmat).rotmat.numpy()


def _points(content: dict[str, Any], person: int, frame: int) -> np.ndarray | None:
    """COCO's 17 points; None where the detector saw nobody."""
    if "poses2d" not in content:
        return None
    points = np.asarray(content["poses2d"][person][frame], dtype=np.float32).T[list(OPENPOSE18_OF_COCO)]
    # A box needs two points that differ.
    known = points[points[:, 2] > 0, :2]
    return confident_points(points) if len(known) > 1 and (np.ptp(known, axis=0) > 0).any() else None


def _joints(content: dict[str, Any], person: int, frame: int) -> np.ndarray | None:
    if "jointPositions" not in content:
        return None
    joints = np.asarray(content["jointPositions"][person][frame], dtype=np.float64).reshape(-1, 3)
    extrinsic = np.asarray(content["cam_poses"][frame], dtype=np.float64)
    return camera_to_world(joints @ extrinsic[:3, :3].T + extrinsic[:3, 3]).astype(np.float32)


def _intrinsics(matrix: Any) -> dict[str, Any] | None:
    if matrix is None:
        return None
    matrix = np.asarray(matrix, dtype=np.float64)
    return {
        "focal_px": float((matrix[0, 0] + matrix[1, 1]) / 2),
        "centre_px": [float(matrix[0, 2]), float(matrix[1, 2])],
    }


PW3D = Source(
    name="3dpw",
    title="3DPW",
    gives="images, boxes, poses in the viewer's frame, 3D joints, keypoints",
    layout=(
        "sequenceFiles/{train,validation,test}/*.pkl and imageFiles/<sequence>/image_%05d.jpg",
        "or *.npz of SPIN or HMR 2.0 and imageFiles/",
    ),
    where="https://virtualhumans.mpi-inf.mpg.de/3DPW",
    licence="non-commercial research, no redistribution",
    reader=_read,
    options={
        "file": "one .npz below --root (default: all)",
        "images": "folder below --root that image names start from (default: found by looking)",
        "step": "raw files: every how many frames one is taken (default 1)",
    },
)
