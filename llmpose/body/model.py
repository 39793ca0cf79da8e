"""A body model turns a pose into joints and a mesh: SMPL, SMPL-H, SMPL-X from the user's files, or the stand-in.

One interface, two backends: our own linear blend skinning (the default) and the `smplx` package (optional, and free for
non-commercial research only), held equal by a test. Numbers are float32 whatever the autocast state around.
"""

import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import roma
import torch
from torch import Tensor, nn

from llmpose.body.files import ENVIRONMENT, BodyData, Gender, Kind, resolve_body_data
from llmpose.body.landmarks import LANDMARK_VERTICES, joint_names
from llmpose.body.pose import NUM_JOINTS as NUM_POSE_JOINTS
from llmpose.body.pose import Pose
from llmpose.body.skinning import KinematicChain, skin
from llmpose.errors import UserError

logger = logging.getLogger(__name__)

Backend: TypeAlias = Literal["own", "smplx"]
Hands: TypeAlias = Literal["flat", "relaxed"]

_CPU_CHUNK = 16
_noted_stand_in = False


@dataclass(frozen=True)
class BodyOutput:
    """What a posed body is made of, in the frame of its root."""

    joints_m: Tensor
    """(..., J, 3)."""
    vertices_m: Tensor
    """(..., V, 3)."""


class BodyModel(nn.Module):
    """Joints and vertices from poses, by linear blend skinning (Loper et al. 2015, SMPL, Eq. 2-7).

    All tables are buffers: `.to("cuda")` moves it, nothing is trained. Batch dimensions are free: a single pose gives
    (J, 3), a batch (B, J, 3).
    """

    def __init__(self, data: BodyData) -> None:
        super().__init__()
        self.kind: Kind = data.kind
        self.source = data.source
        self.is_stand_in = data.is_stand_in
        self.parents = data.parents
        self.joint_names = joint_names(data.kind)
        self.num_joints = len(data.parents)
        self.num_vertices = len(data.vertices_m)
        self.chain = KinematicChain(data.parents)

        def table(name: str, value: Tensor) -> None:
            self.register_buffer(name, value.contiguous(), persistent=False)

        # Products are taken in float64 and rounded once, so a mesh at rest is the file's own to the last float32 digit.
        vertices, shapes = torch.from_numpy(data.vertices_m), torch.from_numpy(data.shape_directions)
        regressor = torch.from_numpy(data.joint_regressor)
        table("faces", torch.from_numpy(data.faces))
        table("vertices_rest", vertices.float())
        table("shape_directions", shapes.permute(2, 0, 1).float())  # (10, V, 3)
        table("joints_rest", (regressor @ vertices).float())
        table("joint_directions", torch.einsum("jv,vcs->sjc", regressor, shapes).float())  # (10, J, 3)
        table("weights", torch.from_numpy(data.weights).float())
        directions = data.pose_directions
        self.has_pose_directions = directions is not None
        if directions is not None:
            table("pose_directions", torch.from_numpy(directions).permute(2, 0, 1).float())  # (9 (J-1), V, 3)
        mean = data.hands_mean
        relaxed = torch.eye(3).repeat(30, 1, 1) if mean is None else _rotations(torch.from_numpy(mean).float())
        table("hands_relaxed", relaxed)

    faces: Tensor
    """(F, 3) int64, counter-clockwise seen from outside."""
    vertices_rest: Tensor
    shape_directions: Tensor
    joints_rest: Tensor
    joint_directions: Tensor
    weights: Tensor
    pose_directions: Tensor
    hands_relaxed: Tensor

    @property
    def device(self) -> torch.device:
        return self.joints_rest.device

    def rest_joints(self, betas: Tensor | None = None) -> Tensor:
        """(..., J, 3) joints of the T-pose in SMPL's rest frame (y up). The root turns about the first, the pelvis."""
        if betas is None:
            return self.joints_rest
        return self.joints_rest + torch.einsum("...s,sjc->...jc", betas.float(), self.joint_directions)

    def joints(
        self,
        pose: Pose | Tensor,
        betas: Tensor | None = None,
        trans_m: Tensor | None = None,
        *,
        hands: Hands | Tensor = "flat",
    ) -> Tensor:
        """(..., J, 3) posed joints. Builds no vertex: about a hundred times cheaper than `forward`. Differentiable."""
        rotmat, betas, trans_m = self._inputs(pose, betas, trans_m, hands)
        with torch.autocast(rotmat.device.type, enabled=False):
            _, joints = self.chain(rotmat, self.rest_joints(betas))
            return joints if trans_m is None else joints + trans_m[..., None, :]

    def forward(
        self,
        pose: Pose | Tensor,
        betas: Tensor | None = None,
        trans_m: Tensor | None = None,
        *,
        hands: Hands | Tensor = "flat",
    ) -> BodyOutput:
        """Posed joints and vertices.

        `pose` is a `Pose` (its own betas and translation are used unless given here) or rotations: (..., 22, 3, 3), or
        one per joint of the model. `hands` are the finger rotations of SMPL-H and SMPL-X (..., 30, 3, 3), left hand
        first; "relaxed" is the file's mean hand, "flat" its rest. SMPL's rigid hands, jaw and eyes stay at rest.
        """
        return self._build(pose, betas, trans_m, hands, vertex_ids=None)

    def landmarks(self, vertices_m: Tensor) -> dict[str, Tensor]:
        """Named points on the skin, each (..., 3): nose, eyes, ears, toes, heels, finger tips. SMPL and SMPL-H only."""
        if self.kind == "smplx":
            raise UserError("landmark vertices are known for SMPL and SMPL-H meshes, this is SMPL-X")
        return {name: vertices_m[..., vertex, :] for name, vertex in LANDMARK_VERTICES.items()}

    def regress(
        self, regressor: Tensor, pose: Pose | Tensor, betas: Tensor | None = None, trans_m: Tensor | None = None
    ) -> Tensor:
        """(..., K, 3) points = regressor (K, V) @ vertices, building only the vertices it has a weight for."""
        if regressor.shape[-1] != self.num_vertices:
            raise UserError(f"regressor {tuple(regressor.shape)} does not fit a mesh of {self.num_vertices} vertices")
        used = regressor.ne(0).any(0).nonzero().flatten().to(self.device)
        vertices = self._build(pose, betas, trans_m, "flat", vertex_ids=used).vertices_m
        return regressor.to(vertices)[:, used] @ vertices

    def _build(
        self,
        pose: Pose | Tensor,
        betas: Tensor | None,
        trans_m: Tensor | None,
        hands: Hands | Tensor,
        vertex_ids: Tensor | None,
    ) -> BodyOutput:
        rotmat, betas, trans_m = self._inputs(pose, betas, trans_m, hands)
        batch = rotmat.shape[:-3]
        tables = self._tables(vertex_ids)
        with torch.autocast(rotmat.device.type, enabled=False):
            # On a CPU a few bodies at a time: their intermediate results stay in the cache, about twice as fast.
            size = _CPU_CHUNK if rotmat.device.type == "cpu" else max(batch.numel(), 1)
            parts = [
                self._build_few(tables, *part)
                for part in zip(
                    rotmat.reshape(-1, *rotmat.shape[-3:]).split(size),
                    *(_flat_split(value, batch, size) for value in (betas, trans_m)),
                    strict=True,
                )
            ]
        joints, vertices = (values[0] if len(values) == 1 else torch.cat(values) for values in zip(*parts, strict=True))
        return BodyOutput(joints.reshape(*batch, *joints.shape[1:]), vertices.reshape(*batch, *vertices.shape[1:]))

    def _tables(self, vertex_ids: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
        """Rest vertices (V, 3), shape and pose directions (.., 3 V), weights (V, J), of all vertices or of some."""

        def of(table: Tensor, axis: int) -> Tensor:
            return table if vertex_ids is None else table.index_select(axis, vertex_ids)

        return (
            of(self.vertices_rest, 0),
            of(self.shape_directions, 1).flatten(1),
            of(self.pose_directions, 1).flatten(1) if self.has_pose_directions else None,
            of(self.weights, 0),
        )

    def _build_few(
        self,
        tables: tuple[Tensor, Tensor, Tensor | None, Tensor],
        rotmat: Tensor,
        betas: Tensor | None,
        trans_m: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Posed joints (B, J, 3) and vertices (B, V, 3)."""
        vertices, shape_directions, pose_directions, weights = tables
        rest = self.rest_joints(betas)
        world, joints = self.chain(rotmat, rest)
        if betas is not None:
            vertices = vertices + (betas @ shape_directions).unflatten(-1, (-1, 3))
        if pose_directions is not None:
            bend = (rotmat[:, 1:] - torch.eye(3, device=rotmat.device)).flatten(1)
            vertices = vertices + (bend @ pose_directions).unflatten(-1, (-1, 3))
        vertices = skin(weights, world, joints, rest, vertices)
        return (joints, vertices) if trans_m is None else (joints + trans_m[:, None], vertices + trans_m[:, None])

    def _inputs(
        self, pose: Pose | Tensor, betas: Tensor | None, trans_m: Tensor | None, hands: Hands | Tensor
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """All joints' rotations, shape and translation: float32, on this device, with the same batch dimensions."""
        if isinstance(pose, Pose):
            betas = pose.betas if betas is None else betas
            trans_m = pose.trans_m if trans_m is None else trans_m
            pose = pose.rotmat
        rotmat = pose.to(self.device, torch.float32)
        if rotmat.ndim < 3 or rotmat.shape[-2:] != (3, 3) or rotmat.shape[-3] not in (NUM_POSE_JOINTS, self.num_joints):
            raise UserError(
                f"this {self.kind} body takes rotations (..., {NUM_POSE_JOINTS}, 3, 3) or "
                f"(..., {self.num_joints}, 3, 3), got {tuple(rotmat.shape)}"
            )
        if rotmat.shape[-3] == NUM_POSE_JOINTS:
            rotmat = torch.cat([rotmat, self._other_joints(hands, rotmat.shape[:-3])], dim=-3)
        batch = rotmat.shape[:-3]
        betas = None if betas is None else betas.to(self.device, torch.float32).expand(*batch, -1)
        trans_m = None if trans_m is None else trans_m.to(self.device, torch.float32).expand(*batch, 3)
        return rotmat, betas, trans_m

    def _other_joints(self, hands: Hands | Tensor, batch: torch.Size) -> Tensor:
        """Rotations of the joints after the 22: SMPL's rigid hands, or jaw, eyes (SMPL-X) and fingers."""
        count = self.num_joints - NUM_POSE_JOINTS
        others = torch.eye(3, device=self.device).expand(*batch, count, 3, 3)
        if isinstance(hands, str) and hands == "flat":
            return others
        if isinstance(hands, str):
            if self.kind == "smpl":
                return others
            hands = self.hands_relaxed
        if self.kind == "smpl" or hands.shape[-3:] != (30, 3, 3):
            raise UserError(
                f"hands are (..., 30, 3, 3) for SMPL-H and SMPL-X, got {tuple(hands.shape)} for {self.kind}"
            )
        hands = hands.to(self.device, torch.float32).expand(*batch, 30, 3, 3)
        return torch.cat([others[..., : count - 30, :, :], hands], dim=-3)


def load_body_model(
    path: str | Path | None = None,
    *,
    kind: Kind = "smpl",
    gender: Gender = "neutral",
    backend: Backend = "own",
    device: torch.device | str = "cpu",
) -> BodyModel:
    """A body model from a file, a folder of models, or (None) the folder in LLMPOSE_BODY_MODELS, else the stand-in.

    The path "stand-in" always means the built-in body, so what is made with it does not depend on the environment.
    """
    data = resolve_body_data(path, kind, gender)
    if data.is_stand_in and path is None:
        _note_stand_in()
    if backend == "smplx":
        from llmpose.body.smplx_backend import SmplxBodyModel

        return SmplxBodyModel(data).to(device)
    if backend != "own":
        raise UserError(f"unknown body model backend {backend!r}; choose own or smplx")
    return BodyModel(data).to(device)


def _flat_split(value: Tensor | None, batch: torch.Size, size: int) -> list[Tensor] | list[None]:
    """A per-body value in the pieces that its rotations are split into."""
    if value is None:
        return [None] * max(math.ceil(batch.numel() / size), 1)
    return list(value.reshape(-1, value.shape[-1]).split(size))


def _note_stand_in() -> None:
    global _noted_stand_in
    if not _noted_stand_in:
        logger.warning(
            "using the built-in stand-in body; set %s to the folder with your SMPL files to use SMPL", ENVIRONMENT
        )
    _noted_stand_in = True


def _rotations(axis_angle: Tensor) -> Tensor:
    return roma.rotvec_to_rotmat(axis_angle).flatten(0, 1)
