"""Models out of folders: the whole of them, or one line for people about what is wrong with the folder."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from llmpose.errors import UserError
from tokenizer_vq import PoseTokenizer
from tokenizer_vq.loading import load_whole


def load_or_say(load: Callable[..., Any], place: Any, *args: Any, **kwargs: Any) -> Any:
    """`load_whole`, with its error as one for people."""
    try:
        return load_whole(load, place, *args, **kwargs)
    except UserError:
        raise
    except ValueError as error:
        raise UserError(str(error)) from error


@contextmanager
def one_line(place: object, what: str) -> Generator[None, None, None]:
    """Whatever a library says about a folder or a file that is not `what` it should be, as one line for people."""
    try:
        yield
    except UserError:
        raise
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        said = f"no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:300]
        raise UserError(f"{place}: not {what}: {said}") from error


def load_foreign(load: Callable[..., Any], place: Any, **kwargs: Any) -> Any:
    """Other people's model: all weights that it reads must be there. What a folder holds beyond them is left."""
    with one_line(place, "a model that can be loaded"):
        model, info = load(place, **kwargs, output_loading_info=True)
    # Checkpoints of larger models often come without a pooler, and nothing here reads one.
    missing = sorted(name for name in info.get("missing_keys", ()) if "pooler" not in name)
    if missing:
        raise UserError(
            f"{place}: its weights are not those of a {type(model).__name__}: {len(missing)} are missing "
            f"({', '.join(missing[:3])} ...)"
        )
    return model


def device_named(name: str | torch.device) -> torch.device:
    """The device of this name, if there is one that computes."""
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        there = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
        raise UserError(f"device {str(name)!r} is not to be had; this machine has {', '.join(there)}") from error
    return device


def load_pose_tokenizer(folder: str | Path) -> PoseTokenizer:
    """Ready to encode and decode."""
    try:
        return PoseTokenizer.from_pretrained(folder).eval()
    except ValueError as error:
        raise UserError(str(error)) from error
