"""From joints to the 35 named points that captions measure: checked, pelvis-centred, in the axes of the rules.

Rule axes: x from the body's right to its left, y up, z towards the viewer (the front). World axes (z-up) become rule
axes by (x, y, z) -> (x, z, -y); a person who faces the viewer then faces +z with the left hand at +x.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from llmpose.body.pose import JOINT_NAMES
from llmpose.errors import UserError

POINTS = (
    *JOINT_NAMES,
    *("left_finger", "right_finger", "left_hand", "right_hand", "torso"),
    *("left_thigh", "right_thigh", "left_shin", "right_shin"),
    *("left_upper_arm", "right_upper_arm", "left_forearm", "right_forearm"),
)
POINT_INDEX = {name: index for index, name in enumerate(POINTS)}
NUM_JOINTS = (22, 24, 52)

FINGER_BEYOND_WRIST_M = 0.1367
"""From the wrist to the second phalanx of the middle finger of the neutral hand; used where no finger is given."""

WORLD_TO_RULE = ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, -1.0, 0.0))

LIMBS = [
    (f"{side}_{a}", f"{side}_{b}")
    for side in ("left", "right")
    for a, b in (("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow"), ("elbow", "wrist"))
]
SHORTEST_LIMB_M, LONGEST_LIMB_M = 0.08, 0.9
"""No person's thigh, shin, upper arm or forearm lies outside; millimetres and centimetres do."""


@dataclass(frozen=True)
class Fault:
    """Why the joints of one pose cannot be described."""

    index: int
    reason: str


def find_faults(joints_m: Tensor) -> list[Fault]:
    """The poses of (N, J, 3) that cannot be described, with the reason; empty when all are fine."""
    _check_shape(joints_m)
    finite = torch.isfinite(joints_m).all(-1).all(-1)
    same = (joints_m.amax(1) - joints_m.amin(1)).amax(-1) < 1e-3
    ends = torch.tensor([[POINT_INDEX[a], POINT_INDEX[b]] for a, b in LIMBS], device=joints_m.device)
    length = (joints_m[:, ends[:, 0]] - joints_m[:, ends[:, 1]]).norm(dim=-1)
    wrong_size = (length < SHORTEST_LIMB_M).any(1) | (length > LONGEST_LIMB_M).any(1)
    faults = []
    for index in torch.nonzero(~finite | same | wrong_size)[:, 0].tolist():
        if not finite[index]:
            reason = "a joint is not a number (NaN or infinite)"
        elif same[index]:
            reason = "all joints are at the same place"
        else:
            reason = _size_reason(float(length[index].median()), length[index])
        faults.append(Fault(index, reason))
    return faults


def _size_reason(median_m: float, length: Tensor) -> str:
    if median_m > 50:
        return (
            f"limbs are {median_m:.0f} long, so the joints look like millimetres; metres are expected (divide by 1000)"
        )
    if median_m > 5:
        return (
            f"limbs are {median_m:.0f} long, so the joints look like centimetres; metres are expected (divide by 100)"
        )
    return (
        f"a limb is {float(length.min()):.3f} to {float(length.max()):.3f} m long; "
        f"{SHORTEST_LIMB_M} to {LONGEST_LIMB_M} m is expected"
    )


def check_joints(joints_m: Tensor | np.ndarray) -> Tensor:
    """(N, J, 3) float32 in metres, or a UserError that says which pose is wrong and how."""
    joints = torch.as_tensor(joints_m, dtype=torch.float32)
    faults = find_faults(joints)
    if faults:
        more = f" ({len(faults)} of {len(joints)} poses are faulty)" if len(faults) > 1 else ""
        raise UserError(f"pose {faults[0].index}: {faults[0].reason}{more}")
    return joints


def _check_shape(joints_m: Tensor) -> None:
    if joints_m.ndim != 3 or joints_m.shape[-1] != 3 or joints_m.shape[1] not in NUM_JOINTS:
        raise UserError(
            f"joints have shape {tuple(joints_m.shape)}; expected (N, 22, 3), (N, 24, 3) or (N, 52, 3): "
            "SMPL or SMPL-H joints in metres, z up"
        )


def named_points(joints_m: Tensor) -> Tensor:
    """(N, 22|24|52, 3) z-up joints -> (N, 35, 3) points of `POINTS` in rule axes, the pelvis at the origin."""
    x, y, z = joints_m.unbind(-1)
    joints = torch.stack([x, z, -y], dim=-1)
    joints = joints - joints[:, :1]
    body = joints[:, :22]
    of = POINT_INDEX
    wrist, elbow = body[:, [of["left_wrist"], of["right_wrist"]]], body[:, [of["left_elbow"], of["right_elbow"]]]
    if joints.shape[1] == 52:
        # per hand: index, middle, pinky, ring, thumb, three joints each; the second of the middle finger
        finger = joints[:, [26, 41]]
    else:
        # 24 joints hold SMPL's hand centre, which gives the direction; 22 leave only the forearm's
        towards = (joints[:, 22:24] if joints.shape[1] == 24 else wrist) - wrist
        towards = torch.where(towards.norm(dim=-1, keepdim=True) > 1e-3, towards, wrist - elbow)
        finger = wrist + FINGER_BEYOND_WRIST_M * torch.nn.functional.normalize(towards, dim=-1)
    hand = (wrist + finger) / 2

    def middle(a: str, b: str) -> Tensor:
        return (body[:, of[a]] + body[:, of[b]]) / 2

    torso = (body[:, of["pelvis"]] + body[:, of["neck"]] + body[:, of["spine3"]]) / 3
    segments = [
        middle(f"{side}_{a}", f"{side}_{b}")
        for a, b in (("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow"), ("elbow", "wrist"))
        for side in ("left", "right")
    ]
    return torch.cat([body, finger, hand, torso[:, None], torch.stack(segments, 1)], dim=1)


def rotations_in_rule_axes(rotmat: Tensor, count: int) -> Tensor:
    """(N, 22, 3, 3) z-up rotations with the root turned into rule axes."""
    rotations = torch.as_tensor(rotmat, dtype=torch.float32)
    if rotations.shape[1:] != (22, 3, 3) or len(rotations) != count:
        raise UserError(
            f"rotations have shape {tuple(rotations.shape)}; expected ({count}, 22, 3, 3) beside the joints"
        )
    turn = torch.tensor(WORLD_TO_RULE, device=rotations.device)
    return torch.cat([turn @ rotations[:, :1], rotations[:, 1:]], dim=1)
