"""What one GPU does with a model of the paper's size: stages 2 and 4 in training, and a pose from words or a picture.

    python -m eval.speed.gpu --size 7b --device cuda          Mistral-7B's shape, CLIP-L and ViT-H, random weights, bf16
    python -m eval.speed.gpu                                  a little one on the CPU, to see that it runs

Training is what the paper's recipes say: a frozen base, LoRA of rank 128, new rows of both tables, pose queries, the
projector in stage 4; packed rows, activation checkpointing, AdamW. MFU counts what the mathematics needs and nothing
that is computed twice or for padding: through frozen weights a token costs four operations per weight (forward, and
backward to the inputs), through trained ones six; attention costs what the rule of attention lets see; only labelled
positions reach the head; frozen encoders go forward only. It is a share of the card's dense bf16 peak.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from peft import PeftModel
from torch import nn

from data.collate import Collator
from eval.speed.common import SENTENCES, arguments, random_model, report, seconds, stage2_examples
from llmpose.model.adapters import add_adapter
from llmpose.model.batch import IGNORE, Batch, Example
from llmpose.model.layout import may_see
from llmpose.model.modeling import LlmPoseForConditionalGeneration
from llmpose.talk.conversation import Conversation, ImagePart, PosePart
from llmpose.talk.decoding import Decoding
from llmpose.talk.generation import generate
from llmpose.talk.processing import LlmPoseProcessor
from tokenizer_vq import PoseTokenizer, PoseTokenizerConfig

PEAKS_TFLOPS = {"H200": 989.0, "H100 PCIe": 756.0, "H100": 989.0, "A100": 312.0, "L40S": 362.0, "RTX 4090": 165.0}
"""Dense bf16 with fp32 accumulation, from the makers' data sheets; the first name found in the device's is taken."""


@dataclass(frozen=True)
class Scale:
    """How much is asked at once."""

    examples: int
    row_tokens: int
    words: tuple[int, int]
    """Per text, from to."""
    rank: int
    repeats: int


def peak_tflops(device: str) -> float | None:
    """Of a known card; None elsewhere."""
    if not device.startswith("cuda"):
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for key, peak in PEAKS_TFLOPS.items() if key in name), None)


def prepare(model: LlmPoseForConditionalGeneration, processor: LlmPoseProcessor, rank: int) -> PeftModel:
    """As stage 4 trains it (train/stages.py): LoRA, rows, queries and projector in float32, everything else frozen."""
    rows = processor.vocabulary.added_ids
    wrapped = add_adapter(model, rank=rank, alpha=2 * rank, rows=rows)
    for parameter in wrapped.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    enable = getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)
    enable({"use_reentrant": False})
    return wrapped.train()


def seeing_examples(processor: LlmPoseProcessor, count: int, words: tuple[int, int], seed: int = 0) -> list[Example]:
    """The mixture of stage 4: a third of the questions shows an image, a sixth two; texts and poses are answered."""
    from PIL import Image

    generator = torch.Generator().manual_seed(seed)

    def draw(low: int, high: int, size: int = 1) -> list[int]:
        return torch.randint(low, high, (size,), generator=generator).tolist()

    def image() -> ImagePart:
        pixels = torch.randint(0, 256, (256, 256, 3), dtype=torch.uint8, generator=generator)
        return ImagePart(Image.fromarray(pixels.numpy()))

    def pose() -> PosePart:
        return PosePart(codes=tuple(draw(0, processor.vocabulary.codebook_size, processor.num_pose_tokens)))

    def text() -> str:
        spoken = " ".join(SENTENCES).split()
        return " ".join(spoken[place] for place in draw(0, len(spoken), draw(words[0], words[1] + 1)[0]))

    asked: list[Callable[[], Conversation]] = [
        lambda: Conversation().user(image(), " Where is this person?").assistant(pose()),
        lambda: Conversation().user(image(), " Describe the pose.").assistant(text()),
        lambda: Conversation().user(image(), image(), " What has changed?").assistant(text()),
        lambda: Conversation().user("Describe ", pose()).assistant(text()),
        lambda: Conversation().user(text()).assistant(pose()),
        lambda: Conversation().user("Change ", pose(), text()).assistant(pose()),
    ]
    return processor.encode_batch([asked[number % len(asked)]() for number in range(count)], train=True)


def needed_flops(model: PeftModel, batch: Batch) -> float:
    """Operations of one training step, forward and backward; see the module's text."""
    bare = cast(LlmPoseForConditionalGeneration, model.get_base_model())
    text = cast(Any, bare.config.text_config)
    tokens = int((batch.sample >= 0).sum())
    pairs = int(sum(may_see(row, row, 0).sum() for row in _rows(batch)))
    labelled = int((batch.labels != IGNORE).sum())
    layers: nn.Module = cast(Any, bare.language.base_model).layers
    frozen = _weights(layers, trained=False)
    needed = (4.0 * frozen + 6.0 * _weights(layers, trained=True)) * tokens
    head_width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    needed += 12.0 * pairs * head_width * text.num_attention_heads * text.num_hidden_layers
    needed += 4.0 * labelled * text.hidden_size * text.vocab_size
    images = len(next(iter(batch.pixels.values()))) if batch.pixels else 0
    if images and bare.vision is not None and bare.projector is not None:
        for spec in bare.config.encoders():
            encoder = cast(Any, bare.vision.encoders[spec.name])
            cells = spec.grid[0] * spec.columns_seen
            depth = encoder.spec.config.get("num_hidden_layers", encoder.model.config.num_hidden_layers)
            needed += images * (2.0 * _weights(encoder, trained=False) * cells + 4.0 * cells**2 * spec.width * depth)
        needed += 6.0 * _weights(bare.projector, trained=True) * images * bare.config.num_image_tokens
    return needed


def _rows(batch: Batch) -> list[Any]:
    layout = batch.layout()
    return [layout.select(torch.tensor([row], device=layout.device)) for row in range(layout.shape[0])]


def _weights(module: nn.Module, *, trained: bool) -> int:
    """Weights of all matrices that do, or do not, train."""
    matrices = (part for part in module.modules() if isinstance(part, nn.Linear | nn.Conv2d))
    return sum(part.weight.numel() for part in matrices if part.weight.requires_grad == trained)


def train_step(model: PeftModel, batch: Batch, device: str, dtype: str) -> Callable[[], None]:
    """Forward, backward, optimizer."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-5, fused=True)
    kind = device.partition(":")[0]

    def step() -> None:
        with torch.autocast(kind, torch.bfloat16, enabled=dtype == "bfloat16"):
            loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def measure_training(
    model: PeftModel,
    processor: LlmPoseProcessor,
    device: str,
    dtype: str,
    scale: Scale,
    peak: float | None,
) -> list[dict[str, Any]]:
    """A row for stage 2 and one for stage 4."""
    stages: dict[str, Sequence[Example]] = {
        "stage 2, poses and texts": stage2_examples(processor, scale.examples, scale.words),
        "stage 4, images too": seeing_examples(processor, scale.examples, scale.words),
    }
    collate = Collator(
        row_tokens=scale.row_tokens,
        multiple_of=128 if device.startswith("cuda") else 8,
        pad_id=processor.vocabulary.pad_id,
        pixels=processor.pixels,
        image_id=processor.vocabulary.image_id,
        num_image_tokens=processor.num_image_tokens,
    )
    rows = []
    for name, examples in stages.items():
        batch = collate(examples).to(device)
        step = train_step(model, batch, device, dtype)
        if device.startswith("cuda"):
            torch.cuda.reset_peak_memory_stats()
        took = seconds(step, device, warm_up=2, repeats=scale.repeats)
        tokens = int((batch.sample >= 0).sum())
        tflops = needed_flops(model, batch) / took / 1e12
        rows.append(
            {
                "what": name,
                "examples": len(examples),
                "tokens": tokens,
                "of them real": tokens / batch.token_ids.numel(),
                "ms a step": 1000 * took,
                "tokens/s": tokens / took,
                "TFLOP/s": tflops,
                "MFU, %": 100 * tflops / peak if peak else float("nan"),
                "peak GB": torch.cuda.max_memory_allocated() / 1e9 if device.startswith("cuda") else float("nan"),
            }
        )
    return rows


def measure_latency(
    model: LlmPoseForConditionalGeneration, processor: LlmPoseProcessor, device: str, repeats: int
) -> list[dict[str, Any]]:
    """From a question to rotations, one question at a time: reading, decoding and the pose tokenizer's decoder."""
    from PIL import Image

    picture = Image.new("RGB", (256, 256), (90, 120, 60))
    asked = {
        "a pose from a sentence": Conversation().user(SENTENCES[0]),
        "a pose from a picture": Conversation().user(ImagePart(picture), " Estimate the pose."),
    }
    settings = Decoding(grammar="pose", max_poses=1, pose_ahead=True)
    rows = []
    for name, question in asked.items():

        def answer(question: Conversation = question) -> None:
            assert generate(model, processor, [question], settings)[0].poses

        rows.append({"what": name, "ms end to end": 1000 * seconds(answer, device, warm_up=2, repeats=repeats)})
    return rows


def measure(
    size: str, device: str, dtype: str, scale: Scale, *, peak: float | None = None, num_pose_tokens: int = 80
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of training, rows of latency. The latency is measured first, before an adapter is around the model."""
    shape: dict[str, Any] = {"design": "conv", "quantizer": "ema", "codebook_size": 2048}
    shape |= {"hidden_size": 512, "code_width": 256} if size == "7b" else {"hidden_size": 16, "code_width": 8}
    codec = cast(Any, PoseTokenizer(PoseTokenizerConfig(num_pose_tokens=num_pose_tokens, **shape)).eval()).to(device)
    model, processor = random_model(
        size, num_pose_tokens=num_pose_tokens, device=device, dtype=dtype, sees=True, codec=codec
    )
    latency = measure_latency(model, processor, device, max(3, scale.repeats))
    trained = prepare(model, processor, scale.rank)
    return measure_training(trained, processor, device, dtype, scale, peak or peak_tflops(device)), latency


def main() -> None:
    """Measure and print."""
    large = torch.cuda.is_available()
    words = arguments(
        __doc__ or "",
        examples=24 if large else 8,
        row_tokens=4096 if large else 1024,
        rank=128 if large else 8,
        repeats=10 if large else 2,
        peak_tflops=0.0,
    ).parse_args()
    scale = Scale(words.examples, words.row_tokens, (20, 120) if large else (8, 24), words.rank, words.repeats)
    training, latency = measure(words.size, words.device, words.dtype, scale, peak=words.peak_tflops or None)
    report(f"Training, {words.size} on {_name(words.device)}, {words.dtype}", training, words.out)
    second = words.out.with_stem(words.out.stem + "_latency") if words.out is not None else None
    report("One question at a time", latency, second)


def _name(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device


if __name__ == "__main__":
    main()
