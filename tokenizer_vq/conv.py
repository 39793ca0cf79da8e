"""The paper's design: one-dimensional convolutions over the joints (UniPose §3.1, after TokenHMR's tokenizer).

22 joints --resize--> 40 --x2, x2--> 160 --stride 2--> 80 vectors      encoder
80 codes --resize--> 65 -> 51 -> 36 -> 22 joints                       decoder
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tokenizer_vq.config import PoseTokenizerConfig


class Resize(nn.Module):
    """Nearest-neighbour resampling of (B, C, L) to a given length."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length = length

    def forward(self, x_BCL: Tensor) -> Tensor:
        return F.interpolate(x_BCL, size=self.length, mode="nearest")


class ResidualBlock(nn.Module):
    """x + conv1(relu(conv3(relu(x)))), the 3-wide convolution dilated."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation)
        self.conv2 = nn.Conv1d(width, width, 1)

    def forward(self, x_BCL: Tensor) -> Tensor:
        return x_BCL + self.conv2(torch.relu(self.conv1(torch.relu(x_BCL))))


def residual_blocks(width: int, depth: int, growth: int) -> list[nn.Module]:
    """Widest dilation first, in encoder and decoder alike, as in the released weights."""
    return [ResidualBlock(width, growth**level) for level in reversed(range(depth))]


class ConvEncoder(nn.Sequential):
    """(B, J, 6) -> (B, L, C)."""

    def __init__(self, config: PoseTokenizerConfig) -> None:
        width, doublings = config.hidden_size, _doublings(config)
        layers: list[nn.Module] = [nn.Conv1d(6, width, 3, padding=1), nn.ReLU()]
        for length in [_base_length(config) * 2**n for n in range(doublings + 1)]:
            layers += [Resize(length), nn.Conv1d(width, width, 3, padding=1), nn.ReLU()]
        layers += [nn.Conv1d(width, width, 4, stride=2, padding=1)]
        layers += residual_blocks(width, config.num_layers, config.dilation_growth)
        layers += [nn.Conv1d(width, config.code_width, 3, padding=1)]
        super().__init__(*layers)

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.transpose(1, 2)).transpose(1, 2)


class ConvDecoder(nn.Sequential):
    """(B, L, C) -> (B, J, 6)."""

    def __init__(self, config: PoseTokenizerConfig) -> None:
        width = config.hidden_size
        layers: list[nn.Module] = [nn.Conv1d(config.code_width, width, 3, padding=1), nn.ReLU()]
        for length in shrinking_lengths(config.latent_length, config.num_joints):
            layers += [Resize(length), nn.Conv1d(width, width, 3, padding=1), nn.ReLU()]
        layers += residual_blocks(width, config.num_layers, config.dilation_growth)
        layers += [nn.Conv1d(width, width, 3, padding=1), nn.Conv1d(width, 6, 3, padding=1)]
        super().__init__(*layers)

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.transpose(1, 2)).transpose(1, 2)


def shrinking_lengths(tokens: int, joints: int, steps: int = 4) -> Sequence[int]:
    """Even steps from tokens down to joints: 80, 22 -> 65, 51, 36, 22."""
    return [int(joints + (tokens - joints) * step / steps) for step in reversed(range(steps))]


def _base_length(config: PoseTokenizerConfig) -> int:
    return config.num_joints * 2 // 10 * 10


def _doublings(config: PoseTokenizerConfig) -> int:
    """How often the length doubles before the one halving: 22 joints become 20, 40, 80, 160 … vectors."""
    ratio = config.latent_length * 2 / _base_length(config)
    doublings = max(0, round(ratio).bit_length() - 1)
    if _base_length(config) * 2**doublings != config.latent_length * 2:
        offered = ", ".join(str(_base_length(config) // 2 * 2**n) for n in range(5))
        raise ValueError(f"the conv design makes {offered} … vectors per pose, not {config.latent_length}")
    return doublings
