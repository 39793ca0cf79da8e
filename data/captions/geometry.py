"""Directions, angles and heights of a body, measured on the named points of many poses at once."""

import torch
from torch import Tensor

from data.captions.points import POINT_INDEX

SIDES = ("left", "right")


def unit(vector: Tensor) -> Tensor:
    return torch.nn.functional.normalize(vector, dim=-1)


def angle_deg(a: Tensor, b: Tensor) -> Tensor:
    return torch.rad2deg(torch.arccos((unit(a) * unit(b)).sum(-1).clamp(-1, 1)))


class Geometry:
    """Named points of N poses and what several rules need of them. Rule axes: x left, y up, z front."""

    def __init__(self, points: Tensor) -> None:
        self.points = points
        self.height = points[..., 1] - points[..., 1].amin(1, keepdim=True)
        self.world_up = torch.tensor([0.0, 1.0, 0.0], device=points.device).expand(len(points), 3)
        self.up = unit(self["neck"] - self["pelvis"])
        self.trunk_m = (self["neck"] - self["pelvis"]).norm(dim=-1)
        across = unit(self["left_shoulder"] - self["right_shoulder"])
        self.front = unit(torch.linalg.cross(across, self.up))
        self.across = torch.linalg.cross(self.up, self.front)
        hips = self["left_hip"] - self["right_hip"]
        self.hips_across = unit(hips)
        self.hips_front = unit(torch.linalg.cross(self.hips_across, unit(self["spine2"] - self["pelvis"])))
        self.heading = self._heading()
        self.tilt_deg = angle_deg(self.up, self.world_up)
        self.knee_deg = torch.stack(
            [angle_deg(self[f"{s}_hip"] - self[f"{s}_knee"], self[f"{s}_ankle"] - self[f"{s}_knee"]) for s in SIDES], 1
        )
        self.elbow_deg = torch.stack(
            [
                angle_deg(self[f"{s}_shoulder"] - self[f"{s}_elbow"], self[f"{s}_wrist"] - self[f"{s}_elbow"])
                for s in SIDES
            ],
            1,
        )
        self.leg_m = torch.stack(
            [
                (self[f"{s}_hip"] - self[f"{s}_knee"]).norm(dim=-1)
                + (self[f"{s}_knee"] - self[f"{s}_ankle"]).norm(dim=-1)
                for s in SIDES
            ]
        ).mean(0)
        self.foot_height = torch.stack(
            [torch.minimum(self.high(f"{s}_ankle") - 0.05, self.high(f"{s}_foot")) for s in SIDES], 1
        )
        self.knee_height = torch.stack([self.high(f"{s}_knee") for s in SIDES], 1)
        self.hand_height = torch.stack(
            [torch.minimum(self.high(f"{s}_wrist"), self.high(f"{s}_finger")) for s in SIDES], 1
        )
        self.thigh = torch.stack([self[f"{s}_knee"] - self[f"{s}_hip"] for s in SIDES], 1)
        self.thigh_deg = angle_deg(self.thigh, -self.world_up[:, None])

    def __getitem__(self, name: str) -> Tensor:
        """(N, 3) a point."""
        return self.points[:, POINT_INDEX[name]]

    def middle(self, name: str) -> Tensor:
        """(N, 3) between the left and the right one."""
        return (self[f"left_{name}"] + self[f"right_{name}"]) / 2

    def high(self, name: str) -> Tensor:
        """(N,) height above the lowest point."""
        return self.height[:, POINT_INDEX[name]]

    def ahead(self, vector: Tensor) -> Tensor:
        """(N,) how far a vector points to where the person faces, along the ground."""
        return (vector * self.heading).sum(-1)

    def sideways(self, vector: Tensor) -> Tensor:
        """(N,) how far a vector points to the body's left, along the ground."""
        return (vector * torch.linalg.cross(self.world_up, self.heading)).sum(-1)

    def _heading(self) -> Tensor:
        """Where the person faces, flat on the ground: square to the hips' axis, which bending over leaves as it is.

        Lying on a side the axis stands upright; then the front of the hips says it.
        """
        by_axis = torch.linalg.cross(self.hips_across, self.world_up)
        flat = self.hips_front * torch.tensor([1.0, 0.0, 1.0], device=by_axis.device)
        return unit(torch.where((by_axis.norm(dim=-1) > 0.5)[:, None], by_axis, flat))
