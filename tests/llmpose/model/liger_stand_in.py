"""Stands in for liger-kernel 0.8 where there is no GPU: the same class, arguments and results, computed by torch."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

MODULE = "liger_kernel.transformers.fused_linear_cross_entropy"


@dataclass
class CrossEntropyOutput:
    loss: Tensor
    z_loss: Tensor | None = None
    token_accuracy: Tensor | None = None
    predicted_tokens: Tensor | None = None


class LigerFusedLinearCrossEntropyLoss(torch.nn.Module):
    calls = 0

    def __init__(
        self,
        ce_weight: Tensor | None = None,
        ignore_index: int = -100,
        lse_square_scale: float = 0.0,
        label_smoothing: float = 0.0,
        reduction: str = "mean",
        softcap: float | None = None,
        return_z_loss: bool = False,
        accum_dtype: torch.dtype | None = None,
        use_token_scaling: bool = False,
        return_token_accuracy: bool = False,
        return_predicted_tokens: bool = False,
    ) -> None:
        super().__init__()
        assert reduction == "none"
        self.softcap, self.with_accuracy = softcap, return_token_accuracy

    def forward(self, lin_weight: Tensor, _input: Tensor, target: Tensor, bias: Tensor | None = None) -> Any:
        assert lin_weight.ndim == _input.ndim == 2
        assert target.ndim == 1
        type(self).calls += 1
        logits = F.linear(_input, lin_weight, bias).float()
        if self.softcap is not None:
            logits = self.softcap * torch.tanh(logits / self.softcap)
        loss = F.cross_entropy(logits, target, reduction="none")
        if not self.with_accuracy:
            return loss
        return CrossEntropyOutput(loss, token_accuracy=(logits.argmax(-1) == target).float())
