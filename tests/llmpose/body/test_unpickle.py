"""Model pickles are read as data: arrays of numpy, scipy and chumpy come out, and nothing in the file is ever run."""

import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from llmpose import UserError
from llmpose.body.unpickle import load_arrays, load_pickle

MATRIX = np.arange(12.0).reshape(3, 4) * (np.arange(12).reshape(3, 4) % 2)


class Ch:
    """What chumpy.ch.Ch looks like to a pickle: an object whose state holds the array in `x`."""

    def __init__(self, x: np.ndarray) -> None:
        self.x = x


class Select:
    """chumpy.reordering.Select: picks entries of another object's flattened array."""

    def __init__(self, a: Ch, idxs: np.ndarray, preferred_shape: tuple[int, ...]) -> None:
        self.a, self.idxs, self.preferred_shape = a, idxs, preferred_shape


@pytest.fixture
def chumpy() -> Iterator[None]:
    """While pickling, the two classes above live in modules named like chumpy's; nothing else is there."""
    modules = {name: ModuleType(name) for name in ("chumpy", "chumpy.ch", "chumpy.reordering")}
    homes = {Ch: "chumpy.ch", Select: "chumpy.reordering"}
    before = {cls: cls.__module__ for cls in homes}
    for cls, home in homes.items():
        setattr(modules[home], cls.__name__, cls)
        cls.__module__ = home
    sys.modules.update(modules)
    yield
    for cls, home in before.items():
        cls.__module__ = home
    for name in modules:
        sys.modules.pop(name, None)


def write(path: Path, content: Any, protocol: int = 2) -> Path:
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_numbers_and_text_of_every_protocol_are_read(tmp_path: Path, protocol: int) -> None:
    content = {
        "a": MATRIX,
        "f": np.arange(6, dtype=np.uint32),
        "one": np.float64(2.5),
        "style": "lbs",
        "fort": np.asfortranarray(MATRIX),
    }
    found = load_arrays(write(tmp_path / "model.pkl", content, protocol))
    for key, value in content.items():
        np.testing.assert_array_equal(found[key], value)
        assert type(found[key]) is type(value)


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize(
    "form", [sp.csc_matrix, sp.csr_matrix, sp.coo_matrix, sp.csc_array, sp.csr_array, sp.coo_array]
)
def test_sparse_matrices_become_dense_without_scipy(tmp_path: Path, form: Any, protocol: int) -> None:
    found = load_arrays(write(tmp_path / "model.pkl", {"J_regressor": form(MATRIX)}, protocol))
    np.testing.assert_array_equal(found["J_regressor"], MATRIX)


@pytest.mark.parametrize("protocol", [0, 2])
def test_chumpy_objects_are_read_where_chumpy_is_not_installed(tmp_path: Path, chumpy: None, protocol: int) -> None:
    inner = Ch(MATRIX)
    content = {"v_template": inner, "picked": Select(inner, np.array([1, 3, 5, 7]), (2, 2)), "plain": MATRIX}
    path = write(tmp_path / "model.pkl", content, protocol)
    assert b"chumpy" in path.read_bytes()
    for name in ("chumpy", "chumpy.ch", "chumpy.reordering"):
        del sys.modules[name]
    found = load_arrays(path)
    np.testing.assert_array_equal(found["v_template"], MATRIX)
    np.testing.assert_array_equal(found["picked"], MATRIX.ravel()[[1, 3, 5, 7]].reshape(2, 2))


class Runs:
    """Pickles as a call of `function` with `arguments`."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.function, self.arguments


def test_a_pickle_that_wants_to_run_something_is_refused_by_name(tmp_path: Path) -> None:
    import os
    import subprocess

    trace = tmp_path / "was-here"
    attacks = {
        "posix.system": Runs(os.system, f"touch {trace}"),
        "builtins.eval": Runs(eval, f"open({str(trace)!r}, 'w')"),
        "builtins.exec": Runs(exec, f"open({str(trace)!r}, 'w')"),
        "builtins.getattr": Runs(getattr, "text", "upper"),
        "subprocess.Popen": Runs(subprocess.Popen, ["touch", str(trace)]),
        "numpy.load": Runs(np.load, str(trace)),
        "numpy.memmap": Runs(np.memmap, str(trace), "uint8", "w+", 0, (1,)),
    }
    for name, attack in attacks.items():
        for content in (attack, {"v_template": attack}, {"v_template": MATRIX, "extra": [attack]}):
            path = write(tmp_path / "model.pkl", content, protocol=4)
            with pytest.raises(UserError, match=f"asks for {name}") as caught:
                load_arrays(path)
            assert str(path) in str(caught.value)
    assert not trace.exists()


def test_allowed_names_cannot_be_bent_to_other_uses(tmp_path: Path) -> None:
    """Codecs other than latin1, and objects of classes that are not readers, have no place in arrays either."""
    zipped = b"c_codecs\nencode\n(S'a'\nS'zlib'\ntR."
    rebuilt = b"ccopy_reg\n_reconstructor\n(cnumpy\nndarray\nc__builtin__\nobject\nNtR."
    persistent = b"Psomewhere\n."
    for content, message in ((zipped, "zlib"), (rebuilt, "_reconstructor"), (persistent, "persistent")):
        (tmp_path / "model.pkl").write_bytes(content)
        with pytest.raises(UserError, match=message):
            load_pickle(tmp_path / "model.pkl")


def test_cut_empty_and_foreign_files_are_said(tmp_path: Path) -> None:
    whole = write(tmp_path / "model.pkl", {"a": MATRIX}).read_bytes()
    for content in (whole[:-30], whole[:20], b"", b"PK\x03\x04 an archive", b"just text\n", bytes(range(256))):
        (tmp_path / "model.pkl").write_bytes(content)
        with pytest.raises(UserError, match=r"model\.pkl: (not a readable pickle|holds a)"):
            load_arrays(tmp_path / "model.pkl")
    with pytest.raises(UserError, match="holds a list, expected a dictionary"):
        load_arrays(write(tmp_path / "list.pkl", [1, 2]))


def test_a_chumpy_object_without_an_array_is_said(tmp_path: Path, chumpy: None) -> None:
    empty = Ch(MATRIX)
    del empty.x
    empty.recipe = "later"  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(UserError, match="chumpy object that holds"):
        load_arrays(write(tmp_path / "model.pkl", {"v_template": empty}))
