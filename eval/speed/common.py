"""What the speed scripts share: random models of named sizes, examples to feed them, a fair clock, a table."""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from transformers import AutoModelForCausalLM, CLIPVisionConfig, LlamaConfig, VitPoseBackboneConfig

from llmpose.model.assemble import assemble
from llmpose.model.batch import IGNORE, Example
from llmpose.model.config import VisionEncoderSpec
from llmpose.model.modeling import LlmPoseForConditionalGeneration
from llmpose.talk.processing import LlmPoseProcessor
from llmpose.talk.vocabulary import add_pose_words, train_tokenizer
from tokenizer_vq import PoseTokenizer

SENTENCES = [
    "The left arm is raised above the head and the right knee is bent.",
    "Move the right hand forward, turn to the left and bend both legs a little more.",
    "What does this person do? Describe the pose in a few words.",
]


@dataclass(frozen=True)
class Size:
    """A decoder's shape."""

    hidden_size: int
    num_layers: int
    num_heads: int
    intermediate_size: int
    vocab_size: int


SIZES = {
    "tiny": Size(192, 4, 6, 512, 1024),
    "base": Size(512, 8, 8, 1408, 8192),
    "7b": Size(4096, 32, 32, 14336, 32000),  # Mistral-7B's
}


def encoders(size: str) -> list[tuple[VisionEncoderSpec, None]]:
    """CLIP and a pose ViT of random weights: ViT-L/14 at 336 and ViT-H at 256 × 192 (UniPose §4), or little ones."""
    if size == "7b":
        clip = CLIPVisionConfig(
            hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, image_size=336,
            patch_size=14,
        )  # fmt: skip
        pose = VitPoseBackboneConfig(hidden_size=1280, num_hidden_layers=32, num_attention_heads=16)
    else:
        clip = CLIPVisionConfig(
            hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=56,
            patch_size=14,
        )  # fmt: skip
        pose = VitPoseBackboneConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=[64, 48])
    return [(VisionEncoderSpec.of("clip", clip, layer=-2), None), (VisionEncoderSpec.of("pose", pose), None)]


def random_model(
    size: str,
    *,
    num_pose_tokens: int = 80,
    codebook_size: int = 2048,
    device: str = "cpu",
    dtype: str = "float32",
    sees: bool = False,
    codec: PoseTokenizer | None = None,
) -> tuple[LlmPoseForConditionalGeneration, LlmPoseProcessor]:
    """A model of random weights and its processor; speed does not ask what was learned. `sees`: with two encoders."""
    shape = SIZES[size]
    tokenizer = train_tokenizer(SENTENCES * 4, 400)
    vocabulary = add_pose_words(tokenizer, codebook_size)
    config = LlamaConfig(
        vocab_size=max(shape.vocab_size, vocabulary.size),
        hidden_size=shape.hidden_size,
        num_hidden_layers=shape.num_layers,
        num_attention_heads=shape.num_heads,
        num_key_value_heads=max(shape.num_heads // 4, 1),
        intermediate_size=shape.intermediate_size,
        max_position_embeddings=8192,
        pad_token_id=vocabulary.pad_id,
    )
    with torch.device(device):
        language = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype))
    eyes = encoders(size) if sees else []
    model: Any = assemble(language, vocabulary, encoders=eyes, num_pose_tokens=num_pose_tokens)
    return model.to(device).eval(), LlmPoseProcessor.for_model(model.config, tokenizer, codec)


def stage2_examples(
    processor: LlmPoseProcessor, count: int, words: tuple[int, int], seed: int = 0, texts: int = 1
) -> list[Example]:
    """`count` (a multiple of 4) random examples with the shapes of stage 2: half answer in words, half with a pose;
    `words` per text, from to.

    `texts`: how many of those that answer in words stand one after the other, each with a text of its own about the
    same poses; PoseScript and PoseFix have three automatic ones for each pose and pair.
    """
    vocabulary, generator = processor.vocabulary, torch.Generator().manual_seed(seed)

    def draw(low: int, high: int, size: int) -> list[int]:
        return torch.randint(low, high, (size,), generator=generator).tolist()

    def codes() -> list[int]:
        first = vocabulary.first_pose_id
        return draw(first, first + vocabulary.codebook_size, processor.num_pose_tokens)

    def text() -> list[int]:
        return draw(5, 300, draw(words[0], words[1] + 1, 1)[0])

    def pose() -> list[int]:
        return [vocabulary.pose_open_id, *codes(), vocabulary.pose_close_id]

    asked = [vocabulary.pose_open_id, *[vocabulary.pose_query_id] * processor.num_pose_tokens, vocabulary.pose_close_id]
    examples = []
    for number in range(count // 4):
        # text to pose, pose editing
        for given in (text(), [*pose(), *text()]):
            ids = [*draw(5, 300, 12), *given]
            labels = [*[IGNORE] * (len(ids) + 1), *codes(), IGNORE]
            examples.append(_example([*ids, *asked], labels, vocabulary.pose_open_id, vocabulary.pose_close_id))
        if number % texts:
            continue
        # pose to text, pose difference
        for given in (pose(), [*pose(), *pose()]):
            ids = [*draw(5, 300, 12), *given]
            for _ in range(min(texts, count // 4 - number)):
                answer = text()
                labels = [*[IGNORE] * (len(ids) - 1), *answer, IGNORE]
                examples.append(_example([*ids, *answer], labels, vocabulary.pose_open_id, vocabulary.pose_close_id))
    return examples


def _example(ids: Sequence[int], labels: Sequence[int], opens: int, closes: int) -> Example:
    block, number, inside = [], 0, False
    for token in ids:
        inside = inside and token != closes
        block.append(number if inside else 0)
        if token == opens:
            number, inside = number + 1, True
    position = torch.arange(len(ids))
    return Example(
        token_ids=torch.tensor(ids),
        labels=torch.tensor(labels),
        branch=torch.zeros_like(position),
        block=torch.tensor(block),
        position=position,
    )


def seconds(run: Callable[[], Any], device: str, *, warm_up: int = 1, repeats: int = 3) -> float:
    """Best of several, after a warm-up: what the machine can do when nothing else disturbs it.

    One thread on a CPU is timed by its own clock, which stands still while others have the machine
    (OMP_NUM_THREADS=1); several threads, and a GPU, by the clock on the wall.
    """
    clock = time.process_time if device == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    times = []
    for number in range(warm_up + repeats):
        start = clock()
        run()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        if number >= warm_up:
            times.append(clock() - start)
    return min(times)


def arguments(about: str, **sizes: Any) -> argparse.ArgumentParser:
    """The words that every script knows."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--size", choices=sorted(SIZES), default="tiny", help="decoder of random weights")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default="bfloat16" if torch.cuda.is_available() else "float32")
    parser.add_argument("--out", type=Path, help="also write the rows as JSON")
    for name, default in sizes.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    return parser


def report(title: str, rows: Sequence[dict[str, Any]], out: Path | None) -> None:
    """A table on the terminal, and JSON where asked."""
    table = Table(title=title, title_justify="left")
    for number, name in enumerate(rows[0]):
        table.add_column(name, no_wrap=number < 2)
    for row in rows:
        table.add_row(*(f"{value:.4g}" if isinstance(value, float) else str(value) for value in row.values()))
    Console().print(table)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps({"title": title, "rows": list(rows)}, indent=1) + "\n", encoding="utf-8")
