"""A model of a few thousand random weights, and rows that hold everything a row can hold."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import (
    CLIPVisionConfig,
    Gemma2Config,
    Gemma3TextConfig,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    Qwen2Config,
    VitPoseBackboneConfig,
)

from llmpose.model.batch import IGNORE, Batch, Example
from llmpose.model.config import LlmPoseConfig, VisionEncoderSpec
from llmpose.model.layout import PADDING
from llmpose.model.modeling import LlmPoseForConditionalGeneration

# Ids of the tiny vocabulary: 0 padding, 1-29 words, 30 <p>, 31 </p>, 32 <pose_query>, 33 <image>, 40-59 pose tokens.
WORDS, OPEN, CLOSE, QUERY, IMAGE, FIRST_POSE, VOCABULARY = 30, 30, 31, 32, 33, 40, 60
NUM_POSE_TOKENS, NUM_IMAGE_TOKENS = 5, 4

_SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 6,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
}
TEXT_CONFIGS: dict[str, Callable[..., PreTrainedConfig]] = {
    "llama": LlamaConfig,
    "mistral": MistralConfig,
    "qwen2": Qwen2Config,
    "gemma2": Gemma2Config,
    "gemma3": Gemma3TextConfig,
}


def text_config(name: str = "llama", **fields: Any) -> PreTrainedConfig:
    return TEXT_CONFIGS[name](**{**_SHAPE, **fields})


def tiny_config(name: str = "llama", *, vision: bool = True, **fields: Any) -> LlmPoseConfig:
    clip = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=16,
        patch_size=8,
    )
    pose = VitPoseBackboneConfig(
        hidden_size=12, num_hidden_layers=2, num_attention_heads=2, image_size=[24, 8], patch_size=[8, 8]
    )
    encoders = [VisionEncoderSpec.of("clip", clip, layer=-2), VisionEncoderSpec.of("pose", pose)] if vision else []
    text_fields = fields.pop("text", {})
    return LlmPoseConfig(
        text_config=text_config(name, **text_fields),
        vision=encoders,
        num_pose_tokens=NUM_POSE_TOKENS,
        codebook_size=VOCABULARY - FIRST_POSE,
        first_pose_id=FIRST_POSE,
        pose_open_id=OPEN,
        pose_close_id=CLOSE,
        pose_query_id=QUERY,
        image_id=IMAGE,
        pad_token_id=0,
        **fields,
    )


def tiny_model(name: str = "llama", *, seed: int = 0, **fields: Any) -> LlmPoseForConditionalGeneration:
    """Random weights large enough that wrong attention shows in the first digits."""
    torch.manual_seed(seed)
    model = LlmPoseForConditionalGeneration(tiny_config(name, **fields))
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.15)
    return model.eval()


def make_example(kinds: str, seed: int = 0, task: str = "a", record_id: str = "") -> Example:
    """`t` three words given, `a` three words answered, `p` a given pose, `q` a pose to produce, `i` an image."""
    generator = torch.Generator().manual_seed(seed)
    ids: list[int] = []
    labels: list[int] = []
    block: list[int] = []
    images = []

    def draw(low: int, high: int, count: int) -> list[int]:
        return torch.randint(low, high, (count,), generator=generator).tolist()

    def put(tokens: list[int], targets: list[int] | None = None, of_block: int = 0) -> None:
        ids.extend(tokens)
        labels.extend(targets or [IGNORE] * len(tokens))
        block.extend([of_block] * len(tokens))

    for kind in kinds:
        if kind == "t":
            put(draw(1, WORDS, 3))
        elif kind == "a":
            words = draw(1, WORDS, 3)
            labels[-1] = words[0]
            put(words, [words[1], words[2], IGNORE])
        elif kind in "pq":
            codes = draw(FIRST_POSE, VOCABULARY, NUM_POSE_TOKENS)
            if kind == "q":
                labels[-1] = OPEN
            put([OPEN])
            number = max(block) + 1
            if kind == "p":
                put(codes, None, number)
            else:
                put([QUERY] * NUM_POSE_TOKENS, codes, number)
            put([CLOSE])
        else:
            images.append(torch.randint(0, 256, (20, 20, 3), generator=generator, dtype=torch.uint8).numpy())
            put([IMAGE] * NUM_IMAGE_TOKENS)
    length = torch.arange(len(ids))
    return Example(
        token_ids=torch.tensor(ids),
        labels=torch.tensor(labels),
        branch=torch.zeros_like(length),
        block=torch.tensor(block),
        position=length,
        images=images,
        task=task,
        record_id=record_id,
    )


def random_pixels(count: int, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "clip": torch.randn(count, 3, 16, 16, generator=generator),
        "pose": torch.randn(count, 3, 24, 8, generator=generator),
    }


def as_row(example: Example, left: int = 0, right: int = 0) -> dict[str, torch.Tensor]:
    """Tensors (1, left + T + right) of one example with padding around it."""
    pad = torch.nn.functional.pad
    layout = example.layout()
    row = {"token_ids": example.token_ids[None], "labels": example.labels[None], **layout.tensors()}
    fill = {"sample": PADDING, "labels": IGNORE}
    return {key: pad(value, (left, right), value=fill.get(key, 0)) for key, value in row.items()}


def stack_rows(examples: Sequence[Example], side: str = "left") -> Batch:
    longest = max(len(example) for example in examples)
    rows = [
        as_row(example, **{side: longest - len(example)})  # type: ignore[arg-type]
        for example in examples
    ]
    return Batch({key: torch.cat([row[key] for row in rows]) for key in rows[0]})
