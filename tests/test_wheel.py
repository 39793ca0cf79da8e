"""A wheel of ours never puts a package called `data` into a stranger's environment."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    out = tmp_path_factory.mktemp("wheel")
    build = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert build.returncode == 0, build.stdout + build.stderr
    (wheel,) = out.glob("*.whl")
    return zipfile.ZipFile(wheel).namelist()


def test_the_wheel_holds_two_packages(wheel_names: list[str]) -> None:
    assert {name.split("/")[0] for name in wheel_names if ".dist-info" not in name} == {"llmpose", "tokenizer_vq"}


def test_the_wheel_carries_the_stand_in_body_and_the_skeletons(wheel_names: list[str]) -> None:
    assert "llmpose/body/assets/standin_smpl.npz" in wheel_names
    assert "llmpose/body/skeletons/coco17.yaml" in wheel_names
    assert "llmpose/py.typed" in wheel_names
