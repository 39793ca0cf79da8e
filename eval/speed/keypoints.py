"""Seventeen keypoints of one object: as branches of one row in training, and over one shared prefix in decoding.

    python -m eval.speed.keypoints                        KptLLM's 576 image tokens on a small decoder, on the CPU
    python -m eval.speed.keypoints --device cuda

The same questions one by one give the same losses and answers (tests/llmpose/model/test_keypoint_prompts.py,
tests/llmpose/talk/test_keypoint_talk.py); here is what sharing the image saves.
"""

import argparse
from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
from PIL import Image
from rich.console import Console
from transformers import CLIPVisionConfig, LlamaConfig, LlamaForCausalLM

from data.collate import Collator
from eval.speed.common import seconds
from llmpose.model.assemble import assemble
from llmpose.model.config import VisionEncoderSpec
from llmpose.model.modeling import LlmPoseForConditionalGeneration
from llmpose.talk.conversation import Conversation, ImagePart, KeypointPart
from llmpose.talk.decoding import Decoding
from llmpose.talk.generation import generate
from llmpose.talk.processing import LlmPoseProcessor
from llmpose.talk.vocabulary import add_pose_words, train_tokenizer

What = Literal["training", "decoding"]
IMAGE_PX, PATCH_PX = 336, 14
"""KptLLM's: 24 × 24 image tokens."""


def small_talker(device: str, width: int = 128, layers: int = 2) -> tuple[LlmPoseForConditionalGeneration, Any]:
    """A decoder of random weights behind KptLLM's number of image tokens; its eye is thin, for it is not timed."""
    tokenizer = train_tokenizer(["Find the keypoint. left eye: 0.123, 0.456"] * 4, 300)
    vocabulary = add_pose_words(tokenizer, 1)
    language = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=8,
            intermediate_size=3 * width,
            max_position_embeddings=2048,
        )
    )
    eye = CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2, image_size=IMAGE_PX,
        patch_size=PATCH_PX,
    )  # fmt: skip
    model = assemble(language, vocabulary, encoders=[(VisionEncoderSpec.of("clip", eye), None)], num_pose_tokens=1)
    model.add_keypoint_prompts("extractor")
    return model.to(device), LlmPoseProcessor.for_model(model.config, tokenizer)  # type: ignore[arg-type]


def questions(count: int, seed: int = 0) -> list[Conversation]:
    """`count` keypoints of one object, each shown in the same support image."""
    rng = np.random.default_rng(seed)
    query, support = (Image.fromarray(rng.integers(0, 255, (IMAGE_PX, IMAGE_PX, 3), dtype=np.uint8)) for _ in range(2))
    return [
        Conversation()
        .user(ImagePart(query), " Find the keypoint ", KeypointPart((support,), ((float(x), float(y)),)), ".")
        .assistant(f"left eye: {x:.3f}, {y:.3f}")
        for x, y in rng.random((count, 2))
    ]


def measure(what: What, device: str = "cpu", keypoints: int = 17, repeats: int = 2) -> dict[str, float]:
    """Seconds of one object's training step, or of its decoding, with and without sharing; `speedup` is their ratio.

    Training "alone" is one packed sequence for each question; decoding "alone" one call for each, "batched" one call
    for all in which every row reads the image itself.
    """
    model, processor = small_talker(device)
    asked = questions(keypoints)
    ways = _training(model, processor, asked, device) if what == "training" else _decoding(model, processor, asked)
    best = {name: seconds(run, device, repeats=repeats) for name, run in ways.items()}
    return {**{f"{name}_s": taken for name, taken in best.items()}, "speedup": best["alone"] / best["branches"]}


def _training(
    model: LlmPoseForConditionalGeneration, processor: LlmPoseProcessor, asked: list[Conversation], device: str
) -> dict[str, Callable[[], object]]:
    examples, words = processor.encode_batch(asked, train=True), processor.vocabulary

    def step(branches: bool) -> Callable[[], None]:
        collate = Collator(
            row_tokens=2048, pixels=processor.pixels, image_id=words.image_id, keypoint_id=words.keypoint_id,
            num_image_tokens=processor.num_image_tokens, branches=branches, pad_id=words.pad_id,
        )  # fmt: skip
        batch = collate(examples).to(device)

        def run() -> None:
            model.zero_grad()
            loss = model(**batch).loss
            assert loss is not None
            loss.backward()

        return run

    return {"alone": step(False), "branches": step(True)}


def _decoding(
    model: LlmPoseForConditionalGeneration, processor: LlmPoseProcessor, asked: list[Conversation]
) -> dict[str, Callable[[], object]]:
    prompts = [one.question for one in asked]

    def decode(share: bool, at_once: int) -> Callable[[], object]:
        settings = Decoding(grammar="point", max_new_tokens=16, share_prefixes=share)
        groups = [prompts[start : start + at_once] for start in range(0, len(prompts), at_once)]
        return lambda: [generate(model, processor, group, settings) for group in groups]

    return {
        "alone": decode(False, 1),
        "batched": decode(False, len(prompts)),
        "branches": decode(True, len(prompts)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--keypoints", type=int, default=17)
    parser.add_argument("--repeats", type=int, default=2)
    given = parser.parse_args()
    found = {what: measure(what, given.device, given.keypoints, given.repeats) for what in get_args(What)}
    rounded = {what: {name: round(value, 4) for name, value in own.items()} for what, own in found.items()}
    Console().print_json(data=rounded)


if __name__ == "__main__":
    main()
