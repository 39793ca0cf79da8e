"""Images to pixels: an image becomes a square, and every vision encoder gets its own size and normalisation of it."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from llmpose.model.config import VisionEncoderSpec

Square = Literal["pad", "squeeze"]


def to_square(image: Image.Image, square: Square, fill: tuple[int, int, int]) -> Image.Image:
    """`pad`: borders of one colour, the image in the middle; `squeeze`: as it is, resizing will change its shape."""
    width, height = image.size
    if square == "squeeze" or width == height:
        return image
    side = max(width, height)
    padded = Image.new("RGB", (side, side), fill)
    padded.paste(image, ((side - width) // 2, (side - height) // 2))
    return padded


def encoder_pixels(images: Sequence[Image.Image], spec: VisionEncoderSpec, square: Square = "pad") -> Tensor:
    """(N, 3, height_px, width_px) float32 for one encoder; N may be 0."""
    out = np.empty((len(images), spec.height_px, spec.width_px, 3), np.uint8)
    red, green, blue = (round(255 * value) for value in spec.mean)
    left = (spec.height_px - spec.width_px) // 2
    for i, image in enumerate(images):
        squared = to_square(image, square, (red, green, blue))
        if squared.size != (spec.height_px, spec.height_px):
            squared = squared.resize((spec.height_px, spec.height_px), Image.Resampling.BICUBIC)
        out[i] = np.asarray(squared)[:, left : left + spec.width_px]
    pixels = torch.from_numpy(out).permute(0, 3, 1, 2).float().div_(255)
    mean, std = torch.tensor(spec.mean)[:, None, None], torch.tensor(spec.std)[:, None, None]
    return pixels.sub_(mean).div_(std)


def make_pixels(
    images: Sequence[Image.Image | np.ndarray], specs: Sequence[VisionEncoderSpec], square: Square = "pad"
) -> dict[str, Tensor]:
    """Encoder name -> pixels, for RGB images in the order of their placeholders."""
    pictures = [image if isinstance(image, Image.Image) else Image.fromarray(image) for image in images]
    pictures = [image if image.mode == "RGB" else image.convert("RGB") for image in pictures]
    return {spec.name: encoder_pixels(pictures, spec, square) for spec in specs}
