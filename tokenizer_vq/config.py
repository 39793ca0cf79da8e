"""Every number of a pose tokenizer. `num_pose_tokens`, `codebook_size` and friends live here and nowhere else."""

from typing import Any, Literal

from transformers import PretrainedConfig

BODY_PARTS: dict[str, tuple[int, ...]] = {
    "root": (0,),
    "torso": (3, 6, 9),
    "head": (12, 15),
    "left_leg": (1, 4, 7, 10),
    "right_leg": (2, 5, 8, 11),
    "left_arm": (13, 16, 18, 20),
    "right_arm": (14, 17, 19, 21),
}
"""The 22 joints of a pose (SMPL order) by part of the body."""


class PoseTokenizerConfig(PretrainedConfig):
    """Sizes of a pose tokenizer.

    design      "conv": one-dimensional convolutions over the joints (UniPose §3.1, as TokenHMR's);
                "parts": every token belongs to one part of the body (our default, see tokenizer_vq/parts.py).
    quantizer   "ema": one codebook of moving averages; "residual": `num_residual` codebooks in turn, every code of each
                codebook a token of its own; "fsq": a fixed grid, no codebook to learn.
    fsq_levels  of the grid; their product is the codebook size. Empty: chosen for codebook_size.
    """

    model_type = "pose_tokenizer"

    def __init__(
        self,
        design: Literal["conv", "parts"] = "parts",
        num_pose_tokens: int = 40,
        codebook_size: int = 2048,
        hidden_size: int = 256,
        code_width: int = 256,
        num_layers: int = 2,
        quantizer: Literal["ema", "fsq", "residual"] = "fsq",
        fsq_levels: tuple[int, ...] = (),
        num_residual: int = 1,
        ema_decay: float = 0.99,
        dead_code_threshold: float = 1.0,
        dilation_growth: int = 3,
        num_joints: int = 22,
        rot6d_layout: Literal["columns", "rows"] = "columns",
        part_tokens: dict[str, int] | None = None,
        **kwargs: Any,
    ) -> None:
        self.design = design
        self.num_pose_tokens = num_pose_tokens
        self.codebook_size = codebook_size
        self.hidden_size = hidden_size
        self.code_width = code_width
        self.num_layers = num_layers
        self.quantizer = quantizer
        self.fsq_levels = list(fsq_levels)
        self.num_residual = num_residual
        self.ema_decay = ema_decay
        self.dead_code_threshold = dead_code_threshold
        self.dilation_growth = dilation_growth
        self.num_joints = num_joints
        self.rot6d_layout = rot6d_layout
        self.part_tokens = part_tokens
        super().__init__(**kwargs)
