"""What a reader understands of a change where the numbers alone mislead: ground, lying down, and getting up.

    sitting down     the feet come nearer to the pelvis, but stay on the ground: nobody would call them raised
    getting up       a lean means nothing in a plank; the upper body is told to rise instead
    lying on a back  "forward" would be read as up, so these changes go towards the head or away from it

PoseFix (Delmas et al., ICCV 2023) measures all of it from the pelvis.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from data.captions.points import POINT_INDEX
from data.captions.posecodes import STANDING_M

LIES_TILT_DEG, LIES_SIDEWAYS_DEG = 60, 30
"""A trunk tilted further than the first, and sideways by more than the second, lies on a side: no lean is seen."""
SUPINE_BACKWARD, SUPINE_PELVIS_M = 0.8, 0.35
"""On the back: the trunk's direction points this far backwards, with the pelvis no higher than this."""
LOW_PELVIS_M = 0.55
"""With the pelvis lower than this, a trunk tilted so far is that of a plank, of all fours or of a seat: it rises."""
HIPS_M = (0.15, 0.25)
"""The hips are raised or lowered (slightly, plainly) from these changes of the pelvis' height above the ground."""
TRUNK_RISES_DEG = 30
"""From this change of tilt on the upper body goes up or down, where a lean cannot be told."""
ALIKE_M = 0.05
"""Poses without a change worth telling are alike only if no point has moved further than this."""


@dataclass(frozen=True)
class Sense:
    """Of N pairs; changes are A minus B, as in paircodes."""

    ground: Tensor
    """(N, 35) change of every point's height above the lowest one, metres."""
    lean: Tensor
    """(N,) bool: the trunk's lean means something in both."""
    sway: Tensor
    """(N,) bool: both are on their feet, so that a lean to a side means something."""
    supine: Tensor
    """(N,) bool: both lie on the back."""
    lies: Tensor
    """(N,) bool: B lies, or is down on hands or feet, so that "in front of" would be read as towards the ground."""
    tilt_deg: Tensor
    """(N,) change of the trunk's angle to the vertical."""
    alike: Tensor
    """(N,) bool: no point has moved to speak of."""

    def whole_body(self) -> list[tuple[str, str]]:
        """Per pair, what becomes of the hips and of the upper body: categories or "" for nothing to tell."""
        hips = self.ground[:, POINT_INDEX["pelvis"]].tolist()
        rows = zip(hips, self.tilt_deg.tolist(), self.lean.tolist(), strict=True)
        return [(_hips(height), "" if lean else _trunk(tilt)) for height, tilt, lean in rows]


def sense(points_a: Tensor, points_b: Tensor) -> Sense:
    """(N, 35, 3) named points of A and of B, in rule axes from the pelvis."""
    heights = [points[..., 1] - points[..., 1].amin(1, keepdim=True) for points in (points_a, points_b)]
    trunks = [torch.nn.functional.normalize(points[:, POINT_INDEX["neck"]], dim=-1) for points in (points_a, points_b)]
    tilts = [torch.rad2deg(torch.arccos(up[:, 1].clamp(-1, 1))) for up in trunks]
    sideways = [torch.rad2deg(torch.arcsin(up[:, 0].clamp(-1, 1))).abs() for up in trunks]
    low = [
        (tilt > LIES_TILT_DEG) & (height[:, POINT_INDEX["pelvis"]] < LOW_PELVIS_M)
        for tilt, height in zip(tilts, heights, strict=True)
    ]
    on_feet = _above_ankles(points_a) & ~low[0] & _above_ankles(points_b) & ~low[1]
    on_side = [
        (tilt > LIES_TILT_DEG) & (aside > LIES_SIDEWAYS_DEG) for tilt, aside in zip(tilts, sideways, strict=True)
    ]
    on_back = [
        (up[:, 2] < -SUPINE_BACKWARD) & (height[:, POINT_INDEX["pelvis"]] < SUPINE_PELVIS_M)
        for up, height in zip(trunks, heights, strict=True)
    ]
    return Sense(
        ground=heights[0] - heights[1],
        lean=on_feet & ~on_side[0] & ~on_side[1],
        sway=on_feet,
        supine=on_back[0] & on_back[1],
        lies=low[1],
        tilt_deg=tilts[0] - tilts[1],
        alike=(points_a - points_b).norm(dim=-1).amax(1) <= ALIKE_M,
    )


def _above_ankles(points: Tensor) -> Tensor:
    def height(name: str) -> Tensor:
        return points[:, POINT_INDEX[name], 1]

    shoulders = (height("left_shoulder") + height("right_shoulder")) / 2
    return shoulders - torch.minimum(height("left_ankle"), height("right_ankle")) > STANDING_M


def lesser(a: Tensor, b: Tensor) -> Tensor:
    """The smaller of two changes that go the same way; 0 where they do not."""
    return torch.where(a * b > 0, torch.where(a.abs() < b.abs(), a, b), 0.0)


def _hips(change_m: float) -> str:
    if abs(change_m) <= HIPS_M[0]:
        return ""
    return ("slightly_" if abs(change_m) <= HIPS_M[1] else "") + ("raise_hips" if change_m < 0 else "lower_hips")


def _trunk(change_deg: float) -> str:
    if abs(change_deg) <= TRUNK_RISES_DEG:
        return ""
    return "raise_trunk" if change_deg > 0 else "lower_trunk"
