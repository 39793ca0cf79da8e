"""Tensors out of a checkpoint file, whoever wrote it, without running anything that is in it.

Training frameworks save more than tensors: configurations, optimizers, callbacks, as pickled objects of classes that we
neither have nor want. Here every class that is not needed to rebuild a tensor becomes an empty shell.
"""

import collections
import io
import pickle
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch._utils
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from llmpose.errors import UserError

_HARMLESS = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("collections", "defaultdict"): collections.defaultdict,
    ("builtins", "set"): set,
    ("builtins", "dict"): dict,
    ("builtins", "list"): list,
    ("torch", "Size"): torch.Size,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,  # pyright: ignore[reportPrivateUsage] (as files name it)
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,  # pyright: ignore[reportPrivateUsage]
}


class _Shell:
    """Stands for an object of a class that is not loaded. Takes whatever it is given, keeps nothing."""

    def __new__(cls, *_: Any, **__: Any) -> "_Shell":
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __call__(self, *_: Any, **__: Any) -> "_Shell":
        return self

    def __setstate__(self, _: Any) -> None: ...

    def __setitem__(self, _: Any, __: Any) -> None: ...

    def append(self, _: Any) -> None: ...

    def extend(self, _: Any) -> None: ...

    def add(self, _: Any) -> None: ...


class _TensorUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _HARMLESS:
            return _HARMLESS[module, name]
        if module in ("torch", "torch.storage") and (name.endswith("Storage") or name.split(".")[0] in _DTYPES):
            return getattr(torch, name, None) or getattr(torch.storage, name)
        return _Shell


_DTYPES = {str(value).removeprefix("torch.") for value in vars(torch).values() if isinstance(value, torch.dtype)}

_PICKLE = types.SimpleNamespace(
    Unpickler=_TensorUnpickler,
    load=lambda file, **_: _TensorUnpickler(file).load(),
    loads=lambda data, **_: _TensorUnpickler(io.BytesIO(data)).load(),
    __name__="llmpose_tensors_only",
)


_UNREADABLE = (
    pickle.UnpicklingError,
    SafetensorError,
    RuntimeError,
    EOFError,
    ValueError,
    AttributeError,
    TypeError,
    LookupError,
)


def read_tensors(path: str | Path, prefix: str = "") -> dict[str, Tensor]:
    """Name -> tensor. `state_dict` (Lightning, mmpose), `model` and `module` (DeepSpeed) are opened if they are there.

    With `prefix`, only the names that begin with it, without it.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint file")
    try:
        if path.suffix == ".safetensors":
            found: Any = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", pickle_module=_PICKLE, weights_only=False, mmap=False)
    except _UNREADABLE as error:
        raise UserError(f"{path}: not a checkpoint that can be read ({' '.join(str(error).split())})") from error
    for key in ("state_dict", "model", "module"):
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    tensors = {
        str(name)[len(prefix) :]: value.detach()
        for name, value in (found.items() if isinstance(found, Mapping) else ())
        if isinstance(value, Tensor) and str(name).startswith(prefix)
    }
    if not tensors:
        raise UserError(f"{path}: holds no tensors{f' whose names begin with {prefix!r}' if prefix else ''}")
    return tensors
