"""Parameter groups and the learning rate's shape: plain functions of a recipe."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from llmpose.errors import UserError
from train.muon import is_muons
from train.recipe import Optim
from train.stages import component_of


def parameter_groups(
    model: nn.Module, components: Mapping[str, tuple[str, ...]], optim: Optim, decays: set[str]
) -> list[dict[str, Any]]:
    """Trainable parameters by (learning rate, weight decay, whether Muon moves them).

    `decays` names those that weight decay applies to.
    """
    groups: dict[tuple[float, float, bool], list[nn.Parameter]] = {}
    seen: set[str] = set()
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        component = component_of(name, components)
        seen.add(component)
        by_muon = optim.name == "muon" and is_muons(name, parameter)
        rate, decay = optim.lr_of.get(component, optim.lr), optim.weight_decay if name in decays else 0.0
        key = (rate, decay, by_muon)
        groups.setdefault(key, []).append(parameter)
    if not groups:
        raise UserError("nothing trains: every parameter is frozen; look at the recipe's stage and adapt")
    idle = [name for name in optim.lr_of if name not in seen]
    if idle:
        raise UserError(f"optim.lr_of: {idle[0]!r} is no component that trains; these do: {', '.join(sorted(seen))}")
    if optim.name == "muon" and not any(by_muon for _, _, by_muon in groups):
        raise UserError("optim.name: muon moves the matrices of repeated layers, and none trains here; use adamw")
    return [
        {"params": params, "lr": lr, "weight_decay": decay} | ({"muon": by_muon} if optim.name == "muon" else {})
        for (lr, decay, by_muon), params in groups.items()
    ]


def learning_rate_shape(optim: Optim, steps: int) -> Callable[[int], float]:
    """Step -> factor on the learning rate: a linear warm-up, then constant, linear, cosine or stepwise down."""
    warmup = round(optim.warmup if optim.warmup >= 1 else optim.warmup * steps)

    def shape(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        done = min(1.0, (step - warmup) / max(1, steps - warmup))
        if optim.schedule == "linear":
            return optim.floor + (1 - optim.floor) * (1 - done)
        if optim.schedule == "cosine":
            return optim.floor + (1 - optim.floor) * (1 + math.cos(math.pi * done)) / 2
        if optim.schedule == "steps":
            return 0.1 ** ((step >= steps * 8 / 12) + (step >= steps * 11 / 12))
        return 1.0

    return shape
