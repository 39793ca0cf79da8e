"""`llmpose demo --preset micro` from nothing to the report, killed on its way; then a question to what it trained."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]

ROOT = Path(__file__).resolve().parents[3]
ENV = {**os.environ, "PYTHONPATH": str(ROOT)}
FIGURES = {
    **dict.fromkeys(("pose_estimation", "text_to_pose", "pose_editing"), "mpjpe_mm"),
    **dict.fromkeys(("pose_to_text", "image_to_text", "pose_diff", "image_diff"), "r_precision_top3"),
    "pose_decoding": "speedup_mixed_vs_causal",
    "visual_prompt_unseen": "pck_0.2",
    "keypoint_training": "speedup_branches",
    "keypoint_decoding": "speedup_branches",
}


def demo(out: Path) -> list[str]:
    return [sys.executable, "-m", "llmpose", "demo", "--preset", "micro", "--out", str(out)]


def kill_in_step(out: Path, step: str) -> None:
    """Start the demo, and end it with all that it started once the step before is done and this one has begun."""
    with subprocess.Popen(demo(out), cwd=ROOT, env=ENV, stdout=subprocess.DEVNULL, start_new_session=True) as run:
        while not (out / step).is_dir():
            assert run.poll() is None, f"it ended before {step} began"
            time.sleep(0.2)
        os.killpg(run.pid, signal.SIGKILL)


def test_from_nothing_to_a_report_and_a_chat_although_it_is_killed(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    kill_in_step(out, "2_align")
    before = json.loads((out / "steps.json").read_text())["seconds"]
    assert {"world", "records", "texts", "tokenizer", "retrieval", "eyes"} <= set(before)
    done = subprocess.run(demo(out), cwd=ROOT, env=ENV, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    after = json.loads((out / "steps.json").read_text())["seconds"]
    assert before.items() <= after.items(), "what was done was done again"

    summary = json.loads((out / "report" / "summary.json").read_text())
    found = {(row["task"], row["metric"]) for row in summary["figures"]}
    assert set(FIGURES.items()) <= found
    assert all(row["value"] is not None and row["n"] > 0 and row["protocol"] for row in summary["figures"])
    page = (out / "report" / "index.html").read_text()
    assert page.count("data:image/") > 20
    assert 'src="http' not in page
    assert '<link rel="stylesheet"' not in page

    ask = ["chat", "--model", str(out / "4_instruct" / "model"), "--ask", "Generate the pose: The person is sitting."]
    told = subprocess.run(
        [sys.executable, "-m", "llmpose", *ask, "--json"], cwd=ROOT, env=ENV, capture_output=True, text=True
    )
    assert told.returncode == 0, told.stderr
    assert isinstance(json.loads(told.stdout), dict)
