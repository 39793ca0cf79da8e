"""HumanData of mmhuman3d: one .npz for any dataset with SMPL fits (3DPW, Human3.6M, EFT and SPIN fits of COCO, AGORA).

    image_path (N)   bbox_xywh (N, 5)   smpl {body_pose (N, 23, 3), global_orient (N, 3), betas (N, 10)}   meta {gender}
    keypoints2d (N, 190, 3) and keypoints2d_mask (190): the union of all conventions' points; "compressed" files hold
    only the columns that the mask names

`smpl`, `smplx` and `meta` are pickled dictionaries inside the archive: they are read as data, nothing is run. Poses
stand in the camera's frame. 3D points are not read: the poses say as much.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from data.record import Record
from data.rejects import Rejects
from data.sources.base import Items, Source, as_text
from data.sources.coco_json import corners, find_images
from data.sources.npz import FILE_OPTIONS, files_of_split, read_npz
from data.sources.people import confident_points, full_gender, numbers, trailing_number, viewer_poses
from llmpose.errors import UserError

_MODELS = {"smpl": 23, "smplx": 21}
"""Joints below the root in each body model's `body_pose`; of SMPL's, the last two are the hands, which ours has not."""

NUM_POINTS = 190
COCO_OF_POINTS = (55, 57, 56, 59, 58, 16, 17, 18, 19, 20, 21, 145, 144, 4, 5, 7, 8)
"""For each of COCO's 17 points its place among HumanData's; the hips are the ones that people mark, not SMPL's."""
_SMPL_HIPS = (1, 2)
"""Stand in for the hips where a file has no others."""


def _read(
    root: Path, split: str | None, rejects: Rejects, *, file: str = "", images: str = "", called: str = ""
) -> Items:
    folder = "preprocessed_datasets"
    for path, name in files_of_split(root, split, file=file, called=called, folder=folder, title="HumanData"):
        yield from _people(path, root, name, images, rejects)


def _people(path: Path, root: Path, split: str, images: str, rejects: Rejects) -> Iterator[Record]:
    arrays = read_npz(path, ("image_path", "bbox_xywh"), (*_MODELS, "meta", "keypoints2d", "keypoints2d_mask"))
    names = [as_text(name) for name in arrays["image_path"]]
    boxes = arrays["bbox_xywh"]
    if boxes.shape not in ((len(names), 4), (len(names), 5)) or boxes.dtype.kind not in "fiu":
        raise UserError(
            f"{path}: bbox_xywh is {boxes.shape} of {boxes.dtype}, expected numbers ({len(names)} x 4 or 5)"
        )
    body = _body(arrays, len(names), path)
    genders = _column(_dictionary(arrays, "meta", path), "gender", len(names), path)
    points = _points(arrays, len(names), path)
    below = images or find_images(root, [".", "images", path.parent.name], names[:20])
    for row, name in enumerate(names):
        box = corners(boxes[row, :4].tolist())
        if box is None or not (box[2:] > box[:2]).all():
            rejects.add("box of zero area", f"{path.name}: row {row}")
            continue
        keypoints = None if points is None or not (points[row, :, 2] > 0).any() else confident_points(points[row])
        yield Record(
            id=f"humandata/{path.stem}/{row}",
            source="humandata",
            split=split,
            image=name if below == "." else f"{below}/{name}",
            box_xyxy_px=box,
            pose_rotmat=None if body is None else body["rotmat"][row],
            betas=None if body is None else body["betas"][row].astype(np.float32),
            keypoints=keypoints,
            skeleton=None if keypoints is None else "coco17",
            attributes={
                "file": path.name,
                "row": row,
                **({} if genders is None else {"gender": full_gender(as_text(genders[row]))}),
            },
            sequence=str(Path(name).parent),
            frame=trailing_number(name),
        )


def _body(arrays: dict[str, np.ndarray], count: int, path: Path) -> dict[str, np.ndarray] | None:
    """Rotations (N, 22, 3, 3) in the viewer's frame and betas; None where the file has no fits."""
    model = next((name for name in _MODELS if name in arrays), None)
    fits = _dictionary(arrays, model, path) if model else {}
    if model is None or not fits:
        return None
    missing = [key for key in ("body_pose", "global_orient", "betas") if key not in fits]
    if missing:
        raise UserError(f"{path}: its {model} lacks {', '.join(missing)}; it holds {', '.join(map(str, fits))}")
    joints = _MODELS[model]
    columns: dict[str, np.ndarray] = {}
    for key, width in (("global_orient", 3), ("body_pose", 3 * joints), ("betas", 10)):
        column = np.asarray(fits[key])
        if column.dtype.kind not in "fiu" or len(column) != count or column.size < count * width:
            raise UserError(
                f"{path}: {model}'s {key} is {column.shape} of {column.dtype}, expected {width} numbers for each of "
                f"the {count} pictures"
            )
        columns[key] = column.reshape(count, -1)[:, :width].astype(np.float64)
    axis_angle = np.concatenate([columns["global_orient"], columns["body_pose"][:, : 3 * 21]], axis=1)
    return {"rotmat": viewer_poses(axis_angle, path), "betas": columns["betas"]}


def _points(arrays: dict[str, np.ndarray], count: int, path: Path) -> np.ndarray | None:
    """(N, 17, 3) COCO's points with confidences; None where the file has no 2D points."""
    if "keypoints2d" not in arrays:
        return None
    mask = np.ones(NUM_POINTS, dtype=bool)
    if "keypoints2d_mask" in arrays:
        mask = np.asarray(arrays["keypoints2d_mask"]).reshape(-1) > 0
    held = arrays["keypoints2d"]
    if len(mask) != NUM_POINTS or held.ndim != 3 or held.shape[1] not in (NUM_POINTS, mask.sum()):
        raise UserError(
            f"{path}: keypoints2d is {held.shape} with a mask of {len(mask)}, expected HumanData's {NUM_POINTS} "
            "points; files of its first version, with 144, are rewritten by mmhuman3d"
        )
    points = np.zeros((count, NUM_POINTS, 3))
    known = numbers(arrays, "keypoints2d", (held.shape[1], 3), path)
    points[:, mask] = known if held.shape[1] == mask.sum() else known[:, mask]
    places: list[int] = [*COCO_OF_POINTS]
    if not mask[places[11:13]].any():
        places[11:13] = _SMPL_HIPS
    return points[:, places]


def _dictionary(arrays: dict[str, np.ndarray], key: str, path: Path) -> dict[str, Any]:
    """A pickled dictionary of the archive; empty where there is none, or where None was stored."""
    held: Any = arrays[key].item() if key in arrays and arrays[key].shape == () else arrays.get(key)
    if held is not None and not isinstance(held, dict):
        raise UserError(f"{path}: {key} is a {type(held).__name__}, expected a dictionary of arrays")
    return held or {}


def _column(table: dict[str, Any], key: str, count: int, path: Path) -> list[Any] | None:
    if key not in table:
        return None
    column = list(table[key])
    if len(column) != count:
        raise UserError(f"{path}: {key} has {len(column)} entries for {count} pictures")
    return column


HUMANDATA = Source(
    name="humandata",
    title="HumanData of mmhuman3d (any dataset with SMPL or SMPL-X fits)",
    gives="images, boxes, poses in the viewer's frame, keypoints",
    layout=(
        "*.npz or preprocessed_datasets/*.npz (image_path, bbox_xywh, smpl, meta, …)",
        "the images that they name",
        "for 3DPW take the source 3dpw: the boxes of its converted files have wrong heights",
    ),
    where="https://github.com/open-mmlab/mmhuman3d (docs/preprocess_dataset.md); images from each dataset",
    licence="that of each dataset: research only, no redistribution",
    reader=_read,
    options=FILE_OPTIONS,
)
