"""Crops of people by the micro-batch, with the noise that teaches an encoder: flips, shifts, sizes, colours."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from data.crops import person_square
from data.record import Record
from data.tasks.base import CROP_WINDOW
from data.tasks.referring import clothes_phrase
from llmpose.body.pose import Pose
from llmpose.body.skeleton import Skeleton
from llmpose.errors import UserError
from llmpose.model.config import VisionEncoderSpec
from train.job import Draw
from train.noise import uniform
from train.poses import Mixture, PoseSource
from train.recipe import at_least

_STREAM = 21


@dataclass(kw_only=True)
class CropNoise:
    """What happens to a training crop; a function of seed, epoch and example."""

    flip_share: float = 0.5
    """Share of the crops that are mirrored, pose and keypoints with them."""
    scale: float = 0.15
    """Crops are enlarged or reduced by up to this share."""
    shift: float = 0.06
    """And moved by up to this share of their side."""
    colour: float = 0.3
    """Brightness, contrast and colour change by up to this share."""

    def __post_init__(self) -> None:
        for name in ("flip_share", "scale", "shift", "colour"):
            at_least(f"noise.{name}", getattr(self, name), 0)


@dataclass
class Crop:
    """One person, as kept in memory."""

    pixels: NDArray[np.uint8]
    """(side, side, 3)."""
    keypoints: NDArray[np.float32]
    """(K, 3) shares of the crop, visibility."""
    rotmat: NDArray[np.float32] | None
    record_id: str
    texts: tuple[str, ...]


def sentences(record: Record) -> tuple[str, ...]:
    """What a picture of a person is said to show: clothes, where a record knows them, then each of its texts."""
    worn = clothes_phrase(record.attributes.get("clothes") or {})
    return tuple(f"In {worn}. {text}" if worn else text for text in record.texts)


class CropReader:
    """Records to crops of one size."""

    def __init__(self, spec: VisionEncoderSpec, skeleton: Skeleton | None, *, margin: float) -> None:
        self.spec, self.skeleton, self.margin = spec, skeleton, margin

    def read(self, record: Record) -> Crop:
        """A record without a box is taken whole."""
        image = record.load_image()
        box = record.box_xyxy_px
        if box is None:
            box = np.array([0, 0, image.width, image.height], np.float32)
        # The window is that of the tasks, whatever the encoder sees of it: features are asked for on the same crops.
        square = person_square(box, margin=self.margin, window=CROP_WINDOW)
        size = self.spec.height_px
        count = self.skeleton.num_keypoints if self.skeleton else 0
        keypoints = np.zeros((count, 3), np.float32)
        if self.skeleton and record.keypoints is not None and record.skeleton == self.skeleton.name:
            keypoints[:, :2] = square.to_crop(record.keypoints[:, :2], size) / size
            keypoints[:, 2] = record.keypoints[:, 2]
        return Crop(np.asarray(square.cut(image, size)), keypoints, record.pose_rotmat, record.id, sentences(record))


class Crops:
    """Training crops of several sources, drawn by the micro-batch. Read once where `keep`, else at every draw."""

    def __init__(
        self,
        sources: Sequence[PoseSource],
        reader: CropReader,
        *,
        noise: CropNoise | None,
        keep: bool,
        mix: str = "records",
    ) -> None:
        if not sources:
            raise UserError("data.train: no source; name one, like data.train.people.records=FOLDER")
        self.sources, self.reader, self.noise = list(sources), reader, noise
        self.mixture = Mixture([len(s.records) for s in sources], [s.weight for s in sources], mix)
        self.keep: dict[int, Crop] | None = {} if keep else None

    def __len__(self) -> int:
        return len(self.mixture)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.batch(self.mixture.rows([index], seed=0, epoch=0))

    def __getitems__(self, draw: Draw) -> dict[str, Any]:
        batch = self.batch(self.mixture.rows(draw, seed=draw.seed, epoch=draw.epoch))
        if self.noise is None:
            return batch
        return disturb(batch, uniform(draw.seed, draw.epoch, draw, 8, stream=_STREAM), self.noise, self.reader)

    def crop(self, row: int) -> Crop:
        """Row of all sources laid end to end."""
        if self.keep is not None and row in self.keep:
            return self.keep[row]
        source = int(np.searchsorted(self.mixture.starts, row, side="right")) - 1
        crop = self.reader.read(self.sources[source].records[row - int(self.mixture.starts[source])])
        if self.keep is not None:
            self.keep[row] = crop
        return crop

    def batch(self, rows: Sequence[int] | NDArray[np.int64]) -> dict[str, Any]:
        """pixels (B,3,S,S) in 0..1, keypoints (B,K,3), rotmat (B,22,3,3), has_pose (B,), texts, record_ids."""
        crops = [self.crop(int(row)) for row in rows]
        unknown = np.broadcast_to(np.eye(3, dtype=np.float32), (22, 3, 3))
        pixels = torch.from_numpy(np.stack([crop.pixels for crop in crops]))
        return {
            "pixels": pixels.permute(0, 3, 1, 2).float() / 255,
            "keypoints": torch.from_numpy(np.stack([crop.keypoints for crop in crops])),
            "rotmat": torch.from_numpy(np.stack([unknown if c.rotmat is None else c.rotmat for c in crops])),
            "has_pose": torch.tensor([crop.rotmat is not None for crop in crops]),
            "texts": [crop.texts for crop in crops],
            "record_ids": [crop.record_id for crop in crops],
        }


def disturb(batch: dict[str, Any], chance: Tensor, noise: CropNoise, reader: CropReader) -> dict[str, Any]:
    """`chance` (B, 8) in [0, 1) decides everything."""
    batch = dict(batch)
    flip = chance[:, 0] < noise.flip_share
    if bool(flip.any()):
        _mirror(batch, flip, reader.skeleton)
    factor = 1 + noise.scale * (2 * chance[:, 1] - 1)
    move = noise.shift * (2 * chance[:, 2:4] - 1)
    # Output share u of a crop shows input share (u - 0.5) / factor + 0.5 - move.
    theta = torch.zeros(len(chance), 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = 1 / factor
    theta[:, :, 2] = -2 * move
    pixels: Tensor = batch["pixels"]
    grid = F.affine_grid(theta, list(pixels.shape), align_corners=False)
    batch["pixels"] = colour(F.grid_sample(pixels, grid, align_corners=False, padding_mode="border"), chance, noise)
    keypoints = batch["keypoints"].clone()
    keypoints[..., :2] = (keypoints[..., :2] - 0.5 + move[:, None]) * factor[:, None, None] + 0.5
    batch["keypoints"] = keypoints
    return batch


def _mirror(batch: dict[str, Any], flip: Tensor, skeleton: Skeleton | None) -> None:
    pixels, keypoints, rotmat = batch["pixels"].clone(), batch["keypoints"].clone(), batch["rotmat"].clone()
    pixels[flip] = pixels[flip].flip(-1)
    if skeleton is not None:
        mirrored = keypoints[flip][:, list(skeleton.flip_permutation)]
        mirrored[..., 0] = 1 - mirrored[..., 0]
        keypoints[flip] = mirrored
    rotmat[flip] = Pose(rotmat[flip]).mirrored().rotmat
    batch.update(pixels=pixels, keypoints=keypoints, rotmat=rotmat)


def colour(pixels: Tensor, chance: Tensor, noise: CropNoise) -> Tensor:
    """Brightness, contrast and a tint for each channel, by chance[:, 4:7] and [:, 7]."""
    change = noise.colour * (2 * chance[:, 4:] - 1)
    tint = 1 + change[:, 3:] * pixels.new_tensor([1.0, 0.0, -1.0]) * 0.5
    mean = pixels.mean(dim=(1, 2, 3), keepdim=True)
    contrasted = (pixels - mean) * (1 + change[:, 1, None, None, None]) + mean
    brighter = contrasted * (1 + change[:, 0, None, None, None]) * tint[:, :, None, None]
    grey = brighter.mean(1, keepdim=True)
    return (grey + (brighter - grey) * (1 + change[:, 2, None, None, None])).clamp(0, 1)


def normalise(pixels: Tensor, spec: VisionEncoderSpec) -> Tensor:
    """0..1 squares to what the encoder takes: its columns, its mean and spread."""
    left = (spec.height_px - spec.width_px) // 2
    cut = pixels[..., left : left + spec.width_px]
    mean = pixels.new_tensor(spec.mean)[:, None, None]
    return (cut - mean) / pixels.new_tensor(spec.std)[:, None, None]
