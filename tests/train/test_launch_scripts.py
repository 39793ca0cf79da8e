"""launch/unipose_all.sh: what it runs, in what order, with which words; stand-ins for Python and accelerate note it."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RECIPES = "launch/recipes/unipose"


@pytest.fixture(name="commands")
def _commands(tmp_path: Path):
    """commands(SIZE="tiny") -> the commands that the script ran."""
    noted = tmp_path / "noted"
    for name in ("python", "accelerate"):
        stand_in = tmp_path / "bin" / name
        stand_in.parent.mkdir(exist_ok=True)
        stand_in.write_text(f'#!/usr/bin/env bash\necho "{name} $*" >> "{noted}"\n')
        stand_in.chmod(0o755)

    def run(**settings: str) -> list[str]:
        env = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "RUNS": "out", **settings}
        subprocess.run(["bash", "launch/unipose_all.sh"], cwd=ROOT, env=env, check=True, capture_output=True)
        return noted.read_text().splitlines()

    return run


def test_the_papers_stages_begin_with_its_own_weights(commands) -> None:
    ran = commands(GPUS="8", LLAVA="/w/llava", POSE_VIT="/w/vit.ckpt")
    assert ran[0] == f"python -m train.run {RECIPES}/1_tokenizer.paper.yaml"
    for line, stage in zip(ran[1:], ("2_align", "3_projector", "4_instruct"), strict=True):
        assert line.startswith("accelerate launch --config_file launch/accelerate/zero2.yaml --num_processes 8")
        assert f"{RECIPES}/{stage}.paper.yaml" in line
    assert ran[1].endswith("model.llava=/w/llava model.vision.pose.folder=/w/vit.ckpt")
    assert ran[2].endswith("3_projector.paper.yaml")


def test_on_one_gpu_the_eyes_that_were_trained_are_those_that_see(commands) -> None:
    ran = commands(SIZE="small", GPUS="1", LANGUAGE="/w/qwen")
    assert ran == [
        f"python -m train.run {RECIPES}/1_tokenizer.default.yaml",
        f"python -m train.run {RECIPES}/vision_clip.small.yaml",
        f"python -m train.run {RECIPES}/vision_pose.small.yaml",
        f"python -m train.run {RECIPES}/2_align.small.yaml model.language=/w/qwen",
        f"python -m train.run {RECIPES}/3_projector.small.yaml model.vision.clip.folder=out/unipose/vision_clip.small",
        f"python -m train.run {RECIPES}/4_instruct.small.yaml",
    ]


def test_a_released_clip_needs_no_training(commands) -> None:
    ran = commands(SIZE="small", GPUS="1", LANGUAGE="/w/qwen", CLIP="/w/clip")
    assert not any("vision_clip" in line for line in ran)
    assert any(line.endswith("3_projector.small.yaml model.vision.clip.folder=/w/clip") for line in ran)
