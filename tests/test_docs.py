"""Every command of README, CONTRIBUTING and docs/ is checked; one that nobody knows how to check fails.

Commands stand in ```bash fences and in `inline code` that begins with one of our programs. Fences behind `<!-- run -->`
are really run, in order, in a folder with a small model. All others are parsed by the real parsers: options by the
command line itself, recipes and key=value words by train.recipe, launchers by accelerate, scripts by bash.
"""

import argparse
import importlib
import importlib.util
import os
import re
import shlex
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
import yaml
from typer.main import get_command
from typer.testing import CliRunner

from data.sources import find_source
from eval.ablation_plans import plans_named
from eval.run import names_of
from llmpose.body.pose import Pose
from llmpose.cli import app
from train.recipe import load_recipe, load_words

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
OURS = ("llmpose", "bash", "accelerate", "python", "pip")
SHELL = ("export", "source", "cd", "echo", "git")
"""Words of the shell that only prepare something: bash itself must accept the line."""


@dataclass(frozen=True)
class Block:
    page: str
    line: int
    language: str
    text: str
    is_run: bool

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True)
class Command:
    page: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.text}"


def blocks(path: Path) -> Iterator[Block]:
    lines, at = path.read_text("utf-8").splitlines(), 0
    while at < len(lines):
        if not (fence := re.match(r"```(\w*)$", lines[at])):
            at += 1
            continue
        end = lines.index("```", at + 1)
        is_run = at > 0 and lines[at - 1] == "<!-- run -->"
        yield Block(path.name, at + 1, fence.group(1), "\n".join(lines[at + 1 : end]), is_run)
        at = end + 1


def commands_in(block: Block) -> Iterator[Command]:
    """A line each; lines that end in a backslash go on, comments do not count."""
    text = re.sub(r"\\\n\s*", " ", block.text)
    for offset, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield Command(block.page, block.line + offset, line.strip())


def inline_commands(path: Path) -> Iterator[Command]:
    """`llmpose …` and the like in running text; a mere name (`llmpose web`), or one with …, is talk."""
    fenced = False
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        fenced ^= line.startswith("```")
        for code in [] if fenced else re.findall(r"`([^`]+)`", line):
            words = code.split()
            if words[0] in OURS and "…" not in code and re.search(r" -|\.yaml|\.sh|\w=", code):
                yield Command(path.name, number, code)


BLOCKS = [block for page in PAGES for block in blocks(page)]
COMMANDS = [
    *(c for block in BLOCKS if block.language == "bash" for c in commands_in(block)),
    *(command for page in PAGES for command in inline_commands(page)),
]
LAYERS = {
    match.group(1): block
    for block in BLOCKS
    if block.language == "yaml" and (match := re.match(r"# (\w+\.yaml)", block.text))
}
"""Files that a page writes down, by the name in their first line."""


# ---- how each kind of command is checked ---------------------------------------------------------------------------


def check(text: str, folder: Path) -> None:
    """Raise where the command is wrong. `folder` holds the pages' own files; commands start there."""
    accepted = subprocess.run(["bash", "-n", "-c", text], capture_output=True, text=True)
    assert accepted.returncode == 0, accepted.stderr
    for part in re.split(r"\s(?:\||&&)\s", text):
        words = shlex.split(part, comments=True)
        environment = {}
        while words and re.match(r"[A-Z_]+=", words[0]):
            name, _, value = words.pop(0).partition("=")
            environment[name] = value
        if words[0] not in CHECKS:
            raise AssertionError(f"nobody knows how to check {words[0]!r}; teach tests/test_docs.py")
        CHECKS[words[0]](words[1:], folder, environment)


def check_llmpose(words: list[str], folder: Path, _: dict[str, str]) -> None:
    root: Any = get_command(app)
    words = [word for word in words if word != "--debug"]
    seen: list[tuple[str, dict[str, Any]]] = []

    def silence(command: Any, path: str) -> None:
        for name, child in getattr(command, "commands", {}).items():
            silence(child, f"{path} {name}".strip())
        if not hasattr(command, "commands"):
            command.callback = lambda **given: seen.append((path, given))

    silence(root, "")
    try:
        code = root.main(words, prog_name="llmpose", standalone_mode=False)
    except Exception as error:
        raise AssertionError(f"llmpose {' '.join(words)}: {getattr(error, 'message', error)}") from None
    if not seen:
        assert "--help" in words or "--version" in words, f"nothing would run (exit {code})"
        return
    path, given = seen[0]
    if path == "train":
        check_recipe(given["words"] or [], folder) if given["fields"] is None else CliRunner().invoke(
            app, ["train", "--fields", given["fields"]], catch_exceptions=False
        )
    elif path == "data prepare":
        known = find_source(given["source"]).options
        unknown = {option.partition("=")[0] for option in given["option"] or []} - set(known)
        assert not unknown, f"{given['source']} has no option {unknown}; it has {', '.join(known)}"
    elif path == "data sources" and given["name"]:
        find_source(given["name"])
    elif path == "eval":
        if "ablations" in given["names"]:
            plans_named(given["only"] or [], given["preset"])
        names_of([name for name in given["names"] if name not in ("list", "ablations", "spread")])


def check_recipe(words: list[str], folder: Path) -> None:
    """Files exist and load together, words resolve; a recipe that a run would have saved is only named."""
    files = [word for word in words if word.endswith(".yaml") and "=" not in word]
    if files and files[0].startswith("runs/"):
        return
    load_words([str((ROOT if (ROOT / word).is_file() else folder) / word) if word in files else word for word in words])


def check_bash(words: list[str], folder: Path, environment: dict[str, str]) -> None:
    script = ROOT / words[0]
    assert script.is_file(), f"{words[0]}: no such script"
    assert subprocess.run(["bash", "-n", str(script)]).returncode == 0
    read = set(re.findall(r"[A-Z_]{3,}", script.read_text("utf-8"))) | {"HTTPS_PROXY"}
    if unused := set(environment) - read:
        raise AssertionError(f"{words[0]} does not read {', '.join(unused)}")
    if script.name == "demo.sh":
        check_llmpose(["demo", *words[1:]], folder, {})
    elif re.match(r"unipose_\d", script.name):
        check(what_a_stage_script_starts(script, words[1:], environment, folder), folder)
    elif script.name == "test.sh":
        assert set(words[1:]) <= {"-m", "slow", "tests/llmpose"}, "teach the test these words for pytest"
    else:
        assert not words[1:], f"{words[0]} takes no words"


def what_a_stage_script_starts(script: Path, words: list[str], environment: dict[str, str], folder: Path) -> str:
    """The script is really run; programs that only write down how they were called stand in for the real ones."""
    fakes = folder / "fakes"
    fakes.mkdir(exist_ok=True)
    for name in ("python", "accelerate"):
        (fakes / name).write_text(f'#!/bin/sh\nprintf "%s\\n" {name} "$@"\n')
        (fakes / name).chmod(0o755)
    path = f"{fakes}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", str(script), *words],
        capture_output=True,
        text=True,
        env={**os.environ, **environment, "PATH": path},
    )
    assert done.returncode == 0, done.stderr
    return shlex.join(done.stdout.splitlines())


def check_python(words: list[str], folder: Path, _: dict[str, str]) -> None:
    assert words[0] == "-m", "start modules with python -m"
    check_module(words[1], words[2:], folder)


def check_module(name: str, words: list[str], folder: Path) -> None:
    if name == "train.run":
        check_recipe(words, folder)
    elif name == "llmpose.cli":
        check_llmpose(words, folder, {})
    elif name.startswith("eval.speed."):
        check_speed(name, words)
    else:
        raise AssertionError(f"nobody knows how to check the module {name}; teach tests/test_docs.py")


class _Parsed(Exception):
    """The words were understood; nothing needs to be measured."""


def check_speed(name: str, words: list[str]) -> None:
    parse = argparse.ArgumentParser.parse_args

    def only_parse(parser: argparse.ArgumentParser, *_: Any) -> None:
        parse(parser, words)
        raise _Parsed

    with patch.object(argparse.ArgumentParser, "parse_args", only_parse), pytest.raises(_Parsed):
        importlib.import_module(name).main()


def check_accelerate(words: list[str], folder: Path, _: dict[str, str]) -> None:
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.commands.launch import launch_command_parser

    assert words[0] == "launch"
    given = launch_command_parser().parse_args(words[1:])
    assert given.module, "start modules with -m"
    if given.config_file:
        settings = load_config_from_file(str(ROOT / given.config_file))
        deepspeed = (getattr(settings, "deepspeed_config", None) or {}).get("deepspeed_config_file")
        assert deepspeed is None or (ROOT / deepspeed).is_file()
    check_module(given.training_script, given.training_script_args, folder)


def check_pip(words: list[str], *_: Any) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    assert words[0] == "install"
    for extra in re.findall(r"\[(.+?)\]", " ".join(words)):
        assert set(extra.split(",")) <= set(extras), f"no extra {extra}; there are {', '.join(extras)}"


def check_ci(words: list[str], *_: Any) -> None:
    assert (ROOT / ".ci" / "run").is_file()
    assert not words


def accept(*_: Any) -> None:
    """bash accepts the line; that is all that can be said."""


CHECKS: dict[str, Callable[..., None]] = {
    "llmpose": check_llmpose,
    "bash": check_bash,
    "python": check_python,
    "accelerate": check_accelerate,
    "pip": check_pip,
    ".ci/run": check_ci,
    **dict.fromkeys(SHELL, accept),
}


# ---- the tests -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the pages write down."""
    folder = tmp_path_factory.mktemp("pages")
    for name, block in LAYERS.items():
        (folder / name).write_text(block.text, "utf-8")
    return folder


@pytest.mark.parametrize("page", [path.name for path in PAGES])
def test_commands_of_a_page(page: str, written: Path) -> None:
    wrong = []
    for command in COMMANDS:
        if command.page == page:
            try:
                check(command.text, written)
            except Exception as error:
                wrong.append(f"{command}\n    {type(error).__name__}: {error}")
    assert not wrong, "\n".join(wrong)


def test_commands_stand_in_fences() -> None:
    """An indented line that looks like a command would be checked by nobody."""
    for page in PAGES:
        fenced = False
        for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
            fenced ^= line.startswith("```")
            is_command = re.match(rf" {{4,}}(?:{'|'.join(OURS)}) \S", line)
            assert fenced or not is_command, f"{page.name}:{number}: put it into a ```bash fence: {line.strip()}"


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "yaml"], ids=str)
def test_yaml_is_valid(block: Block) -> None:
    assert isinstance(yaml.safe_load(block.text), dict)


def test_every_recipe_that_stands_alone_loads() -> None:
    for path in sorted((ROOT / "launch" / "recipes").rglob("*.yaml")):
        if "kind" in yaml.safe_load(path.read_text("utf-8")):
            load_recipe([path])


def test_files_that_pages_name_exist() -> None:
    """Paths in `inline code` that begin with one of the repository's folders."""
    missing = []
    for page in PAGES:
        for code in re.findall(r"`([^`\n]+)`", page.read_text("utf-8")):
            is_path = re.match(r"(?:docs|launch|llmpose|tokenizer_vq|data|train|eval|tests)/[\w./*{},-]+$", code)
            if is_path and not any(mark in code for mark in "{<") and not list(ROOT.glob(code.rstrip("/"))):
                missing.append(f"{page.name}: {code}")
    assert not missing


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a reader would have it: the launch files, a pose, and a small model in the demo's place."""
    place = importlib.util.spec_from_file_location("little_world", ROOT / "tests" / "eval" / "little.py")
    assert place is not None
    assert place.loader is not None
    little = importlib.util.module_from_spec(place)
    place.loader.exec_module(little)
    folder = tmp_path_factory.mktemp("reader")
    (folder / "launch").symlink_to(ROOT / "launch")
    Pose.rest().save(folder / "pose.npz")
    model = little.write_model(folder / "runs" / "demo" / "4_instruct" / "model")
    _let_it_say_poses(model)
    return folder


def _let_it_say_poses(folder: Path) -> None:
    """Random weights seldom begin a pose; the pages take one from the answer."""
    from llmpose.model.modeling import LlmPoseForConditionalGeneration

    model = LlmPoseForConditionalGeneration.from_pretrained(folder)
    with torch.no_grad():
        hidden = model.get_input_embeddings().weight.mean(0)
        head = model.get_output_embeddings().weight
        head.mul_(0.01)
        head[model.config.pose_open_id] = hidden
        model.language.norm.weight.copy_(torch.sign(hidden)) if hasattr(model.language, "norm") else None
    model.save_pretrained(folder)


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.is_run], ids=str)
def test_what_is_marked_runs(block: Block, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    if block.language == "python":
        exec(compile(block.text, str(block), "exec"), {"__name__": "page"})
        return
    for command in commands_in(block):
        words = shlex.split(command.text)
        assert words[0] == "llmpose", f"{command}: only our own commands are run"
        done = CliRunner().invoke(app, words[1:])
        assert done.exit_code == 0, f"{command}\n{done.output}{done.exception!r}"


@pytest.mark.parametrize("wrong", ["llmpose chatt --model x", "llmpose eval text_to_pos --data d", "frobnicate now",
    "llmpose train launch/recipes/unipose/2_align.tiny.yaml optim.rl=1", "bash launch/unipose_9.sh",
    "llmpose data prepare amass --root a --out b --option subset=CMU", "pip install -e '.[trian]'",
    "SIZES=tiny GPUS=0 bash launch/unipose_2.sh", "GPUS=0 SIZE=tiny bash launch/unipose_2.sh batch.mikro=1",
    "llmpose eval ablations --only atention --data d", "llmpose eval ablations --preset paper --data d",
])  # fmt: skip
def test_a_wrong_command_is_found(wrong: str, written: Path) -> None:
    with pytest.raises(Exception):  # noqa: B017  (each parser has its own)
        check(wrong, written)


def test_python_blocks_compile() -> None:
    for block in BLOCKS:
        if block.language == "python":
            compile(block.text, str(block), "exec")
