"""`PoseTokenizer`: a pose of 22 rotations becomes a short row of codes, and a row of codes a pose (UniPose §3.1)."""

from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils.generic import ModelOutput

from tokenizer_vq.config import PoseTokenizerConfig
from tokenizer_vq.conv import ConvDecoder, ConvEncoder
from tokenizer_vq.loading import load_whole
from tokenizer_vq.parts import PartsDecoder, PartsEncoder, Slots
from tokenizer_vq.quantizer import make_quantizer
from tokenizer_vq.rotations import from_pelvis_frame, rot6d_to_rotmat, rotmat_to_rot6d, to_pelvis_frame


@dataclass
class PoseTokenizerOutput(ModelOutput):
    """What comes back from codes, the codes, and what the quantizer charges for the way through them."""

    rotmat: Tensor | None = None
    """(B, 22, 3, 3)."""
    codes: Tensor | None = None
    """(B, num_pose_tokens)."""
    commitment: Tensor | None = None
    """Mean over the batch."""


class PoseEncoder(nn.Module):
    """(B, 22, 3, 3) -> (B, L, C), before quantisation: also for whoever wants a pose as vectors."""

    def __init__(self, config: PoseTokenizerConfig) -> None:
        super().__init__()
        self.config = config
        self.net: nn.Module = ConvEncoder(config) if config.design == "conv" else PartsEncoder(config)

    def forward(self, rotmat: Tensor) -> Tensor:
        with torch.autocast(rotmat.device.type, enabled=False):
            rotmat = rotmat.float()
            if self.config.design == "parts":
                rotmat = to_pelvis_frame(rotmat)
            rotmat = rotmat[:, rotmat.shape[1] - self.config.num_joints :]
            return self.net(rotmat_to_rot6d(rotmat, self.config.rot6d_layout))


class PoseTokenizer(PreTrainedModel):
    """Encoder, quantizer, decoder. Always float32, whatever the model around runs in.

    tokenizer = PoseTokenizer.from_pretrained(folder)
    codes = tokenizer.encode(rotmat)        # (B, 22, 3, 3) -> (B, num_pose_tokens) int64
    rotmat = tokenizer.decode(codes)        # -> (B, 22, 3, 3)
    """

    config_class = PoseTokenizerConfig
    base_model_prefix = ""
    main_input_name = "rotmat"
    config: PoseTokenizerConfig

    def __init__(self, config: PoseTokenizerConfig) -> None:
        super().__init__(config)
        self.encoder = PoseEncoder(config)
        self.decoder: nn.Module = ConvDecoder(config) if config.design == "conv" else PartsDecoder(config)
        self.quantizer = make_quantizer(config)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Weights initialise themselves (transformers' normal(0, 0.02) would stall convolutions); tables are filled."""
        if isinstance(module, Slots):
            module.fill_tables()
        elif module is self.quantizer.library:
            self.quantizer.fill_tables()

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Self:
        """From a folder (or the hub): all of its weights, or an error of one line."""
        return load_whole(super().from_pretrained, pretrained_model_name_or_path, *args, **kwargs)

    def forward(self, rotmat: Tensor) -> PoseTokenizerOutput:
        """Through the codes and back; gradients pass straight through the quantizer."""
        latents = self.encoder(rotmat)
        with torch.autocast(rotmat.device.type, enabled=False):
            values, codes, commitment = self.quantizer(latents)
            return PoseTokenizerOutput(rotmat=self._rotations(values), codes=codes, commitment=commitment)

    @torch.no_grad()
    def encode(self, rotmat: Tensor) -> Tensor:
        """(B, 22, 3, 3) -> codes (B, num_pose_tokens), int64."""
        was_training = self.training
        self.quantizer.eval()  # a codebook of moving averages must not move because somebody looked
        latents = self.encoder(rotmat)
        with torch.autocast(rotmat.device.type, enabled=False):
            codes = self.quantizer(latents).codes
        self.quantizer.train(was_training)
        return codes

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Codes (B, num_pose_tokens) -> (B, 22, 3, 3), always valid rotations, float32."""
        with torch.autocast(codes.device.type, enabled=False):
            return self._rotations(self.quantizer.values(codes))

    def decode_vectors(self, values: Tensor) -> Tensor:
        """(B, num_pose_tokens, C) as `code_vectors` has them, or anything between -> (B, 22, 3, 3). Differentiable."""
        with torch.autocast(values.device.type, enabled=False):
            return self._rotations(values)

    @torch.no_grad()
    def code_vectors(self) -> Tensor | None:
        """(codes_per_place, C): what each code stands for, at any place; None where a code alone stands for nothing."""
        if self.config.quantizer == "residual":
            return None
        codes = torch.arange(self.config.codes_per_place, device=self.device)
        return self.quantizer.values(codes[:, None])[:, 0]

    def _rotations(self, values: Tensor) -> Tensor:
        rotmat = rot6d_to_rotmat(self.decoder(values.float()), self.config.rot6d_layout)
        missing = 22 - self.config.num_joints
        if missing:  # TokenHMR's tokenizer knows the body only: its poses stand upright in their own frame
            root = torch.eye(3, device=rotmat.device).expand(len(rotmat), missing, 3, 3)
            rotmat = torch.cat([root, rotmat], dim=1)
        return from_pelvis_frame(rotmat) if self.config.design == "parts" else rotmat
