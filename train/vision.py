"""Vision encoders of one's own: a pose ViT on people's crops, a small CLIP on pictures and sentences.

The built-in world has no pretrained encoders, so it trains its own, honestly and small; on real data the pose ViT's
recipe trains one of any size. Each run's model folder is an ordinary encoder of transformers, as language stages load
it. Here are the recipes and what both kinds share; train/pose_vit.py and train/clip.py build them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from train.crops import CropNoise, CropReader, Crops
from train.job import Job
from train.poses import PoseSource, pose_sources
from train.recipe import Recipe
from train.tokenizer import BodyFile


@dataclass(kw_only=True)
class VitSize:
    """An encoder's size."""

    image: list[int] = field(default_factory=lambda: [256, 192])
    """Height and width of its input in pixels; a narrow one sees the middle columns of the square."""
    patch: int = 16
    """Pixels of a patch's side."""
    hidden_size: int = 384
    """Width."""
    num_layers: int = 12
    """Depth."""
    num_heads: int = 12
    """Attention heads."""
    stem: list[int] = field(default_factory=list)
    """Channels of convolutions that come before the transformer, each halving the map, instead of patches (pose ViT
    only; llmpose/model/conv_vit.py): [24, 32, 64] for patches of 16. Learns from fewer pictures."""
    mix: int = 0
    """With a stem: width of a last layer in which all cells meet and 4 × 4 leave, each of which can know what follows
    from the whole picture; 0: none."""


@dataclass(kw_only=True)
class VisionRecipe(Recipe):
    """What both kinds of vision recipes have."""

    encoder: VitSize = field(default_factory=VitSize)
    """The encoder."""
    noise: CropNoise = field(default_factory=CropNoise)
    """Changes to training crops."""
    margin: float = 1.2
    """Side of a crop over side of the person's box."""
    keep_crops: bool = True
    """Keep crops in memory after they were read once (0.2 MB each at 256 pixels)."""
    eval_crops: int = 512
    """At most so many held-out crops are measured."""


@dataclass(kw_only=True)
class PoseVitLoss:
    """Weights of what a pose ViT learns."""

    keypoints: float = 1.0
    """Cross-entropy of the heatmaps."""
    rotations: float = 20.0
    """Mean squared error of the rotation matrices."""
    joints: float = 10.0
    """Mean distance of the joints in metres, about the pelvis."""


@dataclass(kw_only=True)
class PoseVitRecipe(VisionRecipe):
    """Recipe of kind `vision_pose`."""

    skeleton: str = "coco17"
    """Keypoints of records with another skeleton are not used."""
    loss: PoseVitLoss = field(default_factory=PoseVitLoss)
    """What is learned."""
    decoder_layers: int = 2
    """Of the head that reads rotations; 0: straight off cells of their own, for encoders with a mix."""
    body: BodyFile = field(default_factory=BodyFile)
    """The body that turns rotations into joints."""


@dataclass(kw_only=True)
class ClipRecipe(VisionRecipe):
    """Recipe of kind `vision_clip`."""

    text_hidden_size: int = 128
    """Width of the text encoder."""
    text_layers: int = 2
    """Its depth."""
    text_tokens: int = 64
    """Longer sentences are cut."""
    vocab_size: int = 1024
    """Words of the tokenizer, learnt from the texts."""
    projection: int = 128
    """Width of the space in which pictures and sentences meet."""


RECIPES: dict[str, type[Recipe]] = {"vision_pose": PoseVitRecipe, "vision_clip": ClipRecipe}


def build(recipe: Recipe) -> Job:
    """The job of either kind."""
    if isinstance(recipe, PoseVitRecipe):
        from train.pose_vit import build_pose_vit

        return build_pose_vit(recipe)
    from train.clip import build_clip

    assert isinstance(recipe, ClipRecipe)
    return build_clip(recipe)


def crops_of(
    recipe: VisionRecipe, reader: CropReader, has: Sequence[str]
) -> tuple[Crops, list[Crops], list[PoseSource]]:
    sources = pose_sources(recipe.data, recipe.data.train, has=has, seed=recipe.seed)
    held_out = pose_sources(recipe.data, recipe.data.eval, has=has, seed=recipe.seed)
    train = Crops(sources, reader, noise=recipe.noise, keep=recipe.keep_crops, mix=recipe.data.mix)
    tests = [Crops([source], reader, noise=None, keep=True) for source in held_out]
    return train, tests, [*sources, *held_out]


def spread(crops: Crops, most: int) -> list[np.ndarray]:
    """Rows to measure, evenly spread, in parts of 64."""
    total = len(crops)
    rows = np.unique(np.linspace(0, total - 1, min(most, total)).astype(np.int64))
    return np.array_split(rows, -(-len(rows) // 64))


def as_it_is(batch: Any) -> Any:
    """Crops come as whole micro-batches; there is nothing to collate."""
    return batch
