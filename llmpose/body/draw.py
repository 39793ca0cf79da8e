"""Drawing on pictures: skeletons, boxes, masks, and sheets of many pictures with a label each.

Everything takes a PIL image or an array (H, W, 3) of uint8 and returns a new PIL image; nothing is drawn in place.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw

from llmpose.body.rle import decode_rle
from llmpose.errors import UserError

if TYPE_CHECKING:
    from llmpose.body.skeleton import Skeleton

Picture: TypeAlias = Image.Image | NDArray[np.uint8]
Color: TypeAlias = tuple[int, int, int]

PALETTE: tuple[Color, ...] = (
    (230, 70, 60),
    (55, 135, 225),
    (70, 180, 85),
    (240, 175, 40),
    (155, 90, 210),
    (35, 185, 190),
    (235, 120, 175),
    (140, 110, 80),
)
"""One colour per instance, taken round and round."""

_LEFT: Color = (255, 140, 40)
_RIGHT: Color = (60, 150, 255)
_MIDDLE: Color = (245, 245, 245)
_SEEN: Color = (70, 235, 90)
_HIDDEN: Color = (235, 60, 60)


def as_image(picture: Picture) -> Image.Image:
    """A PIL RGB image of its own, whatever came in."""
    if isinstance(picture, Image.Image):
        return picture.convert("RGB").copy()
    array = np.asarray(picture)
    if array.ndim != 3 or array.shape[-1] != 3 or array.dtype != np.uint8:
        raise UserError(f"a picture is a PIL image or an array (H, W, 3) of uint8, got {array.shape} of {array.dtype}")
    return Image.fromarray(array)


def draw_skeleton(
    image: Picture,
    keypoints: ArrayLike,
    skeleton: "Skeleton | Sequence[tuple[int, int]]",
    *,
    radius: float | None = None,
    color: Color | None = None,
) -> Image.Image:
    """Links and points of one instance. `keypoints` (K, 3): x, y in px and 0 absent, 1 hidden (red), 2 visible (green).

    `skeleton` is a `Skeleton` (its left side is drawn orange, its right side blue) or just links; `color` overrides.
    """
    result = as_image(image)
    points = np.asarray(keypoints, np.float64)
    if points.ndim != 2 or points.shape[1] not in (2, 3):
        raise UserError(f"keypoints are (K, 3): x, y, visibility; got {points.shape}")
    if points.shape[1] == 2:
        points = np.concatenate([points, np.full((len(points), 1), 2.0)], axis=1)
    links: Any = getattr(skeleton, "links", skeleton)
    names: Sequence[str] = getattr(skeleton, "keypoints", ())
    if names and len(names) != len(points):
        raise UserError(f"{len(points)} keypoints do not fit a skeleton of {len(names)}")
    radius = max(1.5, min(result.size) / 110) if radius is None else radius
    pen = ImageDraw.Draw(result)
    for a, b in ((int(a), int(b)) for a, b in links):
        if points[a, 2] > 0 and points[b, 2] > 0:
            side = color or _side_color(names[a] if names else "", names[b] if names else "")
            ends = [(float(points[k, 0]), float(points[k, 1])) for k in (a, b)]
            pen.line(ends, fill=side, width=max(1, round(radius * 0.8)))
    for x, y, seen in points:
        if seen > 0:
            pen.ellipse([x - radius, y - radius, x + radius, y + radius], fill=_SEEN if seen > 1 else _HIDDEN)
    return result


def _side_color(a: str, b: str) -> Color:
    for side, color in (("left", _LEFT), ("right", _RIGHT)):
        if side in a and side in b:
            return color
    return _MIDDLE


def draw_boxes(
    image: Picture,
    boxes_xyxy_px: ArrayLike,
    labels: Sequence[str] | None = None,
    *,
    colors: Sequence[Color] = PALETTE,
    width: int | None = None,
) -> Image.Image:
    """Frames (N, 4), each with a label if given."""
    result = as_image(image)
    boxes = np.asarray(boxes_xyxy_px, np.float64).reshape(-1, 4)
    pen = ImageDraw.Draw(result)
    width = max(1, round(min(result.size) / 160)) if width is None else width
    for index, (x0, y0, x1, y1) in enumerate(boxes):
        color = colors[index % len(colors)]
        pen.rectangle([x0, y0, max(x1 - 1, x0), max(y1 - 1, y0)], outline=color, width=width)
        if labels is not None:
            _write(pen, (x0 + width + 1, y0 + width), labels[index], color)
    return result


def draw_masks(
    image: Picture,
    masks: Sequence[NDArray[np.bool_] | dict[str, Any]],
    *,
    colors: Sequence[Color] = PALETTE,
    strength: float = 0.5,
) -> Image.Image:
    """Tint the pixels of each mask: (H, W) bool, or COCO's run-length dict."""
    picture = np.asarray(as_image(image)).astype(np.float64)
    for index, mask in enumerate(masks):
        where = decode_rle(mask) if isinstance(mask, dict) else np.asarray(mask, bool)
        if where.shape != picture.shape[:2]:
            raise UserError(f"mask {where.shape} does not fit an image of height, width {picture.shape[:2]}")
        picture[where] = (1 - strength) * picture[where] + strength * np.asarray(colors[index % len(colors)])
    return Image.fromarray((picture + 0.5).astype(np.uint8))


def contact_sheet(
    images: Sequence[Picture],
    labels: Sequence[str] | None = None,
    columns: int = 6,
    cell: int | tuple[int, int] = 192,
) -> Image.Image:
    """Many pictures on one sheet, each shrunk or grown to fit its cell (size, or width and height), label below."""
    if not images:
        raise UserError("a contact sheet needs at least one picture")
    if labels is not None and len(labels) != len(images):
        raise UserError(f"{len(labels)} labels for {len(images)} pictures")
    width, height = (cell, cell) if isinstance(cell, int) else cell
    gap, strip = 4, 14 if labels is not None else 0
    columns = min(columns, len(images))
    rows = math.ceil(len(images) / columns)
    sheet = Image.new("RGB", (columns * (width + gap) + gap, rows * (height + strip + gap) + gap), (250, 250, 250))
    pen = ImageDraw.Draw(sheet)
    for index, picture in enumerate(images):
        image = as_image(picture)
        scale = min(width / image.width, height / image.height)
        size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        image = image.resize(size, Image.Resampling.LANCZOS)
        left = gap + index % columns * (width + gap)
        top = gap + index // columns * (height + strip + gap)
        sheet.paste(image, (left + (width - size[0]) // 2, top + (height - size[1]) // 2))
        if labels is not None:
            pen.text((left + 1, top + height + 1), _shortened(pen, labels[index], width), fill=(30, 30, 30))
    return sheet


def _shortened(pen: ImageDraw.ImageDraw, text: str, width: int) -> str:
    if pen.textlength(text) <= width:
        return text
    while text and pen.textlength(text + "...") > width:
        text = text[:-1]
    return text + "..."


def _write(pen: ImageDraw.ImageDraw, at: tuple[float, float], text: str, color: Color) -> None:
    """Text on a plate of its colour, dark or light so that it can be read."""
    box = pen.textbbox(at, text)
    pen.rectangle([box[0] - 1, box[1] - 1, box[2] + 1, box[3] + 1], fill=color)
    pen.text(at, text, fill=(0, 0, 0) if sum(color) > 380 else (255, 255, 255))
