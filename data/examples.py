"""Training examples by the micro-batch: a mixture's questions and answers, tokenised, their poses as codes.

    mixture ── pick ──> record(s), wording, text ──> conversation ──> processor ──> Example ──> Collator

What does not change from epoch to epoch is kept: records, codes of poses, and tickets of images whose features are in a
cache. The rest (which record, which wording, which text) is a pure function of seed, epoch and index.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from random import Random
from typing import Any, Literal, Protocol, cast

import torch
from PIL import Image

from data.features import ticket
from data.mixture import Mixture, Pick
from data.record import Record
from data.tasks.base import Codes, Item
from llmpose.errors import UserError
from llmpose.model.batch import Example
from llmpose.talk.processing import LlmPoseProcessor

AHEAD = 64
"""Images that are cut before they are asked for."""


class Draw(Protocol):
    """Indices of one micro-batch and the epoch they belong to (train/job.py)."""

    epoch: int

    def __iter__(self) -> Iterator[int]: ...


class Examples:
    """A mixture as examples; `__getitems__(draw)` gives a micro-batch."""

    def __init__(self, mixture: Mixture, processor: LlmPoseProcessor, *, keep: bool = True) -> None:
        """`keep`: records and codes stay in memory once they were read (some kB each)."""
        self.mixture, self.processor = mixture, processor
        self._items: dict[tuple[int, int], Item] | None = {} if keep else None
        self._codes: dict[tuple[int, int], Codes] = {}
        self._tickets: dict[tuple[str, str], Image.Image] = {}

    def __len__(self) -> int:
        return len(self.mixture)

    def __getitem__(self, index: int) -> Example:
        return self.encode([self.mixture.pick(0, index)])[0]

    def __getitems__(self, draw: Draw) -> list[Example]:
        return self.encode([self.mixture.pick(draw.epoch, index) for index in draw])

    def encode(self, picks: Sequence[Pick]) -> list[Example]:
        """The examples of these picks."""
        items = [self.item(pick) for pick in picks]
        codes = self._codes_of(picks, items)
        conversations = []
        wordings: Literal["train", "core", "held_out"] = cast(Any, self.mixture.wordings)
        for pick, item, own in zip(picks, items, codes, strict=True):
            task = self.mixture.parts[pick.part].task
            picture = self._picture(task.name, task.picture) if self._tickets else None
            conversations.append(task.conversation(item, Random(pick.draw), codes=own, picture=picture, kind=wordings))
        return self.processor.encode_batch(conversations, train=True)

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
        """Every image that the mixture shows, as its tasks show it. Afterwards tickets stand for them.

        Threads read and cut the next ones while the caller looks at this one.
        """
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            coming: deque[tuple[tuple[str, str], Future[tuple[Any, Image.Image]]]] = deque()
            for key, picture, record in self._unseen():
                coming.append((key, pool.submit(_cut, picture, record)))
                if len(coming) > AHEAD:
                    yield self._ticketed(*coming.popleft())
            while coming:
                yield self._ticketed(*coming.popleft())

    def _unseen(self) -> Iterator[tuple[tuple[str, str], Callable[[Record], Any], Record]]:
        met = set(self._tickets)
        for number, part in enumerate(self.mixture.parts):
            if not any(slot.startswith("image") for slot in part.task.shows):
                continue
            for index in range(len(part.records)):
                item = self.item(Pick(number, index, 0))
                for record in (item,) if isinstance(item, Record) else item[1:]:
                    key = (part.task.picture.__name__, record.id)
                    if key not in met:
                        met.add(key)
                        yield key, part.task.picture, record

    def _ticketed(self, key: tuple[str, str], cut: "Future[tuple[Any, Image.Image]]") -> Any:
        image, self._tickets[key] = cut.result()
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


def _cut(picture: Callable[[Record], Any], record: Record) -> tuple[Any, Image.Image]:
    image = picture(record)
    return image, ticket(image)


def texts_of(mixture: Mixture, most: int) -> Iterator[str]:
    """Words to learn a vocabulary from: wordings of every task, and texts of up to `most` items of every part."""
    for part in mixture.parts:
        yield from part.task.templates("train")
        for index in range(0, len(part.records), max(1, len(part.records) // most)):
            yield from part.task.texts(part.item(index))
