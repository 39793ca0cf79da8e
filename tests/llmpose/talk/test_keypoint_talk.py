"""Keypoints shown by example in a talk: encoded to one token, decoded alike alone and together, refused where wrong."""

import re
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from llmpose.errors import UserError
from llmpose.model.config import LlmPoseConfig
from llmpose.model.modeling import LlmPoseForConditionalGeneration
from llmpose.talk.conversation import Conversation, ImagePart, KeypointPart
from llmpose.talk.decoding import Decoding
from llmpose.talk.generation import generate
from llmpose.talk.processing import LlmPoseProcessor

Talker = tuple[LlmPoseForConditionalGeneration, LlmPoseProcessor]


def picture(seed: int, width: int = 24, height: int = 24) -> Image.Image:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randint(0, 255, (height, width, 3), generator=generator)
    return Image.fromarray(noise.to(torch.uint8).numpy())


QUERY, SUPPORT, WIDE = picture(0), picture(1), picture(2, 40, 20)


@pytest.fixture(scope="module", name="prompted")
def _prompted(talker: Callable[..., Talker]) -> Talker:
    model, processor = talker(1)
    config = LlmPoseConfig(**{**deepcopy(model.config).to_dict(), "keypoint_prompts": "extractor"})
    torch.manual_seed(3)
    made = LlmPoseForConditionalGeneration(config).eval()
    with torch.no_grad():
        for weight in made.parameters():
            if weight.ndim > 1:
                weight.mul_(4.0)
    return made, LlmPoseProcessor.for_model(config, processor.tokenizer)


def ask(point: tuple[float, float], support: Any = SUPPORT) -> Conversation:
    return Conversation().user(ImagePart(QUERY), " Where is ", KeypointPart((support,), (point,)), "?")


def test_a_keypoint_takes_one_token_and_keeps_its_place(prompted: Talker) -> None:
    example = prompted[1].encode(ask((0.25, 0.5)), train=False)
    assert int((example.token_ids == prompted[1].vocabulary.keypoint_id).sum()) == 1
    assert len(example.images) == 1
    assert example.prompts[0].points_square == ((0.25, 0.5),)


def test_points_of_a_wide_picture_move_with_it_into_the_square(prompted: Talker) -> None:
    (prompt,) = prompted[1].encode(ask((0.25, 0.0), WIDE), train=False).prompts
    assert prompt.points_square[0] == pytest.approx((0.25, 0.25))  # 20 of 40 rows are the picture, 10 above it


@pytest.mark.parametrize("share", [True, False])
def test_many_keypoints_of_one_picture_are_answered_as_one_by_one(prompted: Talker, share: bool) -> None:
    model, processor = prompted
    points = [(0.1, 0.9), (0.5, 0.5), (0.9, 0.2), (0.3, 0.4)]
    settings = Decoding(grammar="named_point", max_new_tokens=40, share_prefixes=share)
    alone = [generate(model, processor, [ask(point)], settings)[0] for point in points]
    together = generate(model, processor, [ask(point) for point in points], settings)
    assert [answer.text for answer in together] == [answer.text for answer in alone]
    for one, other in zip(together, alone, strict=True):
        assert one.confidence == pytest.approx(other.confidence, rel=1e-4)
        assert len(one.points) == 1
        assert re.fullmatch(r"[^:]+: [01]\.\d{3}, [01]\.\d{3}", one.text, re.DOTALL)


def test_the_answer_depends_on_the_keypoint_that_is_shown(prompted: Talker) -> None:
    model, processor = prompted
    batch = processor.pad(processor.encode_batch([ask((0.1, 0.1)), ask((0.9, 0.9))], train=False))
    with torch.no_grad():
        logits = model(**batch, return_logits=True).logits[:, -1]
    assert (logits[0] - logits[1]).abs().max() > 1e-3


def test_a_keypoint_of_several_pictures_may_be_missing_in_some(prompted: Talker) -> None:
    model, processor = prompted
    part = KeypointPart((SUPPORT, WIDE), ((0.5, 0.5), None))
    told = generate(model, processor, [Conversation().user(part, " What is this?")], Decoding(max_new_tokens=5))
    assert told[0].text is not None
    nowhere = Conversation().user(KeypointPart((SUPPORT,), (None,)), " What is this?")
    with pytest.raises(UserError, match="none of its support images shows"):
        processor.encode(nowhere, train=False)


def test_saved_processors_know_that_their_model_takes_prompts(prompted: Talker, tmp_path: Path) -> None:
    prompted[1].save_pretrained(tmp_path)
    assert LlmPoseProcessor.from_pretrained(tmp_path).encoding.prompt_fit == "pad"
