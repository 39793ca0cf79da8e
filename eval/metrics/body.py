"""Errors of a 3D body in millimetres: MPJPE, PA-MPJPE, PVE, and the joint protocols that give those words a meaning.

A number without its protocol says little: which joints are scored, where they come from and what is taken as the root
differ between tables (docs/metrics.md). So every error here is made by a `JointProtocol`, and its name is printed
with the number.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
import roma
import torch
from torch import Tensor

from eval.metrics.base import Interval, Metric, bootstrap_mean

JointSource = Literal["smpl24", "h36m17", "extra19"]
"""smpl24: joints of the body model. h36m17: the 17 x V regressor of SPIN applied to the mesh. extra19: HMR2's 19
regressed points (numbers 25 to 43 of its 44-point layout): twelve limb points, LSP neck and head top, MPII pelvis and
thorax, H36M spine, jaw, head.
"""

# SPIN's order of the H36M points, in LSP order: right leg, left leg, right arm, left arm, neck, head, then pelvis,
# spine, jaw.
H36M_TO_J17 = (6, 5, 4, 1, 2, 3, 16, 15, 14, 11, 12, 13, 8, 10, 0, 7, 9)
H36M_TO_J14 = H36M_TO_J17[:14]


@dataclass(frozen=True)
class JointProtocol:
    """Which joints of a source are scored, and what both bodies are aligned on before MPJPE."""

    name: str
    source: JointSource
    scored: tuple[int, ...]
    root: tuple[int, ...] | None
    """Joints of the source whose mean is the root; None: no alignment at all."""
    about: str

    def key(self, name: str) -> str:
        """What tables call an error: mpjpe_mm over SMPL's own joints, mpjpe_14_mm over 14 regressed ones.

        The two never share a column.
        """
        return name if self.source == "smpl24" else f"{name.removesuffix('_mm')}_{len(self.scored)}_mm"

    def rooted(self, joints_m: Tensor) -> Tensor:
        """The scored joints, the root at the origin: (..., J_source, 3) -> (..., J_scored, 3)."""
        scored = joints_m[..., list(self.scored), :]
        if self.root is None:
            return scored
        return scored - joints_m[..., list(self.root), :].mean(dim=-2, keepdim=True)

    def mpjpe_mm(self, predicted_m: Tensor, true_m: Tensor, valid: Tensor | None = None) -> Tensor:
        """(B, J_source, 3) twice -> (B,). `valid` (B, J_source): joints that the ground truth has."""
        distance = (self.rooted(predicted_m) - self.rooted(true_m)).norm(dim=-1) * 1000
        return _mean_over_joints(distance, self._scored_valid(valid))

    def pa_mpjpe_mm(self, predicted_m: Tensor, true_m: Tensor, valid: Tensor | None = None) -> Tensor:
        """As mpjpe_mm after the best similarity transform of the prediction, fitted on exactly the scored joints."""
        scored = list(self.scored)
        predicted_m, true_m = predicted_m[..., scored, :].double(), true_m[..., scored, :].double()
        weights = self._scored_valid(valid)
        aligned = similarity_align(predicted_m, true_m, weights)
        return _mean_over_joints((aligned - true_m).norm(dim=-1) * 1000, weights)

    def _scored_valid(self, valid: Tensor | None) -> Tensor | None:
        return None if valid is None else valid[..., list(self.scored)].double()


def similarity_align(moving: Tensor, fixed: Tensor, weights: Tensor | None = None) -> Tensor:
    """Move `moving` (B, J, 3) onto `fixed` by rotation (never a reflection), scale and shift: `s R x + t`."""
    found = roma.rigid_points_registration(moving, fixed, weights=weights, compute_scaling=True)
    rotation, shift, scale = cast(tuple[Tensor, Tensor, Tensor], found)
    return scale[..., None, None] * (moving @ rotation.mT) + shift[..., None, :]


def _mean_over_joints(distance: Tensor, weights: Tensor | None) -> Tensor:
    if weights is None:
        return distance.mean(dim=-1)
    return (distance * weights).sum(dim=-1) / weights.sum(dim=-1).clamp_min(1e-9)


def pve_mm(
    predicted_vertices_m: Tensor, true_vertices_m: Tensor, predicted_pelvis_m: Tensor, true_pelvis_m: Tensor
) -> Tensor:
    """Mean vertex distance, each mesh about its own pelvis: (B, V, 3), (B, V, 3), (B, 3), (B, 3) -> (B,)."""
    predicted = predicted_vertices_m - predicted_pelvis_m[..., None, :]
    true = true_vertices_m - true_pelvis_m[..., None, :]
    return (predicted - true).norm(dim=-1).mean(dim=-1) * 1000


_EXTRA_14 = (*range(13), 18)


def _protocols(
    *rows: tuple[str, JointSource, tuple[int, ...], tuple[int, ...] | None, str],
) -> dict[str, JointProtocol]:
    return {row[0]: JointProtocol(*row) for row in rows}


_ALL_24 = tuple(range(24))
PROTOCOLS = _protocols(
    ("smpl22", "smpl24", _ALL_24[:22], (0,), "22 SMPL joints, pelvis at the origin; a wrong root rotation counts"),
    ("smpl24", "smpl24", _ALL_24, (0,), "24 SMPL joints, pelvis at the origin; a wrong root rotation counts"),
    ("emdb24", "smpl24", _ALL_24, (1, 2), "24 SMPL joints, middle of the hips at the origin (EMDB tables)"),
    (
        "tokenizer21",
        "smpl24",
        _ALL_24[1:22],
        None,
        "21 body joints, no root rotation, shape or alignment (TokenHMR's tokenizer)",
    ),
    (
        "spin14",
        "h36m17",
        H36M_TO_J14,
        (0,),
        "14 LSP joints by the H36M regressor, its pelvis at the origin (3DPW, H36M)",
    ),
    ("spin17", "h36m17", H36M_TO_J17, (0,), "17 joints by the H36M regressor, its pelvis at the origin (MPI-INF-3DHP)"),
    (
        "hmr2_14",
        "extra19",
        _EXTRA_14,
        (14,),
        "14 LSP-like joints: points 25-37, 43 of HMR2's 44, its point 39 (MPII pelvis) at the origin",
    ),
)


@dataclass(frozen=True)
class BodyRow:
    mpjpe_mm: float
    pa_mpjpe_mm: float
    pve_mm: float | None = None


class BodyError(Metric[BodyRow]):
    """MPJPE, PA-MPJPE and, where vertices are given, PVE; every record weighs the same."""

    def __init__(self, protocol: str | JointProtocol = "smpl22") -> None:
        super().__init__()
        self.protocol = PROTOCOLS[protocol] if isinstance(protocol, str) else protocol

    def update(
        self,
        ids: Sequence[str],
        predicted_m: Tensor,
        true_m: Tensor,
        *,
        valid: Tensor | None = None,
        pve: Tensor | None = None,
    ) -> None:
        """Joints of the protocol's source (B, J_source, 3); `pve` (B,) from pve_mm."""
        with torch.no_grad():
            raw = self.protocol.mpjpe_mm(predicted_m.double(), true_m.double(), valid).tolist()
            aligned = self.protocol.pa_mpjpe_mm(predicted_m, true_m, valid).tolist()
            vertex = [None] * len(raw) if pve is None else pve.tolist()
        self.add(ids, [BodyRow(*row) for row in zip(raw, aligned, vertex, strict=True)])

    def values(self, name: str) -> np.ndarray:
        """One value per record, in the order of `ids`."""
        return np.array([getattr(row, name) for row in self.ordered()], dtype=np.float64)

    def compute(self) -> dict[str, float]:
        result = {name: float(self.values(name).mean()) for name in self._names()} if self.rows else {}
        return {**result, "n": len(self)}

    def intervals(self, **options: float) -> dict[str, Interval]:
        return {name: bootstrap_mean(self.values(name), **options) for name in self._names()}  # type: ignore[arg-type]

    def _names(self) -> list[str]:
        has_vertices = bool(self.rows) and all(row.pve_mm is not None for row in self.rows.values())
        return ["mpjpe_mm", "pa_mpjpe_mm", *(["pve_mm"] if has_vertices else [])]
