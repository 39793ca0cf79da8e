"""A run's folder tells its own story: recipe, versions, data, numbers, checkpoints, model. It holds one run at a time.

<run>/recipe.yaml        resolved; `llmpose train <run>/recipe.yaml` is the same run
      environment.json   versions, machine, git commit, command line
      data.json          every source's folder and the hash of its manifest
      metrics.jsonl      one line per log and per evaluation
      checkpoints/       to resume from
      best/  model/      what later stages load: the best by checkpoints.best, and the final one
"""

import fcntl
import hashlib
import importlib.metadata
import json
import os
import platform
import shlex
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from llmpose.errors import UserError
from train.layers import leaves
from train.recipe import Recipe, differences, load_recipe, save_recipe

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

_PACKAGES = (
    *("llmpose", "torch", "transformers", "accelerate", "peft", "deepspeed", "datasets"),
    *("numpy", "roma", "vector-quantize-pytorch"),
)


class RunFolder:
    """Opened once per run by the first process; the lock goes with the process, however it ends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.metrics = path / "metrics.jsonl"
        self.model = path / "model"
        self.best = path / "best"
        self._lock: IO[str] | None = None

    def lock(self) -> None:
        """Refuse to share the folder with another run."""
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        lock = open(self.path / ".lock", "a+", encoding="utf-8")  # noqa: SIM115 - held for the life of the run
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            holder = lock.read().strip() or "another process"
            lock.close()
            raise UserError(
                f"{self.path} is in use by {holder}; wait for it or give this run another run_dir"
            ) from None
        for aside in self.path.glob(".old-*"):  # a folder was being replaced when the process died
            target = aside.with_name(aside.name.removeprefix(".old-"))
            if not target.exists():
                os.rename(aside, target)
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        lock.flush()
        self._lock = lock

    def unlock(self) -> None:
        """Let the next run in."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def check_recipe(self, recipe: Recipe) -> None:
        """A folder holds one run: say which fields differ from the recipe that it was started with."""
        saved = self.path / "recipe.yaml"
        if not saved.exists() or not any(self.checkpoints.glob("step-*")):
            return
        changed = differences(load_recipe([saved]), recipe)
        if changed:
            fields = ", ".join(f"{key} {old!r} -> {new!r}" for key, (old, new) in changed.items())
            raise UserError(
                f"{self.path} holds a run of another recipe: {fields}; give another run_dir, delete the folder, "
                f"or go on with its own recipe: llmpose train {saved}"
            )

    def describe(self, recipe: Recipe, sources: Sequence[Path], world: int) -> None:
        """Write recipe, environment and data."""
        write_atomically(self.path / "environment.json", json.dumps(environment(world), indent=1))
        data = {str(folder): manifest_hash(folder) for folder in sources}
        write_atomically(self.path / "data.json", json.dumps(data, indent=1))
        temporary = self.path / ".recipe.yaml"
        save_recipe(recipe, temporary)
        os.replace(temporary, self.path / "recipe.yaml")

    def rewind_metrics(self, step: int) -> None:
        """Drop the lines after a step: a run that goes on from there writes them again."""
        if not self.metrics.exists():
            return
        kept = []
        for line in self.metrics.read_text(encoding="utf-8").splitlines():
            try:
                if json.loads(line)["step"] <= step:
                    kept.append(line)
            except (ValueError, KeyError):  # the line a killed process was writing
                continue
        write_atomically(self.metrics, "".join(f"{line}\n" for line in kept))


def find_model(path: str | Path, *, best: bool = True) -> Path:
    """The model folder that a run folder (or a model folder itself) stands for."""
    folder = Path(path).expanduser()
    if (folder / "config.json").is_file() or (folder / "adapter_config.json").is_file():
        return folder
    for candidate in [folder / "best"] * best + [folder / "model"]:
        if candidate.is_dir():
            return candidate
    state = "has no finished model yet" if (folder / "checkpoints").is_dir() else "is neither a run nor a saved model"
    raise UserError(
        f"{folder} {state if folder.is_dir() else 'does not exist'}; expected the folder of a finished stage"
    )


def check_same_shape(start_from: str, stored: "PreTrainedConfig", asked: "PreTrainedConfig") -> None:
    """A run that starts from a model trains that one: a recipe that describes another is refused, not passed over."""
    passing = ("transformers_version", "architectures", "dtype", "_name_or_path")
    here, there = (
        {key: value for key, value in leaves(config.to_dict()) if key.rpartition(".")[2] not in passing}
        for config in (asked, stored)
    )
    differing = [f"{key} {there.get(key)}, here {here.get(key)}" for key in here if here[key] != there.get(key)]
    if differing:
        more = f" and {len(differing) - 4} more" if len(differing) > 4 else ""
        raise UserError(
            f"start_from: {start_from} holds a model of another shape: {'; '.join(differing[:4])}{more}; "
            "describe that model in the recipe, or leave start_from out"
        )


def environment(world: int) -> dict[str, Any]:
    """Versions, machine and commit, for whoever asks a year later."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "command": shlex.join([Path(sys.executable).name, *sys.argv]),
        "processes": world,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": versions,
        "git": git_commit(Path(__file__).parent),
    }


def git_commit(folder: Path) -> str:
    """Commit of the checkout, with `+changes` when files differ from it; empty outside a checkout."""
    try:
        ask: dict[str, Any] = {"cwd": folder, "capture_output": True, "text": True, "timeout": 10, "check": True}
        commit = subprocess.run(["git", "rev-parse", "HEAD"], **ask).stdout.strip()
        changed = subprocess.run(["git", "status", "--porcelain", "--untracked-files=no"], **ask).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
    return f"{commit}{'+changes' if changed else ''}"


def manifest_hash(folder: Path) -> str:
    """sha256 of the folder's manifest.json, else of the names and sizes of its files."""
    manifest = folder / "manifest.json"
    if manifest.is_file():
        return hashlib.sha256(manifest.read_bytes()).hexdigest()
    listing = sorted((p.relative_to(folder).as_posix(), p.stat().st_size) for p in folder.rglob("*") if p.is_file())
    return "listing:" + hashlib.sha256(json.dumps(listing).encode()).hexdigest()


def write_atomically(path: Path, text: str) -> None:
    """A reader finds the old text or the new one, never a part."""
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
