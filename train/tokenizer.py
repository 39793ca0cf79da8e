"""Stage 1: the pose tokenizer learns to give poses back (UniPose §3.1, suppl. §B.1, C.2)."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import roma
import torch
from torch import Tensor, nn

from llmpose.body.model import BodyModel, load_body_model
from llmpose.errors import UserError
from llmpose.model.loading import load_pose_tokenizer
from tokenizer_vq import PoseEncoder, PoseTokenizer, PoseTokenizerConfig
from tokenizer_vq.augment import noise_scale, orientation_noise, part_noise
from tokenizer_vq.losses import Reconstruction, Weights, distance, reconstruction_terms, squared_distance
from tokenizer_vq.quantizer import codebook_usage
from train.job import Draw, Job
from train.noise import normal, uniform
from train.poses import PoseData, PoseSource, folders, pose_sources
from train.recipe import Recipe, at_least
from train.runfolder import check_same_shape, find_model

_STREAM_TURN, _STREAM_PART, _STREAM_BEND = 1, 2, 3


@dataclass(kw_only=True)
class TokenizerModel:
    """Sizes; what they mean is in tokenizer_vq/config.py."""

    design: Literal["conv", "parts"] = "parts"
    """conv: the paper's convolutions; parts: every token belongs to a body part."""
    num_pose_tokens: int = 40
    """Tokens of one pose."""
    codebook_size: int = 2048
    """Codes that a token can be."""
    own_codes: bool = False
    """Every place of a pose has codes of its own, codebook_size / num_pose_tokens of them (fsq)."""
    hidden_size: int = 256
    """Channels inside."""
    code_width: int | None = None
    """Channels of a code; null: one per fsq level, else 256."""
    num_layers: int = 2
    """Residual blocks in the encoder, and in the decoder."""
    quantizer: Literal["ema", "fsq", "residual"] = "fsq"
    """ema: a codebook of moving averages; fsq: a fixed grid; residual: several codebooks in turn."""
    fsq_levels: list[int] = field(default_factory=list)
    """Levels of the grid; empty: chosen for codebook_size."""
    num_residual: int = 1
    """Codebooks of the residual quantizer."""
    ema_decay: float = 0.99
    """How slowly a codebook moves."""
    dead_code_threshold: float = 1.0
    """A code used less than so often (moving average) is given a new place."""
    dilation_growth: int = 3
    """Of the convolutions in deeper blocks."""
    part_tokens: dict[str, int] | None = None
    """Tokens per body part; null: divided by tokenizer_vq.config.PART_SHARES."""


@dataclass(kw_only=True)
class TokenizerLoss:
    """UniPose suppl. §B.1 Eq. 1."""

    rotations: float = 20.0
    """λ1: mean squared error of the rotation matrices."""
    vertices: float = 0.0
    """λ2: of the mesh; costs most of a step."""
    joints: float = 100.0
    """λ3: of the joints."""
    commitment: float = 1.0
    """Encoder towards its code (ema, residual)."""
    measure: Literal["distance", "squared"] = "distance"
    """For points in metres: the distance itself, or its square (as the papers' released code)."""


@dataclass(kw_only=True)
class Augment:
    """Noise on training poses; a function of seed, epoch and example (train/noise.py)."""

    yaw_deg: float = 45.0
    """Whole poses turn by up to this about z."""
    tilt_deg: float = 20.0
    """And by up to this about x and y."""
    part_noise_rad: list[float] = field(default_factory=lambda: [0.01, 0.05, 0.1])
    """Bend of one body part: the first value, then the next after part_noise_every steps; empty: none."""
    part_noise_every: int = 5000
    """Steps between levels."""
    part_noise_share: float = 0.5
    """Share of the poses that get it."""
    part_noise_target: Literal["noisy", "clean"] = "noisy"
    """noisy: a bent pose is one more pose to learn; clean: the tokenizer learns to take the noise out."""

    def __post_init__(self) -> None:
        at_least("augment.part_noise_every", self.part_noise_every, 1)


@dataclass(kw_only=True)
class BodyFile:
    """The body that turns rotations into points."""

    path: str | None = None
    """SMPL, SMPL-H or SMPL-X file; null: LLMPOSE_BODY_MODELS, else the stand-in."""
    kind: Literal["smpl", "smplh", "smplx"] = "smpl"
    """Which model the file is."""

    def load(self) -> BodyModel:
        """The body model, on the CPU."""
        return load_body_model(self.path, kind=self.kind)


@dataclass(kw_only=True)
class TokenizerRecipe(Recipe):
    """Recipe of kind `tokenizer`."""

    model: TokenizerModel = field(default_factory=TokenizerModel)
    """Architecture."""
    loss: TokenizerLoss = field(default_factory=TokenizerLoss)
    """What a reconstruction costs."""
    augment: Augment = field(default_factory=Augment)
    """Noise."""
    body: BodyFile = field(default_factory=BodyFile)
    """The body."""
    eval_poses: int = 4096
    """At most so many poses of each held-out source are measured while training."""


RECIPES: dict[str, type[Recipe]] = {"tokenizer": TokenizerRecipe}


@dataclass
class TrainingOutput:
    """What the engine reads."""

    loss: Tensor
    terms: dict[str, Tensor]


class TokenizerTraining(nn.Module):
    """A tokenizer and the body it is judged on."""

    def __init__(self, tokenizer: PoseTokenizer, body: BodyModel, loss: TokenizerLoss) -> None:
        super().__init__()
        self.tokenizer, self.body = tokenizer, body
        self.weights = Weights(loss.rotations, loss.vertices, loss.joints, loss.commitment)
        self.measure: Callable[[Tensor, Tensor], Tensor] = distance if loss.measure == "distance" else squared_distance

    def forward(
        self, rotmat: Tensor, target: Tensor | None = None, num_items_in_batch: int | None = None
    ) -> TrainingOutput:
        """rotmat (B, 22, 3, 3) goes in, `target` (itself where not given) is wanted back."""
        target = rotmat if target is None else target
        out = self.tokenizer(rotmat)
        with torch.no_grad():
            wanted = self._points(target)
        terms = reconstruction_terms(self._points(out.rotmat), wanted, self.weights, self.measure)
        count = num_items_in_batch or len(rotmat)
        sums = {name: term.sum() / count for name, term in terms.items()}
        sums["commitment"] = self.weights.commitment * out.commitment * len(rotmat) / count
        return TrainingOutput(torch.stack(list(sums.values())).sum(), {k: v.detach() for k, v in sums.items()})

    def _points(self, rotmat: Tensor) -> Reconstruction:
        if self.weights.vertices:
            points = self.body(rotmat)
            return Reconstruction(rotmat, points.joints_m[:, :22], points.vertices_m)
        return Reconstruction(rotmat, self.body.joints(rotmat)[:, :22])


class NoisyPoses:
    """Training poses with the recipe's noise on them."""

    def __init__(self, poses: PoseData, augment: Augment) -> None:
        self.poses, self.augment = poses, augment

    def __len__(self) -> int:
        return len(self.poses)

    def __getitem__(self, index: int) -> Tensor:
        return self.poses[index]

    def __getitems__(self, draw: Draw) -> dict[str, Any]:
        batch = self.poses.__getitems__(draw)
        clean = cast(Tensor, batch["rotmat"])
        a, place = self.augment, (draw.seed, draw.epoch, draw)
        if a.yaw_deg or a.tilt_deg:
            turn = uniform(*place, 3, stream=_STREAM_TURN)
            clean = orientation_noise(clean, turn, yaw_deg=a.yaw_deg, tilt_deg=a.tilt_deg)
        scale = noise_scale(draw.step, a.part_noise_rad, a.part_noise_every)
        if not scale:
            return {**batch, "rotmat": clean}
        chance = uniform(*place, 2, stream=_STREAM_PART)
        bend = normal(*place, 66, stream=_STREAM_BEND).unflatten(1, (22, 3))
        noisy = part_noise(clean, chance, bend, scale_rad=scale, share=a.part_noise_share)
        return {**batch, "rotmat": noisy, "target": noisy if a.part_noise_target == "noisy" else clean}


def build(recipe: Recipe) -> Job:
    """Model, data and measurements of stage 1."""
    assert isinstance(recipe, TokenizerRecipe)
    config = tokenizer_config(recipe.model)
    sources = pose_sources(recipe.data, recipe.data.train, has=("pose_rotmat",), seed=recipe.seed)
    held_out = pose_sources(recipe.data, recipe.data.eval, has=("pose_rotmat",), seed=recipe.seed)
    poses = PoseData(sources, recipe.data.mix)
    if config.quantizer != "fsq" and len(poses) * config.latent_length < config.codebook_size:
        raise UserError(
            f"model.codebook_size {config.codebook_size}: {len(poses)} poses of {config.latent_length} vectors each "
            "cannot fill so many codes; use more data, fewer codes, or model.quantizer=fsq"
        )
    tokenizer = PoseTokenizer(config) if recipe.start_from is None else load_tokenizer(recipe.start_from)
    if recipe.start_from is not None:
        check_same_shape(recipe.start_from, tokenizer.config, config)
    model = TokenizerTraining(tokenizer, recipe.body.load(), recipe.loss)
    tests = {source.name: first_poses(source, recipe.eval_poses) for source in held_out}
    return Job(
        model=model,
        train_data=NoisyPoses(poses, recipe.augment),
        collate=_as_it_is,
        evaluate=lambda trained: evaluate(cast(TokenizerTraining, trained), tests),
        save=_save,
        components={
            "encoder": ("tokenizer.encoder",),
            "decoder": ("tokenizer.decoder",),
            "quantizer": ("tokenizer.quantizer",),
        },
        count=lambda batch: len(batch["rotmat"]),
        sources=folders([*sources, *held_out]),
    )


def load_tokenizer(path: str | Path) -> PoseTokenizer:
    """The tokenizer of a run of stage 1, or of its own folder."""
    return load_pose_tokenizer(find_model(path))


def tokenizer_config(model: TokenizerModel) -> PoseTokenizerConfig:
    """The library's config; what does not fit together is said with the recipe's names."""
    try:
        config = PoseTokenizerConfig(**vars(model))
        with torch.device("meta"):
            PoseEncoder(config)  # the designs check themselves
        return config
    except ValueError as error:
        raise UserError(f"model: {error}") from None


def first_poses(source: PoseSource, most: int) -> Tensor:
    """Evenly spread poses of a source, at most `most`."""
    poses = torch.from_numpy(source.records.poses())
    return poses if len(poses) <= most else poses[torch.linspace(0, len(poses) - 1, most).long()]


def evaluate(model: TokenizerTraining, tests: dict[str, Tensor]) -> dict[str, float]:
    """Errors of poses that went through codes; names of all sources but the first carry the source."""
    metrics: dict[str, float] = {}
    for number, (name, poses) in enumerate(tests.items()):
        found = reconstruction_errors(model.tokenizer, model.body, poses)
        metrics.update({key if number == 0 else f"{name}_{key}": value for key, value in found.items()})
    return metrics


@torch.no_grad()
def reconstruction_errors(
    tokenizer: PoseTokenizer, body: BodyModel, poses: Tensor, *, batch: int = 1024, vertices: int = 256
) -> dict[str, float]:
    """MPJPE and PA-MPJPE over the 22 joints, about the pelvis, in mm; vertex error of the first poses; use of codes."""
    errors: list[Tensor] = []
    aligned: list[Tensor] = []
    codes: list[Tensor] = []
    found: list[Tensor] = []
    for part in poses.split(batch):
        part = part.to(body.device)
        codes.append(tokenizer.encode(part))
        found.append(tokenizer.decode(codes[-1]))
        a, b = body.joints(found[-1])[:, :22], body.joints(part)[:, :22]
        a, b = a - a[:, :1], b - b[:, :1]
        errors.append((a - b).norm(dim=-1).mean(1))
        aligned.append((align(a, b) - b).norm(dim=-1).mean(1))
    few = [body(p[:vertices]).vertices_m - body.joints(p[:vertices])[:, :1] for p in (found[0], poses.to(body.device))]
    usage, perplexity = codebook_usage(torch.cat(codes), tokenizer.config.codebook_size)
    return {
        "mpjpe_mm": 1000 * torch.cat(errors).mean().item(),
        "pa_mpjpe_mm": 1000 * torch.cat(aligned).mean().item(),
        "pve_mm": 1000 * (few[0] - few[1]).norm(dim=-1).mean().item(),
        "codebook_usage": usage,
        "perplexity": perplexity,
    }


def align(points: Tensor, onto: Tensor) -> Tensor:
    """Similarity alignment (no mirror) of each point set onto its own target, (B, J, 3)."""
    found: Any = roma.rigid_points_registration(points, onto, compute_scaling=True)
    R, t, s = found
    return s[:, None, None] * points @ R.transpose(1, 2) + t[:, None]


def _save(model: nn.Module, folder: Path) -> None:
    cast(TokenizerTraining, model).tokenizer.save_pretrained(folder)


def _as_it_is(batch: Any) -> Any:
    return batch
