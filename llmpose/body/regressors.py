"""Joint regressors that the user supplies: joints of other skeletons as weighted means of mesh vertices.

Benchmarks on Human3.6M and 3DPW score joints that such a matrix reads off the mesh. The files come with their projects
(SPIN, 4D-Humans) and cannot be shipped here; `BodyModel.regress` applies them without building the whole mesh.
"""

import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from llmpose.body.files import ENVIRONMENT, read_npy
from llmpose.body.unpickle import load_pickle
from llmpose.errors import UserError

REGRESSORS: dict[str, tuple[int, tuple[str, ...]]] = {
    "h36m17": (17, ("J_regressor_h36m.npy", "J_regressor_h36m_correct.npy")),
    "extra9": (9, ("J_regressor_extra.npy",)),
    "extra19": (19, ("SMPL_to_J19.pkl", "SMPL_to_J19.npy")),
}
"""Name -> number of joints and the file names under which it is published. "h36m14" is a part of "h36m17"."""

H36M17_TO_14: tuple[int, ...] = (6, 5, 4, 1, 2, 3, 16, 15, 14, 11, 12, 13, 8, 10)
"""The 14 joints of LSP's order (ankle, knee, hip, ... neck, head top) among the rows of "h36m17"."""


def load_regressor(which: str | Path, *, num_vertices: int = 6890) -> Tensor:
    """(K, V) float32 from a file, or from LLMPOSE_BODY_MODELS by name: h36m17, h36m14, extra9, extra19."""
    if str(which) == "h36m14":
        return load_regressor("h36m17", num_vertices=num_vertices)[list(H36M17_TO_14)]
    count = REGRESSORS[str(which)][0] if str(which) in REGRESSORS else None
    path = _find(str(which)) if count is not None else Path(which)
    matrix = _read(path)
    if matrix.ndim != 2 or matrix.shape[1] != num_vertices or count not in (None, matrix.shape[0]):
        rows = "K" if count is None else str(count)
        raise UserError(f"{path}: a regressor of shape {matrix.shape}, expected ({rows}, {num_vertices})")
    sums = matrix.sum(axis=1)
    if not np.isfinite(matrix).all() or np.abs(sums - 1).max() > 0.01:
        raise UserError(
            f"{path}: not a joint regressor: each row sums to 1, here they sum to {sums.min()}..{sums.max()}"
        )
    return torch.from_numpy(matrix.astype(np.float32))


def _find(name: str) -> Path:
    files = REGRESSORS[name][1]
    root = os.environ.get(ENVIRONMENT)
    if root:
        for folder in (Path(root).expanduser(), Path(root).expanduser() / "smpl"):
            for file in files:
                if (folder / file).is_file():
                    return folder / file
    raise UserError(f"the {name} regressor is not there: put {files[0]} into the folder that {ENVIRONMENT} names")


def _read(path: Path) -> np.ndarray:
    content = load_pickle(path) if path.suffix == ".pkl" else read_npy(path)
    if not isinstance(content, np.ndarray) or content.dtype.kind not in "fiu":
        raise UserError(f"{path}: holds no array of numbers; a regressor is a .npy or .pkl with one (K, V) array")
    return content.astype(np.float64)
