"""Scenes as COCO's person keypoints. What COCO has no place for stands in an extra key "llmpose" of each annotation.

Entries become text where they are made: whoever puts a file together from thousands need not read them.
"""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from llmpose.body.camera import Array, Camera

if TYPE_CHECKING:
    from data.synth.labels import PersonLabel
    from data.synth.people import Person
    from data.synth.scene import Scene

COCO_NAMES: tuple[str, ...] = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip

_COCO_LINKS = (
    (16, 14), (14, 12), (17, 15), (15, 13), (12, 13), (6, 12), (7, 13), (6, 7), (6, 8), (7, 9), (8, 10), (9, 11),
    (2, 3), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 7),
)  # fmt: skip
"""COCO's own skeleton, counted from 1 as COCO counts."""

CATEGORY: dict[str, Any] = {
    "id": 1,
    "name": "person",
    "supercategory": "person",
    "keypoints": list(COCO_NAMES),
    "skeleton": [list(link) for link in _COCO_LINKS],
}


def camera_poses(people: Sequence["Person"], cameras: Sequence[Camera]) -> tuple[Array, Array]:
    """Per person and camera (22, 3) axis-angle and (3,) translation for the body model to give the person in the
    camera's frame.

    SMPL turns about the pelvis p at rest: v = R (v0 - p) + p + t. Seen from the camera that is
    C R (v0 - p) + C (p + t) + c, so the root becomes C R and the translation C (p + t) + c - p.
    """
    import roma
    import torch

    rotmats = np.array([person.rotmat for person in people], np.float64).reshape(-1, 22, 3, 3)
    for rotmat, camera in zip(rotmats, cameras, strict=True):
        rotmat[0] = camera.R @ rotmat[0]
    trans = [
        camera.to_camera(person.pelvis_rest_m + person.trans_m) - person.pelvis_rest_m
        for person, camera in zip(people, cameras, strict=True)
    ]
    # All at once: a conversion of one person is a hundred small steps, and takes as long as one of forty.
    return roma.rotmat_to_rotvec(torch.from_numpy(rotmats)).numpy(), np.array(trans).reshape(-1, 3)


def camera_pose(person: "Person", camera: Camera) -> tuple[Array, Array]:
    """The same of one person."""
    vectors, trans = camera_poses([person], [camera])
    return vectors[0], trans[0]


def image_entry(scene: "Scene", image_id: int, file_name: str) -> dict[str, Any]:
    camera = scene.camera
    return {
        "id": image_id,
        "file_name": file_name,
        "width": camera.width,
        "height": camera.height,
        "place": scene.place,
        "camera": {
            "focal_px": round(camera.focal_px, 4),
            "centre_px": [round(value, 4) for value in camera.centre_px],
            "R": np.round(camera.R, 7).tolist(),
            "t": np.round(camera.t, 6).tolist(),
        },
    }


def annotation(label: "PersonLabel", pose: Array, trans_m: Array, image_id: int, annotation_id: int) -> dict[str, Any]:
    """One person, with the pose as `camera_poses` has it: COCO's keys, then ours."""
    x0, y0, x1, y1 = label.box_xyxy_px
    person = label.person
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": 1,
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "area": label.area_px,
        "iscrowd": 0,
        "num_keypoints": int((label.keypoints[:, 2] > 0).sum()),
        "keypoints": _flat(label.keypoints),
        "segmentation": label.mask_rle,
        "llmpose": {
            "pose": np.round(pose, 5).tolist(),
            "betas": np.round(person.betas.astype(np.float64), 4).tolist(),
            "trans_m": np.round(trans_m, 4).tolist(),
            "keypoints24": [_point(point) for point in label.keypoints24],
            "visible24": [int(point[2] == 2) for point in label.keypoints24],
            "clothes": person.outfit.attributes,
            "position": label.position,
            "facing": label.facing,
            "posture": label.posture,
            "pose_name": person.pose_name,
            "visible_share": round(label.visible_share, 3),
        },
    }


def as_text(entry: dict[str, Any]) -> str:
    """An entry as it will stand in the file."""
    return json.dumps(entry, separators=(",", ":"))


def coco_bytes(split: str, images: Sequence[str], annotations: Sequence[str]) -> bytes:
    """The content of the file, from entries as text."""
    head = as_text(
        {
            "info": {"description": f"llmpose built-in world, {split}", "version": "1"},
            "licenses": [{"id": 1, "name": "Apache-2.0"}],
        }
    )
    parts = (("images", images), ("annotations", annotations), ("categories", [as_text(CATEGORY)]))
    lists = ",".join(f'"{name}":[{",".join(entries)}]' for name, entries in parts)
    return f"{head[:-1]},{lists}}}".encode()


def _point(point: Array) -> list[float | int]:
    return [round(float(point[0]), 2), round(float(point[1]), 2), int(point[2])]


def _flat(points: Array) -> list[float | int]:
    return [value for point in points for value in _point(point)]
