"""Patterns, and what they allow a vocabulary to say: every answer can be completed, however little room is left."""

import re
from random import Random
from typing import Any

import pytest
import torch
from tiny_tokenizers import sentencepiece_like
from transformers import PreTrainedTokenizerFast

from llmpose.errors import UserError
from llmpose.talk.grammar import (
    COORDINATES,
    FREE,
    ONE_POSE,
    POSE_MARK,
    TEXT,
    Grammar,
    TokenStrings,
    object_list,
    point_after_text,
)
from llmpose.talk.patterns import FAR, Automaton, either, literal, maybe, one_of, other_than, repeat, sequence
from llmpose.talk.processing import LlmPoseProcessor
from llmpose.talk.vocabulary import add_pose_words, train_tokenizer

TEXTS = ["The left wrist, at [0.123, 0.456]. Objects <obj_1><obj_2> none 1.000, 0.5"] * 5


@pytest.fixture(scope="module", params=["bytes", "sentencepiece", "merged"])
def processor(request: Any) -> LlmPoseProcessor:
    if request.param == "bytes":
        tokenizer = train_tokenizer(TEXTS, 330)
    else:
        texts = TEXTS if request.param == "sentencepiece" else ["0.12 3, 0.4 .45 [0. 6] 0.123, 1.000 000"] * 9
        tokenizer = sentencepiece_like(texts)
    add_pose_words(tokenizer, 6)
    return LlmPoseProcessor(tokenizer, num_pose_tokens=2)


@pytest.fixture(scope="module")
def strings(processor: LlmPoseProcessor) -> TokenStrings:
    return TokenStrings(processor, processor.vocabulary.size + 5)


CASES = {
    "number": (sequence(literal("0."), one_of("0123456789")), r"0\.[0-9]"),
    "either": (either(literal("left"), literal("right"), literal("le")), "left|right|le"),
    "repeat": (sequence(repeat(other_than("[]"), at_least=2), literal("]")), r"[^\[\]]{2,}\]"),
    "nested": (
        repeat(sequence(maybe(literal("a")), either(literal("b"), repeat(literal("c"), at_least=1)))),
        "(a?(b|c+))*",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_patterns_match_what_regular_expressions_match(name: str) -> None:
    pattern, expression = CASES[name]
    automaton, chance = Automaton(pattern), Random(name)
    texts = ["", "0.5", "left", "right", "le", "xy]", "x]", "abcb", "acc"]
    texts += ["".join(chance.choices("abc[]0.5x", k=chance.randint(0, 6))) for _ in range(400)]
    for text in texts:
        assert automaton.matches(text) == bool(re.fullmatch(expression, text, re.DOTALL)), text


def test_the_distance_is_what_is_missing_to_the_shortest_answer() -> None:
    automaton = Automaton(COORDINATES)
    assert automaton.distance(automaton.start) == len("0.000, 0.000")
    assert automaton.distance(automaton.walk(automaton.start, "0.12")) == len("0, 0.000")
    assert automaton.distance(automaton.walk(automaton.start, "0.123, 1.000")) == 0
    assert automaton.distance(automaton.walk(automaton.start, "2")) == FAR
    assert not automaton.matches("1.001, 0.000")


def spoken(grammar: Grammar, room: int, chance: Random) -> tuple[str, int]:
    """An answer by someone who picks any word that is allowed."""
    state, text, words = grammar.start, "", 0
    while words < room:
        allowed = grammar.allowed(state, room - words).nonzero()[:, 0].tolist()
        assert allowed, "nothing may be said"
        token = chance.choice(allowed)
        if token == grammar.strings.end_id:
            break
        text += grammar.strings.strings[token]
        state, words = grammar.advance(state, token), words + 1
    return text, words


PATTERNS = {
    "point": (COORDINATES, r" ?(0\.\d{3}|1\.000), (0\.\d{3}|1\.000)"),
    "named": (point_after_text(), r"[^\[]+\[(0\.\d{3}|1\.000), (0\.\d{3}|1\.000)\]\.?"),
    "objects": (object_list(3), r" ?(none|(<obj_[012]>)+)"),
    "no object": (object_list(0), " ?none"),
    "pose": (ONE_POSE, POSE_MARK),
    "text": (TEXT, f"[^{POSE_MARK}]+"),
    "free": (FREE, ".+"),
}


@pytest.mark.parametrize("name", PATTERNS)
def test_whoever_keeps_to_the_grammar_says_something_well_formed(strings: TokenStrings, name: str) -> None:
    pattern, expression = PATTERNS[name]
    grammar, chance = Grammar(pattern, strings), Random(name)
    least = grammar.shortest()
    for room in [least] * 20 + [least + 1] * 20 + [least + 7] * 20 + [40] * 20:
        text, words = spoken(grammar, room, chance)
        assert re.fullmatch(expression, text, re.DOTALL), (room, text)
        assert words <= room


def test_marks_and_ids_without_a_word_are_never_allowed(processor: LlmPoseProcessor, strings: TokenStrings) -> None:
    words = processor.vocabulary
    grammar = Grammar(FREE, strings)
    allowed = set(grammar.allowed(grammar.start, 9).nonzero()[:, 0].tolist())
    assert words.pose_open_id in allowed
    assert not allowed & (set(words.added_ids) - {words.pose_open_id})
    assert not allowed & {*processor.tokenizer.all_special_ids, *range(words.size, words.size + 5)}  # type: ignore[attr-defined]
    assert words.pose_open_id not in grammar.allowed(grammar.start, 9, may_pose=False).nonzero()[:, 0]
    after = grammar.advance(grammar.start, words.pose_open_id)
    assert bool(grammar.allowed(after, 9)[processor.end_id])


def test_a_mask_is_made_once_for_a_state(strings: TokenStrings) -> None:
    grammar = Grammar(COORDINATES, strings)
    masks = {id(grammar.allowed(grammar.start, 200)) for _ in range(3)}
    assert len(masks) == 1
    zero = next(i for i, string in enumerate(strings.strings) if string == "0")
    state = grammar.advance(grammar.start, zero)
    assert grammar.step(state) is grammar.step(grammar.advance(grammar.start, zero))


def test_only_the_end_may_follow_a_lone_pose(processor: LlmPoseProcessor, strings: TokenStrings) -> None:
    grammar = Grammar(ONE_POSE, strings)
    assert not grammar.must_end(grammar.start)
    assert grammar.must_end(grammar.advance(grammar.start, processor.vocabulary.pose_open_id))
    free = Grammar(FREE, strings)
    assert not free.must_end(free.advance(free.start, processor.vocabulary.pose_open_id))
    assert [Grammar(p, strings).is_open for p in (FREE, TEXT, COORDINATES, ONE_POSE)] == [True, True, False, False]


def test_patterns_that_cannot_be_said_are_refused(strings: TokenStrings) -> None:
    with pytest.raises(UserError, match="no answer at all"):
        Grammar(one_of(""), strings)
    bare = TokenStrings.__new__(TokenStrings)
    bare.__dict__.update(strings.__dict__, strings=["a"], lengths=torch.tensor([1]), num_ids=1, end_id=0, _holding={})
    with pytest.raises(UserError, match="no word to go on"):
        Grammar(literal("bb"), bare).step(frozenset({0}))


def test_strings_are_what_ids_add_to_a_text(processor: LlmPoseProcessor, strings: TokenStrings) -> None:
    tokenizer: Any = processor.tokenizer
    assert isinstance(tokenizer, PreTrainedTokenizerFast)
    ids = tokenizer("The left wrist, at [0.123, 0.456].", add_special_tokens=False).input_ids
    assert "".join(strings.strings[i] for i in ids).strip() == "The left wrist, at [0.123, 0.456]."
