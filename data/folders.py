"""Folders that are whole or absent: written under a temporary name, renamed when finished, described by a manifest."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llmpose import __version__
from llmpose.errors import UserError

MANIFEST = "manifest.json"


@contextmanager
def atomic_folder(folder: str | Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes `folder` when the block ends well, and vanishes when it does not."""
    final = Path(folder)
    if final.exists() and any(final.iterdir()):
        raise UserError(f"{final}: already exists and is not empty; give another folder or remove it first")
    partial = final.with_name(f".{final.name}.partial-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        yield partial
        if final.exists():
            final.rmdir()
        partial.rename(final)
    except OSError as error:
        raise UserError(
            f"{final}: could not be written: {error.strerror or error}; nothing half-written was kept"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_manifest(folder: Path, content: dict[str, Any]) -> None:
    """Write manifest.json: what the folder is, with which version it was made, and the hash of every file in it."""
    files = {
        str(path.relative_to(folder)): sha256_of(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }
    whole = {**content, "llmpose": __version__, "sha256": files}
    (folder / MANIFEST).write_text(json.dumps(whole, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def read_manifest(folder: str | Path, kind: str) -> dict[str, Any]:
    """The manifest of a folder that must be of this kind; otherwise one line that says what it is instead."""
    root = Path(folder)
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; expected {kind} (made by `llmpose data prepare` or `data build`)")
    path = root / MANIFEST
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{root}: holds no {MANIFEST}, so it is not {kind}; make one with `llmpose data prepare`"
        ) from None
    except (ValueError, UnicodeDecodeError):
        raise UserError(f"{path}: is not readable JSON; the folder was damaged, make it anew") from None
    if not isinstance(content, dict) or content.get("kind") != kind:
        found = content.get("kind") if isinstance(content, dict) else None
        raise UserError(f"{root}: is {found or 'something else'}, expected {kind}")
    return content


def sha256_of(path: str | Path) -> str:
    """Hex digest of a file's content."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
