"""What computes attention and the loss of a run, in a line of its log."""

from typing import Any

import torch
from peft import PeftModel
from torch import nn

from llmpose.model.attention import describe_attention
from llmpose.model.loss import describe_loss, is_sharded, liger_version
from llmpose.model.modeling import LlmPoseForConditionalGeneration


def describe_kernels(model: nn.Module, device_type: str, precision: str) -> str | None:
    """For a language model: `attn=auto: training rows sdpa, decoding sdpa, clip sdpa; loss in chunks`; else None."""
    bare: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    if not isinstance(bare, LlmPoseForConditionalGeneration):
        return None
    dtype = torch.bfloat16 if precision == "bf16" else bare.dtype
    encoders = {} if bare.vision is None else bare.vision.models()
    attention = describe_attention(bare.config.attn, device_type, dtype, bare.language, encoders)
    loss = describe_loss(device_type, liger=liger_version(), is_sharded=is_sharded())
    return f"attn={bare.config.attn}: {attention}; loss {loss}"
