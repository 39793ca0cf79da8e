"""A small vision transformer that begins with convolutions: for worlds of thousands of pictures instead of millions.

    picture ─ conv/2 ─ conv/2 ─ conv/2, block ─ conv/2, block ─ + places ─ transformer ─ mix ─> a feature per cell

Cutting a picture into patches leaves it to the transformer to find out that neighbours belong together, which takes
more pictures than the built-in world has; convolutions know it from the start (Xiao et al. 2021, "Early convolutions
help transformers see better"). The last layer mixes: all cells, made narrow and side by side, pass one hidden layer
whose answer is added to each of them. So what the whole picture says, such as a pose, can be read off any cell, and a
reader, a language model above all, need not put it together again. The built-in world's pose ViT is of this kind.

Shape letters: B pictures, P cells, C width.
"""

from itertools import pairwise
from typing import Any

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

BLOCKS_FROM_STRIDE = 8
"""Finer maps than this are passed by without a residual block: most of the time would go there."""


@strict
class ConvVitConfig(PreTrainedConfig):
    """Sizes."""

    model_type = "conv_vit"

    image_size: int = 96
    """Height and width of a picture."""
    stem_widths: list[int] | tuple[int, ...] = (24, 32, 64)
    """Channels of the convolutions before the last one, which has hidden_size; each halves the map."""
    hidden_size: int = 128
    num_hidden_layers: int = 2
    num_attention_heads: int = 4
    mlp_ratio: int = 2
    mix_width: int = 0
    """Width of the hidden layer in which all cells meet; 0: they don't."""

    @property
    def patch_size(self) -> int:
        """Pixels of a cell's side."""
        return 2 ** (len(self.stem_widths) + 1)


class Residual(nn.Module):
    """relu(x + f(x)); f starts at zero."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.enter = halving(width, width, stride=1)
        self.leave = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.norm(self.leave(self.enter(x))))


class Mix(nn.Module):
    """x + f(all cells), the same for every cell."""

    def __init__(self, width: int, cells: int, hidden: int, narrow: int = 32) -> None:
        super().__init__()
        self.together = nn.Sequential(
            nn.Linear(width, narrow),
            nn.Flatten(),
            nn.Linear(narrow * cells, hidden),
            nn.GELU(),
            nn.Linear(hidden, width),
            nn.Unflatten(1, (1, width)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.together(x)


def halving(width_in: int, width_out: int, stride: int = 2) -> nn.Sequential:
    """Convolution, norm, relu."""
    convolution = nn.Conv2d(width_in, width_out, 3, stride, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(width_out), nn.ReLU())


class ConvVit(PreTrainedModel):
    """See the module's text. Batch statistics are those of one micro-batch; a frozen encoder stays in eval mode."""

    config_class = ConvVitConfig
    config: ConvVitConfig
    base_model_prefix = ""
    main_input_name = "pixels"

    def __init__(self, config: ConvVitConfig) -> None:
        super().__init__(config)
        widths, layers = [3, *config.stem_widths, config.hidden_size], []
        for step, (width_in, width_out) in enumerate(pairwise(widths), start=1):
            layers.append(halving(width_in, width_out))
            if 2**step >= BLOCKS_FROM_STRIDE:
                layers.append(Residual(width_out))
        self.stem = nn.Sequential(*layers)
        cells = (config.image_size // config.patch_size) ** 2
        self.places = nn.Parameter(torch.zeros(1, cells, config.hidden_size))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                config.hidden_size,
                config.num_attention_heads,
                config.mlp_ratio * config.hidden_size,
                dropout=0.0,
                activation="gelu",
                batch_first=True,
                norm_first=True,
            )
            for _ in range(config.num_hidden_layers)
        )
        self.norm = nn.LayerNorm(config.hidden_size)
        self.mix = nn.Identity()
        if config.mix_width:
            self.mix = nn.Sequential(Mix(config.hidden_size, cells, config.mix_width), nn.LayerNorm(config.hidden_size))
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """torch's own initialisation suits convolutions; only what should start elsewhere is touched."""
        if isinstance(module, Residual):
            nn.init.zeros_(module.norm.weight)
        elif module is self:
            nn.init.normal_(self.places, std=0.02)

    def forward(self, pixels: Tensor, **_: Any) -> BaseModelOutput:
        """(B, 3, H, W) to last_hidden_state (B, P, C), cells in reading order."""
        cells = self.stem(pixels.contiguous(memory_format=torch.channels_last)).flatten(2).transpose(1, 2)
        hidden = cells + self.places
        for layer in self.layers:
            hidden = layer(hidden)
        return BaseModelOutput(last_hidden_state=self.mix(self.norm(hidden)))


AutoConfig.register(ConvVitConfig.model_type, ConvVitConfig)
AutoModel.register(ConvVitConfig, ConvVit)
