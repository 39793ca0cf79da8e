"""`llmpose data describe | compare | build` as people type them."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from data.records import RecordSet
from data.synth.poses import sample_poses
from llmpose.body.pose import Pose
from llmpose.cli import app
from llmpose.errors import BadUsage, UserError

runner = CliRunner()


def run(*words: object) -> str:
    return run_both(*words)[0]


def run_both(*words: object) -> tuple[str, str]:
    """What is said, and what is said beside it."""
    result = runner.invoke(app, ["data", *map(str, words)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout, result.stderr


@pytest.fixture
def poses(tmp_path: Path) -> list[Path]:
    rotmat, _ = sample_poses(3, seed=5)
    paths = [tmp_path / f"{name}.npz" for name in ("a", "b", "motion")]
    for path, some in zip(paths, (rotmat[0], rotmat[1], rotmat), strict=True):
        Pose(torch.as_tensor(some)).save(path)
    return paths


def test_describe_prints_the_caption_and_draws_it(poses: list[Path], tmp_path: Path) -> None:
    picture = tmp_path / "seen.png"
    lines = run("describe", poses[0], "--style", "brief", "--picture", picture).splitlines()
    assert lines[0].startswith("The person is ")
    assert lines[1] == f"picture: {picture}"
    assert np.asarray(Image.open(picture)).std() > 10


def test_describe_goes_through_a_motion_and_samples_with_a_seed(poses: list[Path]) -> None:
    lines = run("describe", poses[2], "--seed", 1, "--num", 2, "--no-picture").splitlines()
    assert [line.split(":")[0] for line in lines] == [f"frame {n}" for n in (0, 0, 1, 1, 2, 2)]
    assert len(set(lines)) == 6


def test_compare_says_the_turn_unless_told_not_to(poses: list[Path], tmp_path: Path) -> None:
    picture = tmp_path / "both.png"
    said = run("compare", poses[0], poses[1], "--style", "brief", "--picture", picture).splitlines()[0]
    silent = run("compare", poses[0], poses[1], "--style", "brief", "--no-turn", "--no-picture").splitlines()[0]
    assert said.startswith("Turn ")
    assert said.endswith(silent)
    assert picture.is_file()


def test_a_motion_cannot_be_compared_as_a_whole(poses: list[Path]) -> None:
    with pytest.raises(BadUsage, match="holds 3 poses; choose one with --frame-b"):
        run("compare", poses[0], poses[2])
    assert run("compare", poses[0], poses[2], "--frame-b", 1, "--no-picture")


def test_build_writes_the_dataset_and_says_what_is_in_it(records: RecordSet, tmp_path: Path) -> None:
    records_folder = tmp_path / "records"
    RecordSet.write(records_folder, records, image_root=records.image_root)
    out = tmp_path / "script"
    words = ("build", "imagescript", "--from", records_folder, "--out", out, "--count", 20, "--images", "refer")
    said, beside = run_both(*words)
    assert re.search(r"^took joints [\d.]+ s, choosing coco train [\d.]+ s, ", beside, re.MULTILINE)
    assert said.startswith(f"{out}: ")
    assert "train 20" in said
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["options"]["images"] == "refer"
    assert RecordSet.load(out / "auto")[0].load_image().size == (24, 32)


def test_refining_without_an_address_says_what_is_missing(
    records: RecordSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LLMPOSE_LLM_URL", raising=False)
    RecordSet.write(tmp_path / "records", records, image_root=records.image_root)
    with pytest.raises(UserError, match="LLMPOSE_LLM_URL"):
        run("build", "posescript", "--from", tmp_path / "records", "--out", tmp_path / "out", "--refine")


def test_wrong_choices_are_named_with_the_right_ones(poses: list[Path]) -> None:
    with pytest.raises(BadUsage, match="--style 'short'; choose one of full, brief"):
        run("describe", poses[0], "--style", "short")
