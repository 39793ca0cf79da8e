"""The tokenizer from outside: codes, shapes, files, and that it learns."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tokenizer_vq import PoseTokenizer, PoseTokenizerConfig
from tokenizer_vq.parts import token_parts

DESIGNS: dict[str, dict[str, Any]] = {
    "parts-fsq": {"num_pose_tokens": 20, "codebook_size": 64, "hidden_size": 32},
    "parts-ema": {"num_pose_tokens": 20, "codebook_size": 16, "hidden_size": 32, "quantizer": "ema", "code_width": 8},
    "parts-residual": {
        "num_pose_tokens": 20,
        "num_residual": 2,
        "codebook_size": 16,
        "hidden_size": 32,
        "quantizer": "residual",
        "code_width": 8,
    },
    "conv-ema": {"design": "conv", "num_pose_tokens": 40, "codebook_size": 16, "hidden_size": 16, "quantizer": "ema"},
    "conv-fsq": {"design": "conv", "num_pose_tokens": 20, "codebook_size": 64, "hidden_size": 16},
    "conv-residual": {
        "design": "conv",
        "num_pose_tokens": 40,
        "num_residual": 2,
        "codebook_size": 16,
        "hidden_size": 16,
        "quantizer": "residual",
    },
}


@pytest.fixture(params=list(DESIGNS))
def tokenizer(request: pytest.FixtureRequest, poses: Tensor) -> PoseTokenizer:
    """Every design, once through training so that learned codebooks have begun."""
    torch.manual_seed(0)
    model = PoseTokenizer(PoseTokenizerConfig(**DESIGNS[request.param]))
    model.train()
    model(poses)
    return model.eval()


def test_codes_are_in_range_and_decode_to_rotations(tokenizer: PoseTokenizer, poses: Tensor) -> None:
    codes = tokenizer.encode(poses)
    assert codes.shape == (64, tokenizer.config.num_pose_tokens)
    assert codes.dtype == torch.int64
    assert 0 <= codes.min() <= codes.max() < tokenizer.config.codebook_size
    rotmat = tokenizer.decode(codes)
    assert rotmat.shape == (64, 22, 3, 3)
    assert torch.allclose(rotmat @ rotmat.mT, torch.eye(3).expand_as(rotmat), atol=1e-5)
    assert torch.allclose(torch.linalg.det(rotmat), torch.ones(64, 22), atol=1e-5)


def test_any_row_of_codes_is_a_pose(tokenizer: PoseTokenizer) -> None:
    generator = torch.Generator().manual_seed(1)
    shape = (8, tokenizer.config.num_pose_tokens)
    codes = torch.randint(tokenizer.config.codebook_size, shape, generator=generator)
    rotmat = tokenizer.decode(codes)
    assert torch.allclose(torch.linalg.det(rotmat), torch.ones(8, 22), atol=1e-5)


def test_the_way_through_codes_is_the_way_of_training(tokenizer: PoseTokenizer, poses: Tensor) -> None:
    with torch.no_grad():
        out = tokenizer(poses)
    assert torch.equal(out.codes, tokenizer.encode(poses))
    assert torch.allclose(out.rotmat, tokenizer.decode(out.codes), atol=1e-6)


def test_a_pose_has_the_same_codes_alone_and_in_a_batch(tokenizer: PoseTokenizer, poses: Tensor) -> None:
    together = tokenizer.encode(poses)
    alone = torch.cat([tokenizer.encode(pose[None]) for pose in poses[:8]])
    assert torch.equal(together[:8], alone)


def test_encoding_does_not_move_a_codebook_in_training(poses: Tensor) -> None:
    model = PoseTokenizer(PoseTokenizerConfig(**DESIGNS["conv-ema"])).train()
    model(poses)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.encode(poses)
    assert model.quantizer.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_saved_and_loaded_it_gives_the_same_codes_and_poses(
    tokenizer: PoseTokenizer, poses: Tensor, tmp_path: Path
) -> None:
    tokenizer.save_pretrained(tmp_path)
    again = PoseTokenizer.from_pretrained(tmp_path).eval()
    codes = tokenizer.encode(poses)
    assert torch.equal(again.encode(poses), codes)
    assert torch.equal(again.decode(codes), tokenizer.decode(codes))
    assert list(tmp_path.glob("*.bin")) == []


def test_numbers_are_float32_inside_bfloat16_autocast(tokenizer: PoseTokenizer, poses: Tensor) -> None:
    plain = tokenizer.encode(poses)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = tokenizer.encode(poses)
        rotmat = tokenizer.decode(inside)
    assert torch.equal(plain, inside)
    assert rotmat.dtype == torch.float32


@pytest.mark.parametrize("design", ["parts-fsq", "conv-ema"])
def test_gradients_reach_every_weight(design: str, poses: Tensor) -> None:
    model = PoseTokenizer(PoseTokenizerConfig(**DESIGNS[design])).train()
    # Zero-started layers hide what is before them in the first step, so let them move once.
    for weight in model.parameters():
        if not weight.any():
            torch.nn.init.normal_(weight, std=0.02)
    out = model(poses)
    (out.rotmat.square().sum() + (out.rotmat * poses).sum() + out.commitment).backward()
    missing = [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert missing == []


@pytest.mark.parametrize("design", ["parts-fsq", "conv-ema"])
def test_it_learns(design: str, poses: Tensor) -> None:
    torch.manual_seed(0)
    model = PoseTokenizer(PoseTokenizerConfig(**DESIGNS[design])).train()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    losses = []
    for _ in range(30):
        out = model(poses)
        loss = (out.rotmat - poses).square().mean()
        optimizer.zero_grad()
        (loss + 0.02 * out.commitment).backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


def test_a_part_token_moves_its_own_part_only(poses: Tensor) -> None:
    """Seen from the pelvis, joints of other parts stay exactly where they are."""
    from tokenizer_vq.config import BODY_PARTS
    from tokenizer_vq.rotations import to_pelvis_frame

    torch.manual_seed(0)
    config = PoseTokenizerConfig(**DESIGNS["parts-fsq"])
    model = PoseTokenizer(config).eval()
    codes = model.encode(poses)
    before = to_pelvis_frame(model.decode(codes))
    for place, part in enumerate(token_parts(config)):
        changed = codes.clone()
        changed[:, place] = (changed[:, place] + 1) % config.codebook_size
        moved = (to_pelvis_frame(model.decode(changed)) - before).abs().amax(dim=(0, 2, 3)) > 1e-5
        assert set(moved.nonzero().flatten().tolist()) <= set(BODY_PARTS[part]), part
        assert moved.any(), part


def test_a_part_of_the_body_changes_its_own_tokens_only(poses: Tensor) -> None:
    config = PoseTokenizerConfig(**DESIGNS["parts-fsq"])
    torch.manual_seed(0)
    model = PoseTokenizer(config).eval()
    bent = poses.clone()
    bent[:, 18] = poses[:, 18] @ poses.roll(1, 0)[:, 18]  # the left elbow
    changed = (model.encode(bent) != model.encode(poses)).any(0)
    parts = [part for part, differs in zip(token_parts(config), changed, strict=True) if differs]
    assert set(parts) == {"left_arm"}


def test_a_truncated_file_is_an_error_not_a_model(tokenizer: PoseTokenizer, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ValueError, match=rf"{tmp_path}: cannot be loaded: .*") as caught:
        PoseTokenizer.from_pretrained(tmp_path)
    assert "\n" not in str(caught.value)


def test_weights_of_another_model_are_refused_not_half_loaded(tokenizer: PoseTokenizer, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    tokenizer.save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    first = sorted(state)[0]
    others = {
        "lacks": {name: value for name, value in state.items() if name != first},
        "holds": {**state, "another.weight": torch.zeros(3)},
        rf"{first} is \(3, 5\), config.json makes it": {**state, first: torch.zeros(3, 5)},
    }
    for says, weights in others.items():
        save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(ValueError, match=says):
            PoseTokenizer.from_pretrained(tmp_path)
