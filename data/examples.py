"""Training examples by the micro-batch: a mixture's questions and answers, tokenised, their poses as codes.

    mixture ── pick ──> record(s), wording, text ──> conversation ──> processor ──> Example ──> Collator

A pick with strangers becomes one conversation with as many of them as a row has room for. With `texts`, a pick of an
item that has several becomes as many conversations that ask alike and answer with a text each; the collator reads once
what they share (data/branches.py).

What does not change from epoch to epoch is kept: records, codes of poses, and tickets of images whose features are in a
cache. The rest (which record, which wording, which text) is a pure function of seed, epoch and index.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from random import Random
from typing import Any, Literal, Protocol, cast

import torch
from PIL import Image

from data.branches import digest
from data.features import ticket
from data.mixture import Mixture, Pick, joined
from data.record import Record
from data.sightings import Sightings, sighting
from data.tasks.base import Codes, Item, Task
from llmpose.errors import UserError
from llmpose.model.batch import Example
from llmpose.talk.conversation import Conversation
from llmpose.talk.processing import LlmPoseProcessor

AHEAD = 64
"""Images that are cut before they are asked for."""
SPOT_CHECKS = 16
"""Pictures that are cut again although their sighting is known, to see that they still look alike."""


class Draw(Protocol):
    """Indices of one micro-batch and the epoch they belong to (train/job.py)."""

    epoch: int

    def __iter__(self) -> Iterator[int]: ...


@dataclass(frozen=True)
class _Sight:
    """A picture that has to be looked at."""

    key: tuple[str, str]
    picture: Callable[[Record], Any]
    record: Record
    name: bytes


class Examples:
    """A mixture as examples; `__getitems__(draw)` gives a micro-batch."""

    def __init__(
        self, mixture: Mixture, processor: LlmPoseProcessor, *, longest: int | None = None, texts: int = 1,
        keep: bool = True,
    ) -> None:  # fmt: skip
        """`longest`: tokens that a conversation with strangers may have. `texts`: how many of an item's texts a pick
        answers with at most. `keep`: records and codes stay in memory once they were read (some kB each).
        """
        self.mixture, self.processor, self.longest, self.num_texts = mixture, processor, longest, texts
        self._items: dict[tuple[int, int], Item] | None = {} if keep else None
        self._codes: dict[tuple[int, int], Codes] = {}
        self._tickets: dict[tuple[str, str], Image.Image] = {}
        self.sightings: Sightings = {}
        """What is known of the pictures: given before `images()`, which adds what it looks at."""

    def __len__(self) -> int:
        return len(self.mixture)

    def __getitem__(self, index: int) -> Example:
        return self.encode([self.mixture.pick(0, index)])[0]

    def __getitems__(self, draw: Draw) -> list[Example]:
        return self.encode([self.mixture.pick(draw.epoch, index) for index in draw])

    def encode(self, picks: Sequence[Pick]) -> list[Example]:
        """The examples of these picks."""
        talks = iter(self._talks([one for pick in picks for one in (pick, *pick.strangers)]))
        conversations: list[Conversation] = []
        for pick in picks:
            first, *strangers = [next(talks) for _ in (pick, *pick.strangers)]
            conversations += [self._joined([*first[:1], *(talk[0] for talk in strangers)])] if strangers else first
        return self.processor.encode_batch(conversations, train=True)

    def _joined(self, talks: list[Conversation]) -> Conversation:
        """The first, and as many of those that follow as there is room for."""
        while len(talks) > 1 and self.longest is not None and self.processor.count(joined(talks)) > self.longest:
            talks = talks[:-1]
        return joined(talks)

    def _talks(self, picks: Sequence[Pick]) -> list[list[Conversation]]:
        """What each of the picks says, without strangers: one conversation for each of the texts that it tells."""
        items = [self.item(pick) for pick in picks]
        codes = self._codes_of(picks, items)
        conversations = []
        wordings: Literal["train", "core", "held_out"] = cast(Any, self.mixture.wordings)
        for pick, item, own in zip(picks, items, codes, strict=True):
            task = self.mixture.parts[pick.part].task
            picture = self._picture(task.name, task.picture) if self._tickets else None
            conversations.append(
                [
                    task.conversation(item, Random(pick.draw), None, text, codes=own, picture=picture, kind=wordings)
                    for text in self._texts(pick, task, item)
                ]
            )
        return conversations

    def _texts(self, pick: Pick, task: Task, item: Item) -> Sequence[int | None]:
        """Which of the item's texts; None leaves the choice to the conversation."""
        known = len(task.texts(item)) if task.tells_texts else 0
        if pick.strangers or min(known, self.num_texts) < 2:
            return (None,)
        return Random(pick.draw + 1).sample(range(known), min(known, self.num_texts))  # draw itself chose the wording

    def item(self, pick: Pick) -> Item:
        if self._items is None:
            return self.mixture.parts[pick.part].item(pick.item)
        key = (pick.part, pick.item)
        if key not in self._items:
            self._items[key] = self.mixture.parts[pick.part].item(pick.item)
        return self._items[key]

    def _codes_of(self, picks: Sequence[Pick], items: Sequence[Item]) -> list[Codes | None]:
        """Codes of the poses of every item; those not known yet go through the pose tokenizer together."""
        asked = {
            (pick.part, pick.item): item
            for pick, item in zip(picks, items, strict=True)
            if self._speaks_of_poses(pick.part) and (pick.part, pick.item) not in self._codes
        }
        if asked:
            poses = {key: self.mixture.parts[key[0]].task.poses(item) for key, item in asked.items()}
            found = self.processor.encode_poses(torch.stack([p.rotmat for own in poses.values() for p in own])).tolist()
            rows = iter(found)
            fresh: dict[tuple[int, int], Codes] = {key: [tuple(next(rows)) for _ in own] for key, own in poses.items()}
            if self._items is None:
                known = {**self._codes, **fresh}
                return [known.get((pick.part, pick.item)) for pick in picks]
            self._codes.update(fresh)
        return [self._codes.get((pick.part, pick.item)) for pick in picks]

    def _speaks_of_poses(self, part: int) -> bool:
        return "pose_rotmat" in self.mixture.parts[part].task.needs

    # --- images -------------------------------------------------------------------------------------------------------

    def images(self) -> Iterator[Any]:
        """Every image that the mixture shows, as its tasks show it, but for those known by their sighting. Afterwards
        tickets stand for them all.

        Threads read and cut the next ones while the caller looks at this one.
        """
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            coming: deque[tuple[_Sight, Future[Any]]] = deque()
            for sight in self._unseen():
                coming.append((sight, pool.submit(sight.picture, sight.record)))
                if len(coming) > AHEAD:
                    yield self._looked_at(*coming.popleft())
            while coming:
                yield self._looked_at(*coming.popleft())

    def _unseen(self) -> Iterator["_Sight"]:
        met, checks = set(self._tickets), 0
        for number, part in enumerate(self.mixture.parts):
            if "image" not in part.task.needs:
                continue
            picture = part.task.picture
            for index in range(len(part.records)):
                for record in part.task.pictured(self.item(Pick(number, index, 0))):
                    key = (picture.__name__, record.id)
                    if key in met:
                        continue
                    met.add(key)
                    sight = _Sight(key, picture, record, sighting(picture, record))
                    known = self.sightings.get(sight.name)
                    if known is None or checks < SPOT_CHECKS:
                        checks += known is not None
                        yield sight
                    else:
                        self._tickets[key] = ticket(known)

    def _looked_at(self, sight: "_Sight", cut: "Future[Any]") -> Any:
        image = cut.result()
        seen = digest(image)
        if self.sightings.setdefault(sight.name, seen) != seen:
            raise UserError(
                f"record {sight.record.id}: its picture looks otherwise than when features were made of it; remove the "
                "folder of features to have them made anew"
            )
        self._tickets[sight.key] = ticket(seen)
        return image

    def _picture(self, task: str, picture: Callable[[Record], Any]) -> Callable[[Record], Any]:
        def stand_in(record: Record) -> Image.Image:
            try:
                return self._tickets[picture.__name__, record.id]
            except KeyError:
                raise UserError(
                    f"record {record.id} ({task}): its image was not there when features were made"
                ) from None

        return stand_in


def texts_of(mixture: Mixture, most: int) -> Iterator[str]:
    """Words to learn a vocabulary from: wordings of every task, and texts of up to `most` items of every part."""
    for part in mixture.parts:
        for task in (part.task, part.task.after):
            yield from task.templates("train") if task is not None else ()
        for index in range(0, len(part.records), max(1, len(part.records) // most)):
            yield from part.task.texts(part.item(index))
