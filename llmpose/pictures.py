"""Any picture as upright 8-bit RGB: training, evaluation and chat see the same pixels of the same file."""

import struct
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from llmpose.errors import UserError

DAMAGED = (OSError, SyntaxError, EOFError, ValueError, struct.error, Image.DecompressionBombError)
"""What Pillow ends in on a file that is cut off, damaged or far too large."""
_WHITE = (255, 255, 255, 255)
_ORIENTATION = 0x0112
_SEE_THROUGH = ("RGBA", "LA", "PA", "RGBa")


def orientation(image: Image.Image) -> int:
    """How the camera was held (EXIF, 1 to 8): 1 where nothing is said, or nothing that can be read."""
    try:
        held = image.getexif().get(_ORIENTATION, 1)
    except (*DAMAGED, KeyError, TypeError):
        return 1
    return held if isinstance(held, int) else 1


def upright(image: Image.Image) -> Image.Image:
    """A copy, turned as the camera was held."""
    image.load()
    return image.copy() if orientation(image) == 1 else ImageOps.exif_transpose(image)


def as_rgb(image: Image.Image) -> Image.Image:
    """Palette, grey, 16-bit, CMYK and transparent pictures as 8-bit RGB; what is transparent lies on white."""
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I") or image.mode == "F":  # one channel deeper than 8 bits
        return as_rgb(Image.fromarray(eight_bits(np.asarray(image))))
    if image.mode == "La":  # Pillow converts it to its sibling only
        image = image.convert("LA")
    if image.mode in _SEE_THROUGH or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, _WHITE), image).convert("RGB")
    return image.convert("RGB")


def eight_bits(array: np.ndarray) -> np.ndarray:
    """uint8 as it is; uint16 and deeper integers by their top 8 bits; floats are shares of white, 0 to 1."""
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * 255
    elif np.issubdtype(array.dtype, np.floating):
        if not np.isfinite(array).all():
            raise UserError("an image array holds NaN or infinite values")
        scale = 255.0 if float(array.max()) <= 1.0 else 1.0
        array = np.clip(np.rint(array * scale), 0, 255).astype(np.uint8)
    elif array.dtype != np.uint8:
        deep: Any = array.dtype == np.uint16 or int(array.max()) > 255
        array = np.clip(array // 257 if deep else array, 0, 255).astype(np.uint8)
    return np.ascontiguousarray(array)
