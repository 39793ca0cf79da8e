"""Ranks whose batches differ in kind learn what one process learns, and none waits for another.

Slow: every test starts real launchers (`pytest tests/train -m slow`). Micro-batches of one example: while one rank
looks at pictures, the other reads text only, and while one answers with a pose, the other answers in words. Without the
dummy image the gradients' reduction (DDP, ZeRO-2) or the gathering of parameters (ZeRO-3) would hang.
"""

import json
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
STEPS = ["batch.size=2", "batch.micro=1", "max_steps=4", "examples_per_epoch=16", "optim.lr=1e-3", "log.every=1"]

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
    same_weights(alone[how], tmp_path / "run" / "model")


def same_weights(one: Path, other: Path) -> None:
    ours, theirs = (load_model(folder).state_dict() for folder in (one, other))
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        torch.testing.assert_close(
            theirs[name], value, atol=2e-4, rtol=1e-3, msg=lambda text, name=name: f"{name}: {text}"
        )


def logged(run_dir: Path, *names: str) -> list[tuple[float, ...]]:
    """These numbers of every step; 0 where a step has none."""
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [tuple(line.get(name, 0.0) for name in names) for line in lines if "loss" in line]


@pytest.mark.parametrize("launcher", ["ddp", "zero2", "zero3"])
def test_an_adapter_stopped_half_way_goes_on_to_the_same_losses_and_is_whole(
    sets: dict[str, Path],  # noqa: F811
    alone: dict[str, Path],
    tmp_path: Path,
    launcher: str,
):
    more = [*eyes(sets), *STEPS, "checkpoints.every=2", *deepspeed_words(launcher)]
    for stop in ("stop_at=2", "stop_at=null"):
        start(words("instruct", sets, tmp_path / "run", *more), stop)
    once, twice = logged(alone["adapters"].parent, "loss"), logged(tmp_path / "run", "loss")
    assert len(once) == len(twice) == 4
    torch.testing.assert_close(torch.tensor(twice), torch.tensor(once), atol=1e-4, rtol=1e-4)
    same_weights(alone["adapters"], tmp_path / "run" / "model")
    ids = torch.arange(4, 40)[None]
    with torch.no_grad():
        wrapped, merged = (load_model(tmp_path / "run" / "model", merge=m).eval()(token_ids=ids) for m in (False, True))
    torch.testing.assert_close(merged.logits, wrapped.logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("launcher", ["ddp", "zero2", "zero3"])
def test_what_poses_are_off_by_is_learned_from_alike(
    sets: dict[str, Path],  # noqa: F811
    tmp_path: Path,
    launcher: str,
):
    """`pose_error`: a rank whose micro-batch answers with no pose asks the head all the same, and adds nothing."""
    changes = [*WHOLE, *STEPS, "pose_error=20"]
    run(load_recipe([], words("align", sets, tmp_path / "alone", *changes)))
    start(words("align", sets, tmp_path / "two", *changes), *deepspeed_words(launcher))
    numbers = [logged(tmp_path / name, "loss", "pose_error_mm") for name in ("alone", "two")]
    assert max(error_mm for _, error_mm in numbers[0]) > 1
    torch.testing.assert_close(torch.tensor(numbers[1]), torch.tensor(numbers[0]), atol=1e-4, rtol=1e-3)
    same_weights(tmp_path / "alone" / "model", tmp_path / "two" / "model")
