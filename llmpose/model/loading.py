"""Models out of folders: the whole of them, or one line for people about what is wrong with the folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

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


def load_pose_tokenizer(folder: str | Path) -> PoseTokenizer:
    """Ready to encode and decode."""
    try:
        return PoseTokenizer.from_pretrained(folder).eval()
    except ValueError as error:
        raise UserError(str(error)) from error
