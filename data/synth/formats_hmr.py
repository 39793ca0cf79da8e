"""People as rows of HMR 2.0's evaluation files (4D-Humans, TokenHMR): SMPL in the camera's frame, 25 + 19 points."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from llmpose.body.camera import Array, Camera

if TYPE_CHECKING:
    from data.synth.labels import PersonLabel
    from data.synth.people import Person

_SIDES = ("right", "left")
_BOX_SCALE = 1.2
"""Boxes are this much larger than the person, as in the published files."""

OPENPOSE: tuple[str, ...] = (
    "nose", "neck",
    *(f"{side}_{part}" for side in _SIDES for part in ("shoulder", "elbow", "wrist")), "mid_hip",
    *(f"{side}_{part}" for side in _SIDES for part in ("hip", "knee", "ankle")),
    "right_eye", "left_eye", "right_ear", "left_ear",
    "left_big_toe", "left_small_toe", "left_heel", "right_big_toe", "right_small_toe", "right_heel",
)  # fmt: skip
EXTRA: tuple[str, ...] = (
    "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "right_wrist", "right_elbow",
    "right_shoulder", "left_shoulder", "left_elbow", "left_wrist", "neck", "head_top", "mid_hip", "thorax", "spine2",
    "jaw", "head_middle",
)  # fmt: skip
"""The 19 points after OpenPose's 25: LSP's 14, MPII's pelvis and thorax, Human3.6M's spine, jaw and head."""

_UNSURE_3D = slice(1, 15)
"""OpenPose's limbs get confidence 0 in 3D, as in the published files: the extra points carry the 3D truth."""

_BETWEEN = {
    "mid_hip": ("left_hip", "right_hip"),
    "thorax": ("left_shoulder", "right_shoulder"),
    "jaw": ("neck", "nose"),
    "head_middle": ("head", "head_top"),
}


_ALL = (*OPENPOSE, *EXTRA)
_ENDS = tuple(tuple(_BETWEEN.get(name, (name, name))[end] for name in _ALL) for end in (0, 1))
"""Each point is the middle of two."""

_SHAPES: dict[str, tuple[int, ...]] = {
    "center": (2,),
    "scale": (2,),
    "body_pose": (72,),
    "betas": (10,),
    "body_keypoints_2d": (len(OPENPOSE), 3),
    "extra_keypoints_2d": (len(EXTRA), 3),
    "body_keypoints_3d": (len(OPENPOSE), 4),
    "extra_keypoints_3d": (len(EXTRA), 4),
}


def hmr_row(camera: Camera, label: "PersonLabel", pose: Array, image_name: str) -> dict[str, Any]:
    """One person, with the pose as `camera_poses` has it, as flat lists of rounded numbers: rows wait in a json file
    until all are there, and lists of lists take a reader of thousands several times as long."""
    x0, y0, x1, y1 = label.box_xyxy_px
    points_2d, points_3d = _points(label.person, camera)
    points_3d[_UNSURE_3D, 3] = 0
    (body_2d, extra_2d), (body_3d, extra_3d) = (
        np.split(np.round(points, digits), [len(OPENPOSE)]) for points, digits in ((points_2d, 2), (points_3d, 4))
    )
    return {
        "imgname": image_name,
        "center": [(x0 + x1) / 2, (y0 + y1) / 2],
        "scale": [round(_BOX_SCALE * (x1 - x0), 3), round(_BOX_SCALE * (y1 - y0), 3)],
        "body_pose": [*np.round(pose, 5).ravel().tolist(), *[0.0] * 6],  # SMPL's two rigid hands
        "betas": np.round(label.person.betas.astype(np.float64), 4).tolist(),
        "body_keypoints_2d": body_2d.ravel().tolist(),
        "extra_keypoints_2d": extra_2d.ravel().tolist(),
        "body_keypoints_3d": body_3d.ravel().tolist(),
        "extra_keypoints_3d": extra_3d.ravel().tolist(),
    }


def hmr_bytes(rows: Sequence[dict[str, Any]]) -> bytes:
    """The content of the .npz."""
    columns: dict[str, Any] = {
        name: np.array([row[name] for row in rows], np.float32).reshape(-1, *shape)
        for name, shape in (_SHAPES.items() if rows else ())
    }
    columns["imgname"] = np.array([row["imgname"] for row in rows])
    columns["has_body_pose"] = columns["has_betas"] = np.ones(len(rows), np.float32)
    columns["gender"] = np.array(["n"] * len(rows))
    file = io.BytesIO()
    np.savez_compressed(file, **columns)
    return file.getvalue()


def _points(person: "Person", camera: Camera) -> tuple[Array, Array]:
    """(44, 3) pixels and (44, 4) metres in the camera's frame, each with a confidence: 0 outside the picture in 2D."""
    from data.synth.labels import world_points

    world = (world_points(person, _ENDS[0]) + world_points(person, _ENDS[1])) / 2
    pixels, depth = camera.project(world)
    inside = (pixels >= 0).all(1) & (pixels < (camera.width, camera.height)).all(1) & (depth > 0)
    seen = np.where(inside[:, None], pixels, 0)
    points_2d = np.concatenate([seen, inside[:, None].astype(np.float64)], axis=1)
    return points_2d, np.concatenate([camera.to_camera(world), np.ones((len(world), 1))], axis=1)
