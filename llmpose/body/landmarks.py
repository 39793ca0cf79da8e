"""Names of what a body model has: its joints, and the points on its skin that tools read by vertex number."""

from llmpose.body.files import Kind
from llmpose.body.pose import JOINT_NAMES

FINGERS: tuple[str, ...] = ("index", "middle", "pinky", "ring", "thumb")
"""The order of SMPL-H's fingers, three joints each."""

_FINGER_JOINTS = tuple(
    f"{side}_{finger}{joint}" for side in ("left", "right") for finger in FINGERS for joint in (1, 2, 3)
)

LANDMARK_VERTICES: dict[str, int] = {
    "nose": 332,
    "left_eye": 2800,
    "right_eye": 6260,
    "left_ear": 583,
    "right_ear": 4071,
    "left_big_toe": 3216,
    "left_small_toe": 3226,
    "left_heel": 3387,
    "right_big_toe": 6617,
    "right_small_toe": 6624,
    "right_heel": 6787,
    "left_thumb_tip": 2746,
    "left_index_tip": 2319,
    "left_middle_tip": 2445,
    "left_ring_tip": 2556,
    "left_pinky_tip": 2673,
    "right_thumb_tip": 6191,
    "right_index_tip": 5782,
    "right_middle_tip": 5905,
    "right_ring_tip": 6016,
    "right_pinky_tip": 6133,
}
"""Vertex numbers of SMPL's mesh (6890 vertices, SMPL-H has the same) that the field uses as keypoints. The stand-in
keeps these numbers for the same places."""


def joint_names(kind: Kind) -> tuple[str, ...]:
    """The names of a model's joints in its own order."""
    if kind == "smpl":
        return (*JOINT_NAMES, "left_hand", "right_hand")
    if kind == "smplh":
        return (*JOINT_NAMES, *_FINGER_JOINTS)
    return (*JOINT_NAMES, "jaw", "left_eye", "right_eye", *_FINGER_JOINTS)
