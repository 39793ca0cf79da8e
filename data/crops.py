"""One person out of a picture: a square around the box, as HMR2, TokenHMR and UniPose look at people.

square = person_square(record.box_xyxy_px)       centre and side, the box enlarged to the window's shape
crop = square.cut(record.load_image(), 256)      PIL, 256 × 256; what lies outside the picture is filled
square.to_crop(keypoints_px, 256)                pixels of the picture to pixels of the crop
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image

FILL = (124, 116, 104)
"""ImageNet's mean colour: zero after normalisation."""


@dataclass(frozen=True)
class Square:
    """A square of a picture, in its pixels; it may reach over the edges."""

    centre_x: float
    centre_y: float
    side: float

    @property
    def corner(self) -> tuple[float, float]:
        return self.centre_x - self.side / 2, self.centre_y - self.side / 2

    def cut(self, image: Image.Image, size: int, fill: tuple[int, int, int] = FILL) -> Image.Image:
        """The square as an image of size × size."""
        left, top = self.corner
        inside = (max(left, 0.0), max(top, 0.0), min(left + self.side, image.width), min(top + self.side, image.height))
        out = Image.new("RGB", (size, size), fill)
        if inside[2] - inside[0] < 1 or inside[3] - inside[1] < 1:
            return out
        scale = size / self.side
        x0, y0 = round((inside[0] - left) * scale), round((inside[1] - top) * scale)
        x1, y1 = round((inside[2] - left) * scale), round((inside[3] - top) * scale)
        if x1 <= x0 or y1 <= y0:
            return out
        out.paste(image.resize((x1 - x0, y1 - y0), Image.Resampling.BICUBIC, box=inside, reducing_gap=3.0), (x0, y0))
        return out

    def to_crop(self, points_px: np.ndarray, size: int) -> np.ndarray:
        """(..., 2) pixels of the picture to pixels of the crop."""
        corner = np.array(self.corner, np.float32)
        return (np.asarray(points_px, np.float32) - corner) * np.float32(size / self.side)

    def to_image(self, points_crop_px: np.ndarray, size: int) -> np.ndarray:
        """Back again."""
        corner = np.array(self.corner, np.float32)
        return np.asarray(points_crop_px, np.float32) * np.float32(self.side / size) + corner


def person_square(box_xyxy_px: np.ndarray, *, margin: float = 1.2, window: float = 1.0) -> Square:
    """The square around a box.

    `window` is width / height of what the encoder sees of it: 0.75 for a pose ViT of 256 × 192, whose middle columns
    must hold the whole person.
    """
    left, top, right, bottom = (float(value) for value in box_xyxy_px)
    side = margin * max((right - left) / window, bottom - top, 1.0)
    return Square((left + right) / 2, (top + bottom) / 2, side)
