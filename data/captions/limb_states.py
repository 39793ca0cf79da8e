"""What each arm and each leg does, as small integers: where the hand rests, or where the limb points and how it bends.

Measured for all poses at once; `stance.py` adds the posture of the whole body.
"""

from enum import IntEnum

import torch
from torch import Tensor

from data.captions.geometry import SIDES, Geometry, unit


class Leg(IntEnum):
    """A leg whose foot is off the ground, or that does something of its own."""

    PLAIN = 0
    KNEE_UP = 1
    """the knee raised in front, bent"""
    FORWARD = 2
    """raised in front, rather straight"""
    SIDEWAYS = 3
    BACK = 4
    """raised behind, rather straight"""
    FOOT_BACK = 5
    """the foot lifted behind, the knee bent"""
    FOOT_AT_LEG = 6
    """the foot against the other leg"""
    LIFTED = 7
    UP = 8
    """lying or sitting: the leg in the air"""


class Hand(IntEnum):
    """Where a hand rests; 0 where it does not, and the arm's direction tells more."""

    FREE = 0
    GROUND = 1
    HEAD = 2
    OWN_SHOULDER = 3
    OTHER_SHOULDER = 4
    OTHER_ARM = 5
    CHEST = 6
    BELLY = 7
    HIP = 8
    BACK = 9
    OWN_KNEE = 10
    OTHER_KNEE = 11
    OWN_THIGH = 12
    OWN_FOOT = 13
    OTHER_FOOT = 14


class Towards(IntEnum):
    """Where an arm points (to the hand, or if bent to the elbow), seen from the chest, or the ground if bent over."""

    DOWN = 0
    LOW_FRONT = 1
    LOW_SIDE = 2
    LOW_BACK = 3
    LOW_ACROSS = 4
    FRONT = 5
    SIDE = 6
    BACK = 7
    ACROSS = 8
    HIGH_FRONT = 9
    HIGH_SIDE = 10
    HIGH_BACK = 11
    HIGH_ACROSS = 12
    UP = 13


class Elbow(IntEnum):
    STRAIGHT = 0
    SLIGHT = 1
    BENT = 2
    SHARP = 3


class Forearm(IntEnum):
    """Where the forearm of a bent arm points."""

    UP = 0
    DOWN = 1
    FRONT = 2
    BACK = 3
    OUT = 4
    IN = 5


class Together(IntEnum):
    """Where both hands meet, or that the arms are crossed."""

    APART = 0
    OVERHEAD = 1
    FACE = 2
    CHEST = 3
    BELLY = 4
    LOW = 5
    BACK = 6
    CROSSED = 7
    FRONT = 8
    """in front of the body with the arms stretched"""


SIDE_FROM_DEG, LYING_SIDE_FROM_DEG = 42.0, 68.0
"""An arm this far from straight ahead points to the side; of somebody who lies, only where it rests on the ground."""
LIFTED_M = 0.17
"""A hand this much above the shoulder of somebody who lies is off the ground."""


def pack_arm(hand: Tensor | int, towards: Tensor | int, elbow: Tensor | int, forearm: Tensor | int) -> Tensor | int:
    """One integer for an arm's state."""
    return ((hand * 16 + towards) * 4 + elbow) * 8 + forearm


def unpack_arm(state: int) -> tuple[Hand, Towards, Elbow, Forearm]:
    """The inverse of `pack_arm`."""
    return Hand(state // 512), Towards(state // 32 % 16), Elbow(state // 8 % 4), Forearm(state % 8)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(-1)


def arm_states(body: Geometry, lying: Tensor) -> Tensor:
    """(N, 2) packed states of the left and right arm."""
    return torch.stack([_arm(body, lying, index) for index in range(2)], dim=1)


def _arm(body: Geometry, lying: Tensor, index: int) -> Tensor:
    side, sign = SIDES[index], 1.0 if index == 0 else -1.0
    shoulder, elbow, wrist = (body[f"{side}_{name}"] for name in ("shoulder", "elbow", "wrist"))
    bend = body.elbow_deg[:, index]
    elbow_bin = (bend < 150).long() + (bend < 118).long() + (bend < 68).long()
    # Bent over, "down" is where things fall; else it is where the feet are. Seen from the head, forward is then ahead.
    by_ground = (~lying & (body.tilt_deg > 32))[:, None]
    up = torch.where(by_ground, body.world_up, body.up)
    front = torch.where(by_ground, body.heading, body.front)
    out = unit(torch.linalg.cross(up, front)) * sign

    reach = torch.where((elbow_bin >= Elbow.BENT)[:, None], elbow - shoulder, wrist - shoulder)
    towards = _towards(unit(reach), up, front, out, torch.where(lying, LYING_SIDE_FROM_DEG, SIDE_FROM_DEG))
    # beside somebody who lies is on the ground; an arm held above it is raised to the front, or to the back
    lifted = body.hand_height[:, index] - body.high(f"{side}_shoulder") > LIFTED_M
    above_ground = lying & lifted & (towards == Towards.DOWN)
    towards = torch.where(above_ground & (front[:, 1] > 0.35), int(Towards.LOW_FRONT), towards)
    towards = torch.where(above_ground & (front[:, 1] < -0.35), int(Towards.LOW_BACK), towards)
    forearm = _forearm(unit(wrist - elbow), up, front, out)
    hand = _resting_place(body, index, sign, bend, lying)
    # what does not matter is zero, so that equal words have equal states
    resting = hand > 0
    forearm = torch.where(resting | (elbow_bin < Elbow.BENT), 0, forearm)
    towards = torch.where(resting, 0, towards)
    elbow_bin = torch.where(resting & (hand != Hand.GROUND), 0, elbow_bin)
    # every hanging arm is a little bent
    elbow_bin = torch.where((elbow_bin == Elbow.SLIGHT) & (towards == Towards.DOWN), 0, elbow_bin)
    return pack_arm(hand, towards, elbow_bin, forearm)  # type: ignore[return-value]


def _towards(direction: Tensor, up: Tensor, front: Tensor, out: Tensor, side_from_deg: Tensor) -> Tensor:
    raised = torch.rad2deg(torch.arccos((-_dot(direction, up)).clamp(-1, 1)))
    turned = torch.rad2deg(torch.atan2(_dot(direction, out), _dot(direction, front)))
    # 1 front, 2 side, 3 back, 4 across
    sector = torch.full_like(turned, 1, dtype=torch.long)
    sector[(turned > side_from_deg) & (turned < 130)] = 2
    sector[(turned >= 130) | (turned < -110)] = 3
    sector[(turned >= -110) & (turned < -28)] = 4
    ring = (raised > 62).long() + (raised > 115).long()
    towards = sector + 4 * ring
    towards[raised < 32] = int(Towards.DOWN)
    towards[raised > 150] = int(Towards.UP)
    return towards


def _forearm(direction: Tensor, up: Tensor, front: Tensor, out: Tensor) -> Tensor:
    along = torch.stack([_dot(direction, up), -_dot(direction, up), _dot(direction, front), -_dot(direction, front)], 1)
    along = torch.cat([along, _dot(direction, out)[:, None], -_dot(direction, out)[:, None]], 1)
    return along.argmax(1)


def _resting_place(body: Geometry, index: int, sign: float, bend: Tensor, lying: Tensor) -> Tensor:
    side, other = SIDES[index], SIDES[1 - index]
    hand = body[f"{side}_hand"]

    def near(point: Tensor, metres: float) -> Tensor:
        return (hand - point).norm(dim=-1) < metres

    # where the hand is, from the pelvis: up the trunk (share of its length), in front of it, out to the hand's own side
    height = _dot(hand - body["pelvis"], body.up) / body.trunk_m
    front = _dot(hand - body["pelvis"], body.front)
    out = _dot(hand - body["pelvis"], body.across) * sign
    face = body["head"] + 0.08 * body.front + 0.07 * body.up
    crown = body["head"] + 0.2 * body.up
    other_arm = (
        near(body[f"{other}_elbow"], 0.18)
        | near(body[f"{other}_forearm"], 0.16)
        | near(body[f"{other}_upper_arm"], 0.16)
    )
    elbow_out = _dot(body[f"{side}_elbow"] - hand, body.across) * sign > 0.09
    middle = (out.abs() < 0.2) & (front > 0) & (bend < 135)
    # an arm that swings back has its hand behind the hip too, but the forearm does not point inwards
    inwards = _dot(unit(body[f"{side}_wrist"] - body[f"{side}_elbow"]), body.across) * sign < -0.3
    behind = (front < -0.08) & (front > -0.34) & (height > -0.12) & (height < 0.8) & (bend < 148)
    thigh_level = body.thigh_deg[:, index] > 40
    rules: list[tuple[Tensor, Hand]] = [
        (~lying & (body.hand_height[:, index] < 0.1), Hand.GROUND),
        (near(face, 0.21) | near(crown, 0.14), Hand.HEAD),
        (near(body[f"{other}_shoulder"], 0.19), Hand.OTHER_SHOULDER),
        (near(body[f"{side}_foot"], 0.2) | near(body[f"{side}_ankle"], 0.2), Hand.OWN_FOOT),
        (near(body[f"{other}_foot"], 0.2) | near(body[f"{other}_ankle"], 0.2), Hand.OTHER_FOOT),
        (near(body[f"{side}_knee"], 0.19), Hand.OWN_KNEE),
        (near(body[f"{other}_knee"], 0.19), Hand.OTHER_KNEE),
        (near(body[f"{side}_shoulder"], 0.18), Hand.OWN_SHOULDER),
        (other_arm & (front > 0), Hand.OTHER_ARM),
        (near(body[f"{side}_thigh"], 0.19) & thigh_level, Hand.OWN_THIGH),
        (
            (out > 0.06)
            & (out < 0.34)
            & (front.abs() < 0.2)
            & (height > -0.05)
            & (height < 0.5)
            & (bend < 130)
            & elbow_out,
            Hand.HIP,
        ),
        (middle & (height > 0.55) & (height < 1.02) & (front < 0.34), Hand.CHEST),
        (middle & (height > 0.1) & (height <= 0.55) & (front < 0.34), Hand.BELLY),
        (behind & ((out < 0.1) | ((out < 0.24) & inwards)), Hand.BACK),
    ]
    place = torch.zeros(len(hand), dtype=torch.long, device=hand.device)
    for holds, name in rules:
        place[(place == 0) & holds] = int(name)
    return place


def hands_together(body: Geometry) -> Tensor:
    """(N,) `Together`."""
    left, right = body["left_hand"], body["right_hand"]
    middle = (left + right) / 2 - body["pelvis"]
    height = _dot(middle, body.up) / body.trunk_m
    front = _dot(middle, body.front)
    face = _dot(body["head"] - body["pelvis"], body.up) / body.trunk_m
    together = (left - right).norm(dim=-1) < 0.18
    bent = body.elbow_deg.amax(1) < 140
    cross_left = _dot(left - body["pelvis"], body.across) < -0.02
    cross_right = _dot(right - body["pelvis"], body.across) > 0.02
    crossed = cross_left & cross_right & (front > 0) & (front < 0.4) & (height > 0.3) & (height < 1.05)
    on_head = (middle - (body["head"] - body["pelvis"]) - 0.2 * body.up).norm(dim=-1) < 0.15
    on_floor = (body.hand_height < 0.1).any(1)
    rules = [
        (crossed & bent, Together.CROSSED),
        (together & (height > face + 0.25), Together.OVERHEAD),
        (together & (front > 0.42), Together.FRONT),
        (together & (front < -0.05), Together.BACK),
        (together & (height > 1.0), Together.FACE),
        (together & (height > 0.5), Together.CHEST),
        (together & (height > 0.1), Together.BELLY),
        (together, Together.LOW),
    ]
    state = torch.zeros(len(left), dtype=torch.long, device=left.device)
    for holds, name in rules:
        state[(state == 0) & holds & ~on_floor & ~on_head] = int(name)
    return state


def leg_states(body: Geometry, low: Tensor) -> Tensor:
    """(N, 2) `Leg` of the left and right leg. low: (N,) true for somebody who lies or sits on the floor."""
    return torch.stack([_leg(body, low, index) for index in range(2)], dim=1)


def _leg(body: Geometry, low: Tensor, index: int) -> Tensor:
    side, other, sign = SIDES[index], SIDES[1 - index], 1.0 if index == 0 else -1.0
    knee_deg, foot_high = body.knee_deg[:, index], body.foot_height[:, index]
    reach = body[f"{side}_ankle"] - body[f"{side}_hip"]
    thigh = body.thigh[:, index]
    ahead, out = body.ahead(reach), body.sideways(reach) * sign
    straight = knee_deg > 128
    lifted = foot_high - body.foot_height[:, 1 - index] > 0.15
    at_leg = torch.stack(
        [(body[f"{side}_ankle"] - body[f"{other}_{name}"]).norm(dim=-1) for name in ("knee", "thigh", "shin")]
    ).amin(0)
    other_straight = body.knee_deg[:, 1 - index] > 140
    rules = [
        (low & (foot_high > 0.28), Leg.UP),
        (low | ~lifted, Leg.PLAIN),
        (~straight & (body.ahead(thigh) > 0.27), Leg.KNEE_UP),
        (~straight & (at_leg < 0.17) & other_straight, Leg.FOOT_AT_LEG),
        (straight & (ahead.abs() < out) & (out > 0.28), Leg.SIDEWAYS),
        (straight & (ahead > 0.25), Leg.FORWARD),
        (straight & (ahead < -0.25), Leg.BACK),
        (~straight & (ahead < -0.12), Leg.FOOT_BACK),  # also where the knee is a little ahead: the foot is what shows
        (~straight & (body.ahead(thigh) > 0.17), Leg.KNEE_UP),
        (torch.ones_like(lifted), Leg.LIFTED),
    ]
    state = torch.full(lifted.shape, -1, dtype=torch.long, device=lifted.device)
    for holds, name in rules:
        state[(state < 0) & holds] = int(name)
    return state
