"""Read a pickle as data: arrays, numbers and containers come out, nothing is ever run.

SMPL's files are pickles from Python 2 that hold numpy arrays, scipy sparse matrices and chumpy objects. A plain
unpickler would import whatever the file names. This one knows the few names that arrays are made of, and puts small
readers of our own in the place of scipy's and chumpy's classes, so neither has to be installed. Any other name is
refused, and said.
"""

import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy._core import multiarray, numeric

from llmpose.errors import UserError


def load_arrays(path: Path) -> dict[str, Any]:
    """The dictionary in a pickle file, chumpy and sparse matrices turned into plain arrays."""
    content = load_pickle(path)
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds a {type(content).__name__}, expected a dictionary of arrays")
    return content


def load_pickle(path: Path) -> Any:
    """What a pickle file holds, as data; a dictionary's keys become text and its values plain arrays."""
    try:
        with path.open("rb") as file:
            content = _ArrayUnpickler(file, encoding="latin1").load()
            return (
                {str(key): _plain(value) for key, value in content.items()}
                if isinstance(content, dict)
                else _plain(content)
            )
    except _Refused as refused:
        raise UserError(
            f"{path}: refused, nothing was run: this pickle asks for {refused}, which has no place in a file of "
            "arrays; get the file again from where it is published"
        ) from None
    except (FileNotFoundError, MemoryError):
        raise
    except Exception as error:  # a damaged pickle can fail in any way, and each one means the same to the reader
        raise UserError(
            f"{path}: not a readable pickle ({type(error).__name__}: {error}); it may be cut off"
        ) from error


class _Refused(Exception):
    """The dotted name of what a pickle asked for."""


class _Reader:
    """Stands for an object of a class that is not loaded: keeps its state, gives its value."""

    state: dict[str, Any]

    def __new__(cls, *_args: Any, **_kwargs: Any) -> "_Reader":
        reader = object.__new__(cls)
        object.__setattr__(reader, "state", {})
        return reader

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        """Arguments of the original class are not needed: what counts arrives as state."""

    def __setstate__(self, state: Any) -> None:
        for part in state if isinstance(state, tuple) else (state,):
            self.state.update(part or {})

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise _Refused(f"attribute {name!r} of a stand-in object")

    def value(self) -> np.ndarray:
        raise NotImplementedError


class _Chumpy(_Reader):
    """chumpy.ch.Ch keeps its array in `x`; chumpy.reordering.Select points into another object."""

    def value(self) -> np.ndarray:
        state = self.state
        if "idxs" in state and "a" in state:
            picked = np.asarray(_plain(state["a"])).ravel()[np.asarray(_plain(state["idxs"]))]
            shape = state.get("preferred_shape")
            return picked if shape is None else picked.reshape(shape)
        if "x" in state:
            return np.asarray(_plain(state["x"]))
        raise ValueError(f"a chumpy object that holds {sorted(map(str, state))} instead of an array")


class _Sparse(_Reader):
    """A scipy matrix in csc, csr or coo form, made dense."""

    by_column = False

    def value(self) -> np.ndarray:
        state = self.state
        shape = tuple(int(size) for size in state.get("_shape", state.get("shape", ())))
        data = np.asarray(state["data"])
        if "indptr" in state:
            starts, inner = np.asarray(state["indptr"]), np.asarray(state["indices"])
            outer = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
            rows, columns = (inner, outer) if self.by_column else (outer, inner)
        else:
            rows, columns = state["coords"] if "coords" in state else (state["row"], state["col"])
        dense = np.zeros(shape, data.dtype)
        np.add.at(dense, (np.asarray(rows), np.asarray(columns)), data)
        return dense


class _SparseByColumn(_Sparse):
    by_column = True


def _latin1(text: str, encoding: str = "latin1") -> bytes:
    """How Python 3 writes bytes into an old pickle; the real `_codecs.encode` would take any codec."""
    if encoding != "latin1":
        raise _Refused(f"_codecs.encode with {encoding!r}")
    return text.encode("latin1")


def _reconstruct(cls: Any, _base: type, _state: Any) -> Any:
    """How protocols 0 and 1 make an object; only our readers are ever made this way."""
    if not (isinstance(cls, type) and issubclass(cls, _Reader)):
        raise _Refused(f"copyreg._reconstructor of {cls!r}")
    return cls()


_SPARSE: dict[str, type[_Sparse]] = {
    f"{form}_{kind}": _SparseByColumn if form == "csc" else _Sparse
    for form in ("csc", "csr", "coo")
    for kind in ("matrix", "array")
}
_SCALARS = (
    "bool_",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "float32",
    "float64",
)
_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _latin1,
    ("copyreg", "_reconstructor"): _reconstruct,
    ("builtins", "object"): object,
    ("builtins", "set"): set,
    ("collections", "OrderedDict"): OrderedDict,
    **{("numpy", name): getattr(np, name) for name in _SCALARS},
    **{(f"numpy.{core}.multiarray", "_reconstruct"): multiarray._reconstruct for core in ("core", "_core")},  # pyright: ignore
    **{(f"numpy.{core}.multiarray", "scalar"): multiarray.scalar for core in ("core", "_core")},  # pyright: ignore
    **{(f"numpy.{core}.numeric", "_frombuffer"): numeric._frombuffer for core in ("core", "_core")},  # pyright: ignore
}
_PYTHON_2_NAMES = {"__builtin__": "builtins", "copy_reg": "copyreg"}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        module = _PYTHON_2_NAMES.get(module, module)
        package = module.partition(".")[0]
        if package == "chumpy":
            return _Chumpy
        if module.startswith("scipy.sparse") and name in _SPARSE:
            return _SPARSE[name]
        if (module, name) not in _ALLOWED:
            raise _Refused(f"{module}.{name}")
        return _ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> NoReturn:
        raise _Refused("a persistent object")


def _plain(value: Any) -> Any:
    return value.value() if isinstance(value, _Reader) else value
