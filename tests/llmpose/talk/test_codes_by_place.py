"""Where every place of a pose has its own codes, decoding chooses among those and no others, in one step or in many."""

from typing import Any

import pytest
import torch

from llmpose.model.assemble import init_codes
from llmpose.talk.conversation import Conversation
from llmpose.talk.decoding import Decoding
from llmpose.talk.generation import generate


@pytest.mark.parametrize("mode", ["mixed", "causal"])
@pytest.mark.parametrize("heat", [0.0, 3.0])
def test_every_place_gets_a_code_of_its_own(own_talker: Any, mode: str, heat: float) -> None:
    model, processor = own_talker(mode)
    questions = [Conversation().user(text) for text in ("Both knees", "A man is standing", "the left arm")]
    answers = generate(model, processor, questions, Decoding(max_new_tokens=40, max_poses=2, pose_temperature=heat))
    poses = [codes for answer in answers for codes in answer.codes]
    assert poses, "no answer held a pose: the test shows nothing"
    for codes in poses:
        assert [code // 6 for code in codes] == list(range(10))


def test_rows_of_near_codes_begin_near_each_other() -> None:
    values = torch.linspace(-1, 1, 8)
    vectors = torch.cartesian_prod(values, values)
    rows = torch.zeros(3 * 64, 256)
    places = init_codes(rows, vectors, 0.02, torch.Generator().manual_seed(0))
    assert rows.std().item() == pytest.approx(0.02, rel=0.1)
    of_place = rows.view(3, 64, 256).mean(1)
    assert torch.cosine_similarity(of_place, places).min() > 0.85, "rows of one place have its vector in common"
    unit = torch.nn.functional.normalize(rows.view(3, 64, 256) - places[:, None] * 0.5**0.5, dim=2)
    alike = unit @ unit.mT
    distance = torch.cdist(vectors, vectors)
    near, far = alike[:, distance < 0.3], alike[:, distance > 2]
    assert near.mean() > 0.8
    assert far.mean().abs() < 0.1
    assert (unit[0] * unit[1]).sum(-1).abs().mean() < 0.2, "another place, another meaning"
