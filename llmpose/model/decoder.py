"""Embedded rows through the language model, under the one rule of attention.

The layout of the new tokens, and of what a cache holds, becomes what the chosen attention takes: a mask, for every kind
of layer that the language model has; the cuts of a row; or nothing, where a causal kernel knows the samples' bounds.

Shape letters: B rows, T tokens, D hidden width.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import Cache, PreTrainedModel

from llmpose.errors import UserError
from llmpose.model.attention import cache_word, choose_attention, model_can_flash, use_attention
from llmpose.model.config import LlmPoseConfig
from llmpose.model.layout import AttentionName, Layout, attention_mask, flash_bounds
from llmpose.model.segments import segments_of


def layout_given(
    embedded: Tensor,
    given: tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None],
    is_real: Tensor | None,
    past: Layout | None,
) -> Layout:
    """The layout as given; without one, every row is a causal sample of its own, going on after `past`."""
    sample, branch, block, position = given
    if sample is not None and branch is not None and block is not None and position is not None:
        return Layout(sample, branch, block, position)
    if any(part is not None for part in given):
        raise ValueError("a layout is sample, branch, block and position together; some of them are missing")
    rows, length = embedded.shape[:2]
    if is_real is None:
        is_real = torch.ones(rows, length, dtype=torch.bool, device=embedded.device)
    return Layout.causal(is_real[:, -length:] != 0, past)


def decode(
    language: PreTrainedModel,
    config: LlmPoseConfig,
    embedded: Tensor,
    layout: Layout,
    cache: Cache | None,
    past: Layout | None,
) -> Tensor:
    """(B, T, D) embedded tokens to (B, T, D) hidden states."""
    seen = cache.get_seq_length() if cache is not None else 0
    if seen != (0 if past is None else past.shape[1]):
        raise ValueError(f"the cache holds {seen} tokens, `past` is of {0 if past is None else past.shape[1]}")
    length = seen + embedded.shape[1]
    num_keys = cache.get_mask_sizes(embedded.shape[1], 0)[0] if cache is not None else length
    if cache is not None and any(getattr(layer, "is_sliding", False) for layer in cache.layers):
        raise ValueError("this cache forgets keys outside a sliding window; make it as DynamicCache(), without config")
    num_keys = None if num_keys == length else num_keys
    text = config.text_config
    kinds: set[str] = set(getattr(text, "layer_types", None) or ())
    window = getattr(text, "sliding_window", None)
    if other := kinds - {"full_attention", "sliding_attention"}:
        raise UserError(f"language models with {', '.join(sorted(other))} layers cannot take a pose block's mask")
    sliding = "sliding_attention" in kinds or (window is not None and not kinds)
    name, kernel_arguments = _attention(language, config, layout, embedded.dtype, cache, sliding)

    def mask(window: int | None) -> Any:
        return attention_mask(layout, name, embedded.dtype, past, num_keys, window)

    if name == "segments":
        masks: Any = None
    elif "sliding_attention" in kinds:
        masks = {"full_attention": mask(None), "sliding_attention": mask(window)}
    else:
        masks = mask(None if kinds else window)
    out = language.base_model(
        inputs_embeds=embedded,
        attention_mask=masks,
        position_ids=layout.position,
        use_cache=cache is not None,
        **{cache_word(language): cache},
        **kernel_arguments,
    )
    return out.last_hidden_state


def _attention(
    language: PreTrainedModel,
    config: LlmPoseConfig,
    layout: Layout,
    dtype: torch.dtype,
    cache: Cache | None,
    sliding: bool,
) -> tuple[AttentionName, dict[str, Any]]:
    """What this call runs, told to the language model, and what its kernel has to know of the rows."""
    device_type, cached, training = layout.device.type, cache is not None, torch.is_grad_enabled()
    flash = training and not cached and model_can_flash(language, device_type, dtype)
    flash = flash and layout.is_causal()  # asked last: the host has to wait for the answer
    has_sdpa = bool(language._supports_sdpa)  # pyright: ignore[reportPrivateUsage]
    name = choose_attention(config.attn, device_type, training, cached=cached, has_sdpa=has_sdpa, can_flash=flash)
    told: dict[str, Any] = {}
    if name == "segments":
        fits = language._supports_attention_backend and not sliding  # pyright: ignore[reportPrivateUsage]
        segments = segments_of(layout) if fits else None
        name, told = ("sdpa", {}) if segments is None else ("segments", {"segments": segments})
    elif name == "flash_attention_2" and (cache is None or cache.get_seq_length() == 0):
        told = flash_bounds(layout)
    use_attention(language, name)
    return name, told
