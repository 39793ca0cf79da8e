"""Joint regressors of the user's own are found, checked, and applied without building the whole mesh."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from llmpose import Pose, UserError, load_body_model
from llmpose.body.files import ENVIRONMENT
from llmpose.body.regressors import H36M17_TO_14, load_regressor


def some_regressor(num_joints: int, seed: int = 0) -> np.ndarray:
    """Each joint the mean of five vertices."""
    matrix = np.zeros((num_joints, 6890), np.float32)
    for row in matrix:
        row[np.random.default_rng(seed := seed + 1).choice(6890, 5, replace=False)] = 0.2
    return matrix


def test_regressors_are_found_by_name_and_14_is_a_part_of_17(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = some_regressor(17)
    np.save(tmp_path / "J_regressor_h36m.npy", matrix)
    (tmp_path / "SMPL_to_J19.pkl").write_bytes(pickle.dumps(some_regressor(19)))
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path))
    assert torch.equal(load_regressor("h36m17"), torch.from_numpy(matrix))
    assert torch.equal(load_regressor("h36m14"), torch.from_numpy(matrix[list(H36M17_TO_14)]))
    assert load_regressor("extra19").shape == (19, 6890)
    with pytest.raises(UserError, match=r"extra9 regressor is not there: put J_regressor_extra\.npy"):
        load_regressor("extra9")


def test_only_the_needed_vertices_are_built_and_the_joints_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    from llmpose.body import model

    body, matrix = load_body_model("stand-in"), torch.from_numpy(some_regressor(17))
    generator = torch.Generator().manual_seed(0)
    pose = Pose.from_axis_angle(torch.randn(3, 22, 3, generator=generator), torch.randn(3, 10, generator=generator))
    expected = matrix @ body(pose).vertices_m
    built: list[int] = []
    skin = model.skin
    monkeypatch.setattr(model, "skin", lambda weights, *rest: built.append(len(weights)) or skin(weights, *rest))
    torch.testing.assert_close(body.regress(matrix, pose), expected, atol=1e-6, rtol=1e-5)
    assert built == [int((matrix != 0).any(0).sum())]


def test_what_is_no_regressor_is_said(tmp_path: Path) -> None:
    cases = {
        "narrow.npy": (some_regressor(17)[:, :100], r"shape \(17, 100\), expected \(K, 6890\)"),
        "scaled.npy": (some_regressor(17) * 3, "each row sums to 1"),
        "text.npy": (np.array(["a"]), "no array of numbers"),
    }
    for name, (content, message) in cases.items():
        np.save(tmp_path / name, content)
        with pytest.raises(UserError, match=message):
            load_regressor(tmp_path / name)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "scaled.npy").read_bytes()[:1000])
    for name in ("cut.npy", "absent.npy"):
        with pytest.raises(UserError, match=name):
            load_regressor(tmp_path / name)
    with pytest.raises(UserError, match="does not fit a mesh of 6890"):
        load_body_model("stand-in").regress(torch.ones(2, 10), Pose.rest())
