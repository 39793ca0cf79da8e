"""Pose estimation on evaluation files of HMR 2.0, from the .npz to the number: Human3.6M's has points and no poses."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from data.prepare import prepare
from eval.benchmarks import BENCHMARKS
from eval.benchmarks.base import Bench, MissingNeed
from eval.benchmarks.taskset import TaskSet
from eval.predict import Prediction, Question
from llmpose.body.files import ENVIRONMENT
from llmpose.body.model import load_body_model
from llmpose.body.pose import Pose
from tests.eval.little import check_joints, write_model, write_world

COUNT = 4
SCORED, ROOT = [*range(25, 38), 43], 39
"""Of the 44 points, as 4D-Humans scores them."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("world"))


@pytest.fixture
def regressor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """In the place of 4D-Humans' own: 19 points, each the mean of three vertices of any mesh of SMPL's size."""
    matrix = np.zeros((19, 6890))
    for k, row in enumerate(matrix):
        row[np.random.default_rng(k).choice(6890, 3, replace=False)] = 1 / 3
    (tmp_path / "bodies").mkdir()
    np.save(tmp_path / "bodies" / "SMPL_to_J19.npy", matrix)
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "bodies"))
    return matrix


def write_h36m(root: Path, points_m: np.ndarray, *, poses: Sequence[int] = ()) -> Path:
    """DATA/h36m from a file as 4D-Humans' of Human3.6M: points in the camera's frame; `poses`: rows that have one."""
    count = len(points_m)
    names = [f"{row}.png" for row in range(count)]
    root.mkdir(parents=True)
    for row, name in enumerate(names):
        pixels = np.random.default_rng(row).integers(0, 255, (60, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / name)
    known = np.concatenate([points_m, np.ones((count, 19, 1))], axis=2)
    np.savez(
        root / "h36m_val_p2.npz",
        imgname=np.array(names),
        center=np.full((count, 2), 30.0),
        scale=np.full((count, 2), (20.0, 40.0)),
        body_pose=np.zeros((count, 72), np.float32),
        has_body_pose=np.isin(np.arange(count), poses).astype(float),
        betas=np.zeros((count, 10)),
        has_betas=np.zeros(count),
        body_keypoints_2d=np.zeros((count, 25, 3)),
        extra_keypoints_2d=np.zeros((count, 19, 3)),
        body_keypoints_3d=np.zeros((count, 25, 4)),
        extra_keypoints_3d=known,
    )
    prepare("hmr", root, root / "records", options={"file": "h36m_val_p2.npz", "called": "test"})
    return root / "records"


def bench_on(records: Path, world: Path, out: Path, kind: type[Bench] = Bench, **more: Any) -> Bench:
    """The stand-in passes for SMPL here: the file and the arithmetic are under test, not the mesh."""
    bench = kind(world, out, sets={"h36m": str(records)}, **more)
    body = load_body_model("stand-in")
    body.is_stand_in = False
    bench.__dict__["body"] = body
    return bench


def points_of(bench: Bench, regressor: np.ndarray, rotmat: torch.Tensor) -> np.ndarray:
    """(N, 19, 3): the regressor on whole meshes."""
    with torch.no_grad():
        return regressor @ bench.body(rotmat).vertices_m.double().numpy()


def in_camera(points_m: np.ndarray) -> np.ndarray:
    """x right, y down, z forward, from x right, y forward, z up."""
    return np.stack([points_m[..., 0], -points_m[..., 2], points_m[..., 1]], axis=-1)


class SaysRest(Bench):
    """Every answer is the rest pose."""

    def answers(self, task: str, questions: Sequence[Question], **_: Any) -> dict[str, Prediction]:
        rest: Mapping[str, Any] = {"text": "", "poses": Pose.rest().rotmat[None].numpy()}
        return {question.id: Prediction(question.id, **rest) for question in questions}


@pytest.mark.parametrize("poses", [(), (1, 3)], ids=["no poses", "some poses"])
def test_a_model_is_scored_on_points_whether_there_are_poses_or_not(
    poses: tuple[int, ...], world: Path, regressor: np.ndarray, tmp_path: Path
) -> None:
    truth = np.random.default_rng(0).normal(0, 0.4, (COUNT, 19, 3))
    model = write_model(tmp_path / "model")
    records = write_h36m(tmp_path / "h36m", truth, poses=poses)
    bench = bench_on(records, world, tmp_path / "out", model_dir=model, max_new_tokens=6)
    result = BENCHMARKS["pose_estimation_h36m"]().run(bench)
    assert result is not None

    # The number once more, in plain arithmetic from the file and the kept answers.
    (folder,) = (tmp_path / "out" / "predictions" / "pose_estimation_h36m").iterdir()
    lines = [line for part in folder.glob("part-*.jsonl") for line in part.read_text("utf-8").splitlines()]
    said = {p.id: p.first_pose() for p in map(Prediction.from_line, lines)}
    ids = [f"hmr/h36m_val_p2/{row}" for row in range(COUNT)]
    assert set(said) == set(ids)
    answered = [said[i] for i in ids]
    assert all(pose is not None for pose in answered)
    found = in_camera(points_of(bench, regressor, torch.stack(answered)))  # type: ignore[arg-type]
    scored, root = np.array(SCORED) - 25, ROOT - 25
    off = (found - found[:, [root]]) - (truth - truth[:, [root]])
    errors = 1000 * np.linalg.norm(off[:, scored], axis=-1).mean(axis=1)
    ours = result.table.rows[0]
    assert ours.values["mpjpe_14_mm"] == pytest.approx(errors.mean(), rel=1e-4)
    assert result.table.n == COUNT
    check_joints(result.table)
    assert [column.key for column in result.table.columns] == ["mpjpe_14_mm", "pa_mpjpe_14_mm"]
    assert [result.scores[i] for i in ids] == pytest.approx(errors, rel=1e-4)
    assert any(row.method == "mean pose" for row in result.table.rows)  # of DATA/people's training split


def test_one_point_out_of_fourteen_moved_by_14_cm_costs_a_centimetre(
    world: Path, regressor: np.ndarray, tmp_path: Path
) -> None:
    rest = bench_on(tmp_path, world, tmp_path)
    truth = in_camera(points_of(rest, regressor, Pose.rest().rotmat.expand(COUNT, -1, -1, -1)))
    truth += 1.0  # where somebody stands does not count
    truth[0, SCORED[3] - 25, 1] += 0.14
    truth[1, 38 - 25, 1] += 0.14  # a point that is not scored
    records = write_h36m(tmp_path / "h36m", truth)
    result = BENCHMARKS["pose_estimation_h36m"]().run(bench_on(records, world, tmp_path / "out", SaysRest))
    assert result is not None
    assert list(result.scores.values()) == pytest.approx([10, 0, 0, 0], abs=1e-3)
    assert result.table.rows[0].values["mpjpe_14_mm"] == pytest.approx(2.5, abs=1e-3)


def test_records_that_are_left_out_are_counted_and_the_stand_in_is_refused(
    world: Path, regressor: np.ndarray, tmp_path: Path
) -> None:
    records = write_h36m(tmp_path / "h36m", np.ones((COUNT, 19, 3)))
    bench = bench_on(records, world, tmp_path)
    bench.body.is_stand_in = True
    with pytest.raises(MissingNeed, match="not the stand-in"):
        BENCHMARKS["pose_estimation_h36m"]().run(bench)
    with pytest.raises(MissingNeed, match=r"no records of the split 'test' with pose_rotmat, image"):
        TaskSet.load("pose_estimation", bench, "test", dataset="H36M")
    mixed = write_h36m(tmp_path / "mixed", np.ones((COUNT, 19, 3)), poses=[2])
    found = TaskSet.load("pose_estimation", bench_on(mixed, world, tmp_path), "test", dataset="H36M")
    assert found.ids == ["hmr/h36m_val_p2/2"]
    assert "3 records lack one of pose_rotmat, image and are left out" in found.protocol
