"""A small vision transformer that begins with convolutions: for worlds of thousands of pictures instead of millions.

    picture ─ conv/2 ─ conv/2 ─ conv/2, block ─ conv/2, block ─ + places ─ transformer (─ mix) ─> a feature per cell

Cutting a picture into patches leaves it to the transformer to find out that neighbours belong together, which takes
more pictures than the built-in world has; convolutions know it from the start (Xiao et al. 2021, "Early convolutions
help transformers see better"). A last layer may mix: all cells, made narrow and side by side, pass one hidden layer,
whose answer has a part for each cell of a coarser grid and is added to what is seen there. So a cell can say what
follows from the whole picture, such as the pose of one limb, and a reader, a language model above all, finds it in one
place instead of putting it together again. The built-in world's pose ViT is of this kind.

Shape letters: B pictures, P cells, Q cells that leave the mix, C width.
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
    mix_grid: int = 4
    """Rows and columns of what leaves the mix."""

    @property
    def stride(self) -> int:
        """Pixels from one cell of the convolutions to the next."""
        return 2 ** (len(self.stem_widths) + 1)

    @property
    def patch_size(self) -> int:
        """Pixels of a cell's side in what is handed out."""
        return self.image_size // self.mix_grid if self.mix_width else self.stride


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
    """(B, P, C) to (B, Q, C): what is seen in a cell, and what follows for it from all cells."""

    def __init__(self, width: int, grid: int, coarse: int, hidden: int, narrow: int = 32) -> None:
        super().__init__()
        self.grid, self.coarse = grid, coarse
        self.together = nn.Sequential(
            nn.Linear(width, narrow),
            nn.Flatten(),
            nn.Linear(narrow * grid**2, hidden),
            nn.GELU(),
            nn.Linear(hidden, coarse**2 * width),
            nn.Unflatten(1, (coarse**2, width)),
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        seen = nn.functional.adaptive_avg_pool2d(x.transpose(1, 2).unflatten(2, (self.grid, self.grid)), self.coarse)
        return self.norm(seen.flatten(2).transpose(1, 2) + self.together(x))


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
        grid = config.image_size // config.stride
        self.places = nn.Parameter(torch.zeros(1, grid**2, config.hidden_size))
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
        self.mix = Mix(config.hidden_size, grid, config.mix_grid, config.mix_width) if config.mix_width else None
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """torch's own initialisation suits convolutions; only what should start elsewhere is touched."""
        if isinstance(module, Residual):
            nn.init.zeros_(module.norm.weight)
        elif module is self:
            nn.init.normal_(self.places, std=0.02)

    def forward(self, pixels: Tensor, **_: Any) -> BaseModelOutput:
        """(B, 3, H, W) to cells in reading order: last_hidden_state (B, Q, C), hidden_states[0] (B, P, C) unmixed."""
        cells = self.stem(pixels.contiguous(memory_format=torch.channels_last)).flatten(2).transpose(1, 2)
        hidden = cells + self.places
        for layer in self.layers:
            hidden = layer(hidden)
        local = self.norm(hidden)
        return BaseModelOutput(
            last_hidden_state=local if self.mix is None else self.mix(local),
            hidden_states=(local,),  # pyright: ignore[reportArgumentType]
        )


AutoConfig.register(ConvVitConfig.model_type, ConvVitConfig)
AutoModel.register(ConvVitConfig, ConvVit)
