"""A tokenizer learnt from a few sentences, and models of random weights that like to say <p> and to stop."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lesson_values import BENT, BLUE, RED, STANDING
from transformers import (
    CLIPVisionConfig,
    Gemma2Config,
    LlamaConfig,
    MistralConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

from llmpose.model.config import LlmPoseConfig, VisionEncoderSpec
from llmpose.model.modeling import LlmPoseForConditionalGeneration
from llmpose.talk.conversation import Conversation, ImagePart, PosePart
from llmpose.talk.processing import LlmPoseProcessor
from llmpose.talk.vocabulary import Vocabulary, add_pose_words, train_tokenizer
from tokenizer_vq import PoseTokenizer, PoseTokenizerConfig

NUM_POSE_TOKENS, CODEBOOK_SIZE = 7, 60
TEXTS = [
    "The person raises the left arm to 0.123, 0.456. The right knee is bent.",
    "A man is standing, leaning forward; his hands are near the hips.",
    "Both knees are bent, the torso is upright, the head looks to the left.",
] * 20
FAMILIES = {"llama": LlamaConfig, "mistral": MistralConfig, "qwen2": Qwen2Config, "gemma2": Gemma2Config}

Talker = tuple[LlmPoseForConditionalGeneration, LlmPoseProcessor]


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    made = train_tokenizer(TEXTS, 360)
    add_pose_words(made, CODEBOOK_SIZE)
    return made


@pytest.fixture(scope="session")
def pose_tokenizer() -> PoseTokenizer:
    torch.manual_seed(0)
    config = PoseTokenizerConfig(
        num_pose_tokens=NUM_POSE_TOKENS, codebook_size=CODEBOOK_SIZE, hidden_size=16, num_layers=1, fsq_levels=[5, 4, 3]
    )
    return PoseTokenizer(config).eval()


@pytest.fixture(scope="session")
def talker(tokenizer: PreTrainedTokenizerFast, pose_tokenizer: PoseTokenizer) -> Callable[..., Talker]:
    """talker(seed=0, pose_attention="mixed", family="llama"): a model and its processor, made once each."""
    made: dict[tuple[Any, ...], Talker] = {}

    def make(seed: int = 0, pose_attention: str = "mixed", family: str = "llama", context: int = 512) -> Talker:
        key = (seed, pose_attention, family, context)
        if key not in made:
            made[key] = _talker(tokenizer, pose_tokenizer, *key)
        return made[key]

    return make


@pytest.fixture(scope="session")
def own_talker(tokenizer: PreTrainedTokenizerFast) -> Callable[[str], Talker]:
    """own_talker("mixed"): a model whose poses have codes of their own at each of their ten places."""
    config = PoseTokenizerConfig(
        num_pose_tokens=10, codebook_size=CODEBOOK_SIZE, own_codes=True, hidden_size=16, num_layers=1, fsq_levels=[6]
    )
    codec = PoseTokenizer(config).eval()
    return lambda mode: _talker(tokenizer, codec, 0, mode, "llama", 512)


def _talker(
    tokenizer: PreTrainedTokenizerFast, pose_tokenizer: PoseTokenizer, seed: int, mode: str, family: str, context: int
) -> Talker:
    words = Vocabulary.of(tokenizer)
    clip = CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=16, patch_size=8
    )
    text = FAMILIES[family](
        vocab_size=words.size + 3,  # rows without a word, as padded vocabularies have
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=context,
        **({"sliding_window": 12, "head_dim": 8} if family == "gemma2" else {}),
    )
    config = LlmPoseConfig(
        text_config=text,
        vision=[VisionEncoderSpec.of("clip", clip)],
        num_pose_tokens=pose_tokenizer.config.num_pose_tokens,
        codebook_size=pose_tokenizer.config.codebook_size,
        own_codes=pose_tokenizer.config.own_codes,
        pose_attention=mode,  # type: ignore[arg-type]
        first_pose_id=words.first_pose_id,
        pose_open_id=words.pose_open_id,
        pose_close_id=words.pose_close_id,
        pose_query_id=words.pose_query_id,
        image_id=words.image_id,
        keypoint_id=words.keypoint_id,
        pad_token_id=words.pad_id,
    )
    torch.manual_seed(seed)
    model = LlmPoseForConditionalGeneration(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.mul_(4.0)
        head = model.get_output_embeddings().weight
        head[words.pose_open_id] *= 4.0
        head[words.end_id] *= 3.0
    return model, LlmPoseProcessor.for_model(config, tokenizer, pose_tokenizer)


@pytest.fixture(scope="session", name="lessons")
def _lessons() -> list[Conversation]:
    return lessons()


def lessons() -> list[Conversation]:
    """What the taught model knows by heart."""
    start = Conversation()
    return [
        start.user("Stand.").assistant(STANDING),
        start.user("Bend the knees.").assistant("Both knees are bent: ", BENT, " The head looks up."),
        start.user("Describe ", ImagePart(RED)).assistant("A man is standing."),
        start.user("Describe ", ImagePart(BLUE)).assistant("The person leans forward."),
        start.user("Stand.")
        .assistant(STANDING)
        .user("Now bend the knees.")
        .assistant(BENT)
        .user("And?")
        .assistant("Bent."),
        start.user("Name ", STANDING).assistant("Standing."),
    ]


@pytest.fixture(scope="session")
def taught(talker: Callable[..., Talker]) -> Callable[[str], Talker]:
    """taught("mixed"): a model that has learnt `lessons` by heart, in a second."""
    made: dict[str, Talker] = {}

    def make(pose_attention: str = "mixed") -> Talker:
        if pose_attention not in made:
            made[pose_attention] = _taught(*_fresh(talker(0, pose_attention)))
        return made[pose_attention]

    return make


def _fresh(talker: Talker) -> Talker:
    torch.manual_seed(0)
    model = LlmPoseForConditionalGeneration(talker[0].config)
    for weight in model.parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=0.08)
    return model, talker[1]


def _taught(model: LlmPoseForConditionalGeneration, processor: LlmPoseProcessor) -> Talker:
    batch = processor.pad(processor.encode_batch(lessons()), side="right")
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    model.train()
    for _ in range(150):
        loss = model(**batch).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model.eval(), processor


@pytest.fixture(scope="session")
def model_folder(taught: Callable[[str], Talker], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The taught model, saved."""
    folder = tmp_path_factory.mktemp("model")
    model, processor = taught("mixed")
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


@pytest.fixture(scope="session")
def questions(picture: np.ndarray) -> list[Conversation]:
    """Mixed tasks: with and without images and poses, short and long, one and several turns."""
    a, b = PosePart(codes=tuple(range(NUM_POSE_TOKENS))), PosePart(codes=tuple(range(20, 20 + NUM_POSE_TOKENS)))
    start = Conversation()
    return [
        start.user("Describe the person in ", ImagePart(picture), "."),
        start.user("What is the pose of ", ImagePart(picture), "?"),
        start.user("Hello"),
        start.user("Raise the left arm of ", a, "."),
        start.user("How do ", a, " and ", b, " differ?").assistant("Look: ", b).user("And the knees?"),
        start.user("Both knees are bent."),
        start.user("Compare ", ImagePart(picture), " with ", a, ".").assistant("They differ.").user("Show it."),
        start.user(
            "From ", ImagePart(picture), " to ", ImagePart(picture[::-1].copy()), " and from ", a, " to ", b, "?"
        ),
        start.user("Stand."),
    ]
