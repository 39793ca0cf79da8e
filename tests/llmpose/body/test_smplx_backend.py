"""Our own skinning and the smplx package agree to 1e-5 m on the same files; smplx is only there when asked for."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import roma
import torch

from data.synth.body import smpl_file, write_smpl_files
from llmpose import Pose, load_body_model
from llmpose.body.files import BodyData, Kind, read_stand_in
from llmpose.errors import MissingExtra

TOLERANCE_M = 1e-5


def smplx_shaped_file(path: Path) -> Path:
    """A file with SMPL-X's shapes and random content: 10475 vertices, 55 joints, shape directions, hands."""
    rng = np.random.default_rng(5)
    num_vertices, num_joints = 10475, 55

    def shares(rows: int, columns: int) -> np.ndarray:
        raw = rng.random((rows, columns)) ** 8
        return raw / raw.sum(axis=1, keepdims=True)

    data = BodyData(
        kind="smplx",
        source="random",
        vertices_m=rng.normal(size=(num_vertices, 3)) * 0.3,
        faces=rng.integers(0, num_vertices, (20908, 3)),
        shape_directions=rng.normal(size=(num_vertices, 3, 20)) * 0.01,
        pose_directions=rng.normal(size=(num_vertices, 3, 9 * (num_joints - 1))).astype(np.float32) * 1e-3,
        joint_regressor=shares(num_joints, num_vertices),
        weights=shares(num_vertices, num_joints),
        parents=(-1, *(int(rng.integers(max(0, joint - 4), joint)) for joint in range(1, num_joints))),
        hands_mean=rng.normal(size=(2, 15, 3)) * 0.3,
    )
    np.savez(path, **smpl_file(data))
    return path


def model_file(kind: Kind, path: Path) -> Path:
    """SMPL and SMPL-H get random pose correctives, so that these are compared too."""
    if kind == "smplx":
        return smplx_shaped_file(path)
    width = 207 if kind == "smpl" else 459
    correctives = np.random.default_rng(1).normal(size=(6890, 3, width)).astype(np.float32) * 1e-3
    np.savez(path, **smpl_file(replace(read_stand_in(kind), pose_directions=correctives)))
    return path


@pytest.mark.parametrize("kind", ["smpl", "smplh", "smplx"])
def test_both_backends_agree_on_the_same_file(tmp_path: Path, kind: Kind) -> None:
    pytest.importorskip("smplx")
    path = model_file(kind, tmp_path / "model.npz")
    generator = torch.Generator().manual_seed(2)
    pose = Pose.from_axis_angle(
        torch.randn(4, 22, 3, generator=generator),
        torch.randn(4, 10, generator=generator),
        torch.randn(4, 3, generator=generator),
    )
    own, other = (load_body_model(path, kind=kind, backend=backend) for backend in ("own", "smplx"))
    assert type(other).__name__ == "SmplxBodyModel"
    fingers = roma.rotvec_to_rotmat(torch.randn(4, 30, 3, generator=generator))
    for hands in ("flat",) if kind == "smpl" else ("flat", "relaxed", fingers):
        ours, theirs = own(pose, hands=hands), other(pose, hands=hands)
        assert (ours.vertices_m - theirs.vertices_m).abs().max() < TOLERANCE_M
        assert (ours.joints_m - theirs.joints_m).abs().max() < TOLERANCE_M
        assert (own.joints(pose, hands=hands) - theirs.joints_m).abs().max() < TOLERANCE_M
    single = other(pose[1])
    assert single.vertices_m.shape == (own.num_vertices, 3)
    torch.testing.assert_close(single.vertices_m, own(pose).vertices_m[1], atol=TOLERANCE_M, rtol=0)


def test_smplx_itself_reads_the_files_we_write(tmp_path: Path) -> None:
    smplx = pytest.importorskip("smplx")
    write_smpl_files(tmp_path)
    extensions: dict[Kind, str] = {"smpl": "pkl", "smplh": "npz"}
    for kind, extension in extensions.items():
        model = smplx.create(str(tmp_path), model_type=kind, gender="neutral", ext=extension)
        own = load_body_model(tmp_path, kind=kind)
        np.testing.assert_allclose(
            model().joints[0, : own.num_joints].detach()[:22], own.rest_joints()[:22], atol=TOLERANCE_M
        )
        assert tuple(model.faces.shape) == tuple(own.faces.shape)


def test_smplx_is_imported_only_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "smplx", raising=False)
    load_body_model("stand-in")(Pose.rest())
    assert "smplx" not in sys.modules


def test_without_smplx_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "smplx", None)
    with pytest.raises(MissingExtra, match=r"pip install 'llmpose\[smplx\]'"):
        load_body_model("stand-in", backend="smplx")
