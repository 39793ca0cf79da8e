"""The posture of the whole body and the state of each limb: a few small integers per pose, for brief texts.

Posecodes say how parts relate; a person looking at a picture first says "kneeling" or "hand on the hip". These states
are read off the same 35 points, for all poses at once. Every rule is the same for left and right: mirroring a pose
swaps the two entries of each pair and the signs of what leans, turns or twists.
"""

from dataclasses import dataclass
from enum import IntEnum

import torch
from torch import Tensor

from data.captions.geometry import SIDES, Geometry, angle_deg
from data.captions.limb_states import arm_states, hands_together, leg_states


class Posture(IntEnum):
    """What the body as a whole does; `Stance.side` says which side where there is one."""

    STAND = 0
    ONE_LEG = 1
    """side: the leg stood on"""
    LUNGE = 2
    """side: the bent leg, with its foot in front"""
    SIDE_LUNGE = 3
    """side: the bent leg"""
    BEND_OVER = 4
    SQUAT = 5
    SIT = 6
    SIT_FLOOR = 7
    SIT_CROSSED = 8
    KNEEL = 9
    SIT_HEELS = 10
    KNEEL_ONE = 11
    """side: the knee on the ground"""
    ALL_FOURS = 12
    PLANK = 13
    ARCH = 14
    """hands and feet on the ground, hips highest, belly down"""
    BRIDGE = 15
    """hands and feet on the ground, belly up"""
    LIE_BACK = 16
    LIE_FRONT = 17
    LIE_SIDE = 18
    """side: the side lain on"""
    UPSIDE_DOWN = 19
    SHOULDER_BRIDGE = 20
    """face up, shoulders and feet on the ground, the hips raised"""
    CHEST_UP = 21
    """on the front, the chest raised"""
    SIDE_PLANK = 22
    """side: the arm leant on"""
    TUCK_JUMP = 23
    """in the air, both knees drawn up"""


TOES_HANG_DEG = 52
"""From the ankle to the ball of the foot, against straight down; a flat foot has 60 to 90."""

LYING = (Posture.LIE_BACK, Posture.LIE_FRONT, Posture.LIE_SIDE)
ON_BACK = (Posture.LIE_BACK, Posture.SHOULDER_BRIDGE)
ARMS_LIE = (*LYING, Posture.SHOULDER_BRIDGE)
"""Here an arm lies on the ground or is raised from it."""


@dataclass(frozen=True)
class Stance:
    """States of N poses, all int64. Pairs are (left, right); signs: left and forward positive."""

    posture: Tensor
    side: Tensor
    """0 none, 1 left, 2 right"""
    lean: Tensor
    """-1 back, 0 upright, 1 leaning forward, 2 bending forward"""
    sway: Tensor
    """1 leaning to the left, -1 to the right"""
    twist: Tensor
    """1 shoulders turned to the left of the hips, -1 to the right"""
    knees: Tensor
    """(N, 2) 0 straight, 1 slightly bent, 2 bent, 3 sharply bent"""
    legs: Tensor
    """(N, 2) `limb_states.Leg`"""
    width: Tensor
    """-2 legs crossed, -1 feet together, 0, 1 feet apart, 2 wide apart"""
    step: Tensor
    """0, then 1 / 2 left foot forward (a step, a long step), -1 / -2 the right one"""
    arms: Tensor
    """(N, 2) `limb_states.ArmState` packed as an integer"""
    together: Tensor
    """`limb_states.Together`: where the hands meet or the arms cross"""
    head: Tensor
    """(N, 3) turn (1 left), pitch (1 bowed, -1 tipped back), roll (1 left); 0 where rotations are not known"""

    def __len__(self) -> int:
        return len(self.posture)

    def rows(self) -> list[tuple[int, ...]]:
        """One flat tuple of integers per pose: all that a brief text depends on."""
        first = torch.stack([self.posture, self.side, self.lean, self.sway, self.twist], 1)
        feet, together = torch.stack([self.width, self.step], 1), self.together[:, None]
        table = torch.cat([first, self.knees, self.legs, feet, self.arms, together, self.head], dim=1)
        return [tuple(row) for row in table.tolist()]


def stances(points: Tensor, head_deg: Tensor | None = None) -> Stance:
    """(N, 35, 3) points in rule axes -> states. head_deg: (N, 3) turn, pitch, roll as `posecodes` measures them."""
    body = Geometry(points)
    posture, side = _posture(body)
    lying, arms_lie = (torch.isin(posture, torch.tensor(those, device=posture.device)) for those in (LYING, ARMS_LIE))
    upright = ~lying & (posture != Posture.CHEST_UP) & (body.tilt_deg < 60)
    bent = torch.tensor([Posture.BEND_OVER, Posture.SIT_HEELS], device=posture.device)
    forward = body.ahead(body.up)
    lean_deg = torch.rad2deg(torch.atan2(forward, body.up[:, 1]))
    lean = (lean_deg > 22).long() + (lean_deg > 48).long() - (lean_deg < -18).long()
    sway_deg = torch.rad2deg(torch.arcsin(body.sideways(body.up).clamp(-1, 1)))
    sway = (sway_deg > 14).long() - (sway_deg < -14).long()
    turned = torch.atan2((body.across * -body.hips_front).sum(-1), (body.across * body.hips_across).sum(-1))
    twist = (torch.rad2deg(turned) > 22).long() - (torch.rad2deg(turned) < -22).long()
    knees = (body.knee_deg < 152).long() + (body.knee_deg < 125).long() + (body.knee_deg < 70).long()
    apart = body.sideways(body["left_ankle"] - body["right_ankle"])
    split = body.ahead(body["left_ankle"] - body["right_ankle"])
    # one foot before the other is not together
    narrow = (apart < 0.1) & ((split.abs() < 0.15) | (apart < -0.06))
    width = (apart > 0.38).long() + (apart > 0.6).long() - narrow.long() - (apart < -0.06).long()
    step = (split > 0.22).long() + (split > 0.55).long() - (split < -0.22).long() - (split < -0.55).long()
    nothing = torch.zeros_like(step)
    head = torch.zeros(len(points), 3, dtype=torch.long, device=points.device)
    if head_deg is not None:
        turn, pitch, roll = head_deg.unbind(1)
        head[:, 0] = (turn > 22).long() - (turn < -22).long()
        head[:, 1] = (pitch > 25).long() - (pitch < -25).long()
        head[:, 2] = (roll < -20).long() - (roll > 20).long()
    return Stance(
        posture=posture,
        side=side,
        lean=torch.where(upright | torch.isin(posture, bent), lean, nothing),
        sway=torch.where(upright, sway, nothing),
        twist=twist,
        knees=knees,
        legs=leg_states(body, lying | (posture == Posture.SIT_FLOOR)),
        width=width,
        step=step,
        arms=arm_states(body, arms_lie),
        together=hands_together(body),
        head=head,
    )


def _posture(body: Geometry) -> tuple[Tensor, Tensor]:
    """The first rule that holds, from the most particular posture to plain standing."""
    tilt = body.tilt_deg
    hips, ratio = body.high("pelvis"), body.high("pelvis") / body.leg_m
    shoulder_height = torch.stack([body.high(f"{side}_shoulder") for side in SIDES], 1)
    on_knees, on_feet = body.knee_height < 0.17, body.foot_height < 0.12
    knees_down, feet_down = on_knees.all(1), on_feet.all(1)
    facing_down, facing_up = body.front[:, 1] < -0.35, body.front[:, 1] > 0.35
    ankles, knees = body.middle("ankle"), body.middle("knee")
    ankles_ahead = body.ahead(ankles - body["pelvis"])
    balance = body.ahead(body.middle("shoulder") - ankles)
    level = (body.thigh_deg > 50).all(1)
    upright, flat = tilt < 60, (tilt >= 60) & (tilt < 125)

    # Who leans on hands, knees or feet is told by what hangs below what: one stray hand may be the lowest point.
    below_shoulders = shoulder_height - body.hand_height
    on_hands = (below_shoulders > 0.2).all(1) & (body.hand_height < 0.4).all(1)
    near_ground = (body.hand_height < 0.22).all(1)
    over_knees = (hips[:, None] - body.knee_height > 0.2).all(1) & (body.foot_height > body.knee_height - 0.15).all(1)
    over_feet = shoulder_height.amin(1) - body.foot_height.mean(1) > 0.14
    lower_side = 2 - (body.across[:, 1] < 0).long()
    lower_hand = torch.where(lower_side == 1, below_shoulders[:, 0], below_shoulders[:, 1])
    on_side = (lower_hand > 0.28) & (shoulder_height.amin(1) > 0.3)
    stretched = (angle_deg(body["neck"] - body["pelvis"], knees - body["pelvis"]) > 135) & (body.knee_deg > 130).all(1)
    reach = body.middle("hand") - ankles
    hands_far = (reach[:, 0] ** 2 + reach[:, 2] ** 2).sqrt() > 0.45

    lifted = body.foot_height[:, 0] - body.foot_height[:, 1]
    stood_on = 1 + (lifted > 0).long()  # the left foot lifted: the right leg is stood on
    kneeling_on = 1 + (body.knee_height[:, 1] < body.knee_height[:, 0]).long()
    one_knee = (on_knees[:, 0] ^ on_knees[:, 1]) & ((body.knee_height[:, 0] - body.knee_height[:, 1]).abs() > 0.2)
    other_foot = torch.where(kneeling_on == 1, on_feet[:, 1], on_feet[:, 0])
    bent = 1 + (body.knee_deg[:, 1] < body.knee_deg[:, 0]).long()
    one_bent = ((body.knee_deg[:, 0] - body.knee_deg[:, 1]).abs() > 25) & (body.knee_deg.amin(1) < 135) & feet_down
    apart = body["left_ankle"] - body["right_ankle"]
    split = body.ahead(apart) * torch.where(bent == 1, 1.0, -1.0)

    shin = torch.stack([body[f"{s}_ankle"] - body[f"{s}_knee"] for s in SIDES], 1)
    shin_deg = angle_deg(-shin, body.world_up[:, None])
    shin_back = -torch.stack([body.ahead(shin[:, 0]), body.ahead(shin[:, 1])], 1)
    inwards = torch.stack([-body.sideways(shin[:, 0]), body.sideways(shin[:, 1])], 1) / shin.norm(dim=-1)
    # a squat balances over the feet; on a seat the shins stand upright in front of it
    on_seat = (body.thigh_deg.mean(1) > 66) & (shin_deg.mean(1) < 32) & (ankles_ahead > 0.13)
    # who sits has the soles on the floor; in a jump the toes hang and the shins point back
    feet = torch.stack([body[f"{s}_foot"] - body[f"{s}_ankle"] for s in SIDES], 1)
    hanging = (angle_deg(feet, -body.world_up[:, None]) < TOES_HANG_DEG).all(1)
    tucked = hanging & (body.thigh_deg > 50).all(1) & (body.knee_deg < 110).all(1) & (shin_back > 0.06).all(1)
    feet_out = level & (hips - body.foot_height.mean(1) < 0.3) & (ankles_ahead > 0.4)
    # on the toes it is a crouch: whoever sits on the heels has the feet pointing back
    toes_back = torch.stack([body.ahead(body[f"{s}_foot"] - body[f"{s}_ankle"]) for s in SIDES], 1).amax(1) < 0.05
    heels = (
        toes_back
        & ((ankles - body["pelvis"]).norm(dim=-1) < 0.34)
        & (body.knee_deg < 70).all(1)
        & (shin_deg > 55).all(1)
    )
    over_hips = shoulder_height.amin(1) - hips
    chest_up = ((tilt < 75) & (hips < 0.25)) | ((tilt < 85) & (hips < 0.35) & (over_hips > 0.12) & on_hands)
    hips_up = (tilt > 60) & (tilt < 150) & facing_up & (hips - body.foot_height.amax(1) > 0.22) & (shin_deg < 50).all(1)

    none = torch.zeros_like(stood_on)
    rules: list[tuple[Tensor, Posture, Tensor]] = [
        ((tilt < 125) & ~facing_up & heels & (ankles_ahead < 0.12) & (hips < 0.5), Posture.SIT_HEELS, none),
        (flat & facing_down & on_hands & over_knees & ~stretched, Posture.ALL_FOURS, none),
        (flat & facing_down & (below_shoulders > 0.13).all(1) & over_feet & stretched & level, Posture.PLANK, none),
        (flat & ~facing_down & ~facing_up & on_side & stretched, Posture.SIDE_PLANK, lower_side),
        (hips_up & (shoulder_height.amin(1) < 0.22), Posture.SHOULDER_BRIDGE, none),
        (hips_up & near_ground, Posture.BRIDGE, none),
        ((tilt > 80) & facing_down & on_hands & near_ground & (ratio > 0.55) & hands_far & ~level, Posture.ARCH, none),
        (flat & level & facing_up & (hips < 0.5), Posture.LIE_BACK, none),
        ((tilt > 40) & facing_down & (ankles_ahead < -0.5) & chest_up, Posture.CHEST_UP, none),
        (flat & level & facing_down & (hips < 0.5), Posture.LIE_FRONT, none),
        (flat & level & ~facing_down & (hips < 0.55), Posture.LIE_SIDE, lower_side),
        ((tilt > 120) & (body.foot_height.amin(1) > body.high("head")), Posture.UPSIDE_DOWN, none),
        ((tilt >= 60) & (ratio > 0.6), Posture.BEND_OVER, none),
        (upright & (hips < 0.5) & (inwards > 0.45).all(1) & (apart.norm(dim=-1) < 0.42), Posture.SIT_CROSSED, none),
        (upright & ((hips < 0.22) | feet_out), Posture.SIT_FLOOR, none),
        (upright & knees_down, Posture.KNEEL, none),
        (upright & one_knee & other_foot & (hips > 0.25), Posture.KNEEL_ONE, kneeling_on),
        (upright & tucked & (balance < -0.1), Posture.TUCK_JUMP, none),
        (upright & level & ((balance < -0.14) | on_seat), Posture.SIT, none),
        ((body.thigh_deg > 45).all(1) & (ratio < 0.75), Posture.SQUAT, none),
        (upright & (lifted.abs() > 0.15) & (ratio > 0.6), Posture.ONE_LEG, stood_on),
        (upright & one_bent & (split > 0.5), Posture.LUNGE, bent),
        (upright & one_bent & (body.sideways(apart) > 0.6), Posture.SIDE_LUNGE, bent),
        (ratio > 0.6, Posture.STAND, none),
    ]
    posture = torch.full_like(none, int(Posture.SQUAT))
    side = none.clone()
    free = torch.ones_like(upright)
    for holds, name, which in rules:
        now = free & holds
        posture[now], side[now] = int(name), which[now]
        free &= ~now
    return posture, side
