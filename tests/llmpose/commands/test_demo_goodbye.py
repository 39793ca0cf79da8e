"""What the demo tells people to type must be there to be typed."""

import sys
from pathlib import Path

import pytest

from llmpose.commands.demo_run import program


@pytest.fixture(name="own")
def _own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment's program, which the shell does not find."""
    own = tmp_path / "repo" / ".venv" / "bin" / "llmpose"
    own.parent.mkdir(parents=True)
    own.write_text("#!/bin/sh\n")
    own.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(own.with_name("python")))
    monkeypatch.setenv("PATH", str(tmp_path / "elsewhere"))
    monkeypatch.chdir(tmp_path / "repo")
    return own


def test_a_program_that_the_shell_does_not_find_is_named_by_its_path(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert program() == ".venv/bin/llmpose"
    monkeypatch.chdir(tmp_path)
    assert program() == "repo/.venv/bin/llmpose"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert program() == str(own)


def test_one_that_the_shell_finds_goes_by_its_name(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(own.parent))
    assert program() == "llmpose"
    other = tmp_path / "other" / "llmpose"
    other.parent.mkdir()
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", str(other.parent))
    assert program() == ".venv/bin/llmpose"  # that one is not ours
