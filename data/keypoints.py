"""Objects with named keypoints: square crops, keypoints as shares of them, and who else is of the same category.

    objects = KeypointObjects(records, size_px=224)
    crop = objects.crop(17)                   image, (K, 3) points in the crop; the same at every call
    crop = objects.crop(17, noise, rng)       moved, scaled, mirrored: left becomes right, names included
    objects.others(17)                        rows of the same category: who can be its support

Crops are squares around the annotated box, enlarged by a quarter, as category-agnostic pose estimation cuts them.
"""

from dataclasses import dataclass, replace
from random import Random

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from data.crops import Square, person_square
from data.record_set import RecordSet
from llmpose.body.skeleton import Skeleton
from llmpose.errors import UserError

MARGIN = 1.25
NEEDS = ("image", "box_xyxy_px", "keypoints")
_ROOM = 1.3
"""Crops that will be moved about are kept this much larger."""


@dataclass(frozen=True)
class ObjectNoise:
    """What happens to a training crop."""

    flip_share: float = 0.5
    """Share of the crops that are mirrored, where the skeleton says which keypoints swap."""
    scale: float = 0.15
    """Enlarged or reduced by up to this share."""
    shift: float = 0.06
    """Moved by up to this share of the side."""
    colour: float = 0.25
    """Brightness and colour change by up to this share."""


@dataclass(frozen=True, eq=False)
class ObjectCrop:
    """One object, cut out as a square."""

    image: Image.Image
    points: np.ndarray
    """(K, 3): x, y as shares of the crop, and 1 where the keypoint is labelled and inside, else 0."""
    square: Square
    """Where it lies in the picture it comes from."""

    @property
    def shown(self) -> list[int]:
        """Keypoints that can be asked for."""
        return np.flatnonzero(self.points[:, 2] > 0).tolist()

    def point(self, keypoint: int) -> tuple[float, float] | None:
        x, y, is_shown = self.points[keypoint]
        return (float(x), float(y)) if is_shown else None


def cut_object(
    image: Image.Image, box_xyxy_px: np.ndarray, keypoints: np.ndarray, size_px: int, *, margin: float = MARGIN
) -> ObjectCrop:
    """The object in a box of a picture, with its keypoints (K, 3) in pixels."""
    square = person_square(box_xyxy_px, margin=margin)
    points = np.zeros((len(keypoints), 3), np.float32)
    points[:, :2] = square.to_crop(keypoints[:, :2], size_px) / size_px
    points[:, 2] = _inside(points) & (keypoints[:, 2] > 0)
    return ObjectCrop(square.cut(image, size_px), points, square)


def _inside(points: np.ndarray) -> np.ndarray:
    return np.asarray(((points[:, :2] >= 0) & (points[:, :2] <= 1)).all(1))


def noisy(wide: ObjectCrop, size_px: int, noise: ObjectNoise, rng: Random, swaps: tuple[int, ...] | None) -> ObjectCrop:
    """A window of a crop that was cut wider by `_ROOM`. `swaps`: keypoints of the mirror image; None: no mirror."""
    side = wide.image.width
    scale = 1 + rng.uniform(-noise.scale, noise.scale)
    window = min(side / _ROOM * scale, float(side))
    x, y = (side / 2 + rng.uniform(-noise.shift, noise.shift) * window for _ in range(2))
    inner = Square(x, y, window)
    image = inner.cut(wide.image, size_px)
    points = wide.points.copy()
    points[:, :2] = inner.to_crop(points[:, :2] * side, size_px) / size_px
    points[:, 2] = _inside(points) & (points[:, 2] > 0)
    if swaps is not None and rng.random() < noise.flip_share:
        image = ImageOps.mirror(image)
        points[:, 0] = 1 - points[:, 0]
        points = points[list(swaps)]
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Color):
        image = enhance(image).enhance(1 + rng.uniform(-noise.colour, noise.colour))
    return ObjectCrop(image, points, wide.square)


class KeypointObjects:
    """The records of a set that have an image, a box and keypoints."""

    def __init__(self, records: RecordSet, *, size_px: int = 224, margin: float = MARGIN, keep: bool = False) -> None:
        """`keep`: crops stay in memory once they were cut, as training wants it."""
        self.records = records.filter(has=NEEDS)
        if not len(self.records):
            raise UserError("the record set has no record with an image, a box and keypoints")
        self.size_px, self.margin = size_px, margin
        self._skeletons = self.records.column("skeleton")
        categories = [entry.get("category") for entry in self.records.attributes()]
        # Two categories of one name have skeletons of their own (MP-100's two faces).
        self.categories = [f"{name or ''} {key}" for name, key in zip(categories, self._skeletons, strict=True)]
        self._rows: dict[str, list[int]] = {}
        for row, category in enumerate(self.categories):
            self._rows.setdefault(category, []).append(row)
        self._kept: dict[tuple[int, bool], ObjectCrop] | None = {} if keep else None

    def __len__(self) -> int:
        return len(self.records)

    def skeleton(self, row: int) -> Skeleton:
        return self.records.skeleton(self._skeletons[row])

    def names(self, row: int) -> tuple[str, ...]:
        return self.skeleton(row).keypoints

    def others(self, row: int) -> list[int]:
        """Rows of the same category."""
        return [other for other in self._rows[self.categories[row]] if other != row]

    def crop(self, row: int, noise: ObjectNoise | None = None, rng: Random | None = None) -> ObjectCrop:
        """The crop as it is, or with noise drawn from `rng`."""
        if noise is None or rng is None:
            return self._cut(row, wide=False)
        skeleton = self.skeleton(row)
        swaps = skeleton.flip_permutation if skeleton.mirrors else None
        return noisy(self._cut(row, wide=True), self.size_px, noise, rng, swaps)

    def _cut(self, row: int, *, wide: bool) -> ObjectCrop:
        if self._kept is not None and (row, wide) in self._kept:
            return self._kept[row, wide]
        record = self.records[row]
        assert record.keypoints is not None
        assert record.box_xyxy_px is not None
        room = _ROOM if wide else 1.0
        size, margin = round(self.size_px * room), self.margin * room
        found = cut_object(record.load_image(), record.box_xyxy_px, record.keypoints, size, margin=margin)
        if self._kept is not None:
            self._kept[row, wide] = replace(found)
        return found
