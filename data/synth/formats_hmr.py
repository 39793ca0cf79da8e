"""People as rows of HMR 2.0's evaluation files (4D-Humans, TokenHMR): SMPL in the camera's frame, 25 + 19 points."""

import io
from typing import Any

import numpy as np

from data.synth.formats_coco import camera_pose
from data.synth.labels import PersonLabel, world_points
from data.synth.people import Person
from data.synth.scene import Scene
from llmpose.body.camera import Array, Camera

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


def hmr_row(scene: Scene, label: PersonLabel, image_name: str) -> dict[str, Any]:
    """One person as plain numbers, rounded: rows wait in a json file until all are there."""
    x0, y0, x1, y1 = label.box_xyxy_px
    pose, _ = camera_pose(label.person, scene.camera)
    body_2d, body_3d = _points(label.person, scene.camera, OPENPOSE)
    extra_2d, extra_3d = _points(label.person, scene.camera, EXTRA)
    body_3d[_UNSURE_3D, 3] = 0
    return {
        "imgname": image_name,
        "center": [(x0 + x1) / 2, (y0 + y1) / 2],
        "scale": [round(_BOX_SCALE * (x1 - x0), 3), round(_BOX_SCALE * (y1 - y0), 3)],
        "body_pose": [*np.round(pose, 5).ravel().tolist(), *[0.0] * 6],  # SMPL's two rigid hands
        "betas": np.round(label.person.betas.astype(np.float64), 4).tolist(),
        "body_keypoints_2d": np.round(body_2d, 2).tolist(),
        "extra_keypoints_2d": np.round(extra_2d, 2).tolist(),
        "body_keypoints_3d": np.round(body_3d, 4).tolist(),
        "extra_keypoints_3d": np.round(extra_3d, 4).tolist(),
    }


def hmr_bytes(rows: list[dict[str, Any]]) -> bytes:
    """The content of the .npz."""
    columns: dict[str, Any] = {
        name: np.array([row[name] for row in rows], np.float32)
        for name in (rows[0] if rows else {})
        if name != "imgname"
    }
    columns["imgname"] = np.array([row["imgname"] for row in rows])
    columns["has_body_pose"] = columns["has_betas"] = np.ones(len(rows), np.float32)
    columns["gender"] = np.array(["n"] * len(rows))
    file = io.BytesIO()
    np.savez_compressed(file, **columns)
    return file.getvalue()


def _points(person: Person, camera: Camera, names: tuple[str, ...]) -> tuple[Array, Array]:
    """(K, 3) pixels and (K, 4) metres in the camera's frame, each with a confidence: 0 outside the picture in 2D."""
    ends = [_BETWEEN.get(name, (name, name)) for name in names]
    world = (world_points(person, tuple(a for a, _ in ends)) + world_points(person, tuple(b for _, b in ends))) / 2
    pixels, depth = camera.project(world)
    inside = (pixels >= 0).all(1) & (pixels < (camera.width, camera.height)).all(1) & (depth > 0)
    seen = np.where(inside[:, None], pixels, 0)
    points_2d = np.concatenate([seen, inside[:, None].astype(np.float64)], axis=1)
    return points_2d, np.concatenate([camera.to_camera(world), np.ones((len(names), 1))], axis=1)
