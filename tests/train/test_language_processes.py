"""Ranks whose batches differ in kind learn what one process learns, and none waits for another.

Slow: every test starts real launchers (`pytest tests/train -m slow`). Micro-batches of one example: while one rank
looks at pictures, the other reads text only. Without the dummy image the gradients' reduction (DDP, ZeRO-2) or the
gathering of parameters (ZeRO-3) would hang.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_language import WHOLE, eyes, sets, words  # noqa: F401 - a fixture

from llmpose.model.adapters import load_model
from train.recipe import load_recipe
from train.run import run

ROOT = Path(__file__).resolve().parents[2]
STEPS = ["batch.size=2", "batch.micro=1", "max_steps=4", "examples_per_epoch=16", "optim.lr=1e-3"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def start(recipe_words: list[str], *more: str) -> None:
    """The same words in two processes."""
    launcher = ["torch.distributed.run", "--nproc_per_node=2", "--rdzv_backend=c10d", "--rdzv_endpoint=localhost:0"]
    command = [sys.executable, "-m", *launcher, "-m", "train.run", *recipe_words, *more]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-5000:]


def deepspeed_words(name: str) -> list[str]:
    if name == "ddp":
        return []
    if shutil.which("g++") is None:
        pytest.skip("DeepSpeed on a CPU compiles a helper: g++ is missing")
    pytest.importorskip("deepspeed")
    return [f"deepspeed={ROOT / 'launch' / 'deepspeed' / name}.json"]


@pytest.fixture(scope="module")
def alone(sets: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:  # noqa: F811
    """One process, with adapters and in full."""
    root = tmp_path_factory.mktemp("alone")
    for name, how in (("adapters", []), ("whole", WHOLE)):
        run(load_recipe([], words("instruct", sets, root / name, *eyes(sets), *how, *STEPS)))
    return {name: root / name / "model" for name in ("adapters", "whole")}


@pytest.mark.parametrize("how", ["adapters", "whole"])
@pytest.mark.parametrize("launcher", ["ddp", "zero2", "zero3"])
def test_a_rank_that_reads_text_only_does_not_stop_one_that_sees(
    sets: dict[str, Path],  # noqa: F811
    alone: dict[str, Path],
    tmp_path: Path,
    launcher: str,
    how: str,
):
    more = WHOLE if how == "whole" else []
    start(words("instruct", sets, tmp_path / "run", *eyes(sets), *more, *STEPS), *deepspeed_words(launcher))
    one, two = (load_model(folder).state_dict() for folder in (alone[how], tmp_path / "run" / "model"))
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(
            two[name], value, atol=2e-4, rtol=1e-3, msg=lambda text, name=name: f"{name}: {text}"
        )
