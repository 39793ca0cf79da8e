"""A pose ViT learns to see people: 2D keypoints as heatmaps, and 22 rotations with the root in the viewer's frame.

UniPose takes its second encoder from such a model (TokenHMR's ViT, §3.2 "Visual Processor"): features that know where
joints are. Here the encoder is transformers' `VitPoseBackbone`, or for small worlds our `ConvVit`; the heads exist to
teach it, and are a baseline of their own for pose estimation.

Shape letters: B images, P cells, Q cells of the features, C width, K keypoints, S sub-cells of a heatmap.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel, VitPoseBackbone
from transformers.utils.generic import ModelOutput

from llmpose.body.pose import rot6d_to_rotmat, rotmat_to_rot6d
from llmpose.model.config import pair, sub_config
from llmpose.model.conv_vit import ConvVit, ConvVitConfig
from tokenizer_vq.config import BODY_PARTS, divide_tokens

NUM_JOINTS = 22


@strict
class PoseVitConfig(PreTrainedConfig):
    """Encoder and heads."""

    model_type = "llmpose_pose_vit"
    # A property in transformers 5.24, a class attribute before: this reads alike in both.
    sub_configs: ClassVar[dict[str, Any]] = {"backbone_config": AutoConfig}  # pyright: ignore[reportIncompatibleMethodOverride]

    backbone_config: dict[str, Any] | PreTrainedConfig | None = None
    skeleton: str = "coco17"
    num_keypoints: int = 17
    heatmap_scale: int = 4
    """Heatmap cells per side of a feature cell."""
    decoder_layers: int = 2
    """Layers in which the joints' queries look at the picture and at each other; 0: the rotations of a part of the
    body are read straight off cells of its own, for encoders with a mix."""

    def __post_init__(self, **kwargs: Any) -> None:
        self.backbone_config = sub_config(self.backbone_config, "vitpose_backbone")
        super().__post_init__(**kwargs)


@dataclass
class PoseVitOutput(ModelOutput):
    """What is seen."""

    rotmat: Tensor | None = None
    """(B, 22, 3, 3), root in the viewer's frame."""
    heatmap_logits: Tensor | None = None
    """(B, K, rows, columns)."""
    keypoints_crop: Tensor | None = None
    """(B, K, 3): x, y as shares of the input's width and height, and how sure the heatmap is."""
    features: Tensor | None = None
    """(B, P, C)."""


class JointQueries(nn.Module):
    """(B, P, C) to (B, 22, 6): one query for each joint."""

    def __init__(self, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.queries = nn.Embedding(NUM_JOINTS, width)
        layer = nn.TransformerDecoderLayer(
            width, heads, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.decoder = nn.TransformerDecoder(layer, layers, norm=nn.LayerNorm(width))
        self.rot6d = nn.Linear(width, 6)

    def forward(self, features: Tensor) -> Tensor:
        queries = self.queries.weight.expand(len(features), -1, -1)
        return self.rot6d(self.decoder(queries, features))


class PartCells(nn.Module):
    """(B, Q, C) to (B, 22, 6): every part of the body is read straight off cells of its own, which must say it."""

    def __init__(self, width: int, cells: int) -> None:
        super().__init__()
        self.counts = list(divide_tokens(cells).values())
        self.rot6d = nn.ModuleList(nn.Linear(width, len(joints) * 6) for joints in BODY_PARTS.values())
        order = torch.tensor([joint for joints in BODY_PARTS.values() for joint in joints])
        self.place: Tensor
        self.register_buffer("place", order.argsort(), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        parts = features.split(self.counts, dim=1)
        read = [head(own.mean(1)).unflatten(1, (-1, 6)) for head, own in zip(self.rot6d, parts, strict=True)]
        return torch.cat(read, dim=1)[:, self.place]


class PoseVit(PreTrainedModel):
    """Encoder, heatmaps, rotations."""

    config_class = PoseVitConfig
    config: PoseVitConfig
    base_model_prefix = ""
    main_input_name = "pixels"
    supports_gradient_checkpointing = True
    _supports_sdpa = True

    def __init__(self, config: PoseVitConfig) -> None:
        super().__init__(config)
        inner: Any = config.backbone_config
        self.backbone = ConvVit(inner) if isinstance(inner, ConvVitConfig) else VitPoseBackbone(inner)
        (height, width_px), (patch, _) = pair(inner.image_size), pair(inner.patch_size)
        rows, columns = height // patch, width_px // patch
        stride = inner.stride if isinstance(inner, ConvVitConfig) else patch
        self.grid = (height // stride, width_px // stride)
        width, heads = inner.hidden_size, inner.num_attention_heads
        self.heatmap = nn.Linear(width, config.num_keypoints * config.heatmap_scale**2)
        if config.decoder_layers:
            self.rotations: nn.Module = JointQueries(width, heads, config.decoder_layers)
        else:
            self.rotations = PartCells(width, rows * columns)
        self.mean_rot6d: Tensor
        self.register_buffer("mean_rot6d", torch.tensor([1.0, 0, 0, 0, 1, 0]).repeat(NUM_JOINTS, 1))
        self.post_init()

    @torch.no_grad()
    def start_from_mean(self, rotmat: Tensor) -> None:
        """The rotations of the average person (N, 22, 3, 3): where estimates begin."""
        self.mean_rot6d.copy_(rotmat_to_rot6d(rotmat).mean(0))

    def forward(self, pixels: Tensor, **_: Any) -> PoseVitOutput:
        """pixels (B, 3, H, W) as the encoder wants them."""
        seen: Any = self.backbone(pixels)
        if isinstance(self.backbone, ConvVit):
            local, features = seen.hidden_states[0], seen.last_hidden_state
        else:
            local = features = seen.feature_maps[-1]
        rot6d = self.rotations(features) + self.mean_rot6d
        scale, (rows, columns) = self.config.heatmap_scale, self.grid
        heat = self.heatmap(local).unflatten(2, (self.config.num_keypoints, scale, scale))
        heat = heat.unflatten(1, (rows, columns)).permute(0, 3, 1, 4, 2, 5).flatten(2, 3).flatten(3, 4)
        return PoseVitOutput(rot6d_to_rotmat(rot6d.float()), heat, expected_points(heat), features)


def expected_points(heatmap_logits: Tensor) -> Tensor:
    """(B, K, rows, columns) to (B, K, 3): the mean of each heatmap around its peak, and the probability there."""
    rows, columns = heatmap_logits.shape[2:]
    probability = heatmap_logits.float().flatten(2).softmax(-1)
    peak = probability.argmax(-1)
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    x, y = x.flatten().to(peak.device), y.flatten().to(peak.device)
    near = ((x - x[peak][..., None]).abs() <= 2) & ((y - y[peak][..., None]).abs() <= 2)
    local = probability * near
    total = local.sum(-1)
    share_x = (local * (x + 0.5)).sum(-1) / total / columns
    share_y = (local * (y + 0.5)).sum(-1) / total / rows
    return torch.stack([share_x, share_y, total], dim=-1)


def heatmap_loss(heatmap_logits: Tensor, keypoints_crop: Tensor, sigma: float = 1.0) -> Tensor:
    """(B,) cross-entropy of each heatmap with a Gaussian of `sigma` cells around its keypoint; mean over what shows.

    keypoints_crop (B, K, 3): shares of width and height, and visibility; points outside of the crop do not count.
    """
    rows, columns = heatmap_logits.shape[2:]
    x = keypoints_crop[..., 0:1] * columns - 0.5
    y = keypoints_crop[..., 1:2] * rows - 0.5
    inside = (keypoints_crop[..., :2] > 0).all(-1) & (keypoints_crop[..., :2] < 1).all(-1)
    counts = (inside & (keypoints_crop[..., 2] > 0)).float()
    device = heatmap_logits.device
    wave_x = torch.exp(-((torch.arange(columns, device=device) - x) ** 2) / (2 * sigma**2))
    wave_y = torch.exp(-((torch.arange(rows, device=device) - y) ** 2) / (2 * sigma**2))
    target = (wave_y[..., :, None] * wave_x[..., None, :]).flatten(2)
    target = target / target.sum(-1, keepdim=True).clamp(min=1e-6)
    loss = -(target * F.log_softmax(heatmap_logits.float().flatten(2), dim=-1)).sum(-1)
    return (loss * counts).sum(-1) / counts.sum(-1).clamp(min=1)
