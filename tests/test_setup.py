"""What launch/setup.sh says on a machine that lacks something: one line each, before anything is made."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOOLS = ("bash", "dirname", "df", "awk", "mkdir", "cat", "uname", "grep")


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A folder for PATH that holds the shell's tools and no Python."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in TOOLS:
        (tools / name).symlink_to(shutil.which(name) or name)
    return tools


def script(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    path.write_text(f"#!/usr/bin/env bash\n{text}\n")
    path.chmod(0o755)


def set_up(machine: Path, **settings: str) -> str:
    """The one line of a set-up that stops."""
    variables = {"PATH": str(machine), "LLMPOSE_VENV": str(machine.parent / "venv"), **settings}
    told = subprocess.run(
        ["bash", str(ROOT / "launch" / "setup.sh")], env=variables, capture_output=True, text=True, check=False
    )
    assert told.returncode == 1
    assert len(told.stderr.strip().splitlines()) == 1, told.stderr
    assert not (machine.parent / "venv").exists()
    return told.stderr


def test_without_python_it_says_how_to_get_one(machine: Path) -> None:
    assert "no Python 3.11 or newer found; install one" in set_up(machine)


def test_an_old_python_is_none(machine: Path) -> None:
    script(machine / "python3", "exit 1")
    assert "no Python 3.11 or newer found" in set_up(machine)


def test_a_python_that_is_not_there_is_named(machine: Path) -> None:
    assert "LLMPOSE_PYTHON is /nowhere/python, and there is no such program" in set_up(
        machine, LLMPOSE_PYTHON="/nowhere/python"
    )


def test_without_the_venv_module_it_names_the_package(machine: Path) -> None:
    script(machine / "python3", f'case "$*" in *ensurepip*) exit 1;; esac; exec {sys.executable} "$@"')
    assert "python3 has no venv module; install it" in set_up(machine)


def test_too_little_room_is_counted(machine: Path) -> None:
    script(machine / "python3", f'exec {sys.executable} "$@"')
    script(machine / "df", 'echo "Filesystem 1M Used Free Use% On"; echo "disk 200 77 123 39% /"')
    assert "only 123 MiB are free here, 4000 are needed" in set_up(machine)


def test_a_folder_that_cannot_be_made_is_named(machine: Path) -> None:
    script(machine / "python3", f'exec {sys.executable} "$@"')
    (machine.parent / "file").write_text("")
    assert "cannot be written to; set LLMPOSE_VENV" in set_up(
        machine, LLMPOSE_VENV=str(machine.parent / "file" / "venv")
    )


def test_without_a_network_it_says_to_check_it(machine: Path) -> None:
    script(machine / "python3", f'exec {sys.executable} "$@"')
    venv = machine.parent / "made"
    (venv / "bin").mkdir(parents=True)
    script(venv / "bin" / "python", 'case "$*" in *pip*) echo "Failed to establish a new connection";; esac; exit 1')
    told = set_up(machine, LLMPOSE_VENV=str(venv))
    assert "could not reach the package index; check the network or proxy settings" in told
