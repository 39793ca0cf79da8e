"""Human3.6M: SPIN's npz, files of its 17 joints, HMR 2.0's npz, or the raw joint files (.cdf) beside extracted frames.

Raw files hold 32 joints in millimetres; the field uses 17 of them. S1, S5 to S8 train, S9 and S11 test. Protocol 2
looks through one camera only. In the official COCO-style json the names of joints are swapped left to right while the
data are right; this reader never looks at those names.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from data.record import PairRecord, Record
from data.rejects import Rejects
from data.sources.base import Items, Source, choice, not_the_dataset, number
from data.sources.joblib_files import load_joblib
from data.sources.people import box_around, camera_to_world, people_records
from llmpose.errors import MissingExtra, UserError

_TEST_SUBJECTS = ("S9", "S11")
_FRONT_CAMERA = "60457274"
"""Protocol 2 evaluates on this one."""

_NAME = re.compile(r"(?:^|[/\\])(S\d+)_[^/\\]*?\.?(\d{8})_\d+\.\w+$")
"""…/S9_Directions_1.54138969_000001.jpg: subject and camera."""

JOINTS_OF_32 = (0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27)
"""Where h36m17's joints stand among the raw 32, of which the others are copies or ends of fingers and toes."""


def split_of(image: str) -> str:
    found = re.search(r"(?:^|[/\\])(S\d+)[_/\\]", image)
    return "test" if found and found[1] in _TEST_SUBJECTS else "train"


def _read(
    root: Path,
    split: str | None,
    rejects: Rejects,
    *,
    file: str = "",
    images: str = "",
    protocol: str = "1",
    step: int | str = 5,
) -> Items:
    choice(protocol, ("1", "2"), "protocol")
    paths = [root / file] if file else sorted(root.glob("*.npz")) or sorted(root.glob("annotation_body3d/fps*/*.npz"))
    cdfs = [] if paths else sorted(root.glob("S*/MyPoseFeatures/D3_Positions_mono/*.cdf"))
    if not paths and not cdfs:
        raise not_the_dataset(root, "Human3.6M", "*.npz, annotation_body3d/fps*/*.npz or S*/MyPoseFeatures/…/*.cdf")
    cameras = _cameras(root)
    records: Iterator[Record | PairRecord]
    if cdfs:
        records = (record for path in cdfs for record in _raw(path, root, int(number(step, "step", 1, 1e6)), rejects))
    else:
        records = (
            record
            for path in paths
            for record in people_records(
                path, root, source="h36m", split="train", images=images, skeleton17="h36m17", split_of_image=split_of
            )
        )
    for record in records:
        assert isinstance(record, Record)
        named = _NAME.search(record.image or record.sequence or "")
        if named is not None:
            record.attributes |= {"subject": named[1], "camera": named[2]}
            record.camera = cameras.get((named[1], named[2]))
        if split is not None and record.split != split:
            continue
        if protocol == "2" and record.split == "test" and (named is None or named[2] != _FRONT_CAMERA):
            rejects.leave_out("seen by other cameras than protocol 2's")
            continue
        yield record


def _cameras(root: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """Intrinsics by (subject, camera) from mmpose's cameras.pkl, where people have it."""
    path = next(
        (root / name for name in ("annotation_body3d/cameras.pkl", "cameras.pkl") if (root / name).is_file()), None
    )
    if path is None:
        return {}
    content = load_joblib(path)
    try:
        return {
            (str(subject), str(camera)): {
                "focal_px": float(np.mean(entry["f"])),
                "centre_px": [float(value) for value in np.ravel(entry["c"])],
            }
            for (subject, camera), entry in content.items()
        }
    except (AttributeError, KeyError, TypeError, ValueError):
        raise UserError(f"{path}: not mmpose's cameras.pkl: expected (subject, camera) -> f, c, …") from None


def _raw(path: Path, root: Path, step: int, rejects: Rejects) -> Iterator[Record]:
    """Every `step`-th frame of one raw sequence as one camera saw it."""
    subject = path.parts[-4]
    sequence = path.stem.replace(" ", "_")
    if sequence.startswith("_ALL"):
        return
    flat = path.parent.parent / "D2_Positions" / path.name
    try:
        joints_mm = _poses(path, 3)
        points_px = _poses(flat, 2) if flat.is_file() else None
    except UserError as error:
        rejects.add("joint file not readable", f"{path.name}: {error}")
        return
    stem = f"{subject}_{sequence}"
    folder = root / "images" / subject / stem
    prefix = f"images/{subject}/{stem}/{stem}" if folder.is_dir() else f"images/{stem}"
    has_images = (root / "images").is_dir()
    for frame in range(0, len(joints_mm), step):
        points = None
        if points_px is not None and frame < len(points_px):
            points = np.concatenate([points_px[frame], np.full((17, 1), 2)], axis=1).astype(np.float32)
        yield Record(
            id=f"h36m/{stem}/{frame + 1}",
            source="h36m",
            split=split_of(f"{subject}_"),
            image=f"{prefix}_{frame + 1:06d}.jpg" if has_images else None,
            box_xyxy_px=None if points is None else box_around(points),
            joints_m=camera_to_world(joints_mm[frame] / 1000).astype(np.float32),
            keypoints=points,
            skeleton=None if points is None else "h36m17",
            attributes={"joints": "h36m17"},
            sequence=f"{subject}/{stem}/{stem}_000000.jpg",
            frame=frame + 1,
        )


def _poses(path: Path, width: int) -> np.ndarray:
    """(F, 17, width) of the 17 joints from a raw file's `Pose` (1, F, 32 x width)."""
    try:
        import cdflib
    except ImportError:
        raise MissingExtra("cdflib", "raw", "reading Human3.6M's raw .cdf files") from None
    try:
        poses = np.asarray(cdflib.CDF(str(path)).varget("Pose"), dtype=np.float64)
        return poses.reshape(-1, 32, width)[:, JOINTS_OF_32]
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"not a readable file of 32 joints ({error})") from None


H36M = Source(
    name="h36m",
    title="Human3.6M",
    gives="images, boxes, 3D joints, keypoints; poses where the file has SMPL fits",
    layout=(
        "*.npz of SPIN, HMR 2.0 or 17 joints (or annotation_body3d/fps*/*.npz as mmpose makes them), images/",
        "or raw: S*/MyPoseFeatures/{D3_Positions_mono,D2_Positions}/*.cdf and extracted frames in images/",
    ),
    where="http://vision.imar.ro/human3.6m (registration)",
    licence="academic use, no redistribution",
    reader=_read,
    splits=("train", "test"),
    options={
        "file": "one .npz below --root (default: all)",
        "images": "folder below --root that image names start from (default: found by looking)",
        "protocol": "1: all four cameras; 2: test on camera 60457274 only (default 1)",
        "step": "raw files: every how many frames one is taken (default 5)",
    },
)
