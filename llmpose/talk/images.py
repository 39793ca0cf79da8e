"""From whatever people call an image to the pixels that each vision encoder wants.

    anything --read_image--> RGB --square canvas of an encoder's size--> middle crop --normalise--> (3, H, W)

Every encoder sees the same square of the world, so that feature maps of different encoders lie over each other: the
image is fitted into a square (by default padded with the encoder's mean colour, which becomes zero), then an encoder
that is not square takes its middle (UniPose suppl. §B.3: the pose ViT sees the middle 192 of 256 columns).
"""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from llmpose.errors import UserError
from llmpose.pictures import DAMAGED, as_rgb, eight_bits, upright

if TYPE_CHECKING:
    from llmpose.model.config import VisionEncoderSpec
    from llmpose.talk.conversation import ImageSource

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class PixelSpec:
    """What one vision encoder wants to see."""

    name: str
    height: int
    width: int
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD
    fit: Literal["pad", "stretch", "crop"] = "pad"
    """How an image becomes square: padded, stretched, or cut to its middle."""

    def __post_init__(self) -> None:
        if self.fit not in ("pad", "stretch", "crop"):
            raise UserError(f"encoder {self.name!r}: fit is {self.fit!r}; expected pad, stretch or crop")
        if min(self.height, self.width) < 1:
            raise UserError(f"encoder {self.name!r}: pixels of {self.height}x{self.width} hold nothing")
        object.__setattr__(self, "mean", tuple(self.mean))
        object.__setattr__(self, "std", tuple(self.std))

    @property
    def side(self) -> int:
        """Side of the square canvas, of which the encoder takes the middle height x width."""
        return max(self.height, self.width)

    @staticmethod
    def of(encoder: "VisionEncoderSpec") -> "PixelSpec":
        """The pixels that a model's encoder asks for."""
        return PixelSpec(encoder.name, encoder.height_px, encoder.width_px, encoder.mean, encoder.std)

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> "PixelSpec":
        known = {item.name for item in fields(PixelSpec)}
        if unknown := sorted(set(values) - known):
            raise UserError(f"pixel specification has unknown keys {', '.join(unknown)}; known are {', '.join(known)}")
        return PixelSpec(**values)


def read_image(source: "ImageSource") -> Image.Image:
    """An upright RGB image from a PIL image, an array, a path or the bytes of a file (llmpose/pictures.py).

    Of an animation the first frame is taken.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, Image.Image):
        with _told("image"):
            return _upright_rgb(source, "image")
    if not isinstance(cast(object, source), bytes | str | Path):
        raise UserError(f"a {type(source).__name__} is no image; give a path, bytes, an array or a PIL image")
    name = f"image of {len(source)} bytes" if isinstance(source, bytes) else str(source)
    with _told(name), Image.open(BytesIO(source) if isinstance(source, bytes) else source) as image:
        return _upright_rgb(image, name)


@contextmanager
def _told(name: str) -> Generator[None]:
    """What goes wrong with a picture, in one line that names it."""
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(f"{name}: no such image file") from error
    except IsADirectoryError as error:
        raise UserError(f"{name}: a folder, where an image file was expected") from error
    except UnidentifiedImageError as error:
        raise UserError(f"{name}: not an image file that can be read (JPEG, PNG, WebP, GIF, ...)") from error
    except Image.DecompressionBombError as error:
        raise UserError(f"{name}: the image is too large to be read safely; scale it down") from error
    except DAMAGED as error:
        raise UserError(f"{name}: the image is damaged ({error})") from error


def _upright_rgb(image: Image.Image, name: str) -> Image.Image:
    if min(image.size) < 1:
        raise UserError(f"{name}: the image is {image.width}x{image.height} pixels; there is nothing to see")
    if getattr(image, "n_frames", 1) > 1:
        image.seek(0)
    return as_rgb(upright(image))  # a copy, so the file may be closed


def _from_array(array: np.ndarray) -> Image.Image:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))) or 0 in array.shape:
        raise UserError(f"an array of shape {array.shape} is no image; expected (H, W), (H, W, 3) or (H, W, 4)")
    return as_rgb(Image.fromarray(eight_bits(array)))


def to_canvas(image: Image.Image, spec: PixelSpec) -> Image.Image:
    """The encoder's picture, (spec.height, spec.width), 8-bit RGB."""
    side, (width, height) = spec.side, image.size
    # The target size comes first: a 20000x10 image must not become a 20000x20000 canvas on its way.
    if spec.fit == "crop":
        cut = min(width, height)
        left, top = (width - cut) // 2, (height - cut) // 2
        square = image.resize((side, side), Image.Resampling.BICUBIC, box=(left, top, left + cut, top + cut))
    elif spec.fit == "stretch" or width == height:
        square = image if image.size == (side, side) else image.resize((side, side), Image.Resampling.BICUBIC)
    else:
        scale = side / max(width, height)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        mean_colour = tuple(round(255 * value) for value in spec.mean)
        square = Image.new("RGB", (side, side), mean_colour)
        square.paste(
            image.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0),
            ((side - size[0]) // 2, (side - size[1]) // 2),
        )
    left, top = (side - spec.width) // 2, (side - spec.height) // 2
    if (left, top) == (0, 0):
        return square
    return square.crop((left, top, left + spec.width, top + spec.height))


def square_point(point: tuple[float, float], size: tuple[int, int], fit: str) -> tuple[float, float]:
    """Shares of an image (width, height) to shares of the square that `to_canvas` makes of it."""
    width, height = size
    if fit == "stretch" or width == height:
        return point
    side = min(width, height) if fit == "crop" else max(width, height)
    return ((point[0] - 0.5) * width / side + 0.5, (point[1] - 0.5) * height / side + 0.5)


def pixels(images: Sequence["Image.Image | np.ndarray"], specs: Sequence[PixelSpec]) -> dict[str, Tensor]:
    """What the encoders want of these images: name -> (N, 3, height, width) float32."""
    rgb = [read_image(image) for image in images]
    out: dict[str, Tensor] = {}
    for spec in specs:
        canvases = np.empty((len(rgb), spec.height, spec.width, 3), np.uint8)
        for index, image in enumerate(rgb):
            canvases[index] = np.asarray(to_canvas(image, spec))
        scale = torch.tensor([1 / (255 * std) for std in spec.std])
        shift = torch.tensor([mean / std for mean, std in zip(spec.mean, spec.std, strict=True)])
        out[spec.name] = (torch.from_numpy(canvases) * scale - shift).permute(0, 3, 1, 2).contiguous()
    return out


def is_image_file(path: Path) -> bool:
    """By its name: what a chat takes for an image when a path is dropped into it."""
    return path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
