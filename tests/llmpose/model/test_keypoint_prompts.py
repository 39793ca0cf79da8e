"""Keypoint prompts in the model: each its own token, the same alone and among others, in branches and one by one."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_models import IMAGE, NUM_IMAGE_TOKENS, tiny_model

from data.collate import Collator
from llmpose.errors import UserError
from llmpose.model.batch import IGNORE, Batch, Example, Prompt, prompt_table
from llmpose.model.modeling import LlmPoseForConditionalGeneration
from llmpose.model.prompts import PromptState

KEYPOINT = 34


def picture(seed: int) -> Image.Image:
    generator = torch.Generator().manual_seed(seed)
    return Image.fromarray(torch.randint(0, 255, (16, 16, 3), generator=generator).to(torch.uint8).numpy())


QUERY, SUPPORT, OTHER = picture(0), picture(1), picture(2)
POINTS = [(0.1, 0.2), (0.8, 0.3), (0.4, 0.9), (0.6, 0.6)]


def question(number: int, prompt: Prompt) -> Example:
    """Sixteen words and an image in common, then a keypoint prompt and an answer of its own."""
    given = [*range(1, 17), *[IMAGE] * NUM_IMAGE_TOKENS, 20, KEYPOINT]
    answer = [21 + number, 25, 26]
    ids = [*given, *answer]
    labels = [IGNORE] * (len(given) - 1) + [*answer, IGNORE]
    zeros = torch.zeros(len(ids), dtype=torch.int64)
    return Example(
        torch.tensor(ids), torch.tensor(labels), zeros, zeros.clone(), torch.arange(len(ids)), [QUERY],
        task="keypoint", record_id=str(number), prompts=[prompt],
    )  # fmt: skip


def pixels(images: list) -> dict[str, torch.Tensor]:
    square = torch.zeros(len(images), 3, 16, 16)
    for place, image in enumerate(images):
        square[place] = torch.tensor(np.array(image)).permute(2, 0, 1) / 255
    tall = torch.nn.functional.interpolate(square, size=(24, 8)) if images else torch.zeros(0, 3, 24, 8)
    return {"clip": square, "pose": tall}


def batch_of(examples: list[Example], *, branches: bool = False) -> Batch:
    collate = Collator(
        row_tokens=512, pixels=pixels, image_id=IMAGE, num_image_tokens=NUM_IMAGE_TOKENS, branches=branches,
        keypoint_id=KEYPOINT,
    )  # fmt: skip
    return collate(examples)


@pytest.fixture(scope="module", params=["extractor", "average"])
def model(request: pytest.FixtureRequest) -> LlmPoseForConditionalGeneration:
    return tiny_model(keypoint_prompts=request.param, keypoint_id=KEYPOINT)


def questions() -> list[Example]:
    prompts = [Prompt((SUPPORT,), (point,)) for point in POINTS[:3]]
    return [question(number, prompt) for number, prompt in enumerate(prompts)]


def test_a_prompt_alone_is_what_it_is_among_others(model: LlmPoseForConditionalGeneration) -> None:
    prompts = [
        Prompt((SUPPORT,), (POINTS[0],)),
        Prompt((OTHER, SUPPORT), (POINTS[1], None)),
        Prompt((SUPPORT,), (POINTS[2],)),
        Prompt((OTHER, SUPPORT), (POINTS[3], POINTS[0])),
    ]
    together = batch_of([question(i, prompt) for i, prompt in enumerate(prompts)])
    embedded = model.embed(together.token_ids, together.pixels, None, together.prompts)
    found = embedded[together.token_ids == KEYPOINT]
    by_name = {record: i for i, record in enumerate(name for row in together.record_ids for name in row)}
    assert len({tuple(row) for row in found.tolist()}) == len(prompts)
    for number, prompt in enumerate(prompts):
        alone = batch_of([question(number, prompt)])
        single = model.embed(alone.token_ids, alone.pixels, None, alone.prompts)[alone.token_ids == KEYPOINT]
        torch.testing.assert_close(found[by_name[str(number)]], single[0], atol=1e-5, rtol=1e-5)


def test_branches_give_the_loss_and_gradients_of_one_by_one(model: LlmPoseForConditionalGeneration) -> None:
    def run(batches: list[Batch]) -> tuple[float, list[torch.Tensor]]:
        model.zero_grad()
        loss = torch.stack([model(**batch, num_items_in_batch=9).loss for batch in batches]).sum()
        loss.backward()
        return loss.item(), [p.grad.clone() for p in model.parameters() if p.grad is not None]

    branched = batch_of(questions(), branches=True)
    assert int(branched.branch.max()) == 3
    assert int((branched.token_ids == IMAGE).sum()) == NUM_IMAGE_TOKENS
    together, alone = run([branched]), run([batch_of([one]) for one in questions()])
    assert together[0] == pytest.approx(alone[0], rel=1e-5)
    for a, b in zip(together[1], alone[1], strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-3)


def test_prompts_train_and_are_touched_where_a_batch_has_none(model: LlmPoseForConditionalGeneration) -> None:
    assert model.prompts is not None
    for examples, has_prompts in ((questions(), True), ([_wordy()], False)):
        model.zero_grad()
        model(**batch_of(examples)).loss.backward()
        gradient = model.prompts.project.weight.grad
        assert gradient is not None
        assert bool(gradient.abs().sum() > 0) == has_prompts


def _wordy() -> Example:
    ids = torch.tensor([1, 2, 3])
    zeros = torch.zeros(3, dtype=torch.int64)
    return Example(ids, torch.tensor([IGNORE, 3, IGNORE]), zeros, zeros.clone(), torch.arange(3))


def test_a_saved_model_reads_prompts_as_before(model: LlmPoseForConditionalGeneration, tmp_path: Path) -> None:
    batch = batch_of(questions())
    model.save_pretrained(tmp_path)
    loaded = LlmPoseForConditionalGeneration.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        torch.testing.assert_close(
            loaded(**batch, return_logits=True).logits, model(**batch, return_logits=True).logits
        )


def test_a_model_can_learn_prompts_later_and_nothing_else_changes() -> None:
    plain = tiny_model(keypoint_id=KEYPOINT)
    before = {name: value.clone() for name, value in plain.state_dict().items()}
    with pytest.raises(UserError, match="no encoder for keypoint prompts"):
        plain(**batch_of(questions()))
    plain.add_keypoint_prompts("extractor")
    assert all(torch.equal(plain.state_dict()[name], value) for name, value in before.items())
    assert torch.isfinite(plain(**batch_of(questions())).loss)


def test_the_table_groups_prompts_by_their_support_images() -> None:
    prompts = [
        Prompt((SUPPORT,), (POINTS[0],)),
        Prompt((OTHER, SUPPORT), (None, POINTS[1])),
        Prompt((SUPPORT,), (POINTS[2],)),
    ]
    images, table = prompt_table(prompts)
    assert table is not None
    assert [id(image) for image in images] == [id(SUPPORT), id(OTHER)]
    assert table["support"].tolist() == [[0, 0], [1, 0]]
    assert table["place"].tolist() == [0, 2, 1]
    given, absent, padding = (int(state) for state in PromptState)
    assert table["state"].tolist() == [[[given, given], [padding, padding]], [[absent, padding], [given, padding]]]
    assert prompt_table([]) == ([], None)
