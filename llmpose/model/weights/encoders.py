"""A vision encoder out of a folder, whatever it is called there: CLIP, SigLIP, DINOv2/v3, ConvNeXt, pose ViTs."""

from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import AutoConfig, AutoModel

from llmpose.errors import UserError
from llmpose.model.config import VisionEncoderSpec
from llmpose.model.loading import load_foreign, one_line
from llmpose.model.weights.pose_vit import import_pose_vit

_WITH_TEXT = {"clip": "vision_model", "siglip": "vision_model", "siglip2": "vision_model"}
"""Models of two towers, and where their eye is."""


def import_encoder(
    source: str | Path, name: str, *, layer: int = -1, image_size: int | None = None
) -> tuple[VisionEncoderSpec, dict[str, Tensor]]:
    """Specification and weights of an encoder, ready for `assemble(encoders=[...])`.

    Args:
        source: a folder in transformers' form, or a checkpoint file of a pose ViT.
        name: what the model calls it.
        layer: hidden state that is read.
        image_size: pixels of its input, where the configuration does not say (ConvNeXt).
    """
    source = Path(source)
    if source.is_file():
        spec, weights = import_pose_vit(source)
        return _renamed(spec, name), weights
    if not (source / "config.json").is_file():
        raise UserError(f"{source}: no config.json is there; expected the folder of a vision encoder")
    with one_line(source, "a vision encoder"):
        config: Any = AutoConfig.from_pretrained(source)
    if config.model_type in ("vitpose", "vitpose_backbone"):
        spec, weights = import_pose_vit(source)
        return _renamed(spec, name), weights
    model: Any = load_foreign(AutoModel.from_pretrained, source)
    if config.model_type in _WITH_TEXT:
        model, config = getattr(model, _WITH_TEXT[config.model_type]), config.vision_config
    spec = VisionEncoderSpec.of(name, config, layer=layer, image_size=image_size)
    return spec, model.state_dict()


def _renamed(spec: VisionEncoderSpec, name: str) -> VisionEncoderSpec:
    from dataclasses import replace

    return replace(spec, name=name)
