"""Decoding is exact: alone or in a batch, cached or not, heard or read, and always well formed."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from llmpose.errors import UserError
from llmpose.talk.conversation import Conversation, ImagePart, PosePart, TextPart
from llmpose.talk.decoding import Answer, Decoding, Said
from llmpose.talk.generation import generate
from llmpose.talk.grammar import point_after_text
from llmpose.talk.row_writer import RowWriter

GREEDY = Decoding(max_new_tokens=24, max_poses=3)
DRAWN = Decoding(max_new_tokens=24, max_poses=3, temperature=1.2, top_p=0.95, pose_temperature=1.0, seed=5)
SEEDS = (0, 1, 2)
LISTS = ("token_ids", "labels", "branch", "block", "position")


def said(answer: Answer) -> list[Any]:
    return [part.text if isinstance(part, TextPart) else part.codes for part in answer.parts]


def same(a: Answer, b: Answer) -> None:
    assert said(a) == said(b)
    assert (a.finish_reason, a.token_ids) == (b.finish_reason, b.token_ids)
    assert a.logprobs == pytest.approx(b.logprobs, abs=2e-5)
    assert a.pose_confidences == pytest.approx(b.pose_confidences, abs=2e-5)


def test_the_random_models_do_everything_that_answers_can_hold(talker: Any, questions: list[Conversation]) -> None:
    answers = [answer for seed in SEEDS for answer in generate(*talker(seed), questions, GREEDY)]
    assert {answer.finish_reason for answer in answers} == {"end", "length"}
    assert {len(answer.codes) for answer in answers} >= {0, 1, 2}
    assert any(answer.codes and isinstance(answer.parts[-1], TextPart) for answer in answers)
    assert any(isinstance(answer.parts[0], PosePart) for answer in answers)


@pytest.mark.parametrize("settings", [GREEDY, DRAWN], ids=["greedy", "drawn"])
@pytest.mark.parametrize("mode", ["mixed", "causal"])
def test_an_answer_alone_is_the_answer_in_a_batch(
    talker: Any, questions: list[Conversation], mode: str, settings: Decoding
) -> None:
    for seed in SEEDS:
        model, processor = talker(seed, mode)
        together = generate(model, processor, questions, settings)
        for question, answer in zip(questions, together, strict=True):
            same(generate(model, processor, [question], settings)[0], answer)


def full_forward_answer(
    model: Any, processor: Any, question: Conversation, settings: Decoding
) -> tuple[list[Any], float]:
    """Greedy decoding without any cache: every step reads the whole row again, laid out as training lays it out."""
    words = processor.vocabulary
    grammar = processor.grammar(_free(), model.config.text_config.vocab_size)
    prompt = processor.encode(question, train=False)
    pixels = processor.pixels(prompt.images) if prompt.images else None
    state, room, poses, logprob = grammar.start, settings.max_new_tokens, settings.max_poses, 0.0
    parts: list[Any] = []
    ids: list[int] = []

    def last_logits(writer: RowWriter, count: int) -> torch.Tensor:
        example = writer.example()
        tensors = {name: getattr(example, name)[None] for name in ("token_ids", "branch", "block", "position")}
        sample = torch.zeros_like(tensors["token_ids"])
        with torch.no_grad():
            return model(sample=sample, pixels=pixels, **tensors).logits[0, -count:]

    writer = RowWriter(words)
    writer.token_ids, writer.labels = prompt.token_ids.tolist(), prompt.labels.tolist()
    writer.branch, writer.block = prompt.branch.tolist(), prompt.block.tolist()
    writer.position = prompt.position.tolist()
    writer._next, writer._blocks = writer.position[-1] + 1, int(prompt.block.max())
    while True:
        allowed = grammar.allowed(state, room, may_pose=poses > 0)
        logp = last_logits(writer, 1)[0].masked_fill(~allowed, -torch.inf).log_softmax(-1)
        token = int(logp.argmax())
        if token == processor.end_id:
            break
        logprob += float(logp[token])
        state, room = grammar.advance(state, token), room - 1
        if token == words.pose_open_id:
            poses -= 1
            asking = replace(writer, **{name: list(getattr(writer, name)) for name in LISTS})
            asking.answered_pose([0] * processor.num_pose_tokens, is_last=True)
            logits = last_logits(asking, processor.num_pose_tokens + 1)
            codes = logits[:-1, words.first_pose_id : words.first_pose_id + words.codebook_size].argmax(-1).tolist()
            parts += [processor.encoding.text.decode(ids), tuple(codes)] if ids else [tuple(codes)]
            ids = []
            if room == 0:
                break
            allowed = grammar.allowed(state, room, may_pose=poses > 0)
            after = logits[-1].masked_fill(~allowed, -torch.inf)
            if int(after.argmax()) == processor.end_id:
                break
            writer.given_pose(codes)
        else:
            ids.append(token)
            writer.given([token])
            if room == 0:
                break
    return parts + ([processor.encoding.text.decode(ids)] if ids else []), logprob


def _free() -> Any:
    from llmpose.talk.grammar import FREE

    return FREE


def test_cached_decoding_is_reading_the_whole_row_again(talker: Any, questions: list[Conversation]) -> None:
    for seed in SEEDS:
        model, processor = talker(seed)
        for question, answer in zip(questions, generate(model, processor, questions, GREEDY), strict=True):
            parts, logprob = full_forward_answer(model, processor, question, GREEDY)
            assert said(answer) == parts
            assert sum(answer.logprobs) == pytest.approx(logprob, abs=1e-4)


@pytest.mark.parametrize("tail", [[], [" Done."]], ids=["pose at the end", "words behind it"])
def test_the_codes_to_be_produced_are_not_seen_where_they_are_predicted(talker: Any, tail: list[str]) -> None:
    """From what people say to the logits: other codes in an answer change none at or before their own queries."""
    model, processor = talker(0)
    known = Conversation().user("Bend.")
    logits: list[torch.Tensor] = []
    for codes in (range(7), range(30, 37)):
        example = processor.encode(known.assistant("So: ", PosePart(codes=tuple(codes)), *tail))
        asked = (example.token_ids == processor.vocabulary.pose_query_id).nonzero()[:, 0]
        assert processor.vocabulary.id_to_code(example.labels[asked]).tolist() == list(codes)
        with torch.no_grad():
            out = model(**processor.pad([example]), return_logits=True)
        logits.append(out.logits[0])
    until = int(asked[-1]) + 1
    torch.testing.assert_close(logits[0][:until], logits[1][:until], rtol=0, atol=0)
    behind = [one[until + 1 :] for one in logits]
    assert torch.allclose(*behind) != bool(tail)  # what follows does read the codes


@pytest.mark.parametrize("mode", ["mixed", "causal"])
@pytest.mark.parametrize(
    "change",
    [{"cache": "static"}, {"share_prefixes": False}, {"pose_ahead": True}, {"batch_size": 3}],
    ids=["static cache", "no sharing", "pose ahead", "small batches"],
)
def test_how_it_is_computed_changes_no_answer(
    talker: Any, questions: list[Conversation], mode: str, change: dict[str, Any]
) -> None:
    model, processor = talker(1, mode)
    for settings in (GREEDY, DRAWN):
        plain = generate(model, processor, questions, settings)
        for a, b in zip(plain, generate(model, processor, questions, replace(settings, **change)), strict=True):
            same(a, b)


@pytest.mark.parametrize("family", ["mistral", "qwen2", "gemma2"])
def test_other_language_models_decode_alike(talker: Any, questions: list[Conversation], family: str) -> None:
    model, processor = talker(0, "mixed", family)
    together = generate(model, processor, questions, GREEDY)
    for question, answer in zip(questions, together, strict=True):
        same(generate(model, processor, [question], replace(GREEDY, cache="static"))[0], answer)


def test_questions_about_one_image_read_it_once(talker: Any, picture: np.ndarray, monkeypatch: Any) -> None:
    model, processor = talker(0)
    names = ["left knee", "right knee", "head", "left hand", "right hand"]
    asked = [Conversation().user("Look at ", ImagePart(picture), f": where is the {name}?") for name in names]
    apart = generate(model, processor, asked, replace(GREEDY, share_prefixes=False))
    looks = watch_looks(model, monkeypatch)
    shared = generate(model, processor, asked, GREEDY)
    assert looks == [1]
    for a, b in zip(apart, shared, strict=True):
        same(a, b)


def test_however_questions_begin_an_image_is_looked_at_once(talker: Any, picture: np.ndarray, monkeypatch: Any) -> None:
    model, processor = talker(1)
    other = picture[::-1].copy()
    asked = [
        Conversation().user(words, ImagePart(image)) for image in (picture, other) for words in ("See ", "In ", "")
    ]
    alone = [generate(model, processor, [one], GREEDY)[0] for one in asked]
    looks = watch_looks(model, monkeypatch)
    for a, b in zip(alone, generate(model, processor, asked, GREEDY), strict=True):
        same(a, b)
    assert looks == [2]


def watch_looks(model: Any, monkeypatch: Any) -> list[int]:
    """How many images each call of the vision encoders sees, from now on."""
    looks: list[int] = []
    encode_images = type(model).encode_images

    def watched(self: Any, pixels: dict[str, torch.Tensor]) -> torch.Tensor:
        looks.append(len(pixels["clip"]))
        return encode_images(self, pixels)

    monkeypatch.setattr(type(model), "encode_images", watched)
    return looks


def test_what_is_heard_is_what_is_answered(talker: Any, questions: list[Conversation]) -> None:
    for seed, settings in [(0, GREEDY), (1, DRAWN), (2, DRAWN)]:
        heard: list[Said] = []
        answers = generate(*talker(seed), questions, settings, listener=heard.append)
        for number, answer in enumerate(answers):
            own = [one for one in heard if one.number == number]
            assert "".join(one.text for one in own) == answer.text
            assert [one.codes for one in own if one.codes is not None] == answer.codes
            assert len(own) > 1 or len(answer.token_ids) <= 1


@pytest.mark.parametrize("mode", ["mixed", "causal"])
def test_every_answer_is_well_formed_whatever_the_weights(
    talker: Any, questions: list[Conversation], mode: str
) -> None:
    for seed in SEEDS:
        model, processor = talker(seed, mode)
        hot = Decoding(max_new_tokens=20, max_poses=2, temperature=3.0, pose_temperature=3.0, seed=seed)
        words = processor.vocabulary
        for answer in generate(model, processor, questions, hot):
            assert answer.parts
            assert len(answer.token_ids) <= 20
            assert len(answer.codes) <= 2
            assert all(len(codes) == 7 and min(codes) >= 0 and max(codes) < 60 for codes in answer.codes)
            assert all(0 < confidence <= 1 for confidence in [answer.confidence, *answer.pose_confidences])
            spoken = set(answer.token_ids) - {words.pose_open_id}
            assert not spoken & {*words.added_ids, words.end_id, words.pad_id}
            assert max(answer.token_ids) < words.size
            for pose in answer.poses:
                identity = pose.rotmat @ pose.rotmat.mT
                torch.testing.assert_close(identity, torch.eye(3).expand(22, 3, 3), atol=1e-4, rtol=0)


def test_grammars_shape_answers_row_by_row(talker: Any, picture: np.ndarray) -> None:
    model, processor = talker(2)
    ask = Conversation().user("Look at ", ImagePart(picture), ".")
    hot = Decoding(max_new_tokens=30, temperature=2.0, seed=1)
    kinds = ["pose", "text", "point", point_after_text(), "free"] * 3
    answers = generate(model, processor, [ask] * len(kinds), hot, grammars=kinds)
    for kind, answer in zip(kinds, answers, strict=True):
        if kind == "pose":
            assert (len(answer.codes), answer.text, answer.finish_reason) == (1, "", "end")
        elif kind == "text":
            assert answer.text
            assert not answer.codes
        elif kind != "free":
            assert answer.finish_reason == "end"
            assert len(answer.points) == 1
            point = answer.points[0]
            assert 0 <= point.x <= 1
            assert 0 <= point.y <= 1
            assert 0 < point.confidence <= 1
            assert f"{point.x:.3f}, {point.y:.3f}" in answer.text


def test_a_points_confidence_is_the_probability_of_its_tokens(talker: Any) -> None:
    model, processor = talker(0)
    answers = generate(model, processor, [Conversation().user("Where?")] * 3, replace(DRAWN, grammar="point"))
    for answer in answers:
        spelling = answer.logprobs[1:] if answer.text.startswith(" ") else answer.logprobs
        assert answer.points[0].confidence == pytest.approx(np.exp(sum(spelling)), rel=1e-5)


def test_poses_of_an_answer_are_decoded_codes(talker: Any, questions: list[Conversation]) -> None:
    model, processor = talker(0)
    for answer in generate(model, processor, questions, GREEDY):
        assert len(answer.poses) == len(answer.codes)
        for pose, codes in zip(answer.poses, answer.codes, strict=True):
            expected = processor.pose_tokenizer.decode(torch.tensor([codes]))[0]
            torch.testing.assert_close(pose.rotmat, expected)


def test_an_answer_stops_where_the_context_is_full(talker: Any) -> None:
    processor = talker(0, "mixed", "llama", 40)[1]
    question = Conversation().user("Both knees are bent")
    prompt = len(processor.encode(question, train=False))
    answers = [
        generate(*talker(seed, "mixed", "llama", 40), [question], Decoding(max_new_tokens=300))[0] for seed in SEEDS
    ]
    assert any(answer.finish_reason == "context" for answer in answers)
    for answer in answers:
        assert prompt + len(answer.token_ids) + len(answer.codes) * 8 <= 40 + 8


def test_an_answer_under_a_grammar_is_complete_even_where_the_context_ends(talker: Any) -> None:
    model, processor = talker(1, "mixed", "llama", 40)
    settings = replace(DRAWN, grammar="point", max_new_tokens=99)
    rooms = []
    for words in range(40):
        question = Conversation().user("Both" + " a" * words)
        rooms.append(40 - len(processor.encode_batch([question], train=False)[0]))
        if rooms[-1] < 12:
            break
        answer = generate(model, processor, [question], settings)[0]
        assert (len(answer.points), answer.finish_reason) == (1, "end")
    assert min(rooms) < 12 <= max(rooms)
    with pytest.raises(UserError, match="shorten the prompt"):
        generate(model, processor, [question], settings)


def test_beams_find_what_trying_everything_finds(talker: Any) -> None:
    """Two words, and nearly as many beams as words: nothing can be missed."""
    model, processor = talker(3)
    question = [Conversation().user("Hello")]
    settings = Decoding(max_new_tokens=2, max_poses=0, num_beams=300, length_penalty=0.0)
    best = generate(model, processor, question, settings)[0]
    grammar = processor.grammar(_free(), model.config.text_config.vocab_size)
    prompt = processor.encode(question[0], train=False).token_ids
    words = grammar.allowed(grammar.start, 2, may_pose=False).nonzero()[:, 0]
    with torch.no_grad():
        first = model(token_ids=prompt[None]).logits[0, -1]
        first = first.masked_fill(~grammar.allowed(grammar.start, 2, may_pose=False), -torch.inf).log_softmax(-1)
        rows = torch.cat([prompt.expand(len(words), -1), words[:, None]], 1)
        state = grammar.advance(grammar.start, int(words[0]))
        allowed = grammar.allowed(state, 1, may_pose=False)
        second = model(token_ids=rows).logits[:, -1].masked_fill(~allowed, -torch.inf).log_softmax(-1)
    total = first[words][:, None] + second
    place = int(total.argmax())
    expected = [int(words[place // total.shape[1]]), place % total.shape[1]]
    expected = [token for token in expected if token != processor.end_id]
    assert best.token_ids == expected


def test_beams_alone_are_beams_in_a_batch(talker: Any, questions: list[Conversation]) -> None:
    settings = Decoding(max_new_tokens=10, max_poses=2, num_beams=4)
    for seed in SEEDS:
        model, processor = talker(seed)
        together = generate(model, processor, questions, settings)
        assert any(answer.codes for answer in together)
        for question, answer in zip(questions, together, strict=True):
            same(generate(model, processor, [question], settings)[0], answer)


@pytest.mark.parametrize("mode", ["mixed", "causal"])
def test_what_was_learnt_by_heart_is_said_by_heart(taught: Any, lessons: list[Conversation], mode: str) -> None:
    """Labels, layout and decoding agree: training on the rows of `encode` makes `generate` say exactly the answers."""
    for answer, lesson in zip(generate(*taught(mode), lessons), lessons, strict=True):
        expected = [part.text if isinstance(part, TextPart) else part.codes for part in lesson.answer.parts]
        assert said(answer) == expected
        assert answer.finish_reason == "end"
        assert answer.confidence > 0.9
        assert all(confidence > 0.9 for confidence in answer.pose_confidences)


def test_the_model_is_left_as_it_was(talker: Any) -> None:
    model, processor = talker(0)
    model.train()
    generate(model, processor, [Conversation().user("Hello")], GREEDY)
    assert model.training
    model.eval()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens is 0"),
        ({"top_p": 0.0}, "top_p"),
        ({"num_beams": 2, "temperature": 1.0}, "num_beams=1"),
        ({"cache": "paged"}, "dynamic or static"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Decoding(**settings)


def test_what_decoding_cannot_do_it_says(talker: Any) -> None:
    model, processor = talker(0)
    hello = [Conversation().user("Hello")]
    refused: list[tuple[Callable[[], Any], str]] = [
        (lambda: generate(model, processor, hello, Decoding(grammar="poem")), "'poem' is not known"),
        (lambda: generate(model, processor, hello, Decoding(grammar="point", max_new_tokens=5)), "shortest answer"),
        (lambda: generate(model, processor, hello, Decoding(grammar="pose", max_poses=0)), "raise max_poses"),
        (lambda: generate(model, processor, hello, Decoding(num_beams=2), listener=print), "num_beams=1"),
        (lambda: generate(*talker(0, "causal"), hello, Decoding(num_beams=2)), "num_beams=1"),
    ]
    for call, message in refused:
        with pytest.raises(UserError, match=message):
            call()
