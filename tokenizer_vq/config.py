"""Every number of a pose tokenizer. `num_pose_tokens`, `codebook_size` and friends live here and nowhere else."""

import math
from collections.abc import Sequence
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

PARENTS: tuple[int, ...] = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19)
"""The joint that each of the 22 joints hangs on."""

PART_SHARES: dict[str, float] = {
    "root": 3.0,
    "torso": 3.0,
    "head": 2.0,
    "left_leg": 3.0,
    "right_leg": 3.0,
    "left_arm": 4.0,
    "right_arm": 4.0,
}
"""How a number of tokens is divided among the parts when a config does not say."""


Rot6dLayout = Literal["columns", "rows"]
"""A rotation's first two columns one after the other, or its first two rows."""


class PoseTokenizerConfig(PretrainedConfig):
    """Sizes of a pose tokenizer.

    design         "conv": one-dimensional convolutions over the joints (UniPose §3.1, after TokenHMR);
                   "parts": every token belongs to one part of the body (our default, tokenizer_vq/parts.py).
    quantizer      "ema": one codebook of moving averages; "fsq": a fixed grid, no codebook to learn;
                   "residual": `num_residual` codebooks in turn, every code of each a token of its own.
    codebook_size  with "fsq", the product of fsq_levels; where those are empty, they are chosen for it.
    own_codes      every place of a pose has a stretch of the codebook to itself, codebook_size / num_pose_tokens codes
                   ("fsq" only): a code then says where it stands, and whoever reads it need not work that out.
    code_width     channels of one code; null is one per fsq level, else 256.
    part_tokens    tokens of each part ("parts" only); null divides num_pose_tokens by PART_SHARES.
    """

    model_type = "pose_tokenizer"

    def __init__(
        self,
        design: Literal["conv", "parts"] = "parts",
        num_pose_tokens: int = 40,
        codebook_size: int = 2048,
        hidden_size: int = 256,
        own_codes: bool = False,
        code_width: int | None = None,
        num_layers: int = 2,
        quantizer: Literal["ema", "fsq", "residual"] = "fsq",
        fsq_levels: Sequence[int] = (),
        num_residual: int = 1,
        ema_decay: float = 0.99,
        dead_code_threshold: float = 1.0,
        dilation_growth: int = 3,
        num_joints: int = 22,
        rot6d_layout: Rot6dLayout = "columns",
        part_tokens: dict[str, int] | None = None,
        **kwargs: Any,
    ) -> None:
        if own_codes and (quantizer != "fsq" or codebook_size % num_pose_tokens):
            raise ValueError(
                f"own_codes divides a multiple of {num_pose_tokens} codes among the places of a grid (fsq); here are "
                f"{codebook_size} codes, quantizer {quantizer!r}"
            )
        if quantizer == "fsq":
            at_a_place = codebook_size // num_pose_tokens if own_codes else codebook_size
            fsq_levels = list(fsq_levels) or levels_for(at_a_place)
            if math.prod(fsq_levels) != at_a_place:
                raise ValueError(f"fsq_levels {fsq_levels} make {math.prod(fsq_levels)} codes, not {at_a_place}")
        if part_tokens is not None and sum(part_tokens.values()) != num_pose_tokens:
            raise ValueError(f"part_tokens add up to {sum(part_tokens.values())}, num_pose_tokens is {num_pose_tokens}")
        if design == "parts" and num_joints != 22:
            raise ValueError(f"the parts design is for 22 joints, not {num_joints}")
        self.design = design
        self.num_pose_tokens = num_pose_tokens
        self.codebook_size = codebook_size
        self.hidden_size = hidden_size
        self.own_codes = own_codes
        self.code_width = code_width or (len(fsq_levels) if quantizer == "fsq" else 256)
        self.num_layers = num_layers
        self.quantizer = quantizer
        self.fsq_levels = list(fsq_levels)
        self.num_residual = num_residual
        self.ema_decay = ema_decay
        self.dead_code_threshold = dead_code_threshold
        self.dilation_growth = dilation_growth
        self.num_joints = num_joints
        self.rot6d_layout: Rot6dLayout = rot6d_layout
        if design == "parts":
            per_vector = num_pose_tokens // self.latent_length
            part_tokens = part_tokens or {
                part: per_vector * count for part, count in divide_tokens(self.latent_length).items()
            }
            if any(count < per_vector or count % per_vector for count in part_tokens.values()):
                raise ValueError(
                    f"part_tokens {part_tokens}: every part needs a multiple of num_residual {per_vector} tokens"
                )
        self.part_tokens = part_tokens
        super().__init__(**kwargs)

    @property
    def codes_per_place(self) -> int:
        """Codes that can stand at one place of a pose."""
        return self.codebook_size // self.num_pose_tokens if self.own_codes else self.codebook_size

    @property
    def latent_length(self) -> int:
        """Vectors that the encoder makes of a pose; each becomes num_residual tokens with "residual", else one."""
        per_vector = self.num_residual if self.quantizer == "residual" else 1
        if self.num_pose_tokens % per_vector:
            raise ValueError(f"num_pose_tokens {self.num_pose_tokens} is not a multiple of num_residual {per_vector}")
        return self.num_pose_tokens // per_vector


def levels_for(codebook_size: int) -> list[int]:
    """A grid with so many points: eights, and one smaller power of two: 2048 -> [8, 8, 8, 4]."""
    bits = codebook_size.bit_length() - 1
    if codebook_size != 1 << bits or bits < 2:
        raise ValueError(f"codebook_size {codebook_size} is no power of two of at least 4: give fsq_levels")
    if bits % 3 == 1:  # two fours waste less than a grid direction with two points
        return [8] * ((bits - 4) // 3) + [4, 4]
    return [8] * (bits // 3) + ([4] if bits % 3 else [])


def divide_tokens(num_pose_tokens: int) -> dict[str, int]:
    """Tokens per part: at least one each, the rest by PART_SHARES (largest remainders), left as right."""
    if num_pose_tokens < len(PART_SHARES):
        raise ValueError(
            f"{num_pose_tokens} vectors cannot cover {len(PART_SHARES)} body parts; give at least that many, and with "
            "residual codes num_residual tokens for each"
        )
    total = sum(PART_SHARES.values())
    ideal = {part: num_pose_tokens * share / total for part, share in PART_SHARES.items()}
    tokens = {part: max(1, int(value)) for part, value in ideal.items()}
    sides = [("root",), ("torso",), ("head",), ("left_leg", "right_leg"), ("left_arm", "right_arm")]
    while left := num_pose_tokens - sum(tokens.values()):
        able = [parts for parts in sides if len(parts) <= left]
        neediest = max(able, key=lambda parts: ideal[parts[0]] - tokens[parts[0]])
        tokens.update({part: tokens[part] + 1 for part in neediest})
    return tokens
