"""A whole benchmark on two processes: the same table and scores as on one."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.eval.little import COUNTS, write_model, write_world

pytestmark = pytest.mark.slow
# accelerate launch --cpu starts one process, whatever --num_processes says; this is what it calls on GPUs.
TWO = ("-m", "torch.distributed.run", "--nproc_per_node=2", "--rdzv_backend=c10d", "--rdzv_endpoint=localhost:0")


def is_same(a: Any, b: Any) -> bool:
    """Equal but for the last digits of numbers: a pose is decoded in another batch."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(is_same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(is_same, a, b))
    return math.isclose(a, b, rel_tol=1e-6) if isinstance(a, float) and isinstance(b, float) else a == b


@pytest.mark.parametrize("name", ["text_to_pose", "pose_diff"])
def test_two_processes_make_the_table_that_one_makes(name: str, tmp_path: Path, root_dir: Path) -> None:
    world, model = write_world(tmp_path / "world"), write_model(tmp_path / "model")

    def written(out: Path, *launcher: str) -> dict[str, Any]:
        options = ["--data", str(world), "--model", str(model), "--out", str(out), "--batch-size", "2"]
        command = [sys.executable, *launcher, "-m", "llmpose.cli", "eval", name, *options]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=root_dir, env=environment, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("tables, scores and answers") == 1  # one process speaks for all
        content = {kind: json.loads((out / kind / f"{name}.json").read_text("utf-8")) for kind in ("tables", "scores")}
        del content["scores"]["seconds"]
        return content

    alone = written(tmp_path / "alone")
    together = written(tmp_path / "together", *TWO)
    assert is_same(together, alone), (together, alone)
    assert together["tables"]["n"] == len(together["scores"]["scores"]) == COUNTS["test"]
    parts = sorted((tmp_path / "together" / "predictions" / name).glob("*/part-*.jsonl"))
    assert [len(part.read_text("utf-8").splitlines()) for part in parts] == [5, 4]  # each asked its share
