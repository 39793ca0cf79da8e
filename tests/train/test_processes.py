"""Several processes learn what one learns. Slow: every test starts real launchers (`pytest tests/train -m slow`)."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from toy import ToyModel, ToyRecipe, weights

from train.recipe import Batch, save_recipe
from train.run import run

ROOT = Path(__file__).resolve().parents[2]
TOY = Path(__file__).with_name("toy.py")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def start(launcher: list[str], recipe: ToyRecipe, *words: str, **environment: str) -> str:
    """Train in several processes; what they said."""
    path = Path(recipe.run_dir).with_suffix(".yaml")
    save_recipe(recipe, path)
    command = [sys.executable, "-m", *launcher, str(TOY), str(path), *words]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **environment}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    return done.stderr


def torchrun() -> list[str]:
    return [
        "torch.distributed.run",
        "--nproc_per_node=2",
        "--master_port=0",
        "--rdzv_backend=c10d",
        "--rdzv_endpoint=localhost:0",
    ]


def deepspeed_file(name: str) -> str:
    if shutil.which("g++") is None:
        pytest.skip("DeepSpeed on a CPU compiles a helper: g++ is missing")
    pytest.importorskip("deepspeed")
    return str(ROOT / "launch" / "deepspeed" / name)


@pytest.fixture
def plain(toy: ToyRecipe) -> ToyRecipe:
    """No dropout: processes draw their own."""
    return replace(toy, model=ToyModel(dropout=0.0), optim=replace(toy.optim, lr_of={}))


def close(a: ToyRecipe, b: ToyRecipe, tolerance: float) -> None:
    one, two = (weights(Path(recipe.run_dir) / "model") for recipe in (a, b))
    for name, value in one.items():
        if name != "average":  # a running average of the process that saves
            assert torch.allclose(value, two[name], atol=tolerance), name


def at(recipe: ToyRecipe, name: str, **changes: object) -> ToyRecipe:
    return replace(recipe, run_dir=str(Path(recipe.run_dir).with_name(name)), **changes)  # type: ignore[arg-type]


def test_two_processes_of_two_are_one_of_four(plain: ToyRecipe) -> None:
    run(plain)
    two = at(plain, "two")
    said = start(torchrun(), two)
    assert "processes=2 accumulation=1" in said
    close(plain, two, 2e-6)
    cut = at(plain, "cut", batch=Batch(size=4, micro=1))
    assert "processes=2 accumulation=2" in start(torchrun(), cut)
    close(plain, cut, 2e-6)


def test_two_processes_resume_exactly(plain: ToyRecipe) -> None:
    """With two workers' data order, in the second epoch."""
    long, parts = at(plain, "long", max_steps=18), at(plain, "parts", max_steps=18)
    start(torchrun(), long)
    start(torchrun(), replace(parts, stop_at=14))
    start(torchrun(), parts, "stop_at=null")
    close(long, parts, 0.0)


@pytest.mark.parametrize("name", ["zero2.json", "zero3.json", "zero2_offload.json", "zero3_offload.json"])
def test_deepspeed_learns_the_same_and_resumes(plain: ToyRecipe, name: str) -> None:
    config = deepspeed_file(name)
    run(plain)
    sharded = at(plain, "sharded", deepspeed=config)
    start(torchrun(), sharded, "stop_at=6")
    start(torchrun(), sharded)
    close(plain, sharded, 2e-5)


@pytest.mark.parametrize("name", ["zero2", "zero3"])
def test_accelerates_files_start_deepspeed(plain: ToyRecipe, name: str) -> None:
    deepspeed_file("zero2.json")
    run(plain)
    sharded = at(plain, "sharded")
    config = f"--config_file={ROOT / 'launch' / 'accelerate' / f'{name}.yaml'}"
    start(["accelerate.commands.launch", config, "--num_processes=2", "--main_process_port=0"], sharded)
    close(plain, sharded, 2e-5)


def test_a_bad_number_in_one_process_ends_all_of_them(plain: ToyRecipe) -> None:
    bad = at(plain, "bad", model=ToyModel(dropout=0.0, poison=7))
    with pytest.raises(AssertionError, match=r"touched; records: .*sentence-7"):
        start(torchrun(), bad, "max_steps=24")
