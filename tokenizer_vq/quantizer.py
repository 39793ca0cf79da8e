"""From vectors to code indices and back, three ways behind one face; the work is done by vector-quantize-pytorch.

ema       a codebook of moving averages with revival of dead codes (UniPose §3.1, suppl. §B.1)
residual  several such codebooks, each for what the ones before left over
fsq       a fixed grid: nothing to learn, no dead code, thirty times cheaper
"""

from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from vector_quantize_pytorch import FSQ, ResidualVQ, VectorQuantize

from tokenizer_vq.config import PoseTokenizerConfig


class Quantized(NamedTuple):
    """The vectors that stand for the codes, the codes, and the commitment loss (mean over the batch)."""

    values: Tensor
    codes: Tensor
    loss: Tensor


class Quantizer(nn.Module):
    """The one face. L: vectors per pose, C: code width, N: pose tokens (L, or L x num_residual)."""

    def __init__(self, config: PoseTokenizerConfig) -> None:
        super().__init__()
        self.config = config
        with torch.device("cpu"):  # loading happens on the meta device, where the library's arithmetic fails
            self.library: Any = self.make()

    def make(self) -> nn.Module:
        """The library's module that does the work."""
        raise NotImplementedError

    def fill_tables(self) -> None:
        """Put back the library's constant tables: loading a model makes it without storage, and they are in no file."""
        with torch.device("cpu"):
            fresh = dict(self.make().named_buffers())
        for name, table in self.library.named_buffers():
            if name not in self.library.state_dict() and table.device.type != "meta":
                table.copy_(fresh[name])

    def forward(self, latents: Tensor) -> Quantized:
        """(B, L, C) -> values (B, L, C), codes (B, N)."""
        raise NotImplementedError

    def values(self, codes: Tensor) -> Tensor:
        """(B, N) -> (B, L, C): what `forward` gave for these codes."""
        raise NotImplementedError


class EmaQuantizer(Quantizer):
    """One codebook; every vector becomes one code."""

    def make(self) -> nn.Module:
        return VectorQuantize(dim=self.config.code_width, **_codebook_options(self.config))

    def forward(self, latents: Tensor) -> Quantized:
        return Quantized(*self.library(latents))

    def values(self, codes: Tensor) -> Tensor:
        return self.library.get_output_from_indices(codes)


class ResidualQuantizer(Quantizer):
    """Several codebooks; every vector becomes num_residual codes, coarse to fine."""

    def make(self) -> nn.Module:
        options = _codebook_options(self.config)
        return ResidualVQ(dim=self.config.code_width, num_quantizers=self.config.num_residual, **options)

    def forward(self, latents: Tensor) -> Quantized:
        values, codes, losses = self.library(latents)
        return Quantized(values, codes.flatten(1), losses.sum())

    def values(self, codes: Tensor) -> Tensor:
        return self.library.get_output_from_indices(codes.unflatten(1, (-1, self.config.num_residual)))


class GridQuantizer(Quantizer):
    """Finite scalar quantisation (Mentzer et al. 2023): each channel is rounded to one of a few levels.

    With `own_codes`, point g of the grid at place n is code n × codes_per_place + g.
    """

    def make(self) -> nn.Module:
        return FSQ(levels=list(self.config.fsq_levels), dim=self.config.code_width)

    def forward(self, latents: Tensor) -> Quantized:
        values, codes = self.library(latents)
        return Quantized(values, codes.long() + self._first(codes), latents.new_zeros(()))

    def values(self, codes: Tensor) -> Tensor:
        return self.library.indices_to_codes(codes % self.config.codes_per_place)

    def _first(self, codes: Tensor) -> Tensor | int:
        if not self.config.own_codes:
            return 0
        return torch.arange(codes.shape[-1], device=codes.device) * self.config.codes_per_place


def _codebook_options(config: PoseTokenizerConfig) -> dict[str, Any]:
    return {
        "codebook_size": config.codebook_size,
        "decay": config.ema_decay,
        "commitment_weight": 1.0,
        "kmeans_init": True,
        "kmeans_iters": 10,
        "threshold_ema_dead_code": config.dead_code_threshold,
        # The default is a cached look at torch.distributed that can be stale; the codebooks would then drift apart.
        "sync_codebook": dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1,
    }


def make_quantizer(config: PoseTokenizerConfig) -> Quantizer:
    """The quantizer a config names."""
    kinds: dict[str, type[Quantizer]] = {"ema": EmaQuantizer, "residual": ResidualQuantizer, "fsq": GridQuantizer}
    return kinds[config.quantizer](config)


def codebook_usage(codes: Tensor, codebook_size: int) -> tuple[float, float]:
    """(share of codes used at all, perplexity) over a set of codes of any shape."""
    counts = torch.bincount(codes.flatten(), minlength=codebook_size).double()
    shares = counts[counts > 0] / counts.sum()
    return float((counts > 0).double().mean()), float(torch.exp(-(shares * shares.log()).sum()))
