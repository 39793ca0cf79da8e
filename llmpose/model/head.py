"""The head of a language model: from hidden states to logits, and as one matrix where it is no more than that.

    logits = cap · tanh(scale · (W h + b) / cap)        without the cap, in most models: scale · (W h + b)

Fused kernels multiply by W themselves, so they have to know it; all else calls the module, whatever stands around it.

Shape letters: D hidden width, V vocabulary.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig


@dataclass(frozen=True)
class Squash:
    """What some language models do to their logits."""

    scale: float = 1.0
    cap: float | None = None

    @staticmethod
    def of(text: PreTrainedConfig | Any) -> "Squash":
        """Of a language model's configuration: Granite divides, Cohere multiplies, Gemma caps."""
        divisor, factor = getattr(text, "logits_scaling", None), getattr(text, "logit_scale", None)
        scale = (1.0 if factor is None else float(factor)) / (1.0 if divisor is None else float(divisor))
        return Squash(scale, getattr(text, "final_logit_softcapping", None))

    def __call__(self, logits: Tensor) -> Tensor:
        logits = logits if self.scale == 1.0 else logits * self.scale
        return logits if self.cap is None else torch.tanh(logits / self.cap) * self.cap


@dataclass(frozen=True)
class MatrixHead:
    """A head that is one matrix, as a fused kernel wants it."""

    weight: Tensor
    """(V, D), with the trained rows of an adapter in their places."""
    bias: Tensor | None
    """(V,)."""
    squash: Squash


def as_matrix(head: nn.Module, squash: Squash) -> MatrixHead | None:
    """The matrix that a head is; None for one that computes more: with LoRA, a trained copy, quantised."""
    from peft.utils.other import TrainableTokensWrapper

    if type(head) is nn.Linear:
        return MatrixHead(head.weight, head.bias, squash)
    if isinstance(head, TrainableTokensWrapper):
        rows: Any = head.token_adapter
        if type(rows.base_layer) is nn.Linear and rows.active_adapters and not (rows.disable_adapters or rows.merged):
            return MatrixHead(rows.get_merged_weights(rows.active_adapters), None, squash)
    return None
