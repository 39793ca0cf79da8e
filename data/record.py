"""A record is one thing that a source holds: an image and/or a pose and what is known about it. Plain data, no storage.

Poses are in the world frame "z-up" of `llmpose.body.pose`; for an image that frame is aligned with its camera. Pixels:
x right, y down. What only one source knows goes into `attributes`, which must be plain JSON.
"""

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from llmpose.errors import UserError
from llmpose.pictures import DAMAGED, as_rgb, orientation, upright

if TYPE_CHECKING:
    from llmpose.body.pose import Pose

_QUARTER_TURNS = (5, 6, 7, 8)
"""EXIF orientations that swap width and height."""


@dataclass(eq=False, repr=False)
class Record:
    """One instance: a person, an animal, a thing, or just a pose."""

    id: str
    """Unique in its record set."""
    source: str
    split: str
    image: str | None = None
    """Path, absolute or relative to the record set's image root."""
    image_bytes: bytes | None = None
    """The encoded file, for a record set that carries its images."""
    width: int | None = None
    height: int | None = None
    box_xyxy_px: np.ndarray | None = None
    """(4,) float32 corners, as annotated."""
    pose_rotmat: np.ndarray | None = None
    """(22, 3, 3) float32, root in the world frame."""
    betas: np.ndarray | None = None
    """(10,) float32."""
    joints_m: np.ndarray | None = None
    """(J, 3) float32, world frame, as the source measured them; `attributes["joints"]` names their skeleton."""
    keypoints: np.ndarray | None = None
    """(K, 3) float32 x, y in pixels, visibility 0 not labelled, 1 hidden, 2 visible. Not labelled is always 0, 0, 0."""
    skeleton: str | None = None
    """Name of the skeleton of `keypoints`, in the library or in the record set's manifest."""
    mask_rle: dict[str, Any] | None = None
    """COCO's compressed form: {"size": [height, width], "counts": text}."""
    texts: list[str] = field(default_factory=list)
    attributes: dict[str, Any] = field(default_factory=dict)
    sequence: str | None = None
    frame: int | None = None
    camera: dict[str, Any] | None = None
    """{"focal_px": ..., "centre_px": [x, y]}."""
    image_root: Path | None = None
    """Where relative image paths start; filled in by the record set."""

    def __repr__(self) -> str:
        """Its id and what it knows; arrays by their shape."""
        known = {name: value for name, value in vars(self).items() if value is not None and name != "image_root"}
        shown = {name: np.shape(value) if isinstance(value, np.ndarray) else value for name, value in known.items()}
        shown |= {"image_bytes": len(self.image_bytes)} if self.image_bytes is not None else {}
        shown |= {"mask_rle": self.mask_rle["size"]} if self.mask_rle is not None else {}
        return f"Record({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    def image_path(self) -> Path | None:
        """The image as a path that can be opened."""
        if self.image is None:
            return None
        return Path(self.image) if self.image_root is None else self.image_root / self.image

    def load_image(self) -> Image.Image:
        """The image, RGB, upright as its annotation was made."""
        path = self.image_path()
        if self.image_bytes is None and path is None:
            raise UserError(f"record {self.id!r} has no image")
        try:
            image = Image.open(io.BytesIO(self.image_bytes) if self.image_bytes is not None else path)  # pyright: ignore
            image.load()
        except DAMAGED as error:
            raise UserError(f"{path or self.id}: not a readable image ({error})") from None
        return as_rgb(self._upright(image))

    def _upright(self, image: Image.Image) -> Image.Image:
        """Phones store a turn beside the pixels. The annotation's own width and height tell whether it counted."""
        turned = orientation(image) in _QUARTER_TURNS
        swapped = self.width != self.height and (self.height, self.width) == image.size
        return upright(image) if turned and swapped else image

    def pose(self) -> "Pose":
        """The pose as a `Pose`, with its shape where the source knows it."""
        # torch takes seconds to load; listing sources or looking for a folder should not wait for it.
        import torch

        from llmpose.body.pose import Pose

        if self.pose_rotmat is None:
            raise UserError(f"record {self.id!r} has no pose")
        betas = None if self.betas is None else torch.tensor(self.betas)
        return Pose(torch.tensor(self.pose_rotmat), betas)


@dataclass(eq=False)
class PairRecord:
    """Two records and what changes from the first to the second."""

    id: str
    source: str
    split: str
    a: str
    """Record id of the pose before."""
    b: str
    """Record id of the pose after."""
    texts: list[str] = field(default_factory=list)
    in_sequence: bool = False
    """Both come from one motion, so the turn of the body between them means something."""
    attributes: dict[str, Any] = field(default_factory=dict)
