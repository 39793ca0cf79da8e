"""What a reconstruction costs: rotations, vertices and joints (UniPose suppl. §B.1 Eq. 1).

The body is a function from rotations (B, 22, 3, 3) to joints in metres, or to joints and vertices; no more is known.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

JointsOf = Callable[[Tensor], Tensor]
"""(B, 22, 3, 3) -> (B, J, 3)."""
JointsAndVerticesOf = Callable[[Tensor], tuple[Tensor, Tensor]]
"""(B, 22, 3, 3) -> (B, J, 3), (B, V, 3)."""


@dataclass
class Weights:
    """λ1, λ2, λ3 of Eq. 1 and the weight of the commitment loss."""

    rotations: float = 20.0
    vertices: float = 100.0
    joints: float = 100.0
    commitment: float = 1.0


@dataclass
class Reconstruction:
    """What the losses compare; `vertices` are None when their weight is 0."""

    rotmat: Tensor
    joints_m: Tensor
    vertices_m: Tensor | None = None


def squared_distance(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared difference per example, (B, ...) -> (B,). The released code of both papers squares."""
    return (a - b).square().flatten(1).mean(1)


def distance(a: Tensor, b: Tensor) -> Tensor:
    """Mean length of the difference vectors per example, (B, P, 3) -> (B,): MPJPE itself, in the unit given."""
    # Not vector_norm: its gradient is undefined where a point is met exactly.
    return ((a - b).square().sum(-1) + 1e-10).sqrt().flatten(1).mean(1)


def reconstruction_terms(
    found: Reconstruction, wanted: Reconstruction, weights: Weights, measure: Callable[[Tensor, Tensor], Tensor]
) -> dict[str, Tensor]:
    """Each weighted term of Eq. 1, per example (B,). `measure` is used for points; rotations are always squared."""
    terms = {
        "rotations": weights.rotations * squared_distance(found.rotmat, wanted.rotmat),
        "joints": weights.joints * measure(found.joints_m, wanted.joints_m),
    }
    if found.vertices_m is not None and wanted.vertices_m is not None:
        terms["vertices"] = weights.vertices * measure(found.vertices_m, wanted.vertices_m)
    return {name: term for name, term in terms.items() if torch.is_tensor(term)}
