"""Pose ViTs as encoders of ours: HMR2 / 4D-Humans / TokenHMR (ViT-H, 256 × 192) and ViTPose.

All of them are the same network with two sets of names: mmpose's (one matrix for queries, keys and values) and that of
transformers' `VitPoseBackbone`, which is what we load into. Their patch embeddings pad by two pixels alike.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from transformers import VitPoseBackbone, VitPoseBackboneConfig

from llmpose.errors import UserError
from llmpose.model.config import VisionEncoderSpec
from llmpose.model.loading import load_foreign, one_line
from llmpose.model.weights.checkpoint import read_tensors

PATCH = 16
HEAD_WIDTH = 80
"""Width of one attention head in ViT-H (1280 / 16); ViT-S, -B and -L have 64 (384 / 6, 768 / 12, 1024 / 16)."""

_LAYER = "encoder.layer"
_NAMES = {
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "attn.proj": "attention.output.dense",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}


def import_pose_vit(
    source: str | Path | Mapping[str, Tensor], *, num_heads: int | None = None
) -> tuple[VisionEncoderSpec, dict[str, Tensor]]:
    """The encoder's specification and weights, ready for `assemble(encoders=[...])`.

    Args:
        source: a checkpoint file (HMR2, TokenHMR, mmpose's ViTPose), a folder of transformers (a VitPoseBackbone or a
            whole VitPoseForPoseEstimation), or tensors by name.
        num_heads: where it does not follow from the width.
    """
    if isinstance(source, str | Path) and Path(source).is_dir():
        return _from_transformers(Path(source))
    named = source if isinstance(source, Mapping) else read_tensors(source)
    named = {name.removeprefix("backbone."): value for name, value in named.items() if _belongs(name, named)}
    place = source if not isinstance(source, Mapping) else "these tensors"
    if "patch_embed.proj.weight" not in named:
        raise UserError(f"{place}: no pose ViT is in there")
    with one_line(place, "a whole pose ViT"):
        config = _config_of(named, num_heads)
        model = VitPoseBackbone(config)
        _load_exactly(model, {name: value.to(torch.float32) for name, value in _renamed(named).items()})
    return VisionEncoderSpec.of("pose", config), model.state_dict()


def _belongs(name: str, named: Mapping[str, Tensor]) -> bool:
    """Lightning checkpoints of HMR2 hold a transformer head, a discriminator and SMPL beside the backbone."""
    return name.startswith("backbone.") or not any(other.startswith("backbone.") for other in named)


def _config_of(named: Mapping[str, Tensor], num_heads: int | None) -> VitPoseBackboneConfig:
    width = int(named["patch_embed.proj.weight"].shape[0])
    depth = 1 + max((int(m[1]) for name in named if (m := re.match(r"blocks\.(\d+)\.", name))), default=0)
    cells = int(named["pos_embed"].shape[1]) - 1
    rows = round((cells * 4 / 3) ** 0.5)  # 256 × 192: four rows for three columns
    if rows * rows * 3 // 4 != cells:
        raise UserError(f"a pose ViT with {cells} positions; expected a grid of 4 : 3, such as 192 = 16 × 12")
    heads = num_heads or width // (HEAD_WIDTH if width % HEAD_WIDTH == 0 and width % 64 == 0 and width > 1024 else 64)
    return VitPoseBackboneConfig(
        hidden_size=width,
        num_hidden_layers=depth,
        num_attention_heads=max(heads, 1),
        mlp_ratio=int(named["blocks.0.mlp.fc1.weight"].shape[0]) // width,
        image_size=[rows * PATCH, rows * PATCH * 3 // 4],
        patch_size=[PATCH, PATCH],
        layer_norm_eps=1e-6,
    )


def _renamed(named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    out = {
        "embeddings.patch_embeddings.projection.weight": named["patch_embed.proj.weight"],
        "embeddings.patch_embeddings.projection.bias": named["patch_embed.proj.bias"],
        "embeddings.position_embeddings": named["pos_embed"],
    }
    for kind in ("weight", "bias"):
        out[f"layernorm.{kind}"] = named[f"last_norm.{kind}"]
    for name, value in named.items():
        match = re.match(r"blocks\.(\d+)\.(.+)\.(weight|bias)$", name)
        if match is None:
            continue
        layer, part, kind = match.groups()
        if part == "attn.qkv":
            for target, piece in zip(("query", "key", "value"), value.chunk(3), strict=True):
                out[f"{_LAYER}.{layer}.attention.attention.{target}.{kind}"] = piece
        elif part in _NAMES:
            out[f"{_LAYER}.{layer}.{_NAMES[part]}.{kind}"] = value
    return out


def _load_exactly(model: VitPoseBackbone, weights: dict[str, Tensor]) -> None:
    result = model.load_state_dict(weights, strict=False)
    if result.missing_keys or result.unexpected_keys:
        raise ValueError(
            f"{len(result.missing_keys)} weights are missing ({', '.join(result.missing_keys[:3])} ...) and "
            f"{len(result.unexpected_keys)} are unknown ({', '.join(result.unexpected_keys[:3])} ...)"
        )


def _from_transformers(folder: Path) -> tuple[VisionEncoderSpec, dict[str, Tensor]]:
    from transformers import AutoConfig, VitPoseForPoseEstimation

    with one_line(folder, "a pose ViT"):
        config = AutoConfig.from_pretrained(folder)
    if config.model_type == "vitpose":
        # Loading the whole repository as a backbone matches no name at all, so the head is loaded and left.
        backbone = load_foreign(VitPoseForPoseEstimation.from_pretrained, folder).backbone
    elif config.model_type == "vitpose_backbone":
        backbone = load_foreign(VitPoseBackbone.from_pretrained, folder)
    else:
        raise UserError(f"{folder}: model_type is {config.model_type!r}; expected vitpose or vitpose_backbone")
    return VisionEncoderSpec.of("pose", backbone.config), backbone.state_dict()
