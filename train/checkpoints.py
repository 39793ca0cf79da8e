"""Checkpoints that are whole or not there at all.

Trainer writes into `<run>/checkpoints/.writing/`; when it is done, a marker with every file's size is added, everything
is flushed to disk, and one rename makes it `step-00000500`. Older ones go after that, never before. What a killed
process leaves behind is in `.writing` and is swept away at the next start.
"""

import errno
import json
import logging
import os
import shutil
from pathlib import Path

from llmpose.errors import UserError

logger = logging.getLogger(__name__)

MARKER = "complete.json"
WRITING = ".writing"


class CheckpointFolder:
    """`<run>/checkpoints`."""

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder, self.keep = folder, keep
        self.writing = folder / WRITING

    def sweep(self) -> None:
        """Remove what an interrupted run left half written."""
        for unfinished in self.writing.glob("*"):
            logger.info("removing a checkpoint that was not finished: %s", unfinished)
        shutil.rmtree(self.writing, ignore_errors=True)

    def steps(self) -> dict[int, Path]:
        """Whole checkpoints, by step."""
        found = {step_of(path): path for path in self.folder.glob("step-*")}
        return {step: path for step, path in sorted(found.items()) if is_complete(path)}

    def last(self) -> Path | None:
        """The newest whole checkpoint; a damaged one is passed over and named."""
        for path in sorted(self.folder.glob("step-*"), reverse=True):
            if is_complete(path):
                return path
            logger.warning("%s is incomplete or damaged; going back to the one before", path)
        return None

    def commit(self, step: int) -> Path:
        """Turn what Trainer has written for this step into a checkpoint, then let the oldest go."""
        written = self.writing / f"checkpoint-{step}"
        final = self.folder / f"step-{step:08d}"
        seal(written)
        if final.exists():  # the same step again, after a resume from an earlier one
            shutil.rmtree(final)
        os.rename(written, final)
        flush(self.folder)
        for old in list(self.steps().values())[: -self.keep]:
            shutil.rmtree(old)
        return final


def step_of(checkpoint: Path) -> int:
    """`…/step-00000500` -> 500."""
    return int(checkpoint.name.removeprefix("step-"))


def seal(folder: Path) -> None:
    """Flush every file to disk and write the marker, last."""
    sizes = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        flush(path)
        sizes[path.relative_to(folder).as_posix()] = path.stat().st_size
    marker = folder / MARKER
    marker.write_text(json.dumps({"files": sizes}, indent=1), encoding="utf-8")
    flush(marker)
    flush(folder)


def is_complete(folder: Path) -> bool:
    """Whether the marker is there and every file has the size it had."""
    try:
        sizes = json.loads((folder / MARKER).read_text(encoding="utf-8"))["files"]
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, KeyError):
        return False


def replace_folder(new: Path, old: Path) -> None:
    """Put a finished folder in the place of another."""
    seal(new)
    aside = old.with_name(f".old-{old.name}")
    if aside.exists():
        shutil.rmtree(aside)
    if old.exists():
        os.rename(old, aside)
    os.rename(new, old)
    flush(old.parent)
    if aside.exists():
        shutil.rmtree(aside)


def flush(path: Path) -> None:
    """fsync a file or a folder, so that a rename after it cannot overtake its content."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def could_not_write(error: Exception) -> bool:
    """Whether this is a disk's failure; torch and safetensors dress it in errors of their own."""
    own = isinstance(error, RuntimeError) and "PytorchStreamWriter" in str(error)
    return isinstance(error, OSError) or own or type(error).__name__ == "SafetensorError"


def saving_failed(error: Exception, step: int, run: Path, checkpoints: CheckpointFolder) -> UserError:
    """One line about what could not be written, after clearing away the half of it."""
    for unfinished in [checkpoints.writing, *run.glob(".new-*")]:
        shutil.rmtree(unfinished, ignore_errors=True)
    last = checkpoints.last()
    good = f"the last good checkpoint is {last}" if last else "there is no earlier checkpoint"
    free_gb = shutil.disk_usage(run).free / 1e9
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    full = full or free_gb < 0.05
    reason = "the disk is full" if full else " ".join(str(error).split())[:200]
    return UserError(
        f"could not save step {step} in {run}: {reason} ({free_gb:.1f} GB free); {good}; "
        f"{'make room and ' if full else ''}run the same command again to go on"
    )
