"""LLaVA-1.5 and LLaVA-1.6 into ours: language model, CLIP and projector; a second vision encoder may be added at once.

The checkpoint is read by transformers itself (`LlavaForConditionalGeneration`, `LlavaNextForConditionalGeneration`), so
every layout that it knows will do. LLaVA-1.6 cuts large images into tiles; ours sees the whole image once, as UniPose
does, and leaves the tiles' `image_newline` behind.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    LlavaForConditionalGeneration,
    LlavaNextForConditionalGeneration,
)

from llmpose.errors import UserError
from llmpose.model.assemble import assemble
from llmpose.model.config import VisionEncoderSpec
from llmpose.model.loading import load_foreign, one_line
from llmpose.model.modeling import LlmPoseForConditionalGeneration

if TYPE_CHECKING:
    from llmpose.talk.vocabulary import Vocabulary

Llava = LlavaForConditionalGeneration | LlavaNextForConditionalGeneration


def import_llava(
    source: str | Path | Llava,
    vocabulary: "Vocabulary",
    *,
    more_encoders: Sequence[tuple[VisionEncoderSpec, Mapping[str, Tensor] | None]] = (),
    num_pose_tokens: int = 80,
    pose_attention: Literal["mixed", "causal"] = "mixed",
    own_codes: bool = False,
    attn: str = "auto",
) -> LlmPoseForConditionalGeneration:
    """A model that sees and says what LLaVA does, until it is trained to know poses.

    Args:
        source: a folder in the hub's layout (llava-hf/...), or the loaded model.
        vocabulary: of LLaVA's tokenizer with our words added.
        more_encoders: encoders beside CLIP. What they see enters with weight zero, so nothing changes at first.
        num_pose_tokens, pose_attention, own_codes, attn: see LlmPoseConfig.
    """
    llava: Any = load_llava(Path(source)) if isinstance(source, str | Path) else source
    body, config = llava.model, llava.config
    if config.vision_feature_select_strategy != "default" or not isinstance(config.vision_feature_layer, int):
        raise UserError("only LLaVA models that read the patches of one CLIP layer can be imported")
    if config.projector_hidden_act != "gelu":
        raise UserError(f"LLaVA's projector uses {config.projector_hidden_act}; ours is linear, GELU, linear")
    clip = VisionEncoderSpec.of("clip", config.vision_config, layer=config.vision_feature_layer)
    model = assemble(
        language_of(llava),
        vocabulary,
        encoders=[(clip, body.vision_tower.state_dict()), *more_encoders],
        projector="mlp2",
        num_pose_tokens=num_pose_tokens,
        pose_attention=pose_attention,
        own_codes=own_codes,
        attn=attn,
    )
    assert model.projector is not None
    put_projector(model, body.multi_modal_projector.state_dict())
    return model


def language_of(llava: Any) -> Any:
    """LLaVA's language model with its head, as the causal model that it was; the weights are not copied."""
    inner = llava.model.language_model
    with torch.device("meta"):
        language = AutoModelForCausalLM.from_config(type(inner.config)(**inner.config.to_dict()))
    language.model, language.lm_head, language.config = inner, llava.lm_head, inner.config
    return language


@torch.no_grad()
def put_projector(model: LlmPoseForConditionalGeneration, weights: Mapping[str, Tensor]) -> None:
    """Weights named linear_1.* and linear_2.*; channels of encoders that they do not know get zeros."""
    assert model.projector is not None
    own = model.projector.state_dict()
    if set(own) != set(weights):
        raise UserError(f"the projector has {', '.join(sorted(own))}; given were {', '.join(sorted(weights))}")
    for name, target in own.items():
        given = weights[name]
        if target.ndim == 2 and given.shape[1] < target.shape[1]:
            target[:, given.shape[1] :] = 0
            target = target[:, : given.shape[1]]
        if target.shape != given.shape:
            raise UserError(f"projector.{name} has shape {tuple(target.shape)}, the checkpoint {tuple(given.shape)}")
        target.copy_(given)


def load_llava(folder: Path) -> Llava:
    """A folder of transformers' own layout."""
    with one_line(folder, "a LLaVA model"):
        config = AutoConfig.from_pretrained(folder)
    classes = {"llava": LlavaForConditionalGeneration, "llava_next": LlavaNextForConditionalGeneration}
    if config.model_type not in classes:
        raise UserError(
            f"{folder}: model_type is {config.model_type!r}; expected {' or '.join(classes)} (llava-hf/...)"
        )
    return load_foreign(classes[config.model_type].from_pretrained, folder, dtype="auto")
