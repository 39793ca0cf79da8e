"""What a model is made of: any decoder-only language model, a list of vision encoders, a projector, pose tokens."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

# Imported for its effect: its model becomes known to transformers' Auto classes.
import llmpose.model.conv_vit  # noqa: F401  # pyright: ignore[reportUnusedImport]
from llmpose.errors import UserError

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class VisionEncoderSpec:
    """One vision encoder, and the pixels that it wants to see.

    Every image is first made square; an encoder that is narrower than high (a pose ViT of 256 × 192) sees the middle
    columns of it, as HMR2 and UniPose do. Its map is filled up with zeros at the sides, so that the maps of all
    encoders lie over the same square.
    """

    name: str
    """Key of this encoder's pixels in a batch: clip, pose, dino ..."""
    config: dict[str, Any]
    """Configuration of the encoder in transformers, `model_type` included."""
    height_px: int
    """Pixels it takes; the square image is resized to this height."""
    width_px: int
    """At most height_px: the middle columns of the square."""
    grid: tuple[int, int]
    """Rows and columns of its feature map over the whole square."""
    width: int
    """Channels of its feature map."""
    layer: int = -1
    """Which hidden state is read: -1 the last one (after the final norm, where there is one), -2 the one before."""
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    align_corners: bool = False
    """How its map is resized to the first encoder's grid; UniPose's released weights were trained with True."""

    def __post_init__(self) -> None:
        for name in ("grid", "mean", "std"):  # JSON knows lists only
            object.__setattr__(self, name, tuple(getattr(self, name)))

    @staticmethod
    def of(name: str, given: PreTrainedConfig | dict[str, Any], **fields: Any) -> "VisionEncoderSpec":
        """Read sizes off a configuration of transformers (CLIP, SigLIP, DINOv2/v3, ViTPose, ConvNeXt and their kin)."""
        config: Any = given if isinstance(given, PreTrainedConfig) else _encoder_config(given)
        height, width = pair(fields.pop("image_size", None) or getattr(config, "image_size", 224))
        if "convnext" in config.model_type:
            stride, channels = 32, config.hidden_sizes[-1]
            grid = (height // stride, height // stride)
        else:
            backbone = getattr(config, "backbone_config", None) or config
            patch_h, patch_w = pair(backbone.patch_size)
            assert patch_h == patch_w, "patches are square"
            grid, channels = (height // patch_h, height // patch_w), backbone.hidden_size
        if config.model_type.startswith(("clip", "siglip")):
            fields.setdefault("mean", CLIP_MEAN if config.model_type.startswith("clip") else (0.5, 0.5, 0.5))
            fields.setdefault("std", CLIP_STD if config.model_type.startswith("clip") else (0.5, 0.5, 0.5))
        return VisionEncoderSpec(
            name=name,
            config={**config.to_diff_dict(), "model_type": config.model_type},
            height_px=height,
            width_px=width,
            grid=grid,
            width=channels,
            **fields,
        )

    @property
    def columns_seen(self) -> int:
        """Columns of the grid that the encoder itself looks at."""
        return self.grid[1] * self.width_px // self.height_px

    def encoder_config(self) -> PreTrainedConfig:
        """A fresh configuration object: two live models must never share one."""
        return _encoder_config(self.config)


def _encoder_config(values: dict[str, Any]) -> PreTrainedConfig:
    model_type = str(values.get("model_type"))
    if model_type not in CONFIG_MAPPING:
        raise UserError(
            f"vision encoder: model_type is {model_type!r}; expected one of transformers' vision models, "
            "such as clip_vision_model, siglip_vision_model, dinov2, dinov3_vit, vitpose_backbone or convnext"
        )
    return CONFIG_MAPPING[model_type](**{key: value for key, value in values.items() if key != "model_type"})


def sub_config(given: dict[str, Any] | PreTrainedConfig | None, model_type: str) -> PreTrainedConfig:
    """A part's configuration from what a file or a caller gave; `model_type` where that does not say.

    Releases of transformers up to 5.18 leave this to every configuration; done here, all agree.
    """
    if isinstance(given, PreTrainedConfig):
        return given
    values: dict[str, Any] = {"model_type": model_type, **(given or {})}
    return CONFIG_MAPPING[values.pop("model_type")](**values)


def pair(size: int | Sequence[int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


@strict
class LlmPoseConfig(PreTrainedConfig):
    """Configuration of `LlmPoseForConditionalGeneration`; the ids are those of `llmpose.talk.vocabulary.Vocabulary`."""

    model_type = "llmpose"
    # A property in transformers 5.24, a class attribute before: this reads alike in both.
    sub_configs: ClassVar[dict[str, Any]] = {"text_config": AutoConfig}  # pyright: ignore[reportIncompatibleMethodOverride]

    text_config: dict[str, Any] | PreTrainedConfig | None = None
    vision: list[Any] | tuple[Any, ...] = ()
    """Vision encoders, as VisionEncoderSpec or their dicts; none for a model of poses and text alone."""
    projector: Literal["linear", "mlp2"] = "linear"
    """`linear` is v = [v_a | v_b] W of UniPose §3.2; `mlp2` two layers with a GELU between, as LLaVA-1.5 has."""
    num_pose_tokens: int = 80
    codebook_size: int = 2048
    own_codes: bool = False
    """Every place of a pose chooses among its own codebook_size / num_pose_tokens codes (tokenizer_vq/config.py)."""
    pose_attention: Literal["mixed", "causal"] = "mixed"
    """`mixed`: a pose comes out of its queries in one step, attention runs both ways inside it. `causal`: pose tokens
    one by one like words (UniPose's ablation)."""
    given_poses: Literal["mixed", "causal"] = "mixed"
    """Attention inside the poses of a question. UniPose's released weights were trained with `causal` here."""
    keypoint_prompts: Literal["extractor", "average"] | None = None
    """How a keypoint shown in a support image becomes a token: cross-attention to the image's features (KptLLM++ §3.3),
    their average around the point (its ablation), or not at all."""
    keypoint_answers: Literal["described", "named", "position"] | None = None
    """How it was trained to answer where a keypoint is: with name and description first, the name first, or neither."""
    keypoint_positions: Literal["text", "regression"] = "text"
    """How an answer says where: x and y in digits (KptLLM++ §3.4), or the word <point>, off whose hidden state a head
    reads them (KptLLM, Eq. 5)."""
    keypoint_loss_weight: float = 2.0
    """λ of the head's L1 loss beside the language model's (KptLLM++ Eq. 7)."""
    first_pose_id: int | None = None
    pose_open_id: int | None = None
    pose_close_id: int | None = None
    pose_query_id: int | None = None
    image_id: int | None = None
    keypoint_id: int | None = None
    point_id: int | None = None
    pad_token_id: int | None = None
    attn: str = "auto"
    """auto, eager, sdpa, flex_attention or flash_attention_2, for the language model (llmpose/model/layout.py)."""
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        specs = [spec if isinstance(spec, VisionEncoderSpec) else VisionEncoderSpec(**spec) for spec in self.vision]
        if len({spec.name for spec in specs}) != len(specs):
            raise UserError(f"vision encoders must have different names, found {[spec.name for spec in specs]}")
        self.vision = [asdict(spec) for spec in specs]  # plain values, as JSON holds them
        self.text_config = sub_config(self.text_config, "llama")
        super().__post_init__(**kwargs)
        self.tie_word_embeddings = bool(getattr(self.text_config, "tie_word_embeddings", False))

    def encoders(self) -> list[VisionEncoderSpec]:
        return [VisionEncoderSpec(**spec) for spec in self.vision]

    @property
    def num_image_tokens(self) -> int:
        """Placeholders that one image takes: the cells of the first encoder's grid."""
        specs = self.encoders()
        return specs[0].grid[0] * specs[0].grid[1] if specs else 0

    @property
    def knows_keypoints(self) -> bool:
        """Whether a stage has taught it where keypoints are, in words at least; every keypoint stage says how."""
        return self.keypoint_answers is not None or self.keypoint_prompts is not None

    @property
    def vision_width(self) -> int:
        """Channels of all encoders side by side."""
        return sum(spec.width for spec in self.encoders())
