"""Any encoders, one grid; every cell where the picture has it."""

import pytest
import torch
from tiny_models import random_pixels, tiny_model
from transformers import (
    AutoModel,
    CLIPVisionConfig,
    ConvNextConfig,
    Dinov2Config,
    DINOv3ConvNextConfig,
    DINOv3ViTConfig,
    PreTrainedConfig,
    SiglipVisionConfig,
    VitPoseBackbone,
    VitPoseBackboneConfig,
)

from llmpose.errors import UserError
from llmpose.model.config import VisionEncoderSpec
from llmpose.model.vision import Projector, Vision

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
CONFIGS: dict[str, PreTrainedConfig] = {
    "clip": CLIPVisionConfig(**SMALL, image_size=32, patch_size=8),
    "siglip": SiglipVisionConfig(**SMALL, image_size=32, patch_size=8),
    "dinov2": Dinov2Config(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=8),
    "convnext": ConvNextConfig(hidden_sizes=[4, 8, 12, 16], depths=[1, 1, 1, 1], image_size=128),
    "dinov3": DINOv3ViTConfig(**SMALL, image_size=32, patch_size=8, num_register_tokens=4),
    "dinov3_convnext": DINOv3ConvNextConfig(hidden_sizes=[4, 8, 12, 16], depths=[1, 1, 1, 1], image_size=128),
    "pose": VitPoseBackboneConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=[32, 24], patch_size=[8, 8]
    ),
}


def pixels_for(*specs: VisionEncoderSpec, count: int = 2) -> dict[str, torch.Tensor]:
    return {spec.name: torch.randn(count, 3, spec.height_px, spec.width_px) for spec in specs}


@pytest.mark.parametrize("name", list(CONFIGS))
def test_every_encoder_of_transformers_gives_a_map_over_the_square(name: str):
    spec = VisionEncoderSpec.of(name, CONFIGS[name], **({"image_size": 128} if "convnext" in name else {}))
    vision = Vision([spec]).eval()
    features = vision(pixels_for(spec))
    assert features.shape == (2, 16, 16)
    assert spec.grid == (4, 4)


def test_clip_features_are_the_patches_of_the_layer_that_was_asked_for():
    spec = VisionEncoderSpec.of("clip", CONFIGS["clip"], layer=-2)
    vision = Vision([spec]).eval()
    bare = AutoModel.from_config(spec.encoder_config()).eval()
    bare.load_state_dict(vision.encoders["clip"].model.state_dict())
    pixels = pixels_for(spec)
    expected = bare(pixels["clip"], output_hidden_states=True).hidden_states[-2][:, 1:]
    torch.testing.assert_close(vision(pixels), expected)


def test_a_narrow_encoder_fills_the_middle_columns_and_zeros_the_sides():
    spec = VisionEncoderSpec.of("pose", CONFIGS["pose"])
    vision = Vision([spec]).eval()
    pixels = pixels_for(spec)
    bare = vision.encoders["pose"].model
    assert isinstance(bare, VitPoseBackbone)
    own = bare(pixels["pose"]).feature_maps[-1].unflatten(1, (4, 3))
    square = vision(pixels).unflatten(1, (4, 4))
    torch.testing.assert_close(square[:, :, :3], own)
    assert (square[:, :, 3] == 0).all()


def test_maps_are_resized_to_the_first_grid_and_stand_side_by_side():
    first = VisionEncoderSpec.of("clip", CLIPVisionConfig(**SMALL, image_size=48, patch_size=8))
    second = VisionEncoderSpec.of("dino", CONFIGS["dinov2"])
    vision = Vision([first, second]).eval()
    pixels = pixels_for(first, second)
    features = vision(pixels)
    assert features.shape == (2, 36, 32)
    torch.testing.assert_close(features[..., :16], Vision.forward(_only(vision, 0), pixels))


def _only(vision: Vision, index: int) -> Vision:
    alone = Vision([vision.specs[index]]).eval()
    alone.encoders = torch.nn.ModuleDict({vision.specs[index].name: vision.encoders[vision.specs[index].name]})
    return alone


def test_the_projector_is_one_matrix_or_two():
    features = torch.randn(2, 3, 8)
    linear, mlp = Projector("linear", 8, 4), Projector("mlp2", 8, 4)
    torch.testing.assert_close(linear(features), features @ linear.linear_1.weight.T + linear.linear_1.bias)
    assert mlp.linear_2 is not None
    expected = mlp.linear_2(torch.nn.functional.gelu(mlp.linear_1(features)))
    torch.testing.assert_close(mlp(features), expected)


def test_frozen_encoders_keep_no_graph_and_trained_ones_do():
    model = tiny_model()
    for parameter in model.vision.parameters():
        parameter.requires_grad_(False)
    assert not model.encode_images(random_pixels(1)).requires_grad
    model.vision.encoders["pose"].requires_grad_(True)
    assert model.encode_images(random_pixels(1)).requires_grad


def test_missing_pixels_and_unknown_encoders_are_named():
    with pytest.raises(UserError, match="pixels for pose are missing; given were clip"):
        tiny_model().encode_images({"clip": random_pixels(1)["clip"]})
    with pytest.raises(UserError, match="model_type is 'nothing'"):
        VisionEncoderSpec.of("x", {"model_type": "nothing"})
