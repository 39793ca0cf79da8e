"""Loading that gives the whole model or an error of one line: a weight left at random would look like a bad result."""

from collections.abc import Callable
from typing import Any

from safetensors import SafetensorError


def load_whole(load: Callable[..., Any], place: Any, *args: Any, **kwargs: Any) -> Any:
    """transformers' `from_pretrained`, refusing files that lack weights, hold others, or are damaged."""
    with_info = kwargs.pop("output_loading_info", False)
    try:
        # Tensors of another shape are let through here, to be named below.
        model, info = load(place, *args, **{"ignore_mismatched_sizes": True, **kwargs}, output_loading_info=True)
    except (RuntimeError, OSError, ValueError, SafetensorError) as error:
        raise ValueError(f"{place}: cannot be loaded: {' '.join(str(error).split())[:300]}") from error
    for name, stored, wanted in sorted(info.get("mismatched_keys", ())):
        raise ValueError(
            f"{place}: its weights are not of this model: {name} is {tuple(stored)}, config.json makes it "
            f"{tuple(wanted)}; was it made by another version, or does config.json belong to other weights?"
        )
    for kind, what in (("missing_keys", "lacks"), ("unexpected_keys", "holds, but the model has not,")):
        names = sorted(info.get(kind, ()))
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise ValueError(
                f"{place}: its weights are not of this model: it {what} {', '.join(names[:3])}{more}; "
                "was it made by another version, or does config.json belong to other weights?"
            )
    return (model, info) if with_info else model
