"""What the language model sees of an image: several encoders, one grid, channels side by side (UniPose §3.2).

    v = [v_a | v_b] W        v_a CLIP on 336 × 336, v_b a pose ViT on the middle 256 × 192 of 256 × 256

Every encoder's feature map is made to lie over the same square and resized to the grid of the first one. Any vision
model of transformers will do: CLIP and pose ViT (UniPose), DINOv2 alone (KptLLM++), CLIP alone (KptLLM), CLIP and
ConvNeXt (RexSeek).

Shape letters: N images, C channels of all encoders together, P cells of the first grid, D width of the decoder.
"""

from collections.abc import Mapping, Sequence
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoBackbone, AutoModel, PreTrainedModel

from llmpose.errors import UserError
from llmpose.model.attention import attention_of, choose_vision_attention, model_can_flash, use_attention
from llmpose.model.config import VisionEncoderSpec


class VisionEncoder(nn.Module):
    """One encoder of transformers, read as a feature map."""

    def __init__(self, spec: VisionEncoderSpec) -> None:
        super().__init__()
        self.spec = spec
        config = spec.encoder_config()
        if config.model_type.startswith("siglip"):
            config.vision_use_head = False  # type: ignore[attr-defined]
        self.is_backbone = config.model_type.endswith("_backbone")
        self.model: PreTrainedModel = (AutoBackbone if self.is_backbone else AutoModel).from_config(config)
        self.built_with = attention_of(self.model)

    def train(self, mode: bool = True) -> Self:
        """A frozen encoder sees in training as it will see afterwards: no dropout, no statistics of the batch."""
        return super().train(mode and any(parameter.requires_grad for parameter in self.parameters()))

    def forward(self, pixels: Tensor, attn: str = "auto") -> Tensor:
        """(N, 3, H, W) -> (N, C, h, w). Leading tokens that are no patch (class, registers) are left out."""
        flash = model_can_flash(self.model, pixels.device.type, self.model.dtype)
        use_attention(self.model, choose_vision_attention(attn, self.built_with, can_flash=flash))
        spec, rows, columns = self.spec, self.spec.grid[0], self.spec.columns_seen
        pixels = pixels.to(self.model.dtype)
        if self.is_backbone:
            features = self.model(pixels).feature_maps[-1]
        elif spec.layer == -1:
            features = self.model(pixels).last_hidden_state
        else:
            features = self.model(pixels, output_hidden_states=True).hidden_states[spec.layer]
        if features.ndim == 3:
            patches = features[:, features.shape[1] - rows * columns :]
            features = patches.transpose(1, 2).unflatten(2, (rows, columns))
        unseen = spec.grid[1] - columns
        return F.pad(features, (unseen // 2, unseen - unseen // 2)) if unseen else features


class Vision(nn.Module):
    """The list of encoders. Frozen encoders run without a graph."""

    def __init__(self, specs: Sequence[VisionEncoderSpec]) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict({spec.name: VisionEncoder(spec) for spec in specs})
        self.specs = list(specs)

    def forward(self, pixels: Mapping[str, Tensor], attn: str = "auto") -> Tensor:
        """Encoder name -> (N, 3, H, W), to (N, P, C). `attn` as in LlmPoseConfig."""
        if missing := [spec.name for spec in self.specs if spec.name not in pixels]:
            raise UserError(f"pixels for {', '.join(missing)} are missing; given were {', '.join(pixels) or 'none'}")
        grid = self.specs[0].grid
        maps: list[Tensor] = []
        for spec in self.specs:
            encoder = self.encoders[spec.name]
            trained = torch.is_grad_enabled() and any(p.requires_grad for p in encoder.parameters())
            with torch.set_grad_enabled(trained):
                features = encoder(pixels[spec.name], attn)
            if spec.grid != grid:
                align = spec.align_corners or None
                features = F.interpolate(features, size=grid, mode="bilinear", align_corners=align)
            maps.append(features)
        return torch.cat(maps, dim=1).flatten(2).transpose(1, 2)

    def models(self) -> dict[str, PreTrainedModel]:
        """The encoders as transformers knows them, by name."""
        return {name: part.model for name, part in self.encoders.items() if isinstance(part, VisionEncoder)}

    def dummy_pixels(self, device: torch.device) -> dict[str, Tensor]:
        """One black image for each encoder: what a rank without images looks at, so that no rank waits for it."""
        return {s.name: torch.zeros(1, 3, s.height_px, s.width_px, device=device) for s in self.specs}


class Projector(nn.Module):
    """(N, P, C) -> (N, P, D): one matrix as in UniPose §3.2, or two with a GELU between as in LLaVA-1.5."""

    def __init__(self, kind: str, vision_width: int, hidden_size: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(vision_width, hidden_size)
        self.linear_2 = nn.Linear(hidden_size, hidden_size) if kind == "mlp2" else None

    def forward(self, features: Tensor) -> Tensor:
        tokens = self.linear_1(features.to(self.linear_1.weight.dtype))
        return tokens if self.linear_2 is None else self.linear_2(F.gelu(tokens))
