"""UniPose's released weights into ours: an adapter on LLaVA-1.6-Mistral, and TokenHMR's ViT as second encoder.

What the release holds, and where it goes:

    adapter_model.{bin,safetensors}   LoRA of the language model          merged into `language`
    non_lora_trainables.bin           embed_tokens, lm_head               the tables, row by row
                                      the last 80 rows of embed_tokens    `pose_queries`
                                      mm_projector.0 and .2               `projector` (2304 channels: CLIP | pose ViT)
    tokenizer                         <pose_id_0> ... <pose_id_2047>      renamed to <pose_0> ...
                                      <pose_id_2048>, <pose_id_2049>      renamed to <p>, </p>

Two habits of that model are kept in the configuration: the pose ViT's map is resized with aligned corners, and the
poses of a question are read causally (`given_poses`); only a pose to be produced attends both ways. Around an image its
questions have <im_start> and <im_end>, which a caller writes as text. The pose tokenizer is imported by `tokenizer_vq`.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from transformers import AddedToken, AutoTokenizer, PreTrainedTokenizerFast

from llmpose.errors import UserError
from llmpose.model.assemble import assemble
from llmpose.model.loading import one_line
from llmpose.model.modeling import LlmPoseForConditionalGeneration
from llmpose.model.weights.checkpoint import read_tensors
from llmpose.model.weights.llava import Llava, language_of, load_llava, put_projector
from llmpose.model.weights.pose_vit import import_pose_vit

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_PREFIX = "base_model.model."

INSTRUCT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% if message.role == 'assistant' %} {{ message.content }}{{ eos_token }}"
    "{% else %}[INST] {{ message.content }} [/INST]{% endif %}"
    "{% endfor %}"
)
"""Mistral's instructions, as LLaVA-1.6-Mistral is asked."""


def import_unipose(
    folder: str | Path,
    llava: str | Path | Llava,
    pose_vit: str | Path | Mapping[str, Tensor],
    *,
    num_pose_tokens: int = 80,
    codebook_size: int = 2048,
    pose_vit_heads: int | None = None,
) -> "tuple[LlmPoseForConditionalGeneration, PreTrainedTokenizerBase]":
    """The model and its tokenizer, ready for `LlmPoseProcessor.for_model`.

    Args:
        folder: the release's folder (adapter, non_lora_trainables.bin, tokenizer).
        llava: LLaVA-1.6-Mistral in the hub's layout, or loaded.
        pose_vit: TokenHMR's checkpoint.
        num_pose_tokens, codebook_size: of the release's pose tokenizer.
        pose_vit_heads: where they do not follow from the width.
    """
    from llmpose.model.config import VisionEncoderSpec
    from llmpose.talk.vocabulary import Vocabulary

    folder = Path(folder)
    theirs: Any = load_llava(Path(llava)) if isinstance(llava, str | Path) else llava
    others = _without_prefix(
        read_tensors(_one_of(folder, "non_lora_trainables.bin", "non_lora_trainables.safetensors"))
    )
    embedding, head = _needed(others, "model.embed_tokens.weight"), _needed(others, "lm_head.weight")

    with one_line(folder, "a folder with UniPose's tokenizer"):
        tokenizer = renamed_words(cast(Any, AutoTokenizer.from_pretrained(folder)), codebook_size)
    language = language_of(theirs)
    language.resize_token_embeddings(len(embedding), mean_resizing=False)
    merge_lora(language, folder)
    with torch.no_grad(), one_line(folder, "made for this language model"):
        language.get_input_embeddings().weight.copy_(embedding)
        language.get_output_embeddings().weight.copy_(head)

    clip = VisionEncoderSpec.of("clip", theirs.config.vision_config, layer=theirs.config.vision_feature_layer)
    pose, pose_weights = import_pose_vit(pose_vit, num_heads=pose_vit_heads)
    model = assemble(
        language,
        Vocabulary.of(tokenizer),
        encoders=[(clip, theirs.model.vision_tower.state_dict()), (replace(pose, align_corners=True), pose_weights)],
        projector="mlp2",
        num_pose_tokens=num_pose_tokens,
    )
    model.config.given_poses = "causal"
    layers = {"linear_1": "model.mm_projector.0", "linear_2": "model.mm_projector.2"}
    put_projector(
        model,
        {f"{ours}.{kind}": _needed(others, f"{t}.{kind}") for ours, t in layers.items() for kind in ("weight", "bias")},
    )
    assert model.pose_queries is not None
    with torch.no_grad():
        model.pose_queries.weight.copy_(embedding[-num_pose_tokens:])
    return model, tokenizer


def renamed_words(tokenizer: PreTrainedTokenizerFast, codebook_size: int) -> PreTrainedTokenizerFast:
    """The same tokenizer and the same ids, with our words in the places of theirs."""
    from llmpose.talk.vocabulary import MARKS, POSE_CLOSE, POSE_OPEN, pose_word

    names = {f"<pose_id_{code}>": pose_word(code) for code in range(codebook_size)}
    names |= {f"<pose_id_{codebook_size}>": POSE_OPEN, f"<pose_id_{codebook_size + 1}>": POSE_CLOSE}
    known = tokenizer.get_added_vocab()
    if missing := [name for name in names if name not in known]:
        raise UserError(f"the tokenizer lacks {missing[0]} (and {len(missing) - 1} more); is this UniPose's folder?")
    from tokenizers import Tokenizer

    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    for word in backend["added_tokens"]:
        if word["content"] in names:
            word.update(content=names[word["content"]], special=True, normalized=False)
    renamed = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(backend)),
        bos_token=tokenizer.bos_token,
        eos_token=tokenizer.eos_token,
        unk_token=tokenizer.unk_token,
        pad_token=tokenizer.pad_token or tokenizer.unk_token,
        chat_template=tokenizer.chat_template or INSTRUCT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )
    others = [
        AddedToken(word, special=True, normalized=False) for word in MARKS if word not in renamed.get_added_vocab()
    ]
    renamed.add_tokens(others, special_tokens=True)
    return renamed


@torch.no_grad()
def merge_lora(language: Any, folder: Path) -> None:
    """W + alpha / r · B A for every pair in the adapter's file."""
    with one_line(folder / "adapter_config.json", "an adapter's settings with lora_alpha and r"):
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        scale = config["lora_alpha"] / (config["r"] ** 0.5 if config.get("use_rslora") else config["r"])
    weights = _without_prefix(read_tensors(_one_of(folder, "adapter_model.safetensors", "adapter_model.bin")))
    pairs = {name.removesuffix(".lora_A.weight") for name in weights if name.endswith(".lora_A.weight")}
    if not pairs:
        raise UserError(f"{folder}: the adapter holds no LoRA weights")
    own = dict(language.named_parameters())
    for name in sorted(pairs):
        target = own.get(f"{name}.weight")
        if target is None:
            raise UserError(f"{folder}: the adapter changes {name}, which this language model does not have")
        with one_line(folder, f"an adapter that fits {name}"):
            update = weights[f"{name}.lora_B.weight"].float() @ weights[f"{name}.lora_A.weight"].float()
            target.add_((scale * update).to(target.dtype))


def _without_prefix(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(_PREFIX): value for name, value in weights.items()}


def _needed(weights: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in weights:
        raise UserError(f"non_lora_trainables.bin has no {name}; it holds {', '.join(sorted(weights)[:6])} ...")
    return weights[name]


def _one_of(folder: Path, *names: str) -> Path:
    found = next((folder / name for name in names if (folder / name).is_file()), None)
    if found is None:
        raise UserError(f"{folder}: neither {' nor '.join(names)} is there; expected UniPose's released folder")
    return found
