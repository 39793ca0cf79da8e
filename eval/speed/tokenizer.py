"""Training steps of stage 1 per second: ours against the released code's own way, on the same shapes.

    python -m eval.speed.tokenizer                                   small shapes, on the CPU
    python -m eval.speed.tokenizer --device cuda --width 512 --codes 2048 --batch 256

The peer's step is its architecture and its habits, written anew: the paper's convolutions; a codebook whose moving
averages go through one-hot matrices; the mesh built for prediction and for truth inside every step. (It also builds
a mesh per example while loading; that is left out, in its favour.) Ours: the same network through this project's step,
then the same with joints only, then the default design. A step is forward, backward and optimizer.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eval.speed.common import report, seconds
from llmpose.body.model import BodyModel, load_body_model
from tokenizer_vq import PoseTokenizer, PoseTokenizerConfig
from tokenizer_vq.conv import ConvDecoder, ConvEncoder
from tokenizer_vq.losses import Reconstruction, Weights, distance, reconstruction_terms, squared_distance
from tokenizer_vq.rotations import rot6d_to_rotmat, rotmat_to_rot6d


class PeerCodebook(nn.Module):
    """A codebook of moving averages updated through one-hot matrices, dead codes refilled from the batch."""

    def __init__(self, codes: int, width: int, decay: float = 0.99) -> None:
        super().__init__()
        self.decay = decay
        self.table: Tensor
        self.sums: Tensor
        self.counts: Tensor
        self.register_buffer("table", torch.randn(codes, width) * 0.1)
        self.register_buffer("sums", self.table.clone())
        self.register_buffer("counts", torch.ones(codes))

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        flat = latents.flatten(0, 1)
        far = flat.square().sum(1, keepdim=True) - 2 * flat @ self.table.T + self.table.square().sum(1)
        codes = far.argmin(1)
        values = self.table[codes]
        with torch.no_grad():
            onehot = torch.zeros(len(self.table), len(flat), device=flat.device)
            onehot.scatter_(0, codes[None], 1)
            self.sums.mul_(self.decay).add_(onehot @ flat, alpha=1 - self.decay)
            self.counts.mul_(self.decay).add_(onehot.sum(1), alpha=1 - self.decay)
            used = (self.counts >= 1)[:, None].float()
            fresh = flat.repeat(-(-len(self.table) // len(flat)), 1)[: len(self.table)]
            self.table.copy_(used * self.sums / self.counts[:, None] + (1 - used) * fresh)
        commitment = F.mse_loss(flat, values)
        return (flat + (values - flat).detach()).view_as(latents), commitment


class Peer(nn.Module):
    """The released tokenizer's network and losses."""

    def __init__(self, config: PoseTokenizerConfig, body: BodyModel) -> None:
        super().__init__()
        self.encoder, self.decoder = ConvEncoder(config), ConvDecoder(config)
        self.codebook = PeerCodebook(config.codebook_size, config.code_width)
        self.body = body

    def forward(self, rotmat: Tensor) -> Tensor:
        values, commitment = self.codebook(self.encoder(rotmat_to_rot6d(rotmat, "rows")))
        found = rot6d_to_rotmat(self.decoder(values), "rows")
        bodies = [self.body(pose) for pose in (found, rotmat)]
        joints = F.mse_loss(bodies[0].joints_m[:, :22], bodies[1].joints_m[:, :22])
        vertices = F.mse_loss(bodies[0].vertices_m, bodies[1].vertices_m)
        return 20 * F.mse_loss(found, rotmat) + 100 * joints + 100 * vertices + commitment


class Ours(nn.Module):
    """This project's step (train/tokenizer.py), with or without the mesh."""

    def __init__(self, config: PoseTokenizerConfig, body: BodyModel, *, mesh: bool) -> None:
        super().__init__()
        self.tokenizer, self.body, self.mesh = PoseTokenizer(config), body, mesh
        self.measure = squared_distance if mesh else distance

    def forward(self, rotmat: Tensor) -> Tensor:
        out = self.tokenizer(rotmat)
        with torch.no_grad():
            wanted = self._points(rotmat)
        terms = reconstruction_terms(self._points(out.rotmat), wanted, Weights(), self.measure)
        return torch.stack([term.mean() for term in terms.values()]).sum() + out.commitment

    def _points(self, rotmat: Tensor) -> Reconstruction:
        if self.mesh:
            points = self.body(rotmat)
            return Reconstruction(rotmat, points.joints_m[:, :22], points.vertices_m)
        return Reconstruction(rotmat, self.body.joints(rotmat)[:, :22])


def step_seconds(model: nn.Module, batch: Tensor, device: str, repeats: int) -> float:
    """One training step, warmed up."""
    model = model.to(device).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 2e-4, fused=True)

    def step() -> None:
        loss = model(batch.to(device))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return seconds(step, device, warm_up=2, repeats=repeats)


def rows(device: str, *, width: int, codes: int, batch: int, repeats: int = 5) -> list[dict[str, Any]]:
    """Seconds of a step and poses per second, each against the peer."""
    torch.manual_seed(0)
    shape: dict[str, Any] = {"design": "conv", "num_pose_tokens": 80, "codebook_size": codes, "hidden_size": width}
    shape |= {"code_width": width // 2, "quantizer": "ema"}
    paper = PoseTokenizerConfig(**shape)
    default = PoseTokenizerConfig(num_pose_tokens=40, codebook_size=2048, hidden_size=width // 2)
    body = load_body_model()
    poses = PoseTokenizer(default).eval().decode(torch.randint(2048, (batch, 40)))
    models = {
        "peer's step, 80 tokens": Peer(paper, body),
        "ours, the paper's design and losses, 80 tokens": Ours(paper, body, mesh=True),
        "ours, the paper's design, joints only": Ours(paper, body, mesh=False),
        "ours, default design, 40 tokens": Ours(default, body, mesh=False),
    }
    found = {name: step_seconds(model, poses, device, repeats) for name, model in models.items()}
    peer = next(iter(found.values()))
    return [
        {"step": name, "seconds": took, "poses_per_s": batch / took, "times_the_peer": peer / took}
        for name, took in found.items()
    ]


def main() -> None:
    """Measure and print."""
    import argparse
    from pathlib import Path

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--width", type=int, default=64, help="channels of the convolutions (the paper: 512)")
    parser.add_argument("--codes", type=int, default=512, help="codebook size of the convolutional designs (2048)")
    parser.add_argument("--batch", type=int, default=64, help="poses in a step (256)")
    parser.add_argument("--out", type=Path, help="also write the rows as JSON")
    words = parser.parse_args()
    title = f"a training step of stage 1, width {words.width}, batch {words.batch}, {words.device}"
    report(title, rows(words.device, width=words.width, codes=words.codes, batch=words.batch), words.out)


if __name__ == "__main__":
    main()
