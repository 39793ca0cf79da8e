"""Keypoints of the objects in a picture, asked for in words or by example: cut out, ask, map back (KptLLM++ §4.5).

    found = find_in_pictures(model, processor, [(image, boxes)], skeleton)
    found[0][0].keypoints_px     (K, 3): x, y in the first picture of the first object's keypoints, confidence

All keypoints of an object are asked at once and share its image. An example is a support image with points of its own:
`Support(image, {"nose": (120, 80)})`.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Literal

import numpy as np
from PIL import Image

from llmpose.body.skeleton import Skeleton, plain_name, side_pairs
from llmpose.errors import UserError
from llmpose.model.config import LlmPoseConfig
from llmpose.model.modeling import LlmPoseForConditionalGeneration
from llmpose.talk.conversation import Conversation, ImagePart, KeypointPart, TextPart
from llmpose.talk.decoding import Answer, Decoding, Point, PointReading
from llmpose.talk.generation import generate
from llmpose.talk.images import read_image
from llmpose.talk.processing import LlmPoseProcessor

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""

MARGIN = 1.25
"""Side of the square around an object, in sides of its box: as in training (data/keypoints.py)."""
WORDINGS = {
    "text": " Find this keypoint: {text}.",
    "example": " Find the keypoint {keypoint}.",
    "both": " Find {text}, shown by {keypoint}.",
}
"""Among the templates of data/templates/keypoint_*.yaml, behind the image."""
_FILL = (124, 116, 104)


@dataclass(frozen=True)
class Support:
    """An example: an image and some keypoints in it, in pixels; the object's box, where there is more in the image."""

    image: Image.Image
    points_px: Mapping[str, tuple[float, float]]
    box_xyxy_px: Box | None = None


@dataclass
class Found:
    """One object's keypoints."""

    box_xyxy_px: Box
    keypoints_px: np.ndarray
    """(K, 3) in the order of the skeleton: x, y, confidence; zeros where a keypoint was not asked for."""
    texts: list[str] = field(default_factory=list)
    """What was said for each keypoint that was asked for."""
    name: str = ""
    """What the object is, where a detector found it."""
    box_score: float | None = None
    """How sure the detector was."""

    @property
    def score(self) -> float:
        """Mean confidence of the keypoints that were asked for."""
        asked = self.keypoints_px[self.keypoints_px[:, 2] > 0, 2]
        return float(asked.mean()) if len(asked) else 0.0


def point_grammar(config: LlmPoseConfig) -> str:
    """What answers of this model look like that say where something is."""
    by_head = config.keypoint_positions == "regression"
    if config.keypoint_answers == "position":
        return "regressed" if by_head else "point"
    return "named_regressed" if by_head else "named_point"


def named_keypoints(names: Sequence[str]) -> Skeleton:
    """A skeleton of nothing but names: what somebody asks for on the spot."""
    clean = [name.strip() for name in names if name.strip()]
    if not clean:
        raise UserError('no keypoint is asked for; name some, like "nose, left wrist"')
    return Skeleton("asked", tuple(clean), flip_pairs=side_pairs(clean))


def square_of(box: Box, size: tuple[int, int], margin: float = MARGIN) -> tuple[float, float, float]:
    """Left, top and side of the square around a box; the box must have an inside, within the picture."""
    left, top, right, bottom = box
    if not (right - left > 0 and bottom - top > 0 and all(map(math.isfinite, box))):
        raise UserError(f"box {box} has no area; give left, top, right, bottom in pixels, left < right, top < bottom")
    if right <= 0 or bottom <= 0 or left >= size[0] or top >= size[1]:
        raise UserError(f"box {box} lies outside its picture of {size[0]}x{size[1]} pixels")
    side = margin * max(right - left, bottom - top, 1.0)
    return (left + right) / 2 - side / 2, (top + bottom) / 2 - side / 2, side


def cut(image: Image.Image, square: tuple[float, float, float], size_px: int) -> Image.Image:
    """A square of a picture, which may reach over its edges, as an image of size_px²."""
    left, top, side = square
    inside = (max(left, 0.0), max(top, 0.0), min(left + side, image.width), min(top + side, image.height))
    scale = size_px / side
    out = Image.new("RGB", (size_px, size_px), _FILL)
    x0, y0, x1, y1 = (
        round((value - corner) * scale) for value, corner in zip(inside, (left, top, left, top), strict=True)
    )
    if x1 > x0 and y1 > y0:
        part = image.resize((x1 - x0, y1 - y0), Image.Resampling.BICUBIC, box=inside, reducing_gap=3.0)
        out.paste(part, (x0, y0))
    return out


def find_in_pictures(
    model: LlmPoseForConditionalGeneration,
    processor: LlmPoseProcessor,
    pictures: Sequence[tuple[Image.Image, Sequence[Box] | None]],
    skeleton: Skeleton,
    *,
    asked: Sequence[str] | None = None,
    supports: Sequence[Support] = (),
    told: Literal["name", "description"] = "name",
    by: Literal["text", "example", "both"] | None = None,
    batch_size: int = 32,
    reading: PointReading = "densest",
) -> list[list[Found]]:
    """Keypoints of every object in every picture, picture by picture.

    Args:
        pictures: each with the boxes of its objects; None takes the whole picture as one, an empty list is no object.
        skeleton: whose keypoints are asked for; `asked` names some of them, else all.
        supports: examples; a keypoint that none of them shows is an error, one that some lack is not.
        told: whether a keypoint is told by its name or by its description.
        by: in words, by example or both; by default by example where supports are given.
        reading: where points stand that are written in digits (Decoding.points).
    """
    by = by or ("example" if supports else "text")
    if by != "text" and not supports:
        raise UserError("keypoints by example need a support image with points in it")
    if by != "text" and model.prompts is None:
        raise UserError("this model takes no keypoints by example; ask in words, or train one: launch/recipes/kptllm")
    chosen = check_asked(skeleton, asked, supports if by != "text" else ())
    size_px = processor.vision[0].side if processor.vision else 0
    if not size_px:
        raise UserError("this model sees no images")
    shown = [_shown(support, skeleton, size_px) for support in supports] if by != "text" else []
    objects: list[list[tuple[Box, tuple[float, float, float]]]] = []
    questions: list[Conversation] = []
    for image, given in pictures:
        boxes = list(given) if given is not None else [(0.0, 0.0, float(image.width), float(image.height))]
        objects.append([(box, square_of(box, image.size)) for box in boxes])
        for _, square in objects[-1]:
            crop = cut(image, square, size_px)
            questions += [_question(crop, keypoint, skeleton, shown, told, by) for keypoint in chosen]
    settings = Decoding(grammar=point_grammar(model.config), max_new_tokens=160, batch_size=batch_size, points=reading)
    answers = iter(generate(model, processor, questions, settings) if questions else [])

    def found(box: Box, square: tuple[float, float, float]) -> Found:
        keypoints = np.zeros((skeleton.num_keypoints, 3), np.float32)
        own = [next(answers) for _ in chosen]
        for keypoint, answer in zip(chosen, own, strict=True):
            keypoints[keypoint] = _placed(answer, square)
        return Found(box, keypoints, [answer.text for answer in own])

    return [[found(box, square) for box, square in one] for one in objects]


def check_asked(skeleton: Skeleton, asked: Sequence[str] | None, supports: Sequence[Support]) -> list[int]:
    """Which keypoints are asked for. What cannot be asked is told here, before anybody loads a model."""
    chosen = [skeleton.index(name) for name in asked] if asked else list(range(skeleton.num_keypoints))
    known = {keypoint for support in supports for keypoint in _places(support, skeleton)}
    missing = next((keypoint for keypoint in chosen if supports and keypoint not in known), None)
    if missing is not None:
        name = skeleton.keypoints[missing]
        raise UserError(
            f"no support image shows {name!r}{_nearest(name, [skeleton.keypoints[k] for k in sorted(known)])}"
        )
    return chosen


def last_image(conversation: Conversation) -> Image.Image | None:
    """The picture that points of the last answer lie in."""
    parts = [part for turn in conversation.turns for part in turn.images]
    return read_image(parts[-1].image) if parts else None


def draw_found(image: Image.Image, points: Sequence[Point]) -> Image.Image:
    """Points of an answer as dots in its picture."""
    from llmpose.body.draw import draw_skeleton

    pixels = np.array([[one.x * image.width, one.y * image.height, 2] for one in points], np.float32)
    names = tuple(f"point {number}" for number in range(1, len(points) + 1))
    return draw_skeleton(image, pixels, Skeleton("points", names))


def _question(
    crop: Image.Image,
    keypoint: int,
    skeleton: Skeleton,
    shown: Sequence[tuple[Image.Image, dict[int, tuple[float, float]]]],
    told: str,
    by: str,
) -> Conversation:
    name = skeleton.keypoints[keypoint]
    described = skeleton.descriptions.get(name, "").strip().rstrip(".")
    text = described[0].lower() + described[1:] if told == "description" and described else f"the {name}"
    parts: list[object] = [ImagePart(crop)]
    for piece in re.split(r"(\{\w+\})", WORDINGS[by]):
        if piece == "{keypoint}":
            points = tuple(points.get(keypoint) for _, points in shown)
            parts.append(KeypointPart(tuple(image for image, _ in shown), points))
        elif piece == "{text}":
            parts.append(TextPart(text))
        elif piece:
            parts.append(TextPart(piece))
    return Conversation().user(*parts)


def _nearest(name: str, known: Sequence[str]) -> str:
    """What to do about a keypoint that no example has: the nearest of those they have, or all of them."""
    close = get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f", only {', '.join(known) or 'nothing'}; give its point, or leave it out of the question"


def _places(support: Support, skeleton: Skeleton) -> dict[int, tuple[float, float]]:
    """The support's points by keypoint, as shares of its square; they must lie in the image and in the object's box."""
    image = support.image
    box = support.box_xyxy_px or (0.0, 0.0, float(image.width), float(image.height))
    left, top, side = square_of(box, image.size)
    points: dict[int, tuple[float, float]] = {}
    for name, (x, y) in support.points_px.items():
        if not (0 <= x <= image.width and 0 <= y <= image.height):
            raise UserError(
                f"{plain_name(name)!r} at {x:g}, {y:g} lies outside its support image of "
                f"{image.width}x{image.height} pixels"
            )
        at = ((x - left) / side, (y - top) / side)
        if not all(0 <= value <= 1 for value in at):
            raise UserError(f"{plain_name(name)!r} at {x:g}, {y:g} lies outside the support's box {box}")
        points[skeleton.index(name)] = at
    return points


def _shown(support: Support, skeleton: Skeleton, size_px: int) -> tuple[Image.Image, dict[int, tuple[float, float]]]:
    """The support's crop, and its points as shares of it."""
    image = support.image
    box = support.box_xyxy_px or (0.0, 0.0, float(image.width), float(image.height))
    return cut(image, square_of(box, image.size), size_px), _places(support, skeleton)


def _placed(answer: Answer, square: tuple[float, float, float]) -> tuple[float, float, float]:
    """The last point of an answer in the picture; zeros where it has none (the context was too short for it)."""
    if not answer.points:
        return 0.0, 0.0, 0.0
    left, top, side = square
    point = answer.points[-1]
    return left + point.x * side, top + point.y * side, point.confidence
