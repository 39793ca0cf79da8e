"""From a body model file to checked arrays, and where such files are looked for.

A file of the SMPL family is a dictionary of arrays, as .pkl or .npz. It is data from outside: pickles go through
`llmpose.body.unpickle`, and nothing is trusted before its shape was checked against everything else in the file.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

import numpy as np

from llmpose.body.unpickle import load_arrays
from llmpose.errors import UserError

T = TypeVar("T")
Kind: TypeAlias = Literal["smpl", "smplh", "smplx"]
Gender: TypeAlias = Literal["neutral", "male", "female"]

ENVIRONMENT = "LLMPOSE_BODY_MODELS"
"""The folder with the licensed files, for instance $LLMPOSE_BODY_MODELS/smpl/SMPL_NEUTRAL.pkl."""

STAND_IN = "stand-in"
"""The path that always means the built-in body, whatever the environment says."""

NUM_BETAS = 10
NUM_JOINTS: dict[Kind, int] = {"smpl": 24, "smplh": 52, "smplx": 55}
_LABEL: dict[Kind, str] = {"smpl": "SMPL", "smplh": "SMPL-H", "smplx": "SMPL-X"}
_KEYS = ("v_template", "f", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table")
_HAND_KEYS = ("hands_meanl", "hands_meanr")
ASSET = Path(__file__).parent / "assets" / "standin_smpl.npz"
"""The stand-in: SMPL's keys, and SMPL-H's weights, regressor and hands under the prefix smplh_ (same mesh)."""


@dataclass(frozen=True)
class BodyData:
    """One body model as arrays, float64 where they are numbers. V vertices, J joints."""

    kind: Kind
    source: str
    vertices_m: np.ndarray
    """(V, 3) template, rest frame (y up, front +z)."""
    faces: np.ndarray
    """(F, 3) int64."""
    shape_directions: np.ndarray
    """(V, 3, 10)."""
    pose_directions: np.ndarray | None
    """(V, 3, 9 (J-1)) correctives, None where they are all zero."""
    joint_regressor: np.ndarray
    """(J, V)."""
    weights: np.ndarray
    """(V, J) skinning weights, rows sum to 1."""
    parents: tuple[int, ...]
    hands_mean: np.ndarray | None
    """(2, 15, 3) axis-angle of the relaxed left and right hand, where the file has hands."""
    is_stand_in: bool = False


def read_body(path: Path, kind: Kind | None = None) -> BodyData:
    """Read and check a body model file; `kind` says what it should be, None takes what it is."""
    if path.suffix not in (".pkl", ".npz"):
        raise UserError(f"{path}: a body model file ends in .pkl or .npz")
    arrays = read_npz(path, (*_KEYS, *_HAND_KEYS)) if path.suffix == ".npz" else load_arrays(path)
    return _checked(arrays, path, kind)


def read_npz(path: Path, wanted: tuple[str, ...] | None = None) -> dict[str, np.ndarray]:
    """The arrays of an .npz, none of them an object (those are pickles). `wanted`: only these, where present."""

    def read() -> dict[str, np.ndarray]:
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files if wanted is None or key in wanted}

    return _read_or_say(read, path, ".npz")


def read_npy(path: Path) -> np.ndarray:
    """The array of an .npy; objects are refused."""
    return _read_or_say(lambda: np.asarray(np.load(path, allow_pickle=False)), path, ".npy")


def _read_or_say(read: Callable[[], T], path: Path, what: str) -> T:
    try:
        return read()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except MemoryError:
        raise
    except Exception as error:  # damaged files fail in many ways: zip, zlib, even Python's own tokenizer
        # numpy takes whatever it does not know for a pickle, and advises to run it: no advice of ours.
        why = "it holds objects, or is something else" if "allow_pickle" in str(error) else str(error)
        raise UserError(f"{path}: not a readable {what} ({why}); it may be cut off, copy it again") from error


def read_stand_in(kind: Kind) -> BodyData:
    """The built-in body. SMPL and SMPL-H share the mesh, the asset holds two sets of weights and regressors."""
    if kind == "smplx":
        raise UserError(
            f"there is no built-in SMPL-X body; put the licensed file at ${ENVIRONMENT}/smplx/SMPLX_NEUTRAL.npz "
            "or use kind='smpl' or 'smplh'"
        )
    asset = read_npz(ASSET)
    prefix = "" if kind == "smpl" else "smplh_"
    arrays: dict[str, Any] = {key: asset[key] for key in ("v_template", "f", "shapedirs")}
    for key in ("J_regressor", "weights", "kintree_table", *(_HAND_KEYS if kind == "smplh" else ())):
        arrays[key] = asset[prefix + key]
    return _checked(arrays, ASSET, kind, is_stand_in=True)


def find_body_file(root: Path, kind: Kind, gender: Gender) -> Path:
    """The file for `kind` and `gender` below `root`, by the names under which these models are published."""
    if not root.is_dir():
        raise UserError(f"{root}: no such folder of body models")
    letter = gender[0]
    names: dict[Kind, tuple[str, ...]] = {
        "smpl": (
            f"SMPL_{gender.upper()}.pkl",
            f"SMPL_{gender.upper()}.npz",
            f"basicmodel_{letter}_lbs_10_207_0_v1.1.0.pkl",
            f"basicmodel_{letter}_lbs_10_207_0_v1.0.0.pkl",
            f"basicModel_{letter}_lbs_10_207_0_v1.0.0.pkl",
            f"basicmodel_{gender}_lbs_10_207_0_v1.1.0.pkl",
            f"basicModel_{gender}_lbs_10_207_0_v1.0.0.pkl",
        ),
        "smplh": (
            f"SMPLH_{gender.upper()}.npz",
            f"SMPLH_{gender.upper()}.pkl",
            f"SMPLH_{gender}.pkl",
            f"{gender}/model.npz",
        ),
        "smplx": (f"SMPLX_{gender.upper()}.npz", f"SMPLX_{gender.upper()}.pkl"),
    }
    for folder in (root / kind, root):
        for name in names[kind]:
            if (folder / name).is_file() and not (folder == root and "/" in name):
                return folder / name
    raise UserError(
        f"{root}: no {_LABEL[kind]} file for gender {gender!r}; expected for instance {kind}/{names[kind][0]} "
        f"(to use the built-in body, unset {ENVIRONMENT} or give the path {STAND_IN!r})"
    )


def resolve_body_data(path: str | Path | None, kind: Kind, gender: Gender) -> BodyData:
    """What a path means: a file, a folder to search, STAND_IN, or None (LLMPOSE_BODY_MODELS, else the stand-in)."""
    if kind not in NUM_JOINTS:
        raise UserError(f"unknown kind of body model {kind!r}; choose smpl, smplh or smplx")
    if gender not in ("neutral", "male", "female"):
        raise UserError(f"unknown gender {gender!r}; choose neutral, male or female")
    if path is None:
        path = os.environ.get(ENVIRONMENT) or STAND_IN
    if str(path) == STAND_IN:
        return read_stand_in(kind)
    path = Path(path).expanduser()
    if path.is_file():
        return read_body(path, kind)
    if path.suffix in (".pkl", ".npz"):
        raise UserError(f"{path}: no such file")
    return read_body(find_body_file(path, kind, gender), kind)


def _checked(arrays: dict[str, Any], path: Path, kind: Kind | None, *, is_stand_in: bool = False) -> BodyData:
    needed = [key for key in _KEYS if not (is_stand_in and key == "posedirs")]
    missing = [key for key in needed if key not in arrays]
    if missing:
        raise UserError(
            f"{path}: not a body model of the SMPL family: misses {', '.join(missing)}; "
            f"it holds {', '.join(_contents(path, arrays))[:200]}"
        )

    def numbers(key: str, *shape: int | None) -> np.ndarray:
        value = np.asarray(arrays[key])
        if value.dtype.kind not in "fiu":
            raise UserError(f"{path}: {key} is not an array of numbers")
        value = value.astype(np.float64)
        fits = value.ndim == len(shape) and all(
            want in (None, got) for want, got in zip(shape, value.shape, strict=True)
        )
        if not fits:
            wanted = " x ".join("?" if size is None else str(size) for size in shape)
            raise UserError(f"{path}: {key} has shape {value.shape}, expected {wanted}")
        if not np.isfinite(value).all():
            raise UserError(f"{path}: {key} holds NaN or infinite numbers")
        return value

    weights = numbers("weights", None, None)
    num_vertices, num_joints = weights.shape
    found: Kind | None = next((name for name, count in NUM_JOINTS.items() if count == num_joints), None)
    if found is None or kind not in (None, found):
        what = f"a {_LABEL[found]} file ({num_joints} joints)" if found else f"a file with {num_joints} joints"
        expected = f"{_LABEL[kind]} ({NUM_JOINTS[kind]} joints)" if kind else "SMPL (24), SMPL-H (52) or SMPL-X (55)"
        raise UserError(f"{path}: this is {what}, expected {expected}" + (f"; pass kind={found!r}" if found else ""))

    shape_directions = numbers("shapedirs", num_vertices, 3, None)
    if shape_directions.shape[-1] < NUM_BETAS:
        raise UserError(f"{path}: shapedirs has {shape_directions.shape[-1]} directions, expected at least {NUM_BETAS}")
    pose_directions = numbers("posedirs", num_vertices, 3, 9 * (num_joints - 1)) if "posedirs" in arrays else None
    faces = numbers("f", None, 3).astype(np.int64)
    if faces.min(initial=0) < 0 or faces.max(initial=0) >= num_vertices:
        raise UserError(f"{path}: faces point at vertices outside 0..{num_vertices - 1}")
    hands_mean = None
    if all(key in arrays for key in _HAND_KEYS):
        hands_mean = np.stack([numbers(key, 45) for key in _HAND_KEYS]).reshape(2, 15, 3)
    return BodyData(
        kind=found,
        source=STAND_IN if is_stand_in else str(path),
        vertices_m=numbers("v_template", num_vertices, 3),
        faces=faces,
        shape_directions=shape_directions[..., :NUM_BETAS],
        pose_directions=pose_directions if pose_directions is not None and pose_directions.any() else None,
        joint_regressor=numbers("J_regressor", num_joints, num_vertices),
        weights=weights,
        parents=_parents(numbers("kintree_table", 2, num_joints), path),
        hands_mean=hands_mean,
        is_stand_in=is_stand_in,
    )


def _contents(path: Path, arrays: dict[str, Any]) -> list[str]:
    """The names in the file; of an .npz only the wanted arrays were read."""
    if path.suffix != ".npz":
        return sorted(arrays)
    with np.load(path, allow_pickle=False) as archive:
        return sorted(archive.files)


def _parents(kintree_table: np.ndarray, path: Path) -> tuple[int, ...]:
    """Row 0 of the table; the root's parent is written as -1 or as 2^32 - 1. Parents come before their children."""
    parents = (-1, *(int(parent) for parent in kintree_table[0, 1:]))
    if any(not 0 <= parent < joint for joint, parent in enumerate(parents[1:], start=1)):
        raise UserError(f"{path}: kintree_table is not a tree with parents before children: {list(parents)}")
    return parents
