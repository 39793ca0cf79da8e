"""The shape of the repository: layers, lazy imports, the command line's manners."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("tokenizer_vq", "llmpose", "data", "train", "eval")


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, env={**os.environ, **environment}
    )


def test_imports_run_one_way() -> None:
    lint = subprocess.run([str(Path(sys.executable).parent / "lint-imports")], cwd=ROOT, capture_output=True, text=True)
    assert lint.returncode == 0, lint.stdout + lint.stderr


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_is_ours(package: str) -> None:
    found = python("-c", f"import {package}; print({package}.__file__)").stdout.strip()
    assert Path(found).is_relative_to(ROOT)


def test_import_llmpose_loads_nothing_heavy() -> None:
    script = "import llmpose, sys; print(sorted({'torch', 'transformers', 'numpy', 'PIL'} & set(sys.modules)))"
    assert python("-c", script).stdout.strip() == "[]"


def test_help_loads_nothing_heavy() -> None:
    script = (
        "import sys; sys.argv = ['llmpose', '--help']\n"
        "from llmpose.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'transformers', 'numpy', 'datasets'} & set(sys.modules)))"
    )
    assert python("-c", script).stdout.strip().splitlines()[-1] == "[]"


@pytest.mark.parametrize("module", ["llmpose", "llmpose.cli"])
def test_an_unknown_command_is_bad_usage(module: str) -> None:
    done = python("-m", module, "no-such-command")
    assert done.returncode == 2
    assert done.stderr == "llmpose: No such command 'no-such-command'. (see llmpose --help)\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("data", "prepare"), "Missing argument 'source'. (see llmpose data prepare --help)"),
        (("data", "inspect", "x", "--count", "many"), "Invalid value for '--count'"),
        (("data", "inspect", "x", "--cont", "3"), "No such option: --cont"),
    ],
)
def test_bad_usage_is_one_line_too(words: tuple[str, ...], says: str) -> None:
    done = python("-m", "llmpose.cli", *words)
    assert done.returncode == 2
    assert done.stderr.startswith(f"llmpose: {says}")
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    pose = tmp_path / "pose.json"
    pose.write_text('{"format": "llmpose.pose", "poses": [{"axis_angle": {}}]}')
    done = python("-m", "llmpose.cli", "body", "convert", str(pose), str(tmp_path / "taken" / "pose.npz"))
    assert done.returncode == 1
    assert done.stderr == f"llmpose: {tmp_path / 'taken'}: File exists\n"


def test_no_words_at_all_show_the_help() -> None:
    done = python("-m", "llmpose.cli", "data")
    assert done.returncode == 2
    assert "prepare" in done.stdout + done.stderr


def test_an_error_for_people_is_one_line(tmp_path: Path) -> None:
    done = python("-m", "llmpose.cli", "data", "inspect", str(tmp_path / "nowhere"))
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert "nowhere" in done.stderr
    shown = python("-m", "llmpose.cli", "data", "inspect", str(tmp_path / "nowhere"), "--debug")
    assert "Traceback" in shown.stderr


def test_every_command_teaches_with_an_example() -> None:
    from typer.main import get_command

    from llmpose.cli import app

    def leaves(command, path: tuple[str, ...]):
        if hasattr(command, "commands"):
            for name, child in command.commands.items():
                yield from leaves(child, (*path, name))
        else:
            yield path, command

    without = [
        " ".join(path) for path, command in leaves(get_command(app), ()) if "llmpose " not in (command.help or "")
    ]
    assert not without, f"commands whose help shows no example: {without}"


@pytest.mark.parametrize("script", sorted((ROOT / "launch").glob("*.sh")), ids=lambda path: path.name)
def test_launch_scripts_parse(script: Path) -> None:
    assert subprocess.run(["bash", "-n", str(script)]).returncode == 0


def test_no_source_file_grows_past_its_idea() -> None:
    tracked = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True).stdout.split()
    long = {name: lines for name in tracked if (lines := len((ROOT / name).read_text().splitlines())) > 500}
    assert not long, f"files over 500 lines, each asks to be two: {long}"
