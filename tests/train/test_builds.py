"""Locks of killed compilations are found, those of living ones are not."""

import os
import sys
from pathlib import Path

import pytest
from toy import ToyRecipe

from train.builds import abandoned_locks
from train.run import run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="who holds a file is read from /proc")


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "extensions"))
    assert abandoned_locks() == []
    path = tmp_path / "extensions" / "cpu_adam" / "lock"
    path.parent.mkdir(parents=True)
    return path


def test_a_lock_is_abandoned_when_nobody_holds_it(lock: Path) -> None:
    held = os.open(lock, os.O_CREAT | os.O_EXCL)
    assert abandoned_locks() == []
    os.close(held)
    assert abandoned_locks() == [lock]


def test_a_run_under_deepspeed_names_it_and_others_do_not(
    lock: Path, toy: ToyRecipe, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lock.touch()
    run(toy)
    assert str(lock) not in caplog.text
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    monkeypatch.setattr("train.run.PartialState", _stop)
    with pytest.raises(InterruptedError):
        run(toy)
    assert f"{lock}: no process here holds this lock" in caplog.text


def _stop(**_: object) -> None:
    raise InterruptedError
