"""Checkpoints in TokenHMR's and UniPose's layout, with random weights: ours gives what theirs computes."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tokenizer_vq.importer import import_pose_vqvae
from tokenizer_vq.rotations import rot6d_to_rotmat, rotmat_to_rot6d

WIDTH, CODE, CODES, DEPTH = 8, 6, 16, 2


def checkpoint(layout: str) -> dict[str, Tensor]:
    """Names and shapes as the released files have them; numbers are ours."""
    generator = torch.Generator().manual_seed(0)
    state: dict[str, Tensor] = {}

    def conv(name: str, out: int, into: int, kernel: int) -> None:
        state[f"{name}.weight"] = torch.randn(out, into, kernel, generator=generator) * (into * kernel) ** -0.5
        state[f"{name}.bias"] = torch.randn(out, generator=generator) * 0.1

    def resnet(name: str) -> None:
        for block in range(DEPTH):
            conv(f"{name}.model.{block}.conv1", WIDTH, WIDTH, 3)
            conv(f"{name}.model.{block}.conv2", WIDTH, WIDTH, 1)

    nested = layout == "tokenhmr"
    for n, into in ((0, 6), (3, WIDTH), (6, WIDTH), (9, WIDTH)):  # entrance, 40 vectors, doubled, doubled
        conv(f"encoder.encoder.{n}", WIDTH, into, 3)
    conv(f"encoder.encoder.{'11.0' if nested else '11'}", WIDTH, WIDTH, 4)
    resnet(f"encoder.encoder.{'11.1' if nested else '12'}")
    conv(f"encoder.encoder.{'12' if nested else '13'}", CODE, WIDTH, 3)
    conv("decoder.decoder.0", WIDTH, CODE, 3)
    for n in (3, 6, 9, 12):
        conv(f"decoder.decoder.{n}", WIDTH, WIDTH, 3)
    resnet(f"decoder.decoder.{'14.0' if nested else '14'}")
    conv(f"decoder.decoder.{'14.1' if nested else '15'}", WIDTH, WIDTH, 3)
    conv(f"decoder.decoder.{'15' if nested else '16'}", 6, WIDTH, 3)
    state["quantizer.codebook"] = torch.randn(CODES, CODE, generator=generator)
    return state


def reference(state: dict[str, Tensor], layout: str, rotmat: Tensor) -> tuple[Tensor, Tensor]:
    """The published forward pass, written out over the checkpoint's own names: codes and 6D rotations (rows)."""
    nested = layout == "tokenhmr"

    def conv(name: str, x: Tensor, **more: int) -> Tensor:
        return F.conv1d(x, state[f"{name}.weight"], state[f"{name}.bias"], **more)

    def resnet(name: str, x: Tensor) -> Tensor:
        for block, dilation in enumerate((3, 1)):
            y = conv(f"{name}.model.{block}.conv1", F.relu(x), padding=dilation, dilation=dilation)
            x = x + conv(f"{name}.model.{block}.conv2", F.relu(y))
        return x

    x = rotmat[..., :2, :].flatten(-2).transpose(1, 2)
    x = F.relu(conv("encoder.encoder.0", x, padding=1))
    for n, length in ((3, 40), (6, 80), (9, 160)):
        x = F.relu(conv(f"encoder.encoder.{n}", F.interpolate(x, size=length), padding=1))
    x = conv(f"encoder.encoder.{'11.0' if nested else '11'}", x, stride=2, padding=1)
    x = conv(
        f"encoder.encoder.{'12' if nested else '13'}",
        resnet(f"encoder.encoder.{'11.1' if nested else '12'}", x),
        padding=1,
    )
    codes = torch.cdist(x.transpose(1, 2), state["quantizer.codebook"]).argmin(-1)
    joints = rotmat.shape[1]
    x = F.relu(conv("decoder.decoder.0", state["quantizer.codebook"][codes].transpose(1, 2), padding=1))
    for n, step in ((3, 3), (6, 2), (9, 1), (12, 0)):
        x = F.relu(
            conv(f"decoder.decoder.{n}", F.interpolate(x, size=int(joints + (80 - joints) * step / 4)), padding=1)
        )
    x = resnet(f"decoder.decoder.{'14.0' if nested else '14'}", x)
    x = conv(f"decoder.decoder.{'14.1' if nested else '15'}", x, padding=1)
    return codes, conv(f"decoder.decoder.{'15' if nested else '16'}", x, padding=1).transpose(1, 2)


@pytest.mark.parametrize(("layout", "key"), [("tokenhmr", "net"), ("unipose", "state_dict")])
def test_it_computes_what_the_checkpoint_computes(layout: str, key: str, poses: Tensor, tmp_path: Path) -> None:
    state = checkpoint(layout)
    torch.save({key: {**state, "body_model.faces": torch.zeros(3)}, "epoch": 7}, tmp_path / "theirs.pth")
    model = import_pose_vqvae(tmp_path / "theirs.pth")
    assert model.config.num_pose_tokens == 80
    assert (model.config.codebook_size, model.config.code_width, model.config.hidden_size) == (CODES, CODE, WIDTH)
    inside = poses if layout == "unipose" else poses[:, 1:]
    codes, rot6d = reference(state, layout, inside)
    assert torch.equal(model.encode(poses), codes)
    rotmat = model.decode(codes)
    if layout == "tokenhmr":
        assert torch.allclose(rotmat[:, 0], torch.eye(3).expand(64, 3, 3))
        rotmat = rotmat[:, 1:]
    assert torch.allclose(rotmat, rot6d_to_rotmat(rot6d, "rows"), atol=1e-5)
    assert torch.allclose(rotmat_to_rot6d(rotmat, "rows"), rotmat[..., :2, :].flatten(-2))


def test_it_is_found_inside_a_larger_model_and_saved_as_ours(poses: Tensor, tmp_path: Path) -> None:
    from tokenizer_vq import PoseTokenizer

    state = {f"model.pose_vqvae.{name}": value for name, value in checkpoint("unipose").items()}
    torch.save({"state_dict": {**state, "model.head.weight": torch.zeros(2)}}, tmp_path / "theirs.pth")
    model = import_pose_vqvae(tmp_path / "theirs.pth")
    model.save_pretrained(tmp_path / "ours")
    again = PoseTokenizer.from_pretrained(tmp_path / "ours").eval()
    assert torch.equal(again.encode(poses), model.encode(poses))


def test_what_is_no_pose_vqvae_is_said(tmp_path: Path) -> None:
    torch.save({"net": {"backbone.weight": torch.zeros(3)}}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other.pth: no pose VQ-VAE in it; .* found backbone"):
        import_pose_vqvae(tmp_path / "other.pth")
    state = checkpoint("unipose")
    del state["decoder.decoder.12.weight"]
    torch.save({"net": state}, tmp_path / "short.pth")
    with pytest.raises(ValueError, match="the decoder's layers are not those of the published design"):
        import_pose_vqvae(tmp_path / "short.pth")


class Evil:
    def __reduce__(self) -> object:
        return Path.touch, (Path("executed"),)


def test_nothing_in_the_file_is_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"net": checkpoint("unipose"), "hparams": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(ValueError, match="not a file of weights only"):
        import_pose_vqvae(tmp_path / "evil.pth")
    assert not (tmp_path / "executed").exists()
