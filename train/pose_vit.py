"""A pose ViT in training: keypoints and rotations from crops of people (llmpose/model/pose_vit.py)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, VitPoseBackboneConfig

from llmpose.body.model import BodyModel
from llmpose.body.pose import geodesic_deg
from llmpose.body.skeleton import load_skeleton
from llmpose.errors import UserError
from llmpose.model.config import VisionEncoderSpec
from llmpose.model.conv_vit import ConvVitConfig
from llmpose.model.loading import load_or_say
from llmpose.model.pose_vit import PoseVit, PoseVitConfig, heatmap_loss
from train.crops import CropReader, Crops, normalise
from train.job import Job
from train.poses import folders
from train.runfolder import check_same_shape, find_model
from train.tokenizer import TrainingOutput, align
from train.vision import PoseVitLoss, PoseVitRecipe, VitSize, as_it_is, crops_of, spread

WITH_HEADS = "with_heads"
"""Folder inside a model's own that holds the heads too."""


class PoseVitTraining(nn.Module):
    """A pose ViT and the body it is judged on."""

    def __init__(self, vit: PoseVit, body: BodyModel, loss: PoseVitLoss, spec: VisionEncoderSpec) -> None:
        super().__init__()
        self.vit, self.body, self.loss, self.spec = vit, body, loss, spec

    def forward(
        self,
        pixels: Tensor,
        keypoints: Tensor,
        rotmat: Tensor,
        has_pose: Tensor,
        num_items_in_batch: int | None = None,
        **_: Any,
    ) -> TrainingOutput:
        """Crops in 0..1; keypoints as shares of the square; rotations where has_pose."""
        out = self.vit(normalise(pixels, self.spec))
        wanted, weight = rotmat, has_pose.float()
        with torch.no_grad():
            joints = _about_pelvis(self.body.joints(wanted))
        found = _about_pelvis(self.body.joints(out.rotmat))
        terms = {
            "keypoints": self.loss.keypoints * heatmap_loss(out.heatmap_logits, self.seen(keypoints)),
            "rotations": self.loss.rotations * weight * (out.rotmat - wanted).pow(2).mean(dim=(1, 2, 3)),
            "joints": self.loss.joints * weight * (found - joints).norm(dim=-1).mean(1),
        }
        count = num_items_in_batch or len(pixels)
        sums = {name: term.sum() / count for name, term in terms.items()}
        return TrainingOutput(torch.stack(list(sums.values())).sum(), {k: v.detach() for k, v in sums.items()})

    def seen(self, keypoints: Tensor) -> Tensor:
        """Shares of the square to shares of the columns that the encoder sees."""
        share = self.spec.width_px / self.spec.height_px
        x = (keypoints[..., :1] - 0.5) / share + 0.5
        return torch.cat([x, keypoints[..., 1:]], dim=-1)


def _about_pelvis(joints: Tensor) -> Tensor:
    return joints[:, :22] - joints[:, :1]


def build_pose_vit(recipe: PoseVitRecipe) -> Job:
    """Keypoints and rotations from crops."""
    size, skeleton = recipe.encoder, load_skeleton(recipe.skeleton)
    config = encoder_config(size)
    spec = VisionEncoderSpec.of("pose", config)
    train, tests, sources = crops_of(recipe, CropReader(spec, skeleton, margin=recipe.margin), ("image", "keypoints"))
    shape = PoseVitConfig(
        backbone_config=config,
        skeleton=skeleton.name,
        num_keypoints=skeleton.num_keypoints,
        decoder_layers=recipe.decoder_layers,
    )
    if recipe.start_from is not None:
        vit = load_pose_vit(recipe.start_from)
        check_same_shape(recipe.start_from, vit.config, shape)
    else:
        vit = PoseVit(shape)
        poses = [source.records.filter(has=("pose_rotmat",)).poses() for source in train.sources]
        vit.start_from_mean(torch.from_numpy(np.concatenate(poses)[:20000]))
    model = PoseVitTraining(vit, recipe.body.load(), recipe.loss, spec)
    return Job(
        model=model,
        train_data=train,
        collate=as_it_is,
        evaluate=lambda trained: evaluate_pose_vit(cast(PoseVitTraining, trained), tests, recipe.eval_crops),
        save=_save_pose_vit,
        components={"encoder": ("vit.backbone",), "heads": ("vit.",)},
        count=lambda batch: len(batch["pixels"]),
        sources=folders(sources),
    )


def load_pose_vit(path: str) -> PoseVit:
    """Encoder and heads of a run of this kind, or of its model folder."""
    folder = find_model(path) / WITH_HEADS
    if not folder.is_dir():
        raise UserError(f"start_from: {folder} is not there; a pose ViT goes on from a run of this kind")
    return load_or_say(PoseVit.from_pretrained, folder)


def encoder_config(size: VitSize) -> PreTrainedConfig:
    """A ViT of patches, or one that begins with convolutions."""
    if not size.stem:
        return VitPoseBackboneConfig(
            image_size=size.image,
            patch_size=[size.patch, size.patch],
            hidden_size=size.hidden_size,
            num_hidden_layers=size.num_layers,
            num_attention_heads=size.num_heads,
            layer_norm_eps=1e-6,
        )
    config = ConvVitConfig(
        image_size=size.image[0],
        stem_widths=size.stem,
        hidden_size=size.hidden_size,
        num_hidden_layers=size.num_layers,
        num_attention_heads=size.num_heads,
        mix_width=size.mix,
    )
    if size.image[0] != size.image[1] or size.image[0] % config.stride or config.stride != size.patch:
        raise UserError(
            f"encoder: {len(size.stem)} widths in stem make patches of {config.stride} on a square picture of a "
            f"multiple of that; the recipe says image {size.image}, patch {size.patch}"
        )
    return config


def evaluate_pose_vit(model: PoseVitTraining, tests: Sequence[Crops], most: int) -> dict[str, float]:
    """MPJPE, PA-MPJPE and root error of those with a pose; PCK@0.05 of the crop's side; over all held-out sources."""
    errors: dict[str, list[Tensor]] = {"mpjpe_mm": [], "pa_mpjpe_mm": [], "root_deg": [], "pck": []}
    device = next(model.parameters()).device
    for crops in tests:
        for rows in spread(crops, most):
            batch = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in crops.batch(rows).items()}
            out = model.vit(normalise(batch["pixels"], model.spec))
            posed, wanted = batch["has_pose"], model.seen(batch["keypoints"])
            a, b = (_about_pelvis(model.body.joints(r[posed])) for r in (out.rotmat, batch["rotmat"]))
            errors["mpjpe_mm"].append(1000 * (a - b).norm(dim=-1).mean(1))
            errors["pa_mpjpe_mm"].append(1000 * (align(a, b) - b).norm(dim=-1).mean(1))
            errors["root_deg"].append(geodesic_deg(out.rotmat[posed][:, 0], batch["rotmat"][posed][:, 0]))
            shown = (wanted[..., 2] > 0) & ((wanted[..., :2] > 0) & (wanted[..., :2] < 1)).all(-1)
            away = (out.keypoints_crop[..., :2] - wanted[..., :2]).norm(dim=-1)
            errors["pck"].append((away[shown] < 0.05).float())
    joined = {name: torch.cat(values) for name, values in errors.items() if values}
    return {name: values.float().mean().item() for name, values in joined.items() if len(values)}


def _save_pose_vit(model: nn.Module, folder: Path) -> None:
    """The encoder as transformers knows it; the whole model, heads and all, in a folder inside."""
    vit = cast(PoseVitTraining, model).vit
    vit.backbone.save_pretrained(folder)
    vit.save_pretrained(folder / WITH_HEADS)
