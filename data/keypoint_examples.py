"""Training on keypoints: an object is drawn, and all (or some) of its keypoints are asked for, each in an example.

The examples of one object begin with the same image, so the collator makes them branches of one (data/branches.py). An
object's support images are other objects of its category, drawn anew every time; where a category has only one object,
it supports itself under another noise. What is drawn is a pure function of seed, epoch and index.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal, Protocol, cast

from data.keypoints import KeypointObjects, ObjectCrop, ObjectNoise
from data.mixture import Mixture, Part, Pick
from data.tasks.keypoint_tasks import Form, KeypointTask, Positions, answer, any_told, phrase
from llmpose.errors import UserError
from llmpose.model.batch import Example
from llmpose.talk.conversation import Conversation
from llmpose.talk.processing import LlmPoseProcessor

_TRIES = 4


_Drawn = tuple[int, ObjectCrop, tuple[ObjectCrop, ...], list[int]]
"""Row, object, supports, keypoints."""


class Draw(Protocol):
    """Indices of one micro-batch and the epoch they belong to (train/job.py)."""

    epoch: int

    def __iter__(self) -> Iterator[int]: ...


@dataclass(frozen=True)
class Asking:
    """How objects are asked about."""

    form: Form = "described"
    positions: Positions = "text"
    shots: int = 1
    """Support images of a visual prompt, at most: 1 to so many are drawn."""
    most: int | None = None
    """Keypoints of one object that are asked for; None: all that are shown."""
    noise: ObjectNoise | None = field(default_factory=ObjectNoise)
    wordings: Literal["train", "core", "held_out"] = "train"


@dataclass(frozen=True)
class Asked:
    """One task over the objects of one set."""

    task: KeypointTask
    objects: KeypointObjects
    weight: float = 1.0


class KeypointExamples:
    """Parts, dealt out by weight; `__getitems__(draw)` gives the examples of a micro-batch of objects."""

    def __init__(
        self,
        parts: Sequence[Asked],
        processor: LlmPoseProcessor,
        asking: Asking,
        *,
        seed: int = 0,
        size: int | None = None,
    ) -> None:
        """`size`: objects in an epoch."""
        self.parts = [part for part in parts if part.weight > 0]
        self.processor, self.asking = processor, asking
        mixed = [Part(cast(Any, part.task), part.objects.records, part.weight) for part in self.parts]
        self.mixture = Mixture(mixed, seed=seed, size=size)

    def __len__(self) -> int:
        return len(self.mixture)

    def __getitem__(self, index: int) -> list[Example]:
        return self.encode([self.mixture.pick(0, index)])

    def __getitems__(self, draw: Draw) -> list[Example]:
        return self.encode([self.mixture.pick(draw.epoch, index) for index in draw])

    def encode(self, picks: Sequence[Pick]) -> list[Example]:
        """All questions about the objects of these picks, with their answers."""
        return self.processor.encode_batch([one for pick in picks for one in self.conversations(pick)], train=True)

    def conversations(self, pick: Pick) -> list[Conversation]:
        part, rng, asking = self.parts[pick.part], Random(pick.draw), self.asking
        row, query, supports, keypoints = self._drawn(part, pick.item, rng)
        skeleton = part.objects.skeleton(row)
        if asking.most is not None and len(keypoints) > asking.most:
            keypoints = sorted(rng.sample(keypoints, asking.most))
        wordings = part.task.templates(asking.wordings)
        record_id = part.objects.records[row].id
        return [
            part.task.conversation(
                query,
                keypoint,
                skeleton,
                supports,
                wording=rng.choice(wordings),
                told=any_told(rng),
                form=asking.form,
                positions=asking.positions,
            ).labelled(part.task.name, f"{record_id} {skeleton.keypoints[keypoint]}")
            for keypoint in keypoints
        ]

    def _drawn(self, part: Asked, row: int, rng: Random) -> _Drawn:
        """The object, its supports, and what can be asked for: keypoints in it and in one support at least."""
        objects, noise = part.objects, self.asking.noise
        for attempt in range(len(objects)):
            at = (row + attempt) % len(objects)  # the next one, where this shows nothing at all
            query = objects.crop(at, noise, rng)
            if not part.task.needs_support and query.shown:
                return at, query, (), query.shown
            others = objects.others(at) or [at]
            for _ in range(_TRIES if query.shown else 0):
                count = rng.randint(1, min(self.asking.shots, len(others)))
                supports = tuple(objects.crop(other, noise, rng) for other in rng.sample(others, count))
                known = {keypoint for support in supports for keypoint in support.shown}
                if keypoints := [keypoint for keypoint in query.shown if keypoint in known]:
                    return at, query, supports, keypoints
        raise UserError("no object of this set shows any keypoint; are boxes and keypoints of the same pictures?")


def keypoint_texts(parts: Iterable[Asked], form: Form) -> Iterator[str]:
    """Words to learn a vocabulary from: wordings, names, descriptions, answers."""
    for part in parts:
        yield from part.task.templates("train")
        seen: set[str] = set()
        for row in range(len(part.objects)):
            skeleton = part.objects.skeleton(row)
            if skeleton.name in seen:
                continue
            seen.add(skeleton.name)
            for keypoint in range(skeleton.num_keypoints):
                yield phrase(skeleton, keypoint, "both")
                yield answer(skeleton, keypoint, (0.123, 0.456), form)
