"""Positions that a head reads off a word: learnt, said, read back, saved; refined points of digits beside them."""

import re
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from PIL import Image

from data.branches import merge_alike
from data.collate import Collator
from llmpose.errors import UserError
from llmpose.model.adapters import add_adapter, load_model, save_adapter
from llmpose.model.assemble import grow_tables
from llmpose.model.batch import IGNORE
from llmpose.model.modeling import LlmPoseForConditionalGeneration
from llmpose.talk.conversation import Conversation, ImagePart, PointPart
from llmpose.talk.decoding import Decoding, Said
from llmpose.talk.generation import generate
from llmpose.talk.keypoints import find_in_pictures, named_keypoints, point_grammar
from llmpose.talk.processing import LlmPoseProcessor
from llmpose.talk.vocabulary import add_point_word

Talker = tuple[LlmPoseForConditionalGeneration, LlmPoseProcessor]
PLACES = {"nose": (0.25, 0.75), "tail": (0.9, 0.125), "paw": (0.5, 0.5)}


def picture() -> Image.Image:
    generator = torch.Generator().manual_seed(0)
    return Image.fromarray(torch.randint(0, 255, (24, 24, 3), generator=generator).to(torch.uint8).numpy())


QUERY = picture()


def lesson(name: str) -> Conversation:
    return (
        Conversation().user(ImagePart(QUERY), f" Where is the {name}?").assistant(f"{name}: ", PointPart(*PLACES[name]))
    )


@pytest.fixture(scope="module", name="pointing")
def _pointing(talker: Callable[..., Talker]) -> Talker:
    """A model that has learnt three places by heart."""
    model, processor = deepcopy(talker(2))
    vocabulary = add_point_word(processor.tokenizer)
    assert vocabulary.point_id is not None
    grow_tables(model.language, vocabulary.size)
    model.add_point_head(vocabulary.point_id)
    model.config.keypoint_answers = "named"
    torch.manual_seed(0)
    for weight in model.parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=0.08)
    processor = LlmPoseProcessor.for_model(model.config, processor.tokenizer)
    batch = processor.pad(processor.encode_batch([lesson(name) for name in PLACES]), side="right")
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    model.train()
    for _ in range(200):
        loss = model(**batch).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model.eval(), processor


def test_what_was_learnt_by_heart_is_found_again(pointing: Talker) -> None:
    model, processor = pointing
    assert point_grammar(model.config) == "named_regressed"
    questions = [lesson(name).question for name in PLACES]
    for settings in (Decoding(), Decoding(grammar="named_regressed"), Decoding(grammar="named_regressed", num_beams=2)):
        for (name, place), answer in zip(PLACES.items(), generate(model, processor, questions, settings), strict=True):
            (point,) = answer.points
            assert (point.x, point.y) == pytest.approx(place, abs=0.02)
            assert answer.text == f"{name}: {point.x:.3f}, {point.y:.3f}"
            assert 0.5 < point.confidence <= 1
            assert answer.finish_reason == "end"


def test_a_batch_says_what_each_says_alone_and_a_listener_hears_it(pointing: Talker) -> None:
    model, processor = pointing
    questions = [lesson(name).question for name in PLACES]
    heard: list[Said] = []
    together = generate(model, processor, questions, listener=heard.append)
    for number, question in enumerate(questions):
        (alone,) = generate(model, processor, [question])
        assert alone.text == together[number].text
        assert "".join(said.text for said in heard if said.number == number) == alone.text


def test_an_answer_with_a_point_can_be_gone_on_from(pointing: Talker) -> None:
    model, processor = pointing
    answered = lesson("nose").user("And the tail?")
    (answer,) = generate(model, processor, [answered], Decoding(max_new_tokens=8))
    assert answer.text is not None
    said = processor.encode(answered, train=False)
    assert int((said.token_ids == processor.vocabulary.point_id).sum()) == 1
    assert said.points == []


def test_the_loss_is_the_cross_entropy_and_twice_the_distance(pointing: Talker) -> None:
    model, processor = pointing
    (example,) = processor.encode_batch([lesson("nose")])
    batch = processor.pad([example])
    labelled = int((example.labels != IGNORE).sum())
    assert example.points == [(0.25, 0.75, labelled)]
    with torch.no_grad():
        out = model(**batch, return_logits=True)
        at = int((example.token_ids == processor.vocabulary.point_id).nonzero())
        assert model.point_head is not None
        x, y = model.point_head(out.hidden[0, at]).tolist()
    kept = batch.labels != IGNORE
    words = torch.nn.functional.cross_entropy(out.logits[kept], batch.labels[kept]).item()
    assert out.loss.item() == pytest.approx(words + 2.0 * (abs(x - 0.25) + abs(y - 0.75)), rel=1e-4)


def test_branches_give_the_loss_and_gradients_of_one_by_one(pointing: Talker) -> None:
    model, processor = pointing
    words = processor.vocabulary
    examples = processor.encode_batch([lesson(name) for name in PLACES])

    def run(*groups: list) -> tuple[float, list[torch.Tensor]]:
        collate = Collator(row_tokens=512, pixels=processor.pixels, pad_id=words.pad_id)
        model.zero_grad()
        merged = [merge_alike(group, words.image_id, processor.num_image_tokens, at_least=6) for group in groups]
        batches = [collate(group) for group in merged]
        assert int(batches[0].branch.max()) == (3 if len(groups) == 1 else 0)
        loss = torch.stack([model(**batch, num_items_in_batch=20).loss for batch in batches]).sum()
        loss.backward()
        return loss.item(), [p.grad.clone() for p in model.parameters() if p.grad is not None]

    together, alone = run(examples), run(*[[example] for example in examples])
    assert together[0] == pytest.approx(alone[0], rel=1e-4)
    for a, b in zip(together[1], alone[1], strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-3)


def test_a_batch_without_points_touches_the_head(pointing: Talker) -> None:
    model, processor = pointing
    model.zero_grad()
    plain = Conversation().user("Hello").assistant("A man")
    model(**processor.pad(processor.encode_batch([plain]))).loss.backward()
    assert model.point_head is not None
    assert all(p.grad is not None and not p.grad.any() for p in model.point_head.parameters())


def test_saved_as_a_whole_and_as_an_adapter_the_head_points_as_before(pointing: Talker, tmp_path: Path) -> None:
    model, processor = pointing
    model.save_pretrained(tmp_path / "whole")
    processor.save_pretrained(tmp_path / "whole")
    question = [lesson("tail").question]
    (before,) = generate(model, processor, question)
    (after,) = generate(
        load_model(tmp_path / "whole").eval(), LlmPoseProcessor.from_pretrained(tmp_path / "whole"), question
    )  # type: ignore[arg-type]
    assert after.text == before.text
    whole = load_model(tmp_path / "whole")
    wrapped = add_adapter(whole, rank=2, alpha=4, rows=processor.vocabulary.added_ids)  # type: ignore[arg-type]
    names = [name for name, p in wrapped.named_parameters() if p.requires_grad and "point_head" in name]
    assert names
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if name in names:
                parameter.add_(0.05)
    save_adapter(wrapped, tmp_path / "adapter", tmp_path / "whole")
    loaded = load_model(tmp_path / "adapter").eval()
    batch = processor.pad(processor.encode_batch([lesson("tail")]))
    with torch.no_grad():
        torch.testing.assert_close(loaded(**batch).loss, wrapped.eval()(**batch).loss)
    assert processor.vocabulary.point_id in processor.vocabulary.added_ids


def test_keypoints_of_a_picture_are_found_by_the_head(pointing: Talker) -> None:
    model, processor = pointing
    ((found,),) = find_in_pictures(model, processor, [(QUERY, None)], named_keypoints(["nose", "tail"]))
    assert ((found.keypoints_px[:, :2] >= -3) & (found.keypoints_px[:, :2] <= 27)).all()
    assert (found.keypoints_px[:, 2] > 0).all()
    assert re.fullmatch(r"[^:]+: [01]\.\d{3}, [01]\.\d{3}", found.texts[0], re.DOTALL)


def test_points_belong_into_answers_of_models_that_have_a_head(pointing: Talker, talker: Callable[..., Talker]) -> None:
    with pytest.raises(UserError, match="writes positions in digits"):
        talker(0)[1].encode(lesson("nose"))
    with pytest.raises(UserError, match="found point in a question"):
        pointing[1].encode(Conversation().user("There: ", PointPart(0.1, 0.1)), train=False)
    with pytest.raises(UserError, match="outside its image"):
        PointPart(1.2, 0.0)


def test_refined_points_are_near_the_digits_and_leave_the_words_alone(talker: Callable[..., Talker]) -> None:
    model, processor = talker(1)
    questions = [Conversation().user(ImagePart(QUERY), f" Where is the {name}?") for name in PLACES]
    plain = generate(model, processor, questions, Decoding(grammar="point"))
    refined = generate(model, processor, questions, Decoding(grammar="point", points="mean"))
    assert [answer.text for answer in refined] == [answer.text for answer in plain]
    moved = [(a.points[0], b.points[0]) for a, b in zip(plain, refined, strict=True)]
    assert [answer.confidence for answer in refined] == pytest.approx([answer.confidence for answer in plain])
    densest = generate(model, processor, questions, Decoding(grammar="point", points="densest"))
    sure = [(a.points[0].confidence, b.points[0].confidence) for a, b in zip(refined, densest, strict=True)]
    assert all(0 < mean <= most + 1e-3 <= 1.001 for mean, most in sure)  # nowhere lies more than at the densest place
    assert all(0 <= b.x <= 1 and 0 <= b.y <= 1 for _, b in moved)
    assert any(abs(a.x - b.x) > 1e-4 for a, b in moved)
    assert all(b.readings["said"] == (a.x, a.y) and b.readings["mean"] == (b.x, b.y) for a, b in moved)
