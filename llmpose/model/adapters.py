"""Adapters: what a stage trained of a large model, in one folder, loaded by one call, merged by one call.

    runs/align/model/
        adapter_model.safetensors   LoRA of the language model; the new rows of embedding AND head; projector, pose
                                    queries, prompt modules: everything that differs from the base
        adapter_config.json         PEFT's own description
        llmpose_adapter.json        which base this belongs to, by path and by fingerprint

Rows of new tokens are trained as rows (`trainable_token_indices`), not as a whole copy of two large tables, and in both
tables unless they are one: an adapter that holds the embedding's rows only comes back with a head that knows no pose.
"""

import hashlib
import json
import os
import re
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import SafetensorError
from torch import Tensor, nn

from llmpose.errors import UserError
from llmpose.model.modeling import LlmPoseForConditionalGeneration

ADAPTER_FILE = "llmpose_adapter.json"
SAVED_PARTS = ("projector", "pose_queries", "prompts", "point_head")
"""Parts of the model that an adapter holds whole, where the model has them."""

_SAMPLE_BYTES, _SAMPLES = 4096, 512


def linear_names(module: nn.Module) -> list[str]:
    """Last names of the matrices in a module: q_proj, down_proj ..."""
    return sorted({name.rsplit(".", 1)[-1] for name, part in module.named_modules() if isinstance(part, nn.Linear)})


def lora_targets(model: LlmPoseForConditionalGeneration, *, vision: bool = False) -> str:
    """A pattern that matches the matrices of the language model's layers (and of the vision encoders), no others.

    By name alone, `q_proj` would also match CLIP.
    """
    layers = getattr(model.language.base_model, "layers", None)
    if layers is None:
        raise UserError(f"{type(model.language).__name__} has no list of layers; name the LoRA targets in the recipe")
    patterns = [rf"language\..*layers\.\d+\..*({'|'.join(linear_names(layers))})"]
    if vision and model.vision is not None:
        patterns.append(rf"vision\.encoders\..*({'|'.join(linear_names(model.vision))})")
    return "|".join(patterns)


def add_adapter(
    model: LlmPoseForConditionalGeneration,
    *,
    rank: int,
    alpha: float,
    dropout: float = 0.0,
    rows: Sequence[int] = (),
    targets: str | None = None,
    vision: bool = False,
) -> PeftModel:
    """Wrap a model for training. At once it computes what it did: LoRA's second matrix starts at zero.

    Args:
        rank, alpha, dropout: of LoRA.
        rows: token ids whose rows are trained in the embedding and in the head (`Vocabulary.added_ids`).
        targets: pattern of module names for LoRA; by default all matrices of the language model's layers.
        vision: LoRA on the vision encoders, too (KptLLM++).
    """
    targets = targets or lora_targets(model, vision=vision)
    if not any(re.fullmatch(targets, name) for name, _ in model.named_modules()):
        raise UserError(f"LoRA targets {targets!r} match no module of this model")
    tables = [_name_of(model, model.get_input_embeddings())]
    if model.get_output_embeddings().weight is not model.get_input_embeddings().weight:
        tables.append(_name_of(model, model.get_output_embeddings()))
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,  # type: ignore[arg-type]
        lora_dropout=dropout,
        target_modules=targets,
        modules_to_save=[name for name in SAVED_PARTS if getattr(model, name, None) is not None],
        trainable_token_indices={table: sorted(rows) for table in tables} if rows else None,
    )
    with _old_names():
        return get_peft_model(model, config)  # type: ignore[arg-type, return-value]


@contextmanager
def _old_names() -> Generator[None, None, None]:
    """PEFT reads a model's `is_gradient_checkpointing`; transformers from 5.23 on warns that its name has changed."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        yield


def _name_of(model: nn.Module, module: nn.Module) -> str:
    return next(name for name, part in model.named_modules() if part is module)


def save_adapter(
    model: PeftModel, folder: str | Path, base: str | Path, state_dict: dict[str, Tensor] | None = None
) -> None:
    """Write the adapter and the name of its base. `state_dict`: gathered weights, where ranks hold parts of them."""
    folder, base = Path(folder), Path(base)
    more = {} if state_dict is None else {"state_dict": state_dict}
    model.save_pretrained(str(folder), save_embedding_layers=False, **more)  # type: ignore[arg-type]
    about = {
        "base": str(base.resolve()),
        "base_from_here": os.path.relpath(base.resolve(), folder.resolve()),
        "fingerprint": fingerprint(base),
    }
    (folder / ADAPTER_FILE).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def is_adapter(folder: str | Path) -> bool:
    return (Path(folder) / ADAPTER_FILE).is_file()


def base_of(folder: str | Path, base: str | Path | None = None) -> Path:
    """The folder of the base that an adapter was trained on, found where it was or where `base` says, and checked."""
    folder = Path(folder)
    try:
        about = json.loads((folder / ADAPTER_FILE).read_text(encoding="utf-8"))
        trained_on, from_here, expected = (about[key] for key in ("base", "base_from_here", "fingerprint"))
    except (ValueError, KeyError, TypeError):
        raise UserError(
            f"{folder / ADAPTER_FILE}: expected JSON with base, base_from_here and fingerprint, as save_adapter writes"
        ) from None
    places = [Path(base)] if base is not None else [folder / from_here, Path(trained_on)]
    found = next((place.resolve() for place in places if (place / "config.json").is_file()), None)
    if found is None:
        raise UserError(
            f"adapter {folder}: its base is not at {' nor at '.join(str(place) for place in places)}; "
            "say where it is with base= (--base)"
        )
    if fingerprint(found) != expected:
        raise UserError(
            f"adapter {folder} was trained on {trained_on} (fingerprint {expected}), not on {found} "
            f"(fingerprint {fingerprint(found)}); give the base that it belongs to"
        )
    return found


def load_model(
    folder: str | Path, *, base: str | Path | None = None, merge: bool = True, trainable: bool = False, **options: Any
) -> LlmPoseForConditionalGeneration | PeftModel:
    """A model from its folder: a whole model, or an adapter on its base.

    Args:
        folder: written by `save_pretrained` or by `save_adapter`.
        base: where the base lies now, if it moved.
        merge: fold the adapter into the weights; else hand back the wrapped model.
        trainable: keep the adapter's parameters trainable (merge=False).
        options: dtype, attn, device_map ... of from_pretrained.
    """
    folder = Path(folder)
    if not is_adapter(folder):
        if not (folder / "config.json").is_file():
            raise UserError(f"{folder}: neither config.json of a model nor {ADAPTER_FILE} of an adapter is there")
        if base is not None:
            raise UserError(
                f"{folder}: a whole model, which needs no base; leave out {base}, or name an adapter's folder"
            )
        return LlmPoseForConditionalGeneration.from_pretrained(folder, **options)
    model = LlmPoseForConditionalGeneration.from_pretrained(base_of(folder, base), **options)
    device = next(model.parameters()).device
    wrapped = _wrap(model, folder, is_trainable=trainable, torch_device=str(device))
    if not merge:
        return wrapped
    return wrapped.merge_and_unload()  # type: ignore[operator, return-value]


def _wrap(model: LlmPoseForConditionalGeneration, folder: Path, **options: Any) -> PeftModel:
    """PEFT's own loading, with one line about a folder that is not whole."""
    weights = folder / "adapter_model.safetensors"
    if not weights.is_file():
        raise UserError(f"adapter {folder}: {weights.name} is not there; copy the whole folder that training wrote")
    try:
        with _old_names():
            return PeftModel.from_pretrained(model, str(folder), **options)  # type: ignore[arg-type]
    except (RuntimeError, OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise UserError(
            f"adapter {folder}: cannot be loaded on its base: {' '.join(str(error).split())[:300]}"
        ) from error


def fingerprint(folder: str | Path) -> str:
    """Short hash of a model folder's weights: headers of its safetensors files, and blocks read evenly from them.

    Two models that differ in their training differ everywhere, so half a thousand blocks tell them apart as well as all
    fourteen gigabytes would.
    """
    files = sorted(Path(folder).glob("*.safetensors"))
    if not files:
        raise UserError(f"{folder}: no safetensors file is there, so this is not a saved model")
    hashed = hashlib.sha256()
    for path in files:
        size = path.stat().st_size
        with path.open("rb") as file:
            header = int.from_bytes(file.read(8), "little")
            hashed.update(file.read(header))
            begin = 8 + header
            step = max((size - begin) // _SAMPLES, _SAMPLE_BYTES)
            for place in range(begin, size, step):
                file.seek(place)
                hashed.update(file.read(_SAMPLE_BYTES))
    return hashed.hexdigest()[:16]


def trainable_names(model: nn.Module) -> list[str]:
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]


def assert_finite(model: nn.Module) -> None:
    """An adapter of NaNs loads like any other; better to hear of it where it is saved."""
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and not bool(torch.isfinite(parameter).all()):
            raise UserError(f"{name} holds NaN or infinite values; this model is not saved")
