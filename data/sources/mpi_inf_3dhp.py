"""MPI-INF-3DHP: files of 17 joints or SPIN's npz, or the raw annotations beside extracted frames.

Raw training files hold 28 joints in millimetres per camera, test files the 17 that the field uses, in its order.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from data.record import Record
from data.rejects import Rejects
from data.sources.base import Items, Source, not_the_dataset, number
from data.sources.people import box_around, camera_to_world, people_records
from llmpose.errors import MissingExtra, UserError

JOINTS_OF_28 = (7, 5, 14, 15, 16, 9, 10, 11, 23, 24, 25, 18, 19, 20, 4, 3, 6)
"""Where mpi_inf_3dhp17's joints stand among the raw 28."""

_CAMERAS = (0, 1, 2, 4, 5, 6, 7, 8)
"""The chest-high ones that everybody uses; the others look from above or below."""


def _read(
    root: Path, split: str | None, rejects: Rejects, *, file: str = "", images: str = "", step: int | str = 10
) -> Items:
    paths = [root / file] if file else sorted(root.glob("*.npz")) or sorted(root.glob("annotations/*.npz"))
    for path in paths:
        name = "test" if "test" in path.stem else "train"
        if split is None or name == split:
            yield from people_records(
                path, root, source="mpi_inf_3dhp", split=name, images=images, skeleton17="mpi_inf_3dhp17"
            )
    if paths:
        return
    train = sorted(root.glob("S*/Seq*/annot.mat")) + sorted(root.glob("train/S*/Seq*/annot.mat"))
    test = sorted(root.glob("TS*/annot_data.mat")) + sorted(root.glob("*/TS*/annot_data.mat"))
    if not train and not test:
        raise not_the_dataset(root, "MPI-INF-3DHP", "*.npz, S*/Seq*/annot.mat or TS*/annot_data.mat")
    if split in (None, "train"):
        for path in train:
            yield from _train_sequence(path, root, int(number(step, "step", 1, 1e6)), rejects)
    if split in (None, "test"):
        for path in test:
            yield from _test_sequence(path, root, rejects)


def _train_sequence(path: Path, root: Path, step: int, rejects: Rejects) -> Iterator[Record]:
    """One recording as eight cameras saw it; `annot2` and `annot3` hold an array (F, 28 x 2 or 3) per camera."""
    from scipy.io import loadmat

    folder = path.parent
    name = f"{folder.parent.name}_{folder.name}"
    try:
        content = loadmat(path)
        flat = {camera: np.reshape(content["annot2"][camera][0], (-1, 28, 2)) for camera in _CAMERAS}
        deep = {camera: np.reshape(content["annot3"][camera][0], (-1, 28, 3)) for camera in _CAMERAS}
    except (OSError, ValueError, KeyError, IndexError, TypeError, NotImplementedError) as error:
        rejects.add("annotation file not readable", f"{name}: {error}")
        return
    cameras = _calibration(folder / "camera.calibration")
    for camera in _CAMERAS:
        frames = _frame_folder(folder, camera)
        below = frames.relative_to(root).as_posix()
        for frame in range(0, len(flat[camera]), step):
            record = _record(
                f"mpi_inf_3dhp/{name}_{camera}/{frame + 1}",
                "train",
                f"{below}/frame_{frame + 1:06d}.jpg",
                flat[camera][frame, JOINTS_OF_28],
                deep[camera][frame, JOINTS_OF_28],
                sequence=f"{name}/video_{camera}",
                frame=frame + 1,
            )
            record.camera = cameras.get(camera)
            yield record


def _frame_folder(folder: Path, camera: int) -> Path:
    for name in (f"imageFrames/video_{camera}", f"imageSequence/video_{camera}"):
        if (folder / name).is_dir():
            return folder / name
    wanted = folder / f"imageFrames/video_{camera}"
    raise UserError(
        f"{wanted}: no such folder; extract the frames first: mkdir -p {wanted} && "
        f"ffmpeg -i {folder}/imageSequence/video_{camera}.avi -q:v 2 {wanted}/frame_%06d.jpg"
    )


def _test_sequence(path: Path, root: Path, rejects: Rejects) -> Iterator[Record]:
    """The valid frames of one test recording; MATLAB's new files are HDF5. `univ_annot3` is what papers evaluate on."""
    try:
        import h5py
    except ImportError:
        raise MissingExtra("h5py", "raw", "reading MPI-INF-3DHP's test annotations") from None
    name = path.parent.name
    try:
        with h5py.File(path, "r") as content:
            flat = np.asarray(content["annot2"], dtype=np.float64).reshape(-1, 17, 2)
            which = "univ_annot3" if "univ_annot3" in content else "annot3"
            deep = np.asarray(content[which], dtype=np.float64).reshape(-1, 17, 3)
            valid = np.asarray(content["valid_frame"]).reshape(-1) > 0
    except (OSError, ValueError, KeyError) as error:
        rejects.add("annotation file not readable", f"{name}: {error}")
        return
    below = (path.parent / "imageSequence").relative_to(root).as_posix()
    rejects.leave_out("marked invalid by the authors", int((~valid).sum()))
    for frame in np.flatnonzero(valid).tolist():
        yield _record(
            f"mpi_inf_3dhp/{name}/{frame + 1}",
            "test",
            f"{below}/img_{frame + 1:06d}.jpg",
            flat[frame],
            deep[frame],
            sequence=name,
            frame=frame + 1,
        )


def _record(
    name: str, split: str, image: str, points_px: np.ndarray, joints_mm: np.ndarray, *, sequence: str, frame: int
) -> Record:
    points = np.concatenate([points_px, np.full((17, 1), 2)], axis=1).astype(np.float32)
    return Record(
        id=name,
        source="mpi_inf_3dhp",
        split=split,
        image=image,
        box_xyxy_px=box_around(points),
        joints_m=camera_to_world(joints_mm / 1000).astype(np.float32),
        keypoints=points,
        skeleton="mpi_inf_3dhp17",
        attributes={"joints": "mpi_inf_3dhp17"},
        sequence=sequence,
        frame=frame,
    )


def _calibration(path: Path) -> dict[int, dict[str, Any]]:
    """Intrinsics by camera: the file has a block of lines per camera, `name 3`, …, `intrinsic` and 16 numbers."""
    cameras: dict[int, dict[str, Any]] = {}
    camera = -1
    for line in path.read_text().splitlines() if path.is_file() else []:
        key, *values = line.split() or [""]
        if key == "name":
            camera = int(values[0])
        elif key == "intrinsic" and len(values) == 16:
            matrix = np.array(values, dtype=np.float64).reshape(4, 4)
            cameras[camera] = {
                "focal_px": float((matrix[0, 0] + matrix[1, 1]) / 2),
                "centre_px": [float(matrix[0, 2]), float(matrix[1, 2])],
            }
    return cameras


MPI_INF_3DHP = Source(
    name="mpi_inf_3dhp",
    title="MPI-INF-3DHP",
    gives="images, boxes, 3D joints, keypoints; poses where the file has SMPL fits",
    layout=(
        "*.npz or annotations/*.npz (SPIN, or 17 joints as mmpose makes them) and images",
        "or raw: S1..S8/Seq1..2/{annot.mat,camera.calibration,imageFrames/video_*/frame_%06d.jpg}",
        "        mpi_inf_3dhp_test_set/TS1..TS6/{annot_data.mat,imageSequence/img_%06d.jpg}",
    ),
    where="https://vcai.mpi-inf.mpg.de/3dhp-dataset",
    licence="research only, no redistribution",
    reader=_read,
    splits=("train", "test"),
    options={
        "file": "one .npz below --root (default: all)",
        "images": "folder below --root that image names start from (default: found by looking)",
        "step": "raw training files: every how many frames one is taken (default 10, as SPIN)",
    },
)
