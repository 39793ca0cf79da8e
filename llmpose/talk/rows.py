"""One row of a decoding batch: what it has said, where it stands, what it will read next."""

import re
import zlib
from dataclasses import dataclass, field, replace
from math import exp
from random import Random
from typing import TYPE_CHECKING, cast

from torch import Tensor

from llmpose.model.batch import Example
from llmpose.talk.conversation import Part, PointPart, PosePart, TextPart
from llmpose.talk.decoding import Answer, FinishReason, Listener, Point, PointReading, Said
from llmpose.talk.grammar import Grammar
from llmpose.talk.patterns import State
from llmpose.talk.refine import Stretch, densest_of, mean_of, share_near, stretches

if TYPE_CHECKING:
    from llmpose.talk.processing import LlmPoseProcessor

COORDINATES = re.compile(r"([01]\.\d{3}), ([01]\.\d{3})")
BROKEN = "\ufffd"
"""What a decoder shows for a character whose bytes have not all been said yet."""


@dataclass
class Spoken:
    """A run of words."""

    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    choices: list[dict[int, float]] = field(default_factory=list)
    """Of each word: what it might have been, with probabilities (Decoding.points)."""

    def copy(self) -> "Spoken":
        return Spoken(list(self.ids), list(self.logprobs), list(self.choices))


@dataclass(frozen=True)
class Pointed:
    """A point whose place a head reads off `<point>`."""

    logprob: float
    place: tuple[float, float] | None = None
    """None until `<point>` has been read."""


@dataclass
class Posed:
    """A whole pose, and the log-probabilities of its codes."""

    codes: tuple[int, ...]
    logprobs: tuple[float, ...]
    open_logprob: float
    vectors: Tensor | None = None
    """(N, C): the mean of what each place's codes stand for, where poses are refined."""


@dataclass
class Row:
    """State of one answer. Beams copy rows, so everything mutable is copied in `copy`."""

    number: int
    grammar: Grammar
    state: State
    room: int
    poses_left: int
    chance: Random
    position: int = 0
    block: int = 0
    feed: list[tuple[int, int]] = field(default_factory=list)
    """(token id, block) to be read next."""
    said: list[Spoken | Posed | Pointed] = field(default_factory=list)
    opened: float | None = None
    """Log-probability of the <p> whose pose is still to come."""
    codes: list[tuple[int, float]] = field(default_factory=list)
    """Codes of a pose that is said one by one (causal mode)."""
    score: float = 0.0
    finish: FinishReason | None = None

    def copy(self) -> "Row":
        said = [one.copy() if isinstance(one, Spoken) else one for one in self.said]
        chance = Random()
        chance.setstate(self.chance.getstate())
        return replace(self, feed=list(self.feed), said=said, codes=list(self.codes), chance=chance)

    def allowed(self) -> Tensor:
        return self.grammar.allowed(self.state, self.room, may_pose=self.poses_left > 0)

    def say(self, token_id: int, logprob: float, choices: dict[int, float] | None = None) -> None:
        """One more word, <p>, <point> or the end."""
        strings = self.grammar.strings
        self.score += logprob
        if token_id == strings.end_id:
            self.finish = "end"
            return
        self.state = self.grammar.advance(self.state, token_id)
        self.room -= 1
        if token_id == strings.pose_id:
            self.opened = logprob
            self.poses_left -= 1
            return
        self.feed = [(token_id, 0)]
        if token_id == strings.point_id:
            self.said.append(Pointed(logprob))
            return
        if not self.said or not isinstance(self.said[-1], Spoken):
            self.said.append(Spoken())
        spoken = self.said[-1]
        assert isinstance(spoken, Spoken)
        spoken.ids.append(token_id)
        spoken.logprobs.append(logprob)
        if choices is not None:
            spoken.choices.append(choices)
        self.settle()

    @property
    def is_pointing(self) -> bool:
        """<point> was said, and its place is still to come."""
        return bool(self.said) and isinstance(last := self.said[-1], Pointed) and last.place is None

    def point(self, place: tuple[float, float]) -> None:
        """The place of the <point> that was said."""
        last = self.said[-1]
        assert isinstance(last, Pointed)
        self.said[-1] = replace(last, place=place)
        self.settle()

    def pose(self, codes: tuple[int, ...], logprobs: tuple[float, ...], vectors: Tensor | None = None) -> None:
        """The pose that <p> announced."""
        assert self.opened is not None
        self.said.append(Posed(codes, logprobs, self.opened, vectors))
        self.opened = None
        self.settle()

    def settle(self) -> None:
        """Finish where only the end may follow, or where there is no room left."""
        if self.finish is None and self.grammar.must_end(self.state):
            self.finish = "end"
        elif self.finish is None and self.room <= 0:
            self.finish = "length" if self.grammar.is_open else "end"

    @property
    def num_words(self) -> int:
        return sum(len(one.ids) if isinstance(one, Spoken) else 1 for one in self.said)

    @property
    def last_codes(self) -> tuple[int, ...]:
        last = self.said[-1]
        assert isinstance(last, Posed)
        return last.codes

    def draw(self) -> float:
        """The next chance number, in [0, 1)."""
        return self.chance.random()


def row_seed(seed: int, example: Example) -> int:
    """The same for the same prompt, whatever stands beside it."""
    return seed ^ zlib.crc32(example.token_ids.numpy().tobytes())


class Teller:
    """Tells a listener what one row says, as far as it is certain: half a character is kept back until it is whole."""

    def __init__(self, processor: "LlmPoseProcessor", listener: Listener) -> None:
        self.processor = processor
        self.listener = listener
        self._told: dict[int, tuple[int, int]] = {}  # number -> segments told, characters told of the next one

    def tell(self, row: Row) -> None:
        segments, characters = self._told.get(row.number, (0, 0))
        while segments < len(row.said):
            said = row.said[segments]
            is_over = row.finish is not None or segments + 1 < len(row.said)
            if isinstance(said, Posed):
                self.listener(Said(row.number, codes=said.codes))
                segments += 1
                continue
            if isinstance(said, Pointed) and said.place is None and row.finish is None:
                break
            text = segment_text(self.processor, row, segments)
            certain = text if is_over else text.rstrip(BROKEN)
            if len(certain) > characters:
                self.listener(Said(row.number, text=certain[characters:]))
                characters = len(certain)
            if not is_over:
                break
            segments, characters = segments + 1, 0
        self._told[row.number] = (segments, characters)


def segment_text(processor: "LlmPoseProcessor", row: Row, index: int) -> str:
    """The words of one run, without the space that the template puts before an answer; a point in digits."""
    said = row.said[index]
    if isinstance(said, Pointed):
        return "" if said.place is None else PointPart(*said.place).text
    assert isinstance(said, Spoken)
    text = processor.encoding.text.decode(said.ids)
    return text.removeprefix(processor.encoding.lead) if index == 0 else text


def finished_answer(processor: "LlmPoseProcessor", row: Row, reading: PointReading = "said") -> Answer:
    """The answer of a row that has finished; its poses are still codes. `reading`: of points in digits."""
    parts: list[Part] = []
    token_ids: list[int] = []
    logprobs: list[float] = []
    points: list[Point] = []
    for index, said in enumerate(row.said):
        if isinstance(said, Posed):
            parts.append(PosePart(codes=said.codes))
            token_ids.append(processor.vocabulary.pose_open_id)
            logprobs.append(said.open_logprob)
        elif isinstance(said, Pointed):
            token_ids.append(cast(int, processor.vocabulary.point_id))
            if said.place is not None:  # the context was full before it was read
                parts.append(PointPart(*said.place))
                before = row.said[index - 1] if index else None
                sure = _geometric_mean(before.logprobs) if isinstance(before, Spoken) else 1.0
                points.append(Point(*said.place, sure * exp(said.logprob)))
            logprobs.append(said.logprob)
        else:
            if text := segment_text(processor, row, index):
                parts.append(TextPart(text))
            token_ids += said.ids
            logprobs += said.logprobs
            points += _points(processor, said, reading)
    posed = [said for said in row.said if isinstance(said, Posed)]
    return Answer(
        parts=tuple(parts),
        text="".join(part.text for part in parts if isinstance(part, TextPart | PointPart)),
        codes=[said.codes for said in posed],
        code_vectors=[said.vectors for said in posed if said.vectors is not None],
        confidence=_geometric_mean(logprobs),
        pose_confidences=[_geometric_mean(list(said.logprobs)) for said in posed],
        points=points,
        finish_reason=row.finish or "length",
        token_ids=token_ids,
        logprobs=logprobs,
    )


def _geometric_mean(logprobs: list[float]) -> float:
    return exp(sum(logprobs) / len(logprobs)) if logprobs else 1.0


def _points(processor: "LlmPoseProcessor", said: Spoken, reading: PointReading) -> list[Point]:
    """Points among the words, and how sure each is: by all that its digits may be, else by the tokens that spell it."""
    decode = processor.encoding.text.decode
    text = decode(said.ids)
    found = list(COORDINATES.finditer(text))
    if not found:
        return []
    cuts = [len(decode(said.ids[:count])) for count in range(len(said.ids) + 1)]
    spans = list(zip(cuts, cuts[1:], said.logprobs, strict=False))
    points: list[Point] = []
    for match in found:
        digits = (float(match[1]), float(match[2]))
        may_be = _may_be(processor, said, match)
        if may_be is None:
            spelling = (logprob for start, end, logprob in spans if start < match.end() and end > match.start())
            points.append(Point(*digits, exp(sum(spelling))))
            continue
        x, y = may_be
        readings: dict[PointReading, tuple[float, float]] = {
            "said": digits, "mean": (mean_of(x), mean_of(y)), "densest": (densest_of(x), densest_of(y))
        }  # fmt: skip
        place = readings[reading]
        points.append(Point(*place, share_near(x, place[0]) * share_near(y, place[1]), readings))
    return points


def _may_be(
    processor: "LlmPoseProcessor", said: Spoken, match: re.Match[str]
) -> tuple[list[Stretch], list[Stretch]] | None:
    """Where a point's x and y may lie, by the distribution of their digits; None where that was not looked at."""
    if not said.choices:
        return None
    decode = processor.encoding.text.decode
    words, choices = [], []
    for count, own in enumerate(said.choices):
        before = decode(said.ids[:count])
        # A word is what it adds to the words before it: some vocabularies drop the space of the first one.
        words.append(decode(said.ids[: count + 1])[len(before) :])
        near = own if match.start() <= len(before) + len(words[-1]) and len(before) <= match.end() else {}
        choices.append({decode([*said.ids[:count], other])[len(before) :]: share for other, share in near.items()})
    if "".join(words) != decode(said.ids):  # letters of several bytes each, cut into words of their own
        return None
    x, y = (stretches(words, choices, *match.span(group)) for group in (1, 2))
    return x, y
