"""Keypoint prompts: a point in a support image becomes one token of the language model (KptLLM++ §3.2–3.3).

The point is encoded by sines and cosines and an MLP (the encoder), then asks the support image's feature map by
cross-attention (the extractor), and the answer is projected to the language model's width. The support image itself is
never given to the language model: its keypoints are.

Shapes: B prompts rows, K keypoints per row, S support images (shots), P patches, C vision width, D language width.
"""

import math
from enum import IntEnum
from typing import Literal

import torch
from torch import Tensor, nn


class PromptState(IntEnum):
    """What a place for a prompt holds."""

    GIVEN = 0
    ABSENT = 1
    """The support image does not show this keypoint."""
    PADDING = 2
    """No keypoint stands here; the place only fills the batch."""


class KeypointPromptEncoder(nn.Module):
    """Points in [0,1]² to vectors of the vision width: sine-cosine encoding, then an MLP (KptLLM++ §3.2, Eq. 1).

    `keypoints_norm` (..., 2) and `state` (...) give (..., C). A point that is absent or padding has a learned vector of
    its own, whatever its coordinates say.
    """

    def __init__(self, width: int, num_frequencies: int = 16) -> None:
        super().__init__()
        if num_frequencies < 1:
            raise ValueError(f"num_frequencies is {num_frequencies}, expected at least 1")
        # Wavelengths from two image widths down to 1/128 of one: coarse place and single patch alike.
        steps = 8.0 / max(num_frequencies - 1, 1)
        self.frequencies = [math.pi * 2 ** (i * steps) for i in range(num_frequencies)]
        self.mlp = nn.Sequential(nn.Linear(4 * num_frequencies, width), nn.GELU(), nn.Linear(width, width))
        self.absent = nn.Parameter(torch.zeros(width))
        self.padding = nn.Parameter(torch.zeros(width))
        nn.init.normal_(self.absent, std=0.02)
        nn.init.normal_(self.padding, std=0.02)

    def forward(self, keypoints_norm: Tensor, state: Tensor) -> Tensor:
        frequencies = torch.tensor(self.frequencies, device=keypoints_norm.device)
        angles = keypoints_norm[..., None].float() * frequencies
        waves = torch.cat([angles.sin(), angles.cos()], -1).flatten(-2)
        encoded = self.mlp(waves.to(self.absent.dtype))
        encoded = torch.where((state == PromptState.ABSENT)[..., None], self.absent, encoded)
        return torch.where((state == PromptState.PADDING)[..., None], self.padding, encoded)


class _CrossAttentionLayer(nn.Module):
    """Prompts ask the feature map: cross-attention and an MLP, each with a residual path and a norm before it."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.query_norm = nn.LayerNorm(width)
        self.feature_norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, num_heads, batch_first=True)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, prompts: Tensor, features: Tensor, places: Tensor) -> Tensor:
        normed = self.feature_norm(features)
        # Keys carry where each patch lies, values what it shows: a prompt can look beside its point.
        asked, _ = self.attention(self.query_norm(prompts), normed + places, normed, need_weights=False)
        prompts = prompts + asked
        return prompts + self.mlp(self.mlp_norm(prompts))


class PromptFeatureExtractor(nn.Module):
    """What the support image shows at (and around) each prompt: two cross-attention layers (KptLLM++ §3.3, Eq. 2).

    `prompts` (B,K,C) and `features` (B,P,C) give (B,K,C). Keys carry the encoded centre of their patch (`patch_codes`,
    (P,C)) in the same code as the prompts, so that "here" is a matter of equal codes.
    """

    def __init__(self, width: int, num_layers: int = 2, num_heads: int = 8) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_CrossAttentionLayer(width, num_heads) for _ in range(num_layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, prompts: Tensor, features: Tensor, patch_codes: Tensor) -> Tensor:
        for layer in self.layers:
            prompts = layer(prompts, features, patch_codes)
        return self.norm(prompts)


class AveragePooling(nn.Module):
    """The baseline of the ablation (KptLLM++ Tab. 14): features averaged under a Gaussian around the point.

    As POMNet pools support features by a heatmap of the keypoint; `sigma` is in patches.
    """

    def __init__(self, sigma: float = 1.0) -> None:
        super().__init__()
        self.sigma = sigma

    def forward(self, keypoints_norm: Tensor, features: Tensor, grid: tuple[int, int]) -> Tensor:
        centres = patch_centres(grid, features.device)
        scale = torch.tensor([grid[1], grid[0]], device=features.device, dtype=torch.float32)
        gap = (keypoints_norm[:, :, None].float() - centres[None, None]) * scale
        weight = torch.softmax(-(gap**2).sum(-1) / (2 * self.sigma**2), -1)
        return weight.to(features.dtype) @ features


def patch_centres(grid: tuple[int, int], device: torch.device | None = None) -> Tensor:
    """(P,2) x, y in [0,1] of the middle of each patch, row by row."""
    rows, columns = grid
    y = (torch.arange(rows, device=device) + 0.5) / rows
    x = (torch.arange(columns, device=device) + 0.5) / columns
    return torch.stack([x[None].expand(rows, columns), y[:, None].expand(rows, columns)], -1).reshape(-1, 2)


class KeypointPrompts(nn.Module):
    """Support images and points in, one language-model token per keypoint out.

    features        (B,S,P,C)   feature maps of the S support images of each row
    keypoints_norm  (B,S,K,2)   the same K keypoints in each of them
    state           (B,S,K)     a `PromptState` each
    returns         (B,K,D)     averaged over the support images that show the keypoint (5-shot)
    """

    def __init__(
        self,
        vision_width: int,
        hidden_size: int,
        *,
        kind: Literal["extractor", "average"] = "extractor",
        num_layers: int = 2,
        num_heads: int = 8,
    ) -> None:
        super().__init__()
        self.encoder = KeypointPromptEncoder(vision_width)
        self.extractor = PromptFeatureExtractor(vision_width, num_layers, num_heads) if kind == "extractor" else None
        self.pooling = AveragePooling() if kind == "average" else None
        self.project = nn.Linear(vision_width, hidden_size)

    def forward(self, features: Tensor, keypoints_norm: Tensor, state: Tensor, grid: tuple[int, int]) -> Tensor:
        rows, shots, num_keypoints = state.shape
        flat_features = features.flatten(0, 1)
        flat_points, flat_state = keypoints_norm.flatten(0, 1), state.flatten(0, 1)
        codes = self.encoder(flat_points, flat_state)
        if self.extractor is not None:
            centres = patch_centres(grid, features.device)
            given = torch.full(centres.shape[:1], int(PromptState.GIVEN), device=features.device)
            found = self.extractor(codes, flat_features, self.encoder(centres, given))
        else:
            assert self.pooling is not None
            pooled = self.pooling(flat_points, flat_features, grid)
            found = torch.where((flat_state == PromptState.GIVEN)[..., None], pooled, codes)
        found = found.view(rows, shots, num_keypoints, -1)
        # A keypoint that no support image shows keeps the mean of its "absent" vectors; places that only fill the
        # batch count for nothing.
        shown = (state == PromptState.GIVEN).to(found.dtype)
        real = (state != PromptState.PADDING).to(found.dtype)
        share = torch.where(shown.sum(1, keepdim=True) > 0, shown, real)
        mean = (found * share[..., None]).sum(1) / share.sum(1).clamp(min=1.0)[..., None]
        return self.project(mean)


class KeypointHead(nn.Module):
    """KptLLM's position decoding: the hidden state at `<point>` to x, y in [0,1] (KptLLM++ §3.4, Eq. 5)."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(hidden_size, hidden_size), nn.GELU(), nn.Linear(hidden_size, 2))

    def forward(self, hidden: Tensor) -> Tensor:
        return torch.sigmoid(self.mlp(hidden.to(next(self.parameters()).dtype)).float())


def keypoint_l1(predicted_norm: Tensor, target_norm: Tensor) -> Tensor:
    """(Q, 2), (Q, 2) -> (Q,): |x| + |y| errors; KptLLM adds them to the language loss, λ = 2 (KptLLM++ Eq. 7)."""
    return (predicted_norm.float() - target_norm.float()).abs().sum(-1)
