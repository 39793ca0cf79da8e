"""A weighted mixture of tasks: position in an epoch → which task, record, wording and text. A pure function, no state.

    mixture = Mixture([Part(task, records, weight), …], seed=0, size=None)
    mixture.pick(epoch=3, index=17) -> Pick(part, item, …)
    mixture.conversation(epoch=3, index=17) -> Conversation

The same (seed, epoch, index) gives the same question on any number of workers and processes, so a run can be resumed
anywhere. Each part walks through a new permutation of its items in every round, so no record is seen twice before all
are seen once. Default weights are the sample counts of UniPose suppl. Tab. 1.

With `strangers`, that share of the positions holds a talk: its example, then one or two others that have nothing to do
with it. So a model learns that a question which shows something new speaks of that, and not of what was said before.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING, Literal

import numpy as np

from data.pair_set import PairSet
from data.record import Record
from data.record_set import RecordSet
from data.tasks.base import Codes, Item, Task
from llmpose.errors import UserError
from llmpose.talk.conversation import Conversation

if TYPE_CHECKING:
    from llmpose.talk.conversation import ImageSource

STAGE_WEIGHTS: dict[str, dict[str, float]] = {
    # Samples (in thousands) of each data set in UniPose suppl. Tab. 1, given to the tasks that the set serves.
    "align": {"pose_to_text": 70, "text_to_pose": 70, "pose_diff": 93, "pose_editing": 93},
    "projector": {"image_to_text": 50, "image_diff": 50, "pose_estimation": 100},
    "instruct": {
        **dict.fromkeys(("pose_to_text", "text_to_pose", "pose_diff", "pose_editing"), 5),
        **dict.fromkeys(("image_to_text", "image_diff", "pose_estimation"), 6),
    },
}


JOINED = "joined"
"""What examples that share a conversation are called together, where losses are told task by task."""


@dataclass(frozen=True)
class Part:
    """One task over one set of records (or pairs)."""

    task: Task
    records: RecordSet | PairSet
    weight: float = 1.0
    """Share of an epoch's examples; only the ratio to the others counts."""

    def __post_init__(self) -> None:
        wanted = "pair" if isinstance(self.records, PairSet) else "record"
        if self.task.takes != wanted:
            raise UserError(f"the task {self.task.name} takes {self.task.takes}s, the set holds {wanted}s")
        if len(self.records) == 0:
            raise UserError(f"the task {self.task.name} was given an empty set")
        if self.weight < 0:
            raise UserError(f"the task {self.task.name} has weight {self.weight}; weights are 0 or more")

    def item(self, index: int) -> Item:
        if isinstance(self.records, PairSet):
            pair = self.records[index]
            return pair, self.records.records.by_id(pair.a), self.records.records.by_id(pair.b)
        return self.records[index]


@dataclass(frozen=True)
class Pick:
    """What stands at one position of an epoch."""

    part: int
    item: int
    """Index in the part's set."""
    draw: int
    """Seed of the wording and of the choice of text."""
    strangers: "tuple[Pick, ...]" = ()
    """What is said after it in the same conversation."""


class Mixture:
    """Parts, dealt out by weight."""

    def __init__(
        self, parts: Sequence[Part], *, seed: int = 0, size: int | None = None,
        wordings: Literal["train", "core", "held_out"] = "train", strangers: float = 0.0,
    ) -> None:  # fmt: skip
        """`size`: positions in an epoch; by default each part's weightiest set is seen about once."""
        self.parts = [part for part in parts if part.weight > 0]
        if not self.parts:
            raise UserError("the mixture has no part with a weight above 0; name at least one source")
        self.seed, self.strangers = seed, strangers
        self.wordings: Literal["train", "core", "held_out"] = wordings
        weights = np.array([part.weight for part in self.parts], float)
        self.shares = weights / weights.sum()
        whole = max(
            1, round(min(len(part.records) / share for part, share in zip(self.parts, self.shares, strict=True)))
        )
        self.size = size if size is not None else whole
        self.counts = _apportion(self.shares, self.size)
        self._epochs: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return self.size

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of all that an example can be."""
        own = dict.fromkeys(part.task.name for part in self.parts)
        return (*own, JOINED) if self.strangers else tuple(own)

    def order(self, epoch: int) -> np.ndarray:
        """(size, 2) part and running number within that part, for every position of the epoch."""
        if epoch not in self._epochs:
            rng = np.random.default_rng([self.seed, epoch, 0xD1CE])
            parts = np.repeat(np.arange(len(self.parts)), self.counts)
            parts = parts[rng.permutation(self.size)]
            running = np.zeros(self.size, np.int64)
            for number, count in enumerate(self.counts):
                running[parts == number] = np.arange(count) + epoch * count
            self._epochs = {epoch: np.stack([parts, running], 1)}  # one epoch at a time is ever needed
        return self._epochs[epoch]

    def pick(self, epoch: int, index: int) -> Pick:
        number, running = (int(v) for v in self.order(epoch)[index])
        size = len(self.parts[number].records)
        turn, place = divmod(running, size)
        item, draw = int(_permutation(self.seed, number, turn, size)[place]), _mix(self.seed, epoch, index)
        return Pick(number, item, draw, self._strangers(Random(_mix(draw, 1))))

    def _strangers(self, rng: Random) -> tuple[Pick, ...]:
        """Mostly none; else one or two, of any part by its weight."""
        if rng.random() >= self.strangers:
            return ()
        numbers = rng.choices(range(len(self.parts)), self.shares.tolist(), k=rng.choice((1, 2)))
        return tuple(Pick(n, rng.randrange(len(self.parts[n].records)), rng.getrandbits(63)) for n in numbers)

    def conversation(
        self, epoch: int, index: int, *, codes: Callable[[Pick], Codes | None] | None = None,
        picture: "Callable[[Record], ImageSource] | None" = None,
    ) -> Conversation:  # fmt: skip
        """What is asked and answered at this position."""
        pick = self.pick(epoch, index)
        talks = []
        for own in (pick, *pick.strangers):
            part, known = self.parts[own.part], codes(own) if codes is not None else None
            item, rng = part.item(own.item), Random(own.draw)
            talks.append(part.task.conversation(item, rng, codes=known, picture=picture, kind=self.wordings))
        return joined(talks)


def joined(talks: Sequence[Conversation]) -> Conversation:
    """One after the other, as one conversation."""
    if len(talks) == 1:
        return talks[0]
    turns = tuple(turn for talk in talks for turn in talk.turns)
    return replace(talks[0], turns=turns).labelled(JOINED, " + ".join(talk.record_id for talk in talks))


_PERMUTATIONS: dict[tuple[int, int, int, int], np.ndarray] = {}


def _permutation(seed: int, part: int, turn: int, size: int) -> np.ndarray:
    """The order in which a part's items are seen in one round; a few are kept, for they are asked again and again."""
    key = (seed, part, turn, size)
    if key not in _PERMUTATIONS:
        if len(_PERMUTATIONS) > 64:
            _PERMUTATIONS.pop(next(iter(_PERMUTATIONS)))
        _PERMUTATIONS[key] = np.random.default_rng([seed, part, turn, 0x5EED]).permutation(size)
    return _PERMUTATIONS[key]


def _apportion(shares: np.ndarray, size: int) -> np.ndarray:
    """Whole numbers that add up to size and follow the shares as closely as whole numbers can (largest remainder)."""
    exact = shares * size
    counts = np.floor(exact).astype(int)
    for k in np.argsort(counts - exact, kind="stable")[: size - counts.sum()]:
        counts[k] += 1
    return counts


def _mix(*numbers: int) -> int:
    """One 63-bit seed from several numbers; unlike hash(), the same in every process and version."""
    value = 0x9E3779B97F4A7C15
    for number in numbers:
        value = (value ^ (number + 0x9E3779B97F4A7C15)) * 0xBF58476D1CE4E5B9 % (1 << 64)
        value ^= value >> 29
    return value >> 1
