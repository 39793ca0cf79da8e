"""Poses decoded from the mean of their codes: the same answer otherwise, and the same pose where the model is sure."""

from typing import Any

import pytest
import torch

from llmpose.errors import UserError
from llmpose.talk.conversation import Conversation
from llmpose.talk.decoding import Decoding
from llmpose.talk.generation import generate

QUESTIONS = [Conversation().user(text) for text in ("Both knees", "A man is standing", "the left arm")]
PLAIN, REFINED = (Decoding(grammar="pose", max_poses=1, refine_poses=refine) for refine in (False, True))


@pytest.fixture(params=["own", "shared"])
def talking(request: pytest.FixtureRequest, talker: Any, own_talker: Any) -> Any:
    return own_talker("mixed") if request.param == "own" else talker(0)


def test_only_the_poses_change(talking: Any) -> None:
    model, processor = talking
    plain, refined = generate(model, processor, QUESTIONS, PLAIN), generate(model, processor, QUESTIONS, REFINED)
    for before, after in zip(plain, refined, strict=True):
        assert (before.codes, before.token_ids, before.pose_confidences) == (
            after.codes,
            after.token_ids,
            after.pose_confidences,
        )
        assert not torch.allclose(before.poses[0].rotmat, after.poses[0].rotmat, atol=1e-3)


def test_a_sure_model_means_its_likeliest_codes(talking: Any) -> None:
    model, processor = talking
    head = model.get_output_embeddings().weight
    kept = head.detach().clone()
    try:
        with torch.no_grad():
            head.mul_(1e5)
        answers = generate(model, processor, QUESTIONS, REFINED)
    finally:
        with torch.no_grad():
            head.copy_(kept)
    for answer in answers:
        expected = processor.pose_tokenizer.decode(torch.tensor(answer.codes))[0]
        torch.testing.assert_close(answer.poses[0].rotmat, expected, atol=1e-4, rtol=0)


def test_vectors_lie_between_those_of_the_codes(talking: Any) -> None:
    model, processor = talking
    table = processor.mean_table()
    for answer in generate(model, processor, QUESTIONS, REFINED):
        (vectors,) = answer.code_vectors
        assert vectors.shape == (processor.num_pose_tokens, table.shape[1])
        assert (vectors >= table.min(0).values - 1e-5).all()
        assert (vectors <= table.max(0).values + 1e-5).all()


def test_one_cannot_have_the_mean_and_a_draw() -> None:
    with pytest.raises(UserError, match="choose either"):
        Decoding(refine_poses=True, pose_temperature=1.0)
