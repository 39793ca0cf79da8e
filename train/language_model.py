"""The model of a language stage: made of parts, or the last stage's; then what trains, how, and what is frozen.

    new parts ──────────────┐
    LLaVA in the hub's form ├─> base ──> (LoRA, token rows …) ──> training ──> whole model, or adapter on its base
    the last stage's folder ┘

A stage writes an adapter when anything in it is adapted (`lora`, `rows`), else the whole model. The next stage starts
from either; vision encoders may join at any stage.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from accelerate import PartialState
from peft import PeftModel
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, MistralConfig, PreTrainedModel, Qwen2Config

from llmpose.errors import UserError
from llmpose.model.adapters import add_adapter, base_of, is_adapter, load_model, save_adapter
from llmpose.model.assemble import add_vision, assemble, init_codes
from llmpose.model.config import VisionEncoderSpec
from llmpose.model.loading import load_foreign, load_pose_tokenizer, one_line
from llmpose.model.modeling import LlmPoseForConditionalGeneration
from llmpose.model.weights.encoders import import_encoder
from llmpose.talk.processing import LlmPoseProcessor
from llmpose.talk.vocabulary import Vocabulary, add_pose_words, train_tokenizer
from train.recipe import at_least
from train.stages import How, component_of

if TYPE_CHECKING:
    from tokenizer_vq import PoseTokenizer

Encoders = list[tuple[VisionEncoderSpec, Mapping[str, Tensor] | None]]

_DECODERS = {"llama": LlamaConfig, "mistral": MistralConfig, "qwen2": Qwen2Config}


@dataclass(kw_only=True)
class NewDecoder:
    """A language model from nothing: for the built-in world, which has no pretrained one."""

    family: Literal["llama", "mistral", "qwen2"] = "llama"
    """Architecture."""
    hidden_size: int = 256
    """Width."""
    num_layers: int = 4
    """Depth."""
    num_heads: int = 8
    """Attention heads."""
    intermediate_size: int = 704
    """Width inside the feed-forward layers."""
    vocab_size: int = 1024
    """Words of its byte-pair tokenizer, learnt from the training texts; pose words come on top."""
    context: int = 1024
    """Longest row of tokens it will ever read."""
    tie: bool = True
    """Embedding and head are one table."""


@dataclass(kw_only=True)
class Encoder:
    """A vision encoder that joins the model."""

    folder: str = ""
    """Run folder of a vision stage, folder of an encoder in transformers' form, or (pose ViT) a checkpoint file."""
    layer: int = -1
    """Hidden state that is read; -2 for CLIP in LLaVA's manner."""
    image_px: int | None = None
    """Pixels of its input, where they are to differ from its configuration's (DINOv2 at 224)."""


@dataclass(kw_only=True)
class LanguageModel:
    """What the model is made of. Only the first stage needs it all; later ones read start_from."""

    llava: str | None = None
    """LLaVA-1.5 or 1.6 in transformers' form: language model, CLIP and projector at once."""
    language: str | None = None
    """A decoder-only language model of transformers."""
    new: NewDecoder = field(default_factory=NewDecoder)
    """The language model, where neither of the two is given."""
    pose_tokenizer: str | None = None
    """Run folder of stage 1, or a saved pose tokenizer."""
    vision: dict[str, Encoder] = field(default_factory=dict)
    """Name (clip, pose, dino …) -> encoder; the first one's grid is the model's. Needed where images first appear."""
    projector: Literal["linear", "mlp2"] = "linear"
    """linear: v = [v_a | v_b] W (UniPose §3.2); mlp2: two layers with a GELU, as LLaVA-1.5."""
    pose_attention: Literal["mixed", "causal"] = "mixed"
    """mixed: a pose in one step, attention both ways; causal: token by token (the ablation)."""
    attn: str = "auto"
    """auto, eager, sdpa, flex_attention or flash_attention_2."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of weights that are frozen. What trains is float32."""


@dataclass(kw_only=True)
class Lora:
    """Of components that train as `lora`."""

    rank: int = 64
    """Width of the update."""
    alpha: float = 16.0
    """The update counts alpha / rank."""
    dropout: float = 0.05
    """On the update's input."""
    targets: str | None = None
    """Pattern of module names; null: all matrices of the language model's layers."""

    def __post_init__(self) -> None:
        at_least("lora.rank", self.rank, 1)


@dataclass
class Started:
    """A model before training."""

    model: LlmPoseForConditionalGeneration | PeftModel
    processor: LlmPoseProcessor
    base: Path | None
    """Folder of the base that an adapter belongs to."""

    @property
    def bare(self) -> LlmPoseForConditionalGeneration:
        return cast(Any, self.model).get_base_model() if isinstance(self.model, PeftModel) else self.model


def components(model: nn.Module) -> dict[str, tuple[str, ...]]:
    """Component of train/stages.py -> leading parts of parameter names, with or without an adapter around."""
    bare = cast(Any, model).get_base_model() if isinstance(model, PeftModel) else cast(Any, model)
    around = "base_model.model." if isinstance(model, PeftModel) else ""
    tables = {id(table) for table in (bare.get_input_embeddings(), bare.get_output_embeddings())}
    rows = [name for name, module in bare.named_modules() if id(module) in tables]
    named = {"token_rows": rows, "language_model": ["language"]}
    parts = {**named, **{name: [name] for name in ("pose_queries", "projector", "vision", "prompts", "point_head")}}
    return {label: tuple(around + start for start in starts) for label, starts in parts.items()}


def model_folder(path: str | Path) -> Path:
    """A run's model, or the folder itself."""
    path = Path(path)
    found = next((folder for folder in (path / "best", path / "model") if folder.is_dir()), path)
    if not found.exists():
        raise UserError(f"{path}: no such run or model; train the stage before this one, or correct the path")
    return found


def start(parts: LanguageModel, *, start_from: str | None, texts: Iterable[str], run_dir: Path, seed: int) -> Started:
    """The last stage's model, or a new one of `parts`. `texts` are read only for a new tokenizer."""
    if start_from is not None:
        return _continue(parts, model_folder(start_from), run_dir, seed)
    if parts.pose_tokenizer is None:
        raise UserError("model.pose_tokenizer: name the run of stage 1, like model.pose_tokenizer=runs/tokenizer")
    codec = load_pose_tokenizer(model_folder(parts.pose_tokenizer))
    tokenizer = new_tokenizer(parts, texts)
    vocabulary = add_pose_words(tokenizer, codec.config.codebook_size)
    language = new_language(parts, tokenizer, seed)
    options: dict[str, Any] = {
        "num_pose_tokens": codec.config.num_pose_tokens,
        "pose_attention": parts.pose_attention,
        "own_codes": codec.config.own_codes,
        "attn": parts.attn,
    }
    if parts.llava is not None:
        from llmpose.model.weights.llava import import_llava, load_llava

        llava = load_llava(model_folder(parts.llava))
        model = import_llava(llava, vocabulary, more_encoders=new_encoders(parts), **options)
    else:
        assert language is not None
        model = assemble(
            language, vocabulary, encoders=new_encoders(parts), projector=parts.projector, seed=seed, **options
        )
        if parts.language is None:
            place_codes(model, codec, seed)
    model = cast(Any, model).to(getattr(torch, parts.dtype))
    return Started(model, LlmPoseProcessor.for_model(model.config, tokenizer, codec), None)


def _continue(parts: LanguageModel, folder: Path, run_dir: Path, seed: int) -> Started:
    options: dict[str, Any] = {"attn": parts.attn, "dtype": getattr(torch, parts.dtype)}
    processor = LlmPoseProcessor.from_pretrained(folder)
    base = base_of(folder) if is_adapter(folder) else None
    model = load_model(folder, merge=False, trainable=True, **options)
    started = Started(model, processor, base)
    if parts.vision and started.bare.vision is None:
        bare = load_model(folder, merge=True, **options) if base is not None else started.bare
        assert isinstance(bare, LlmPoseForConditionalGeneration)
        grown = add_vision(bare, new_encoders(parts), projector=parts.projector, seed=seed)
        codec = processor.pose_tokenizer if processor.has_pose_tokenizer else None
        started = Started(grown, LlmPoseProcessor.for_model(grown.config, processor.tokenizer, codec), None)
    return started


def new_tokenizer(parts: LanguageModel, texts: Iterable[str]) -> Any:
    """That of the language model named, or one learnt from `texts`."""
    given = parts.llava if parts.llava is not None else parts.language
    if given is None:
        return train_tokenizer(texts, parts.new.vocab_size)
    folder = model_folder(given)
    with one_line(folder, "a folder with a tokenizer"):
        return AutoTokenizer.from_pretrained(folder)


def new_language(parts: LanguageModel, tokenizer: Any, seed: int) -> PreTrainedModel | None:
    """The language model named, or one from nothing with a row for every word so far; LLaVA brings its own model."""
    if parts.llava is not None:
        return None
    if parts.language is not None:
        dtype = getattr(torch, parts.dtype)
        return load_foreign(AutoModelForCausalLM.from_pretrained, model_folder(parts.language), dtype=dtype)
    new = parts.new
    config = _DECODERS[new.family](
        vocab_size=len(tokenizer),
        hidden_size=new.hidden_size,
        num_hidden_layers=new.num_layers,
        num_attention_heads=new.num_heads,
        num_key_value_heads=new.num_heads,
        intermediate_size=new.intermediate_size,
        max_position_embeddings=new.context,
        tie_word_embeddings=new.tie,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(config)


@torch.no_grad()
def place_codes(model: LlmPoseForConditionalGeneration, codec: "PoseTokenizer", seed: int) -> None:
    """Pose words of a language model from nothing begin where their meaning puts them, and queries at their places."""
    vectors, first = codec.code_vectors(), model.config.first_pose_id
    if vectors is None or first is None:
        return
    std = float(cast(Any, model.config.text_config).initializer_range)
    tables: list[Any] = [model.get_input_embeddings(), model.get_output_embeddings()]
    for weight in {id(table.weight): table.weight for table in tables}.values():
        rows = weight[first : first + model.config.codebook_size]
        places = init_codes(rows, vectors, std, torch.Generator().manual_seed(seed))
        if model.pose_queries is not None and len(places) == model.config.num_pose_tokens:
            model.pose_queries.weight.copy_(places)


def new_encoders(parts: LanguageModel) -> Encoders:
    """The vision encoders that the recipe names."""
    found: Encoders = []
    for name, encoder in parts.vision.items():
        path = Path(encoder.folder)
        found.append(
            import_encoder(
                path if path.is_file() else model_folder(path), name, layer=encoder.layer, image_size=encoder.image_px
            )
        )
    return found


def adapt(started: Started, plan: Mapping[str, How], lora: Lora, run_dir: Path) -> Started:
    """Freeze and free what the stage's plan says; wrap the model where something is adapted."""
    adapted = [name for name, how in plan.items() if how in ("lora", "rows")]
    model = started.model
    if adapted and not isinstance(model, PeftModel):
        model = _wrapped(started, plan, lora, run_dir)
        started = Started(model, started.processor, run_dir / "base")
    if isinstance(model, PeftModel):
        _check_against_adapter(plan)
    parts, has_adapter = components(model), isinstance(model, PeftModel)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(_trains(name, component_of(name, parts), plan, has_adapter))
        if parameter.requires_grad and parameter.dtype != torch.float32:
            parameter.data = parameter.data.float()
    return started


def _wrapped(started: Started, plan: Mapping[str, How], lora: Lora, run_dir: Path) -> PeftModel:
    """A base in the run's folder (written by the first process), and an adapter around the model."""
    model, state = started.bare, PartialState()
    if state.is_main_process and not (run_dir / "base" / "config.json").is_file():
        model.save_pretrained(run_dir / "base")
    state.wait_for_everyone()
    rows = Vocabulary.of(started.processor.tokenizer).added_ids if plan.get("token_rows") != "frozen" else ()
    return add_adapter(
        model,
        rank=lora.rank,
        alpha=lora.alpha,
        dropout=lora.dropout,
        rows=rows,
        targets=lora.targets,
        vision=plan.get("vision") == "lora",
    )


def _check_against_adapter(plan: Mapping[str, How]) -> None:
    whole = [name for name in ("language_model", "token_rows", "vision") if plan.get(name) == "full"]
    if whole:
        raise UserError(
            f"adapt: {', '.join(whole)} cannot train in full beside an adapter; adapt with lora or rows, or start from "
            "a whole model and train everything in full"
        )


def _trains(name: str, component: str, plan: Mapping[str, How], has_adapter: bool) -> bool:
    if plan.get(component, "frozen") == "frozen":
        return False
    if not has_adapter:
        return True
    if "original_module" in name or "base_layer" in name:
        return False
    if component in ("pose_queries", "projector", "prompts", "point_head"):
        return "modules_to_save" in name
    return "lora_" in name or "token_adapter" in name or "trainable_tokens" in name


def save(model: nn.Module, folder: Path, processor: LlmPoseProcessor, base: Path | None) -> None:
    """What later stages, chat and evaluation load: one folder, processor included."""
    if isinstance(model, PeftModel):
        assert base is not None
        save_adapter(model, folder, base)
    else:
        cast(PreTrainedModel, model).save_pretrained(folder)
    processor.save_pretrained(folder)
