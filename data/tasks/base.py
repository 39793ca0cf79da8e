"""What a task is: which records it takes, how their poses are normalised, how question and answer are put together."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Literal, TypeAlias

from data.crops import person_square
from data.record import PairRecord, Record
from llmpose.body.pose import Pose
from llmpose.errors import UserError
from llmpose.talk.conversation import Conversation, ImagePart, PosePart, TextPart

if TYPE_CHECKING:
    from llmpose.talk.conversation import ImageSource, Part

Item: TypeAlias = Record | tuple[PairRecord, Record, Record]
"""One record, or a pair with its two records."""
Codes: TypeAlias = Sequence[tuple[int, ...]]
TEMPLATES = Path(__file__).resolve().parent.parent / "templates"
CROP_PX = 256
"""Side of a person's crop: what the pose ViT of the papers sees; encoders resize it to what they take."""
CROP_WINDOW = 0.75
"""The whole person must lie in the middle columns, which are all that a pose ViT of 256 × 192 sees."""
_SLOT = re.compile(r"\{(\w+)\}")


def person_crop(record: Record) -> "ImageSource":
    """The person of the record, cut out as a square; the whole picture where there is no box."""
    image = record.load_image()
    if record.box_xyxy_px is None:
        return image
    return person_square(record.box_xyxy_px, window=CROP_WINDOW).cut(image, CROP_PX)


def whole_picture(record: Record) -> "ImageSource":
    """Everything that the camera saw: for questions that say whom they mean."""
    return record.load_image()


@dataclass(frozen=True)
class Task:
    """A question about a record or a pair, and its answer.

    `shows` lists what the question's slots hold: pose, pose_a, pose_b, image, image_a, image_b, text.
    """

    name: str
    takes: Literal["record", "pair"]
    shows: tuple[str, ...]
    answer: Literal["text", "pose"]
    heading: Literal["removed", "kept"] = "removed"
    """Text tasks know no heading (PoseScript); poses from images keep it, in the viewer's frame."""
    after: "Task | None" = None
    """What was asked and answered before, of the same record or of A: this question speaks of that answer."""
    templates_of: str = ""
    """Task whose templates it borrows."""
    picture: Callable[[Record], "ImageSource"] = person_crop
    suffix: Callable[[Item, str], str] | None = None
    """More words behind the question, from the item and its chosen text."""
    suffix_tells_text: bool = True
    """Whether those words hold the text; without it they come from what else is known of the item."""

    def templates(self, kind: Literal["train", "core", "held_out"] = "train") -> tuple[str, ...]:
        """The wordings it is trained with, the plain dozen among them, or those kept for zero-shot evaluation."""
        return wordings_of(self.templates_of or self.name)[kind]

    @property
    def uses_text(self) -> bool:
        """Whether question or answer tells one of the item's texts."""
        in_suffix = self.suffix is not None and self.suffix_tells_text
        return "text" in self.shows or self.answer == "text" or in_suffix

    @property
    def tells_texts(self) -> bool:
        """Whether one question can be answered with any of the item's texts: it has none of them in it."""
        return self.answer == "text" and self.suffix is None and self.after is None and "text" not in self.shows

    @property
    def needs(self) -> tuple[str, ...]:
        """Fields that a record must have filled."""
        poses = self.answer == "pose" or any(slot.startswith("pose") for slot in self.shows)
        fields = {"pose_rotmat": poses, "image": any(slot.startswith("image") for slot in self.shows)}
        if self.takes == "record":
            fields["texts"] = self.uses_text
        own = [name for name, wanted in fields.items() if wanted]
        return tuple(dict.fromkeys((*own, *(self.after.needs if self.after is not None else ()))))

    def texts(self, item: Item) -> list[str]:
        """The texts to choose from."""
        return item.texts if isinstance(item, Record) else item[0].texts

    def poses(self, item: Item) -> tuple[Pose, ...]:
        """The poses of the item as this task speaks of them: one, or A and B.

        Heading removed as PoseScript does it. In a pair from one sequence B keeps its turn relative to A: it gets the
        rotation that removed A's heading (PoseFix); otherwise each loses its own. Where A keeps its heading, as a
        picture shows it, so does B of one sequence, and any other B takes A's: no text tells a turn between the two.
        """
        if isinstance(item, Record):
            pose = bare(item)
            return (pose.without_yaw() if self.heading == "removed" else pose,)
        pair, first, second = item
        a, b = bare(first), bare(second)
        if self.heading == "kept":
            return a, b if pair.in_sequence else b.turned(a.yaw_deg - b.yaw_deg)
        return a.without_yaw(), b.turned(-a.yaw_deg) if pair.in_sequence else b.without_yaw()

    def pictured(self, item: Item) -> tuple[Record, ...]:
        """The records whose pictures a conversation shows, some perhaps twice."""
        own = any(slot.startswith("image") for slot in self.shows)
        shown = () if not own else (item,) if isinstance(item, Record) else item[1:]
        return shown if self.after is None else (*self.after.pictured(_first(item)), *shown)

    def conversation(
        self,
        item: Item,
        rng: Random,
        template: str | None = None,
        text_index: int | None = None,
        *,
        codes: Codes | None = None,
        picture: Callable[[Record], "ImageSource"] | None = None,
        kind: Literal["train", "core", "held_out"] = "train",
        answered: bool = True,
    ) -> Conversation:
        """Question and answer. What is not given is drawn from `rng`: the wording first, then the text, then all that
        was said before.

        `codes`: the tokenizer's codes of `poses(item)`, where they are known already. `picture`: another way to get at
        a record's image, for instance from a cache. `answered`: without its answer, a pose that is only asked for need
        not be known.
        """
        wording = template if template is not None else rng.choice(self.templates(kind))
        texts = self.texts(item)
        if self.uses_text and not texts:
            raise UserError(f"{identity(item)}: the task {self.name} needs a text, the record has none")
        text = "" if not texts else texts[text_index if text_index is not None else rng.randrange(len(texts))]
        parts = self._parts(item, text, codes, picture or self.picture, answered)
        question = fill(wording, parts)
        if self.suffix is not None:
            question = (*question, TextPart(" " + self.suffix(item, text)))
        said = Conversation()
        if self.after is not None:
            said = self.after.conversation(_first(item), rng, codes=codes and codes[:1], picture=picture, kind=kind)
        asked = said.labelled(self.name, identity(item)).user(*question)
        if not answered:
            return asked
        return asked.assistant(TextPart(text) if self.answer == "text" else parts["answer"])

    def _parts(
        self, item: Item, text: str, codes: Codes | None, picture: "Callable[[Record], ImageSource]", answered: bool
    ) -> "dict[str, Part]":
        parts: dict[str, Part] = {"text": TextPart(text)}
        if isinstance(item, Record):
            records, ends = (item,), ("",)
        else:
            records, ends = item[1:], ("_a", "_b")
        if "pose_rotmat" in self.needs and (answered or any(slot.startswith("pose") for slot in self.shows)):
            poses = (
                [PosePart(codes=code) for code in codes] if codes is not None else list(map(PosePart, self.poses(item)))
            )
            parts |= {f"pose{end}": pose for end, pose in zip(ends, poses, strict=True)}
            parts["answer"] = poses[-1]  # the pose of the record, or B of the pair
            if ends != ("",):
                parts["pose"] = poses[0]  # editing speaks of A as "the pose"
        for end, record in zip(ends, records, strict=True):
            if f"image{end}" in self.shows:
                parts[f"image{end}"] = ImagePart(picture(record))
        return parts


def bare(record: Record) -> Pose:
    """The record's pose alone: language speaks of rotations, not of body shape or place."""
    pose = record.pose()
    return Pose(pose.rotmat)


def fill(template: str, parts: "dict[str, Part]") -> "tuple[Part, ...]":
    """The template's words and the parts in its slots, in order."""
    pieces = _SLOT.split(template)
    filled: list[Part] = []
    for k, piece in enumerate(pieces):
        if k % 2:
            if piece not in parts:
                raise UserError(
                    f"template {template!r} has a slot {{{piece}}}, the task knows: {', '.join(sorted(parts))}"
                )
            filled.append(parts[piece])
        elif piece:
            filled.append(TextPart(piece))
    return _joined(filled)


def _joined(parts: "list[Part]") -> "tuple[Part, ...]":
    """Neighbouring texts become one: where a text was filled in is not to be seen."""
    out: list[Part] = []
    for part in parts:
        if out and isinstance(part, TextPart) and isinstance(out[-1], TextPart):
            out[-1] = TextPart(out[-1].text + part.text)
        else:
            out.append(part)
    return tuple(out)


def _first(item: Item) -> Record:
    """The record, or A of the pair."""
    return item if isinstance(item, Record) else item[1]


def identity(item: Item) -> str:
    return item.id if isinstance(item, Record) else item[0].id


@cache
def wordings_of(name: str) -> dict[str, tuple[str, ...]]:
    import yaml

    path = TEMPLATES / f"{name}.yaml"
    if not path.is_file():
        raise UserError(f"no templates for the task {name!r}: {path} is not there")
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    train = tuple(content["train"])
    return {"train": train, "core": train[: content["num_core"]], "held_out": tuple(content["held_out"])}
