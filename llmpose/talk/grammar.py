"""What may be said next: every answer is well formed, whatever the weights are.

A grammar is a pattern over characters (llmpose/talk/patterns.py), in which a whole pose is one character. It is turned
into masks over the vocabulary, one per state, made when a state is first met and then kept: a step of decoding looks
masks up and never walks over the vocabulary. It works for any tokenizer, however it cuts numbers into tokens.

    phase        may be said
    text         words that keep the pattern alive; <p> where it has a pose; the end where it is complete.
                 Never pose tokens, pose queries, placeholders, role marks or ids without a word
    pose block   pose tokens only, as many as make one pose; then </p> follows by itself
"""

import re
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from llmpose.errors import UserError
from llmpose.talk.patterns import FAR, UNNAMED, Automaton, Pattern, State, either, literal, maybe, one_of, other_than
from llmpose.talk.patterns import repeat as repeat
from llmpose.talk.patterns import sequence as sequence

if TYPE_CHECKING:
    from llmpose.talk.processing import LlmPoseProcessor

POSE_MARK = "\ue000"
"""The character that stands for a whole pose in patterns and in the strings that they are matched with."""

POINT_MARK = "\ue001"
"""The same for a point that a head reads off `<point>`."""

WORDS = other_than(POSE_MARK + POINT_MARK)
DIGIT = one_of("0123456789")
SHARE = either(sequence(literal("0."), DIGIT, DIGIT, DIGIT), literal("1.000"))
"""A number from 0 to 1 with three decimals (KptLLM++ §3.3)."""
POINT = sequence(SHARE, literal(", "), SHARE)
SPACE = maybe(literal(" "))  # some vocabularies put one before whatever stands first

POSE = literal(POSE_MARK)
FOUND = literal(POINT_MARK)
FREE = repeat(either(WORDS, POSE, FOUND), at_least=1)
"""Text, poses and points in any order."""
TEXT = repeat(WORDS, at_least=1)
ONE_POSE = POSE
COORDINATES = sequence(SPACE, POINT)
"""One point: "0.512, 0.033"."""


_IDENTITY = sequence(repeat(other_than(POSE_MARK + POINT_MARK + ":"), at_least=1), literal(": "))
NAMED_POINT = sequence(_IDENTITY, POINT)
"""Identify, then detect (KptLLM++ §3.4): "left eye. The dark spot on the left of the head: 0.512, 0.033"."""
REGRESSED = sequence(SPACE, FOUND)
NAMED_REGRESSED = sequence(_IDENTITY, FOUND)
"""The same for models whose head reads the position off `<point>` (KptLLM)."""


def point_after_text(opening: str = "[", closing: str = "]") -> Pattern:
    """Identify, then detect (KptLLM §3.1): words, then one point in brackets, then at most a full stop."""
    name = repeat(other_than(POSE_MARK + POINT_MARK + opening), at_least=1)
    return sequence(name, literal(opening), POINT, literal(closing), maybe(literal(".")))


def object_list(count: int, *, word: str = "<obj_{}>", separator: str = "", none: str = "none") -> Pattern:
    """Some of the objects 0 ... count-1, by their words, or the word for none of them."""
    if count < 1:
        return sequence(SPACE, literal(none))
    name = either(*(literal(word.format(index)) for index in range(count)))
    return sequence(SPACE, either(literal(none), sequence(name, repeat(sequence(literal(separator), name)))))


GRAMMARS: dict[str, Pattern] = {
    "free": FREE,
    "text": TEXT,
    "pose": ONE_POSE,
    "point": COORDINATES,
    "named_point": NAMED_POINT,
    "regressed": REGRESSED,
    "named_regressed": NAMED_REGRESSED,
}
"""Those that have a name."""


class TokenStrings:
    """What every id of a vocabulary adds to a text; None for ids that no answer may hold."""

    def __init__(self, processor: "LlmPoseProcessor", num_ids: int) -> None:
        words, tokenizer = processor.vocabulary, processor.tokenizer
        added = tokenizer.added_tokens_decoder
        self.end_id, self.pose_id, self.num_ids = processor.end_id, words.pose_open_id, num_ids
        self.point_id = words.point_id
        hidden = {*tokenizer.all_special_ids, *(i for i, token in added.items() if token.special)}
        known = [i for i in range(min(num_ids, words.size)) if i not in hidden]
        self.strings: list[str] = [""] * num_ids
        for token_id, string in zip(known, _decoded(processor.tokenizer, known), strict=True):
            self.strings[token_id] = string.replace(POSE_MARK, "").replace(POINT_MARK, "")
        self.strings[self.pose_id] = POSE_MARK
        if self.point_id is not None:
            self.strings[self.point_id] = POINT_MARK
        self.lengths = torch.tensor([len(string) for string in self.strings])
        """0 where nothing may be said."""
        self._holding: dict[frozenset[str], list[int]] = {}

    def holding(self, characters: frozenset[str]) -> list[int]:
        """Ids whose words hold any of these characters; one pass over the vocabulary for each pattern."""
        if characters not in self._holding:
            pattern = re.compile("[" + re.escape("".join(sorted(characters))) + "]") if characters else None
            found = [i for i, string in enumerate(self.strings) if pattern is not None and pattern.search(string)]
            self._holding[characters] = found
        return self._holding[characters]


def _decoded(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> list[str]:
    """The string of each id behind another word: at the start of a text, some vocabularies drop a word's space."""
    decode = cast(Any, tokenizer).batch_decode
    anchor = cast(Any, tokenizer)("a", add_special_tokens=False).input_ids[-1:]
    first = decode([anchor], clean_up_tokenization_spaces=False)[0]
    both = decode([[*anchor, token_id] for token_id in ids], clean_up_tokenization_spaces=False)
    return [text[len(first) :] for text in both]


class Step(NamedTuple):
    """What one state of a grammar allows."""

    needs: Tensor
    """(num_ids,) characters that are missing to a complete answer after each id; FAR: the id may not be said."""
    most: int
    """The largest `needs` of an id that may be said: with room for so many tokens, all of them may."""
    allowed: Tensor
    """(num_ids,) True where the id may be said, given enough room."""
    without_poses: Tensor
    """The same without <p>."""
    must_end: bool
    """Only the end may follow."""
    must_pose: bool
    """Only <p> may follow."""


class Grammar:
    """A pattern over one vocabulary; its masks live on `device`."""

    def __init__(self, pattern: Pattern, strings: TokenStrings, device: torch.device | str = "cpu") -> None:
        self.automaton = Automaton(pattern)
        self.strings = strings
        self.device = device
        self.start: State = self.automaton.start
        self._steps: dict[State, Step] = {}
        if self.automaton.distance(self.start) >= FAR:
            raise UserError("the grammar allows no answer at all; every way through its pattern is a dead end")

    def advance(self, state: State, token_id: int) -> State:
        return self.automaton.walk(state, self.strings.strings[token_id])

    def step(self, state: State) -> Step:
        if state not in self._steps:
            self._steps[state] = self._made(state)
        return self._steps[state]

    def allowed(self, state: State, room: int, *, may_pose: bool = True) -> Tensor:
        """(num_ids,) True where an id may be said with `room` tokens left: where the answer can still be completed.

        Any character is a token of its own in every vocabulary that can write it, so an answer that misses n
        characters can be completed within n tokens.
        """
        step = self.step(state)
        free = step.allowed if may_pose else step.without_poses
        if not may_pose and step.must_pose:
            raise UserError("the grammar wants one more pose than max_poses allows; raise max_poses")
        return free if step.most < room else free & (step.needs < max(room, 1))

    def must_end(self, state: State) -> bool:
        return self.step(state).must_end

    @property
    def is_open(self) -> bool:
        """Answers are plain words, and may be cut off anywhere; other answers are led to their end in time."""
        return self.automaton.distance(self.automaton.step(self.start, UNNAMED)) == 0

    def shortest(self) -> int:
        """Characters of the shortest answer: the least room that decoding needs."""
        return self.automaton.distance(self.start)

    def _made(self, state: State) -> Step:
        automaton, strings = self.automaton, self.strings
        # Words of unnamed characters only differ by their length, so one walk serves them all.
        chain, reached = [FAR], state  # a word of no characters would be no step at all
        for _ in range(int(strings.lengths.max())):
            reached = automaton.step(reached, UNNAMED)
            chain.append(automaton.distance(reached))
        needs = torch.tensor(chain, dtype=torch.int32)[strings.lengths]
        for token_id in strings.holding(automaton.named):
            needs[token_id] = automaton.distance(automaton.walk(state, strings.strings[token_id]))
        needs[strings.end_id] = 0 if automaton.is_complete(state) else FAR
        allowed = needs < FAR
        if not bool(allowed.any()):
            raise UserError(
                "the grammar has come to a place where this vocabulary has no word to go on; "
                "its pattern uses characters that the tokenizer cannot write"
            )
        without_poses = allowed.clone()
        without_poses[strings.pose_id] = False
        must_end = bool(allowed[strings.end_id]) and int(allowed.sum()) == 1
        must_pose = not bool(without_poses.any())
        most, device = int(needs[allowed].max()), self.device
        return Step(needs.to(device), most, allowed.to(device), without_poses.to(device), must_end, must_pose)
