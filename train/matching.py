"""Eyes for things of any kind: an encoder that finds the counterpart of a point in another object of the category.

The built-in world has no DINOv2, whose features match across objects by themselves. This is its small and honest
stand-in, trained on the seen categories alone. Three things are asked of the feature map, each through one matrix, so
that a language model behind it can read them off as easily:

    where is the counterpart?   the support's feature at the point against every cell of the query: a softmax over cells
    what is it called?          the feature at a point to the names of the seen categories' keypoints
    where am I?                 a cell's own place, which whoever finds the cell then has to say

Shapes: B pairs, K keypoints, P cells, C channels of the encoder.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from data.keypoints import MARGIN, KeypointObjects, ObjectCrop, ObjectNoise
from data.record_set import RecordSet
from llmpose.errors import UserError
from llmpose.model.config import VisionEncoderSpec
from llmpose.model.prompts import patch_centres
from llmpose.model.vision import VisionEncoder
from train.job import Draw, Job
from train.pose_vit import encoder_config
from train.recipe import Recipe, Source, at_least
from train.tokenizer import TrainingOutput
from train.vision import VitSize, as_it_is

UNNAMED = -1
NEAR = 0.2 / MARGIN
"""PCK@0.2 of the box, in sides of the crop."""


@dataclass(kw_only=True)
class MatchLoss:
    """Weights of what is learned."""

    match: float = 1.0
    """Cross-entropy of the counterpart's cell."""
    name: float = 0.3
    """Cross-entropy of the keypoint's name."""
    place: float = 1.0
    """Mean squared error of a cell's own place, in sides of the image."""


@dataclass(kw_only=True)
class MatchRecipe(Recipe):
    """Recipe of kind `vision_match`."""

    encoder: VitSize = field(default_factory=VitSize)
    """The encoder; it sees squares."""
    width: int = 64
    """Of the space in which points and cells are compared."""
    noise: ObjectNoise = field(default_factory=ObjectNoise)
    """What happens to training crops."""
    margin: float = MARGIN
    """A crop's side, in sides of the box."""
    keep_crops: bool = True
    """Crops stay in memory once they were cut."""
    eval_pairs: int = 256
    """Held-out pairs that are measured."""
    loss: MatchLoss = field(default_factory=MatchLoss)
    """What is learned."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("width", self.width, 1)
        if self.encoder.image[0] != self.encoder.image[1]:
            raise UserError(f"encoder.image is {self.encoder.image}; things are seen in squares")


RECIPES: dict[str, type[Recipe]] = {"vision_match": MatchRecipe}


# --- pairs of objects -------------------------------------------------------------------------------------------------


class Pairs:
    """Every object with another one of its category, drawn anew each time; a pure function of seed, epoch, index."""

    def __init__(self, sets: Sequence[KeypointObjects], names: Sequence[str], noise: ObjectNoise | None) -> None:
        self.sets, self.noise = list(sets), noise
        self.names = {name: place for place, name in enumerate(names)}
        self.places = [(which, row) for which, objects in enumerate(self.sets) for row in range(len(objects))]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.batch([index], seed=0, epoch=0)

    def __getitems__(self, draw: Draw) -> dict[str, Any]:
        return self.batch(draw, seed=draw.seed, epoch=draw.epoch)

    def batch(self, indices: Sequence[int], *, seed: int, epoch: int) -> dict[str, Any]:
        """pixels (2B,3,S,S) in 0..1, queries first; points (2B,K,3) x, y, shown; name (B,K); record_ids."""
        queries: list[ObjectCrop] = []
        supports: list[ObjectCrop] = []
        names: list[list[int]] = []
        ids: list[str] = []
        for index in indices:
            which, row = self.places[index]
            objects, rng = self.sets[which], Random(f"{seed} {epoch} {index}")
            other = rng.choice(objects.others(row) or [row])
            queries.append(objects.crop(row, self.noise, rng))
            supports.append(objects.crop(other, self.noise, rng))
            names.append([self.names.get(name, UNNAMED) for name in objects.names(row)])
            ids.append(objects.records[row].id)
        both = [*queries, *supports]
        most = max(len(own) for own in names)
        points = np.zeros((len(both), most, 3), np.float32)
        for place, crop in enumerate(both):
            points[place, : len(crop.points)] = crop.points
        pixels = torch.from_numpy(np.stack([np.asarray(crop.image) for crop in both]))
        return {
            "pixels": pixels.permute(0, 3, 1, 2).float() / 255,
            "points": torch.from_numpy(points),
            "name": torch.tensor([own + [UNNAMED] * (most - len(own)) for own in names]),
            "record_ids": ids,
        }


def objects_of(recipe: MatchRecipe, sources: dict[str, Source]) -> list[KeypointObjects]:
    found: list[KeypointObjects] = []
    for source in sources.values():
        records = RecordSet.load(recipe.data.folder(source))
        if source.split is not None:
            records = records.filter(split=source.split)
        size, keep = recipe.encoder.image[0], recipe.keep_crops
        found.append(KeypointObjects(records, size_px=size, margin=recipe.margin, keep=keep))
    return found


# --- the model --------------------------------------------------------------------------------------------------------


class Matcher(nn.Module):
    """An encoder, and the three matrices that ask it."""

    def __init__(self, spec: VisionEncoderSpec, width: int, num_names: int, loss: MatchLoss) -> None:
        super().__init__()
        self.spec, self.loss = spec, loss
        self.encoder = VisionEncoder(spec)
        self.match = nn.Linear(spec.width, width)
        self.name = nn.Linear(spec.width, num_names)
        self.place = nn.Linear(spec.width, 2)
        self.log_scale = nn.Parameter(torch.tensor(2.3))

    def features(self, pixels: Tensor) -> Tensor:
        """Crops in 0..1 to (N, C, h, w)."""
        mean, std = (pixels.new_tensor(values)[:, None, None] for values in (self.spec.mean, self.spec.std))
        return self.encoder((pixels - mean) / std)

    def scores(self, asked: Tensor, cells: Tensor) -> Tensor:
        """(B, K, C) features at points against (B, P, C) cells: (B, K, P)."""
        points, cells = (F.normalize(self.match(x), dim=-1) for x in (asked, cells))
        return self.log_scale.exp().clamp(max=100.0) * points @ cells.transpose(1, 2)

    def forward(
        self, pixels: Tensor, points: Tensor, name: Tensor, num_items_in_batch: int | None = None, **_: Any
    ) -> TrainingOutput:
        """A mean over the pairs of a batch; a pair counts alike, however many keypoints it shows."""
        features, half = self.features(pixels), len(pixels) // 2
        cells = features.flatten(2).transpose(1, 2)
        at_points = sampled(features, points)
        shown = points[..., 2] > 0
        both = shown[:half] & shown[half:]
        match = pixels.new_zeros(half)
        for a, b in ((slice(0, half), slice(half, None)), (slice(half, None), slice(0, half))):
            wanted = cell_weights(points[b], self.spec.grid)
            match = match + mean_where(-(wanted * self.scores(at_points[a], cells[b]).log_softmax(-1)).sum(-1), both)
        twice = torch.cat([name, name])
        known = shown & (twice != UNNAMED)
        logits = self.name(at_points).transpose(1, 2)
        named = F.cross_entropy(logits, twice.where(known, 0), reduction="none")
        centres = patch_centres(self.spec.grid, pixels.device)
        away = (self.place(cells) - centres).pow(2).sum(-1).mean(1)
        terms = {
            "match": self.loss.match * match / 2,
            "name": self.loss.name * mean_where(named, known).view(2, half).mean(0),
            "place": self.loss.place * away.view(2, half).mean(0),
        }
        count = num_items_in_batch or half
        sums = {key: term.sum() / count for key, term in terms.items()}
        return TrainingOutput(torch.stack(list(sums.values())).sum(), {k: v.detach() for k, v in sums.items()})

    def found(self, pixels: Tensor, points: Tensor) -> Tensor:
        """(B, K, 2): the counterparts in the queries of what the supports show, as shares of the crop."""
        features, half = self.features(pixels), len(pixels) // 2
        scores = self.scores(sampled(features[half:], points[half:]), features[:half].flatten(2).transpose(1, 2))
        return patch_centres(self.spec.grid, pixels.device)[scores.argmax(-1)]


def sampled(features: Tensor, points: Tensor) -> Tensor:
    """(N, C, h, w) at (N, K, 2+) shares of the image: (N, K, C), between cells by their distance."""
    grid = points[:, :, None, :2] * 2 - 1
    return F.grid_sample(features, grid, padding_mode="border", align_corners=False)[..., 0].transpose(1, 2)


def cell_weights(points: Tensor, grid: tuple[int, int]) -> Tensor:
    """(N, K, P): each point shared out among the four cells around it, so that places between cells are told."""
    rows, columns = grid
    x = (points[..., 0] * columns - 0.5).clamp(0, columns - 1)
    y = (points[..., 1] * rows - 0.5).clamp(0, rows - 1)
    across = (1 - (x[..., None] - torch.arange(columns, device=x.device)).abs()).clamp(min=0)
    down = (1 - (y[..., None] - torch.arange(rows, device=y.device)).abs()).clamp(min=0)
    return (down[..., :, None] * across[..., None, :]).flatten(-2)


def mean_where(values: Tensor, chosen: Tensor) -> Tensor:
    """Mean over the last axis of those chosen; 0 where none is."""
    return (values * chosen).sum(-1) / chosen.sum(-1).clamp(min=1)


def build(recipe: Recipe) -> Job:
    """An encoder that matches."""
    assert isinstance(recipe, MatchRecipe)
    spec = VisionEncoderSpec.of("things", encoder_config(recipe.encoder))
    seen, unseen = objects_of(recipe, recipe.data.train), objects_of(recipe, recipe.data.eval)
    if not seen:
        raise UserError("data.train: no source; name one, like data.train.things.records=records/things")
    names = sorted({name for objects in seen for row in range(len(objects)) for name in objects.names(row)})
    model = Matcher(spec, recipe.width, len(names), recipe.loss)
    held_out = Pairs(unseen, names, None)
    return Job(
        model=model,
        train_data=Pairs(seen, names, recipe.noise),
        collate=as_it_is,
        evaluate=(lambda trained: evaluate_matcher(cast(Matcher, trained), held_out, recipe)) if unseen else None,
        save=_save,
        components={"encoder": ("encoder",), "heads": ("",)},
        count=lambda batch: len(batch["pixels"]) // 2,
        sources=[recipe.data.folder(source) for source in (*recipe.data.train.values(), *recipe.data.eval.values())],
    )


def evaluate_matcher(model: Matcher, pairs: Pairs, recipe: MatchRecipe) -> dict[str, float]:
    """PCK@0.2 of the box over keypoints that both objects show."""
    device = next(model.parameters()).device
    hits: list[Tensor] = []
    rows = np.unique(np.linspace(0, len(pairs) - 1, min(recipe.eval_pairs, len(pairs))).astype(np.int64))
    near = NEAR * MARGIN / recipe.margin
    for part in np.array_split(rows, -(-len(rows) // 32)):
        batch = pairs.batch(part.tolist(), seed=0, epoch=0)
        points = batch["points"].to(device)
        found, half = model.found(batch["pixels"].to(device), points), len(part)
        both = (points[:half, :, 2] > 0) & (points[half:, :, 2] > 0)
        hits.append(((found - points[:half, :, :2]).norm(dim=-1) < near)[both])
    return {"pck": torch.cat(hits).float().mean().item()}


def _save(model: nn.Module, folder: Path) -> None:
    """The encoder as transformers knows it."""
    cast(Any, cast(Matcher, model).encoder.model).save_pretrained(folder)
