"""A ViT that begins with convolutions: maps, files, and that a frozen one is not moved by training."""

from pathlib import Path

import pytest
import torch
from torch import nn

from llmpose.model.config import VisionEncoderSpec
from llmpose.model.conv_vit import ConvVit, ConvVitConfig
from llmpose.model.pose_vit import PartCells, PoseVit, PoseVitConfig
from llmpose.model.vision import Vision
from llmpose.model.weights.encoders import import_encoder
from tokenizer_vq.config import BODY_PARTS

SMALL = ConvVitConfig(image_size=32, stem_widths=[4, 6, 8], hidden_size=16, num_hidden_layers=1, num_attention_heads=2)


def test_cells_lie_over_the_square_in_reading_order() -> None:
    spec = VisionEncoderSpec.of("pose", SMALL)
    assert (spec.grid, spec.width, spec.height_px) == ((2, 2), 16, 32)
    vision = Vision([spec]).eval()
    pixels = {"pose": torch.zeros(1, 3, 32, 32)}
    assert vision(pixels).shape == (1, 4, 16)
    torch.manual_seed(0)
    stem = ConvVit(ConvVitConfig(**{**SMALL.to_diff_dict(), "image_size": 128})).eval().stem
    dark, spot = torch.zeros(1, 3, 128, 128), torch.zeros(1, 3, 128, 128)
    spot[:, :, 100:108, 20:28] = 5.0
    change = (stem(spot) - stem(dark)).detach().abs().sum(1)[0]
    row, column = (float((change.sum(1 - axis) * torch.arange(8)).sum() / change.sum()) for axis in (0, 1))
    assert abs(row - 6) < 0.7, "the spot lies in the seventh row of eight"
    assert abs(column - 1) < 0.7, "and in the second column"


def test_a_saved_encoder_is_imported_with_its_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = ConvVit(SMALL).eval()
    model.save_pretrained(tmp_path)
    spec, weights = import_encoder(tmp_path, "pose")
    vision = Vision([spec]).eval()
    vision.encoders["pose"].model.load_state_dict(weights)
    pixels = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(vision({"pose": pixels}), model(pixels).last_hidden_state)


def test_a_frozen_encoder_sees_the_same_in_training() -> None:
    vision = Vision([VisionEncoderSpec.of("pose", SMALL)]).requires_grad_(False)
    pixels = {"pose": torch.randn(4, 3, 32, 32)}
    before = vision.eval()(pixels)
    during = vision.train()(pixels)
    torch.testing.assert_close(during, before)
    torch.testing.assert_close(vision.eval()(pixels), before)


def test_an_encoder_that_trains_is_in_training_mode() -> None:
    vision = Vision([VisionEncoderSpec.of("pose", SMALL)]).train()
    assert vision.encoders["pose"].model.training


def test_what_leaves_the_mix_lies_on_a_coarser_grid_and_knows_the_whole_picture() -> None:
    torch.manual_seed(0)
    config = ConvVitConfig(**{**SMALL.to_diff_dict(), "image_size": 64, "mix_width": 16, "mix_grid": 2})
    spec = VisionEncoderSpec.of("pose", config)
    assert spec.grid == (2, 2)
    model = ConvVit(config).eval()
    dark, spot = torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 64)
    spot[:, :, 60:, 60:] = 9.0
    local = model(spot).hidden_states[0] - model(dark).hidden_states[0]
    mixed = model(spot).last_hidden_state - model(dark).last_hidden_state
    assert (local.shape, mixed.shape) == ((1, 16, 16), (1, 4, 16))
    assert mixed.abs().amax(2).min() > 0, "every cell hears of the spot in the corner"


def test_a_part_of_the_body_is_read_off_its_own_cells() -> None:
    torch.manual_seed(0)
    head = PartCells(8, 16)
    features = torch.randn(1, 16, 8)
    before = head(features)
    features[:, -3:] += 1.0  # the right arm's
    changed = (head(features) - before).abs().amax((0, 2)) > 0
    assert changed.nonzero().flatten().tolist() == list(BODY_PARTS["right_arm"])


@pytest.mark.parametrize("layers", [0, 1])
def test_a_pose_vit_learns_through_it(layers: int) -> None:
    torch.manual_seed(0)
    config = ConvVitConfig(**{**SMALL.to_diff_dict(), "mix_width": 0 if layers else 32, "mix_grid": 4})
    vit = PoseVit(PoseVitConfig(backbone_config=config, decoder_layers=layers)).train()
    pixels = torch.randn(4, 3, 32, 32)
    wanted = torch.linalg.qr(torch.randn(4, 22, 3, 3)).Q
    wanted = wanted * torch.linalg.det(wanted)[..., None, None]
    optimizer = torch.optim.Adam(vit.parameters(), 3e-3)
    losses = []
    for _ in range(120):
        out = vit(pixels)
        assert out.rotmat is not None
        assert out.heatmap_logits is not None
        loss = nn.functional.mse_loss(out.rotmat, wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert out.heatmap_logits.shape == (4, 17, 8, 8)
    assert losses[-1] < 0.4 * losses[0]
