"""What people and the model say to each other: turns made of parts, in the order in which they are said.

    user        TextPart("Describe the difference between "), PosePart(a), TextPart(" and "), PosePart(b), TextPart(".")
    assistant   TextPart("Her left arm is raised higher.")

A part is text, an image, a pose, a keypoint prompt or a found point. Nothing here knows tokens: a conversation is what
a task builds, a chat keeps and a processor encodes. Placeholders such as "<image>" mean nothing inside a text: a part
*is* its image.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from llmpose.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from llmpose.body.pose import Pose

    ImageSource: TypeAlias = Image.Image | np.ndarray | str | Path | bytes

Role = Literal["user", "assistant"]
ROLES: tuple[Role, ...] = ("user", "assistant")


@dataclass(frozen=True)
class TextPart:
    """Words. Always plain text: special tokens written inside it stay letters."""

    text: str


@dataclass(frozen=True, eq=False)
class ImagePart:
    """A picture: PIL image, uint8 array (H, W, 3), path, or the bytes of an image file."""

    image: "ImageSource"


@dataclass(frozen=True, eq=False)
class PosePart:
    """One pose, as rotations, as the codes of the pose tokenizer, or as both. In an answer: the pose to be produced."""

    pose: "Pose | None" = None
    codes: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.pose is None and self.codes is None:
            raise UserError(
                "a pose part holds neither a pose nor codes; give PosePart(pose=...) or PosePart(codes=...)"
            )
        if self.pose is not None and not hasattr(self.pose, "rotmat"):
            raise UserError(
                f"a {type(self.pose).__name__} is no Pose; make one with Pose(rotmat=...) or from_axis_angle"
            )


@dataclass(frozen=True, eq=False)
class KeypointPart:
    """A keypoint shown by example (KptLLM §3.2): the same point in one or several support images.

    `points_norm` holds (x, y) in [0, 1] of each support image, or None where the point is not in that image. The
    support images are read by the prompt encoder only; in the text the part takes one token.
    """

    images: "tuple[ImageSource, ...]"
    points_norm: tuple[tuple[float, float] | None, ...]

    def __post_init__(self) -> None:
        if not self.images or len(self.images) != len(self.points_norm):
            raise UserError(
                f"a keypoint prompt has {len(self.images)} support images and {len(self.points_norm)} points; "
                "give one point (or None) for each image, and at least one image"
            )
        for point in self.points_norm:
            if point is not None and not all(0.0 <= value <= 1.0 for value in point):
                raise UserError(f"keypoint prompt {point} lies outside its image; x and y are shares of it, 0 to 1")


@dataclass(frozen=True)
class PointPart:
    """A point in an answer, for models whose head reads positions off a word (KptLLM §3.4): shares of the image."""

    x: float
    y: float

    def __post_init__(self) -> None:
        if not (0.0 <= self.x <= 1.0 and 0.0 <= self.y <= 1.0):
            raise UserError(f"point ({self.x}, {self.y}) lies outside its image; x and y are shares of it, 0 to 1")

    @property
    def text(self) -> str:
        """As models write it that answer in digits."""
        return f"{self.x:.3f}, {self.y:.3f}"


Part: TypeAlias = TextPart | ImagePart | PosePart | KeypointPart | PointPart


def as_part(value: object) -> Part:
    """A part as it is; a str as text; a Pose, image, array, Path or bytes as what they are."""
    if isinstance(value, TextPart | ImagePart | PosePart | KeypointPart | PointPart):
        return value
    if isinstance(value, str):
        return TextPart(value)
    if type(value).__name__ == "Pose" and hasattr(value, "rotmat"):  # known by name: this module imports no torch
        return PosePart(pose=value)  # type: ignore[arg-type]
    if isinstance(value, bytes | Path) or hasattr(value, "convert") or hasattr(value, "__array_interface__"):
        return ImagePart(value)  # type: ignore[arg-type]
    raise UserError(f"a {type(value).__name__} is no part of a conversation; give text, an image, a Pose or a part")


@dataclass(frozen=True, eq=False)
class Turn:
    """All that one side says before the other one speaks."""

    role: Role
    parts: tuple[Part, ...]

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise UserError(f"a turn's role is {self.role!r}; it must be one of {', '.join(ROLES)}")

    @property
    def text(self) -> str:
        """The words of the turn, its other parts left out."""
        return "".join(part.text for part in self.parts if isinstance(part, TextPart))

    @property
    def poses(self) -> tuple[PosePart, ...]:
        return tuple(part for part in self.parts if isinstance(part, PosePart))

    @property
    def images(self) -> tuple[ImagePart, ...]:
        return tuple(part for part in self.parts if isinstance(part, ImagePart))


@dataclass(frozen=True, eq=False)
class Conversation:
    """Turns, beginning with the user's. Immutable: `user` and `assistant` hand back a longer one.

    Conversation().user("Estimate the pose of ", image).assistant(pose).user("Now raise the left arm.")
    """

    turns: tuple[Turn, ...] = ()
    task: str = ""
    record_id: str = ""
    system: str = ""

    def __post_init__(self) -> None:
        for number, turn in enumerate(self.turns):
            if turn.role != ROLES[number % 2]:
                raise UserError(
                    f"turn {number + 1} is the {turn.role}'s; turns alternate, beginning with the user's "
                    f"(expected {ROLES[number % 2]!r})"
                )

    def user(self, *parts: object) -> "Conversation":
        return self._said("user", parts)

    def assistant(self, *parts: object) -> "Conversation":
        return self._said("assistant", parts)

    def _said(self, role: Role, parts: Sequence[object]) -> "Conversation":
        found: list[Part] = []
        for item, part in enumerate(parts, start=1):
            try:
                found.append(as_part(part))
            except UserError as error:
                raise UserError(f"turn {len(self.turns) + 1} ({role}), item {item}: {error}") from error
        return replace(self, turns=(*self.turns, Turn(role, tuple(found))))

    @property
    def ends_with_answer(self) -> bool:
        return bool(self.turns) and self.turns[-1].role == "assistant"

    @property
    def answer(self) -> Turn:
        """The last turn, which must be the assistant's."""
        if not self.ends_with_answer:
            raise UserError("the conversation has no answer yet; its last turn is not the assistant's")
        return self.turns[-1]

    @property
    def question(self) -> "Conversation":
        """The conversation without its last answer: what is asked of the model."""
        return replace(self, turns=self.turns[:-1]) if self.ends_with_answer else self

    def labelled(self, task: str, record_id: str) -> "Conversation":
        return replace(self, task=task, record_id=record_id)

    @staticmethod
    def from_messages(messages: Iterable[Mapping[str, Any]], *, task: str = "", record_id: str = "") -> "Conversation":
        """Read the messages that chat interfaces use.

        [{"role": "user", "content": [{"type": "text", "text": "Who is "}, {"type": "image", "image": "a.jpg"}]}, ...]

        Content is a string or a list of items of type text, image (PIL, array, bytes or path under "image" or "path"),
        pose ("pose": Pose or a file, or "codes") or keypoint ("images", "points_norm"). A first message of role
        "system" becomes the system text.
        """
        if isinstance(messages, str | Mapping):
            raise UserError(f"messages are a {type(messages).__name__}; expected a list of dicts with role and content")
        turns: list[Turn] = []
        system = ""
        for number, message in enumerate(messages, start=1):
            said = _message(message, number)
            role, content = said.get("role"), said.get("content")
            is_system = role == "system" and number == 1
            if not is_system and role not in ROLES:
                raise UserError(f"message {number} has the role {role!r}; expected user, assistant or a first system")
            if isinstance(content, str):
                content = [content]
            if not isinstance(content, Sequence):
                raise UserError(f"message {number} ({role}) has no content; give a string or a list of items")
            parts = tuple(
                _read_item(item, f"message {number} ({role}), item {i}") for i, item in enumerate(content, start=1)
            )
            if not is_system:
                turns.append(Turn(cast(Role, role), parts))
            elif other := next((part for part in parts if not isinstance(part, TextPart)), None):
                raise UserError(f"message 1 (system) holds a {type(other).__name__}; a system message is text alone")
            else:
                system = "".join(part.text for part in parts if isinstance(part, TextPart))
        return Conversation(tuple(turns), task=task, record_id=record_id, system=system)


def _message(given: object, number: int) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise UserError(f"message {number} is a {type(given).__name__}, not a dict with role and content")
    return cast(Mapping[str, Any], given)


def _read_item(item: object, where: str) -> Part:
    if isinstance(item, str):
        return TextPart(item)
    if not isinstance(item, Mapping):
        raise UserError(f"{where}: a {type(item).__name__}; expected text, or a dict with a type")
    try:
        return _part_of(cast(Mapping[str, Any], item))
    except KeyError as error:
        raise UserError(f"{where}: the key {error.args[0]!r} is missing") from error
    except (UserError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{where}: {error}") from error


def _part_of(item: Mapping[str, Any]) -> Part:
    kind = item.get("type")
    if kind == "text":
        return TextPart(str(item["text"]))
    if kind == "image":
        source = next((item[key] for key in ("image", "path") if item.get(key) is not None), None)
        if source is None:
            raise UserError("an image without a picture; give it under 'image' or 'path'")
        part = as_part(Path(source) if isinstance(source, str) else source)
        if not isinstance(part, ImagePart):
            raise UserError(f"a {type(source).__name__} under 'image', where a picture or its path was expected")
        return part
    if kind == "pose":
        pose, codes = item.get("pose", item.get("path")), item.get("codes")
        if isinstance(pose, str | Path):
            from llmpose.body.pose import Pose

            pose = Pose.load(pose)
        return PosePart(pose=pose, codes=None if codes is None else tuple(int(code) for code in codes))
    if kind == "keypoint":
        points = [None if point is None else (float(point[0]), float(point[1])) for point in item["points_norm"]]
        return KeypointPart(tuple(item["images"]), tuple(points))
    if kind == "point":
        return PointPart(float(item["x"]), float(item["y"]))
    raise UserError(f"the type {kind!r} is not known; it must be text, image, pose, keypoint or point")


_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")


def fill_template(template: str, values: Mapping[str, object]) -> tuple[Part, ...]:
    """The parts of a template: "How do {pose_a} and {pose_b} differ?" with {"pose_a": Pose, "pose_b": Pose}.

    A value of type str becomes part of the words around it. A placeholder without a value, or a value without its
    placeholder, is an error: a template that drops its image teaches nonsense.
    """
    names = _PLACEHOLDER.findall(template)
    if missing := sorted(set(names) - set(values)):
        raise UserError(
            f"template {template!r} wants {', '.join(missing)}; given were {', '.join(sorted(values)) or 'none'}"
        )
    if unused := sorted(set(values) - set(names)):
        raise UserError(f"template {template!r} has no place for {', '.join(unused)}")
    pieces: list[object] = []
    for index, piece in enumerate(_PLACEHOLDER.split(template)):
        value = values[piece] if index % 2 else piece
        if isinstance(value, str) and pieces and isinstance(pieces[-1], str):
            pieces[-1] += value
        else:
            pieces.append(value)
    return tuple(as_part(piece) for piece in pieces if piece != "")
