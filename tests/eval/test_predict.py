"""The cache of answers: a killed run goes on where it was, processes share the work, another model is another cache."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from eval.predict import Prediction, PredictionCache, Question, describe_settings, fingerprint, predict
from llmpose.body.pose import Pose
from llmpose.talk.conversation import Conversation
from llmpose.talk.decoding import Answer, Decoding


def questions(count: int) -> list[Question]:
    return [Question(f"r{i:03d}", lambda i=i: Conversation().user(f"question {i}")) for i in range(count)]


class Echo:
    """Answers a question with its own words; counts what it was asked; dies before a given batch."""

    def __init__(self, dies_at: int = -1) -> None:
        self.asked: list[str] = []
        self.batches, self.dies_at = 0, dies_at

    def __call__(self, conversations: list[Conversation]) -> list[Answer]:
        if self.batches == self.dies_at:
            raise KeyboardInterrupt
        self.batches += 1
        self.asked += [c.turns[-1].text for c in conversations]
        return [
            Answer(parts=(), text=c.turns[-1].text, poses=[Pose.rest()], pose_confidences=[0.5], confidence=0.9)
            for c in conversations
        ]


def test_a_prediction_survives_the_disk() -> None:
    rotmat = torch.randn(2, 22, 3, 3).numpy()
    original = Prediction("a/1", 'She said "é\n"', rotmat, 0.5, [0.1, 0.2], "length")
    line = original.to_line()
    assert "\n" not in line
    again = Prediction.from_line(line)
    assert np.array_equal(again.poses, rotmat)
    assert (again.id, again.text, again.confidence, again.pose_confidences) == (
        "a/1",
        'She said "é\n"',
        0.5,
        [0.1, 0.2],
    )
    assert Prediction.from_line(Prediction("b", "").to_line()).first_pose() is None


def test_a_killed_run_asks_only_what_is_missing(tmp_path: Path) -> None:
    cache = PredictionCache(tmp_path, "text_to_pose", {"model": "m"})
    dying = Echo(dies_at=2)
    with pytest.raises(KeyboardInterrupt):
        predict(questions(10), dying, cache, batch_size=3)
    assert len(dying.asked) == 6
    (part,) = cache.folder.glob("part-*.jsonl")
    part.write_bytes(part.read_bytes()[:-40])  # the kill came in the middle of the last line
    again = Echo()
    found = predict(questions(10), again, cache, batch_size=3)
    assert again.asked == [f"question {i}" for i in (5, 6, 7, 8, 9)]
    assert [found[f"r{i:03d}"].text for i in range(10)] == [f"question {i}" for i in range(10)]
    third = Echo()
    assert predict(questions(10), third, cache).keys() == found.keys()
    assert third.asked == []


def test_a_changed_model_or_setting_is_another_cache(tmp_path: Path) -> None:
    first = PredictionCache(tmp_path, "t", {"model": "a", "decoding": describe_settings(Decoding())})
    same = PredictionCache(tmp_path, "t", {"model": "a", "decoding": describe_settings(Decoding(batch_size=4))})
    warmer = PredictionCache(tmp_path, "t", {"model": "a", "decoding": describe_settings(Decoding(temperature=1.0))})
    other = PredictionCache(tmp_path, "t", {"model": "b", "decoding": describe_settings(Decoding())})
    assert first.folder == same.folder
    assert len({first.folder, warmer.folder, other.folder}) == 3


def test_a_fingerprint_follows_the_weights_and_not_the_place(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
        save_file({"weight": torch.arange(300_000.0)}, tmp_path / name / "model.safetensors")
    assert fingerprint(tmp_path / "a") == fingerprint(tmp_path / "b")
    save_file({"weight": torch.arange(300_000.0) + 0.5}, tmp_path / "b" / "model.safetensors")
    assert fingerprint(tmp_path / "a") != fingerprint(tmp_path / "b")
    save_file({"weight": torch.arange(300_000.0)}, tmp_path / "b" / "model.safetensors")
    (tmp_path / "b" / "config.json").write_text('{"pose_attention": "causal"}')
    assert fingerprint(tmp_path / "a") != fingerprint(tmp_path / "b")


SCRIPT = """
import sys
from tests.eval.test_predict import Echo, questions
from eval.metrics.body import BodyError
from eval.predict import PredictionCache, predict, process_share
import torch
from safetensors.torch import save_file
echo = Echo()
found = predict(questions(11), echo, PredictionCache(sys.argv[1], "t", {}), batch_size=2)
rank, processes = process_share()
metric = BodyError("smpl22")
joints = torch.zeros(11, 24, 3)
joints[:, 5, 0] = torch.arange(11.0)
mine = slice(rank, None, processes)
metric.update([f"r{i}" for i in range(11)][mine], joints[mine], torch.zeros_like(joints)[mine])
print("ASKED", len(echo.asked), "FOUND", len(found), "MEAN", round(metric.gather().compute()["mpjpe_mm"], 3))
"""


def test_two_processes_share_the_questions_and_both_get_all_answers(tmp_path: Path, root_dir: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {
        **os.environ,
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
    }
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(tmp_path)],
            env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            cwd=root_dir,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    said = [worker.communicate(timeout=120) for worker in workers]
    assert all(worker.returncode == 0 for worker in workers), said
    lines = sorted(out.strip().splitlines()[-1] for out, _ in said)
    mean = round(sum(range(11)) * 1000 / 22 / 11, 3)
    assert lines == [f"ASKED 5 FOUND 11 MEAN {mean}", f"ASKED 6 FOUND 11 MEAN {mean}"]
