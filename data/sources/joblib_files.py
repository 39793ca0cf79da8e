"""Read joblib files and pickled arrays as data: arrays and containers come out, nothing is ever run.

joblib writes a pickle in which every array is an empty placeholder, followed in the stream by the array's bytes. The
pickle may be compressed as a whole. Only what arrays are made of is let in; any other name is refused, and said.
"""

import bz2
import gzip
import io
import lzma
import pickle
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import numpy as np
from numpy._core import multiarray

from llmpose.errors import UserError


def load_joblib(path: Path) -> Any:
    """What `joblib.dump` (or plain pickle) wrote, arrays as numpy arrays."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    return unpickle_arrays(content, str(path))


def unpickle_arrays(content: bytes, source: str) -> Any:
    """The same from bytes; errors name `source`."""
    try:
        return _JoblibUnpickler(io.BytesIO(_unpacked(content))).load()
    except _Refused as refused:
        raise UserError(
            f"{source}: refused, nothing was run: it asks for {refused}, which has no place in a file of arrays"
        ) from None
    except MemoryError:
        raise
    except Exception as error:  # a damaged pickle can fail in any way, and each one means the same to the reader
        raise UserError(f"{source}: cannot be read ({type(error).__name__}: {error}); it may be cut off") from None


class _Refused(Exception):
    """The dotted name of what a file asked for."""


class _Placeholder:
    """Stands for joblib's NumpyArrayWrapper: shape, order and dtype arrive as state, the bytes follow in the stream."""

    shape: tuple[int, ...]
    order: str
    dtype: Any  # the file says what it is

    def __init__(self, *_: Any) -> None:
        """What counts arrives as state."""

    def read(self, file: io.BytesIO) -> np.ndarray:
        if not isinstance(self.dtype, np.dtype) or self.dtype.hasobject:
            raise _Refused(f"an array of {self.dtype}")
        if (
            vars(self).get("numpy_array_alignment_bytes") is not None
        ):  # joblib 1.2 and later pad: one byte says by how many
            file.read(file.read(1)[0])
        count = int(np.prod(self.shape, dtype=np.int64))
        flat = np.frombuffer(file.read(count * self.dtype.itemsize), dtype=self.dtype, count=count)
        return flat.reshape(self.shape, order="F" if self.order == "F" else "C")


_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("joblib.numpy_pickle", "NumpyArrayWrapper"): _Placeholder,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("collections", "OrderedDict"): dict,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): multiarray._reconstruct for core in ("core", "_core")},  # pyright: ignore
    **{(f"numpy.{core}.multiarray", "scalar"): multiarray.scalar for core in ("core", "_core")},  # pyright: ignore
}


_PurePython: Any = pickle._Unpickler  # pyright: ignore  # the one in C cannot be stopped between two objects


class _JoblibUnpickler(_PurePython):
    """Puts an array in the place of its placeholder as soon as the placeholder is complete."""

    dispatch: ClassVar = dict(_PurePython.dispatch)

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, encoding="latin1")
        self._stream = file

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):
            return _latin1
        if (module, name) not in _ALLOWED:
            raise _Refused(f"{module}.{name}")
        return _ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> NoReturn:
        raise _Refused("a persistent object")

    def load_build(self) -> None:
        super().load_build()
        if isinstance(self.stack[-1], _Placeholder):
            self.stack[-1] = self.stack[-1].read(self._stream)

    dispatch[pickle.BUILD[0]] = load_build


def _latin1(text: str, encoding: str = "latin1") -> bytes:
    """How Python 3 writes bytes into an old pickle; the real `_codecs.encode` would take any codec."""
    if encoding != "latin1":
        raise _Refused(f"_codecs.encode with {encoding!r}")
    return text.encode("latin1")


def _unpacked(content: bytes) -> bytes:
    """joblib's compressors, told by their first bytes."""
    for start, unpack in (
        (b"\x78", zlib.decompress),
        (b"\x1f\x8b", gzip.decompress),
        (b"BZ", bz2.decompress),
        (b"\xfd7zXZ", lzma.decompress),
        (b"\x5d\x00", lzma.decompress),
    ):
        if content.startswith(start):
            return unpack(content)
    return content
