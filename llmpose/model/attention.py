"""Which kernels compute attention: the choice that `attn: auto` stands for, part by part of a model.

                              CUDA                                                  CPU
    training rows, mixed      flex_attention                                        segments
    training rows, plain      flash-attn where it is installed, in half precision   segments
    decoding                  sdpa                                                  sdpa
    vision encoders           flash-attn where it is installed, in half precision   sdpa

Mixed rows hold a pose block or a branch (llmpose/model/layout.py), which FlashAttention cannot express. Packed samples
it can: its kernels are told where each one ends. flash-attn comes with the extra `gpu`; without it plain rows run on
flex_attention too, and vision encoders on sdpa.
"""

from collections.abc import Mapping
from inspect import signature

import torch
from transformers import PreTrainedModel
from transformers.utils.import_utils import is_flash_attn_2_available

from llmpose.errors import UserError
from llmpose.model.layout import AttentionName


def choose_attention(
    requested: str,
    device_type: str,
    training: bool,
    *,
    cached: bool = False,
    has_sdpa: bool = True,
    can_flash: bool = False,
) -> AttentionName:
    """What a language model's rows run on: the requested implementation, or the one that `auto` stands for.

    On CUDA, training rows are long, packed and sparse: flex_attention, or flash-attn where `can_flash` says that it is
    there and that no row has a pose block or a branch. Decoding has a new length at every step, for which flex would
    compile anew, and masks of one line: sdpa. flex_attention has no backward pass on CPU: there, every sample of a row
    attends by itself (segments), unless its keys come out of a cache (`cached`): sdpa. `has_sdpa` is False for the few
    language models that transformers runs without it (Gemma 2): eager.
    """
    if requested == "auto":
        if device_type == "cuda" and training:
            return "flash_attention_2" if can_flash else "flex_attention"
        if not has_sdpa:
            return "eager"
        return "segments" if device_type == "cpu" and not cached else "sdpa"
    if requested == "flex_attention" and device_type == "cpu" and training:
        raise UserError("flex_attention has no backward pass on CPU; use attn: auto or sdpa")
    names: tuple[AttentionName, ...] = ("eager", "sdpa", "flex_attention", "flash_attention_2")
    for name in names:
        if requested == name:
            return name
    raise UserError(f"attn is {requested!r}; expected auto, {', '.join(names)}")


def choose_vision_attention(requested: str, built_with: str, *, can_flash: bool) -> str:
    """What a vision encoder runs on: flash-attn where it can and nothing else was asked for, else as it was built."""
    return "flash_attention_2" if can_flash and requested in ("auto", "flash_attention_2") else built_with


def can_flash(device_type: str, dtype: torch.dtype, *, is_known: bool, is_installed: bool) -> bool:
    """Whether flash-attn can run: installed, on CUDA, in half precision, and the model's class `is_known` to use it."""
    return device_type == "cuda" and dtype in (torch.float16, torch.bfloat16) and is_known and is_installed


def model_can_flash(model: PreTrainedModel, device_type: str, dtype: torch.dtype) -> bool:
    """`can_flash` for a model of transformers on this machine. Under autocast, what that computes in counts."""
    if torch.is_autocast_enabled(device_type):
        dtype = torch.get_autocast_dtype(device_type)
    known = bool(getattr(model, "_supports_flash_attn", False))
    return can_flash(device_type, dtype, is_known=known, is_installed=is_flash_attn_2_available())


def attention_of(model: PreTrainedModel) -> str:
    """What a model of transformers computes its attention with now."""
    return str(getattr(model.config, "_attn_implementation", None))


def use_attention(model: PreTrainedModel, name: str) -> None:
    """Have a model of transformers compute its attention with `name` from here on."""
    if attention_of(model) != name:
        model.set_attn_implementation(name)


def describe_attention(
    requested: str,
    device_type: str,
    dtype: torch.dtype,
    language: PreTrainedModel,
    encoders: Mapping[str, PreTrainedModel],
) -> str:
    """What runs where, for a log: "training rows flex_attention, decoding sdpa, clip flash_attention_2, pose sdpa"."""
    mixed = choose_attention(requested, device_type, training=True)
    plain = choose_attention(
        requested, device_type, training=True, can_flash=model_can_flash(language, device_type, dtype)
    )
    rows = mixed if mixed == plain else f"{mixed} (of plain text alone: {plain})"
    steps = choose_attention(requested, device_type, training=False, cached=True)
    seen = ""
    for name, encoder in encoders.items():
        flash = model_can_flash(encoder, device_type, dtype)
        seen += f", {name} {choose_vision_attention(requested, attention_of(encoder), can_flash=flash)}"
    return f"training rows {rows}, decoding {steps}{seen}"


def cache_word(language: PreTrainedModel) -> str:
    """What a language model's forward calls its cache: `cache` from transformers 5.24 on, `past_key_values` before."""
    return "cache" if "cache" in signature(language.base_model.forward).parameters else "past_key_values"
