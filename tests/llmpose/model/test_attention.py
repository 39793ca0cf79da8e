"""Which kernels run where: chosen by device, precision, what is installed, and what the rows hold."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tiny_models import make_example, random_pixels, tiny_model
from torch import Tensor
from transformers import PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from data.collate import Collator
from llmpose.errors import UserError
from llmpose.model import attention
from llmpose.model.attention import (
    attention_of,
    can_flash,
    choose_attention,
    choose_vision_attention,
    describe_attention,
)

FlashCalls = list[dict[str, Any]]


def test_auto_picks_by_device_and_by_whether_there_is_a_backward_pass():
    assert choose_attention("auto", "cuda", training=True) == "flex_attention"
    assert choose_attention("auto", "cuda", training=False) == "sdpa"
    assert choose_attention("auto", "cpu", training=True) == "segments"
    assert choose_attention("auto", "cpu", training=False, cached=True) == "sdpa"
    assert choose_attention("auto", "cpu", training=True, has_sdpa=False) == "eager"
    assert choose_attention("eager", "cpu", training=True) == "eager"
    with pytest.raises(UserError, match="no backward pass on CPU"):
        choose_attention("flex_attention", "cpu", training=True)
    with pytest.raises(UserError, match="expected auto, eager"):
        choose_attention("fast", "cpu", training=False)


def test_plain_rows_train_with_flash_attention_only_where_it_can_run_and_nothing_else_is_asked_for():
    assert choose_attention("auto", "cuda", training=True, can_flash=True) == "flash_attention_2"
    assert choose_attention("auto", "cuda", training=False, can_flash=True) == "sdpa"
    assert choose_attention("flex_attention", "cuda", training=True, can_flash=True) == "flex_attention"


@pytest.mark.parametrize(
    ("device_type", "dtype", "is_known", "is_installed", "expected"),
    [
        ("cuda", torch.bfloat16, True, True, True),
        ("cuda", torch.float16, True, True, True),
        ("cuda", torch.float32, True, True, False),
        ("cpu", torch.bfloat16, True, True, False),
        ("cuda", torch.bfloat16, False, True, False),
        ("cuda", torch.bfloat16, True, False, False),
    ],
)
def test_flash_attention_needs_cuda_half_precision_a_class_that_knows_it_and_its_package(
    device_type: str, dtype: torch.dtype, is_known: bool, is_installed: bool, expected: bool
):
    assert can_flash(device_type, dtype, is_known=is_known, is_installed=is_installed) is expected


def test_vision_encoders_stay_as_they_were_built_unless_auto_or_flash_attention_is_asked_for():
    assert choose_vision_attention("auto", "sdpa", can_flash=True) == "flash_attention_2"
    assert choose_vision_attention("flash_attention_2", "sdpa", can_flash=True) == "flash_attention_2"
    assert choose_vision_attention("sdpa", "sdpa", can_flash=True) == "sdpa"
    assert choose_vision_attention("auto", "eager", can_flash=False) == "eager"


def test_the_log_says_which_kernels_run_part_by_part(monkeypatch: pytest.MonkeyPatch):
    model = tiny_model()
    parts = (model.language, model.vision.models())
    on_cpu = describe_attention("auto", "cpu", torch.bfloat16, *parts)
    assert on_cpu == "training rows segments, decoding sdpa, clip sdpa, pose sdpa"
    monkeypatch.setattr(attention, "is_flash_attn_2_available", lambda: True)
    monkeypatch.setattr(type(model.vision.models()["pose"]), "_supports_flash_attn", False)
    assert describe_attention("auto", "cuda", torch.bfloat16, *parts) == (
        "training rows flex_attention (of plain text alone: flash_attention_2), decoding sdpa, "
        "clip flash_attention_2, pose sdpa"
    )
    assert "flash" not in describe_attention("auto", "cuda", torch.float32, *parts)


# --- the kernels themselves, computed with torch ---------------------------------------------------------------------


@pytest.fixture
def flash(monkeypatch: pytest.MonkeyPatch) -> FlashCalls:
    """Stands in for flash-attn on a machine without a GPU; what it was called with."""
    calls: FlashCalls = []

    def kernel(
        module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **given: Any
    ) -> tuple[Tensor, None]:
        assert attention_mask is None
        calls.append(given)
        shape = query.transpose(1, 2).shape
        repeat = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(repeat, 1), value.repeat_interleave(repeat, 1)
        flat = [part.transpose(1, 2).flatten(0, 1).transpose(0, 1) for part in (query, key, value)]
        rows = query.shape[0] * query.shape[2]
        bounds = given.get("cu_seq_lens_q")
        bounds = torch.arange(0, rows + 1, query.shape[2]) if bounds is None else bounds
        out = torch.cat(
            [
                F.scaled_dot_product_attention(
                    *(part[:, start:end] for part in flat), is_causal=module.is_causal, scale=given.get("scaling")
                )
                for start, end in pairwise(bounds.tolist())
            ],
            dim=1,
        )
        return out.transpose(0, 1).reshape(shape), None

    trusting: Callable[..., str] = lambda self, name, **_: name or "sdpa"  # noqa: E731
    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS, "flash_attention_2", kernel)
    monkeypatch.setattr(PreTrainedModel, "_check_and_adjust_attn_implementation", trusting)
    return calls


def test_packed_rows_of_plain_text_are_the_same_under_flash_attention(flash: FlashCalls):
    examples = [make_example(kinds, seed=seed) for seed, kinds in enumerate(("tta", "ta", "tata", "ttta"))]
    batch = Collator(row_tokens=16, multiple_of=8)(examples)
    assert len(batch.token_ids) > 1
    assert int(batch.sample.max()) > 0
    found = {}
    for name in ("sdpa", "flash_attention_2"):
        model = tiny_model(vision=False, attn=name).train()
        out = model(**batch, return_logits=True)
        out.loss.backward()
        found[name] = [out.logits[batch.sample >= 0], *(p.grad for p in model.language.parameters())]
    assert flash
    torch.testing.assert_close(found["flash_attention_2"], found["sdpa"], atol=1e-5, rtol=1e-4)


def test_vision_encoders_see_the_same_under_flash_attention_and_go_back_without_it(
    flash: FlashCalls, monkeypatch: pytest.MonkeyPatch
):
    vision, pixels = tiny_model().vision, random_pixels(2)
    expected = vision(pixels)
    assert not flash
    monkeypatch.setattr("llmpose.model.vision.model_can_flash", lambda *_: True)
    torch.testing.assert_close(vision(pixels, "auto"), expected)
    assert len(flash) == sum(len(list(layers_of(part))) for part in vision.models().values())
    monkeypatch.undo()
    vision(pixels, "auto")
    assert {attention_of(part) for part in vision.models().values()} == {"sdpa"}


def layers_of(model: PreTrainedModel) -> list[str]:
    return [name for name, part in model.named_modules() if hasattr(part, "is_causal")]
