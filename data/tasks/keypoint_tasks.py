"""Keypoints of anything (KptLLM++ §1, Fig. 1): name one that is shown; find one that is shown, told, or both.

    keypoint_semantic    <keypoint>                    left eye. The dark spot on the left of its head.
    keypoint_visual      image, <keypoint>             left eye. The dark spot …: 0.512, 0.033
    keypoint_textual     image, "the left eye"         left eye. The dark spot …: 0.512, 0.033
    keypoint_combined    image, "the left eye", <keypoint>

What is shown lies in support images, which the language model never sees. Answers first identify, then detect (§3.4);
`form` "named" leaves the description out, "position" leaves the identification out (Tab. 13). `positions` "regression"
puts a point in place of the digits, which a head learns to read off one word (KptLLM, Eq. 5).
"""

from dataclasses import dataclass
from random import Random
from typing import Literal, get_args

from data.keypoints import ObjectCrop
from data.tasks.base import fill, wordings_of
from llmpose.body.skeleton import Skeleton
from llmpose.errors import UserError
from llmpose.talk.conversation import Conversation, ImagePart, KeypointPart, Part, PointPart, TextPart

Form = Literal["described", "named", "position"]
"""Name, description and position; name and position; position alone."""
Told = Literal["name", "description", "both"]
"""What a question says of a keypoint."""
TOLD: tuple[Told, ...] = get_args(Told)
Positions = Literal["text", "regression"]


@dataclass(frozen=True)
class KeypointTask:
    """One kind of question about one keypoint."""

    name: str
    shows: tuple[str, ...]
    takes: Literal["record", "pair"] = "record"

    @property
    def needs_support(self) -> bool:
        """Whether another object of the category shows the keypoint."""
        return "keypoint" in self.shows and "image" in self.shows

    @property
    def detects(self) -> bool:
        return "image" in self.shows

    def templates(self, kind: Literal["train", "core", "held_out"] = "train") -> tuple[str, ...]:
        return wordings_of(self.name)[kind]

    def question(
        self,
        query: ObjectCrop,
        keypoint: int,
        skeleton: Skeleton,
        supports: tuple[ObjectCrop, ...] = (),
        *,
        wording: str,
        told: Told = "name",
    ) -> Conversation:
        """The question alone: what chat, the command and benchmarks ask."""
        shown = supports if self.needs_support else (query,)
        parts: dict[str, Part] = {"text": TextPart(phrase(skeleton, keypoint, told)), "image": ImagePart(query.image)}
        if "keypoint" in self.shows:
            if not shown:
                raise UserError(f"the task {self.name} needs a support image")
            parts["keypoint"] = KeypointPart(
                tuple(crop.image for crop in shown), tuple(crop.point(keypoint) for crop in shown)
            )
        return Conversation(task=self.name).user(*fill(wording, parts))

    def conversation(
        self,
        query: ObjectCrop,
        keypoint: int,
        skeleton: Skeleton,
        supports: tuple[ObjectCrop, ...] = (),
        *,
        wording: str,
        told: Told = "name",
        form: Form = "described",
        positions: Positions = "text",
    ) -> Conversation:
        """Question and answer."""
        asked = self.question(query, keypoint, skeleton, supports, wording=wording, told=told)
        point = query.point(keypoint) if self.detects else None
        if self.detects and point is None:
            raise UserError(f"{skeleton.keypoints[keypoint]!r} of {skeleton.name!r} is not in the image asked about")
        text = answer(skeleton, keypoint, point, form)
        if point is None or positions == "text":
            return asked.assistant(text)
        identity = text.removesuffix(_digits(point))
        return asked.assistant(*([identity] if identity else []), PointPart(*_inside(point)))


KEYPOINT_TASKS: dict[str, KeypointTask] = {
    task.name: task
    for task in (
        KeypointTask("keypoint_semantic", ("keypoint",)),
        KeypointTask("keypoint_visual", ("image", "keypoint")),
        KeypointTask("keypoint_textual", ("image", "text")),
        KeypointTask("keypoint_combined", ("image", "text", "keypoint")),
    )
}


def keypoint_task(name: str) -> KeypointTask:
    if name not in KEYPOINT_TASKS:
        raise UserError(f"no keypoint task is called {name!r}; there are {', '.join(KEYPOINT_TASKS)}")
    return KEYPOINT_TASKS[name]


def phrase(skeleton: Skeleton, keypoint: int, told: Told) -> str:
    """A keypoint as a noun phrase, inside a sentence: "the left eye of the dog, a small dark spot on its head"."""
    name = skeleton.keypoints[keypoint]
    own = name if name[-1:].isdigit() else f"the {name}"
    described = skeleton.descriptions.get(name, "").strip().rstrip(".")
    if told == "name" or not described:
        return own
    described = described[0].lower() + described[1:]
    return described if told == "description" else f"{own} ({described})"


def answer(skeleton: Skeleton, keypoint: int, point: tuple[float, float] | None, form: Form) -> str:
    """The words of an answer; positions are shares of the image, with three decimals (KptLLM++ §3.4)."""
    name = skeleton.keypoints[keypoint]
    described = " ".join(skeleton.descriptions.get(name, "").replace(":", ";").split()).rstrip(".")
    identity = f"{name}. {described}" if described and form == "described" else name
    if point is None:
        return f"{identity}."
    position = _digits(point)
    return position if form == "position" else f"{identity}: {position}"


def _inside(point: tuple[float, float]) -> tuple[float, float]:
    x, y = (min(max(value, 0.0), 1.0) for value in point)
    return x, y


def _digits(point: tuple[float, float]) -> str:
    return PointPart(*_inside(point)).text


def name_in(text: str) -> str:
    """The name that an answer begins with."""
    return text.split(":")[0].split(". ")[0].strip().rstrip(".")


def any_told(rng: Random) -> Told:
    return rng.choice(TOLD)
