"""Muon for the matrices of repeated layers, AdamW for everything else, as one optimizer.

Muon moves a matrix by its momentum made orthogonal, so that every direction of it learns alike and not only the loud
ones (Jordan et al. 2024); here with the size of an AdamW step, so that one learning rate serves both (Liu et al. 2025,
"Muon is scalable for LLM training" §2.2). On the built-in world a small decoder and a small pose ViT learn from about
half the examples that AdamW takes (docs/benchmarks.md). It sees whole matrices: not for DeepSpeed and FSDP, which
divide them.
"""

import re
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

BODIES = re.compile(r"(^|\.)((layers?|blocks|h)\.\d+|stem\.[1-9]\d*)\.")
"""Where models of transformers, and ours, keep repeated layers. A stem's first convolution sees pixels and is left out,
as embeddings are."""
MOMENTUM = 0.95
ROUNDS = 5
QUINTIC = (3.4445, -4.7750, 2.0315)
"""a x + b x³ + c x⁵ takes every singular value between 0 and 1 near to 1 within five rounds."""
STEP_SIZE = 0.2
"""Root mean square of an update, in learning rates: what AdamW's usually is."""


def is_muons(name: str, parameter: nn.Parameter) -> bool:
    """Matrices and kernels of repeated layers, by their name in the model."""
    return parameter.ndim >= 2 and BODIES.search(name) is not None


def orthogonal(stack: Tensor) -> Tensor:
    """(N, rows, columns): each matrix with its singular values near 1, its directions kept (Newton and Schulz).

    Every round multiplies by a polynomial of x xᵀ. Where x is much longer than it is wide, all rounds are gathered in
    one small matrix, and x is touched at the beginning and at the end only.
    """
    is_tall = stack.shape[-2] > stack.shape[-1]
    x = stack.mT if is_tall else stack
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    x = _at_once(x) if x.shape[-1] >= 2 * x.shape[-2] else _round_by_round(x)
    return x.mT if is_tall else x


def _round_by_round(x: Tensor) -> Tensor:
    a, b, c = QUINTIC
    for _ in range(ROUNDS):
        square = torch.bmm(x, x.mT)
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x


def _at_once(x: Tensor) -> Tensor:
    a, b, c = QUINTIC
    square = torch.bmm(x, x.mT)
    one = a * torch.eye(square.shape[-1], dtype=x.dtype, device=x.device)
    gathered = torch.baddbmm(square, square, square, beta=b, alpha=c) + one
    turn = gathered
    for _ in range(ROUNDS - 1):
        square = torch.bmm(torch.bmm(turn, square), turn)
        turn = torch.baddbmm(square, square, square, beta=b, alpha=c) + one
        gathered = torch.bmm(turn, gathered)
    return torch.bmm(gathered, x)


class Muon(torch.optim.AdamW):
    """Groups with `muon: True` are moved by Muon, kernels as matrices of outputs × all else; all others by AdamW."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step of both."""
        groups = self.param_groups
        self.param_groups = [group for group in groups if not group["muon"]]
        try:
            loss = super().step(closure)
        finally:
            self.param_groups = groups
        for group in groups:
            if group["muon"]:
                self._move(group)
        return loss

    def _move(self, group: dict[str, Any]) -> None:
        alike: dict[torch.Size, list[tuple[Tensor, Tensor]]] = defaultdict(list)
        for matrix in group["params"]:
            if matrix.grad is not None:
                alike[matrix.flatten(1).shape].append((matrix, matrix.grad))
        for shape, pairs in alike.items():
            pushes: list[Tensor] = []
            for matrix, gradient in pairs:
                state = self.state[matrix]
                if not state:  # `step` because AdamW looks for it when its state is loaded
                    state.update(step=torch.zeros(()), momentum=torch.zeros_like(matrix))
                momentum: Tensor = state["momentum"]
                state["step"] += 1
                momentum.lerp_(gradient, 1 - MOMENTUM)
                pushes.append(gradient.lerp(momentum, MOMENTUM).flatten(1))
            size = STEP_SIZE * max(shape) ** 0.5
            for (matrix, _), push in zip(pairs, orthogonal(torch.stack(pushes)), strict=True):
                matrix.mul_(1 - group["lr"] * group["weight_decay"])
                matrix.add_(push.view_as(matrix), alpha=-group["lr"] * size)
