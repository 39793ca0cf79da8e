"""Arrays by name from anybody's .npz; arrays of objects are pickles, and are read as data (joblib_files.py)."""

import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from data.sources.base import choice, not_the_dataset
from data.sources.joblib_files import unpickle_arrays
from llmpose.errors import UserError

SPLITS = ("train", "val", "test")
FILE_OPTIONS = {
    "file": "one .npz below --root (default: all)",
    "images": "folder below --root that image names start from (default: found by looking)",
    "called": "train, val or test, where the file's name says something else (default: what it says)",
}
"""Of sources that are files of one split each."""


def files_of_split(
    root: Path, split: str | None, *, file: str, called: str, folder: str, title: str
) -> Iterator[tuple[Path, str]]:
    """The .npz files below `root`, or below its `folder`, that hold this split (None: any), each with its own split."""
    found = [root / file] if file else sorted(root.glob("*.npz")) or sorted((root / folder).glob("*.npz"))
    if not found:
        raise not_the_dataset(root, f"a folder of {title} files", f"*.npz or {folder}/*.npz")
    for path in found:
        name = choice(called, SPLITS, "option called") if called else split_of(path)
        if split in (None, name):
            yield path, name


def split_of(path: Path) -> str:
    """h36m_val_p2.npz -> val, 3dpw_test.npz -> test; what names none is an evaluation file."""
    return next((name for name in SPLITS if name in path.stem), "test")


def read_npz(path: Path, needed: Iterable[str], wanted: Iterable[str] = ()) -> dict[str, np.ndarray]:
    """Those of `needed`, which must be there, and of `wanted`, which may be."""
    needed = tuple(needed)
    try:
        with np.load(path, allow_pickle=False) as archive:
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise UserError(f"{path}: one array, not an .npz of named arrays")
            names = archive.files
            missing = [name for name in needed if name not in names]
            if missing:
                raise UserError(f"{path}: lacks {', '.join(missing)}; it holds {', '.join(names[:12]) or 'nothing'}")
            return {name: _array(archive, name, path) for name in dict.fromkeys((*needed, *wanted)) if name in names}
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except UserError:
        raise
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path}: not a readable .npz ({error}); it may be cut off, copy it again") from None


def same_length(arrays: dict[str, np.ndarray], path: Path) -> int:
    """The number of rows that all arrays have."""
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise UserError(f"{path}: its arrays differ in length: {lengths}; it is not one row per person")
    return next(iter(lengths.values()))


def _array(archive: "np.lib.npyio.NpzFile", name: str, path: Path) -> np.ndarray:
    assert archive.zip is not None
    with archive.zip.open(f"{name}.npy") as file:
        version = npy.read_magic(file)
        _, _, dtype = npy.read_array_header_1_0(file) if version == (1, 0) else npy.read_array_header_2_0(file)
        if dtype.hasobject:
            return np.asarray(unpickle_arrays(file.read(), f"{path}: {name}"))
    return archive[name]
