"""A folder that is either whole or not there: written beside its place under another name, then renamed.

    OUT/            manifest.json   what it is, where it comes from, counts, rejects, sha256 of every file
                    records.arrow   the rows (see data/arrow.py)
    .OUT.partial-…  a folder being written; whoever finds one finds it dead and removes it

The manifest is written last, so a folder without one was never finished and is never read.
"""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llmpose import __version__
from llmpose.errors import UserError

MANIFEST = "manifest.json"
_VERSION = 1


def write_folder(
    path: Path, form: str, fill: Callable[[Path], dict[str, Any]], *, overwrite: bool = False
) -> dict[str, Any]:
    """Let `fill` write into a hidden folder and return what the manifest says; then move it to `path`, whole.

    `form` names what the folder is, for instance "llmpose.records". An existing folder of the same form is replaced
    with `overwrite`; anything else that stands there is never touched.
    """
    path = path.absolute()
    _check_place(path, form, overwrite=overwrite)
    partial = path.parent / f".{path.name}.partial-{os.getpid()}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_dead(path)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        said = fill(partial)
        files = sorted(file for file in partial.rglob("*") if file.is_file())
        manifest = {
            "format": form,
            "version": _VERSION,
            "llmpose": __version__,
            **said,
            "files": {
                file.relative_to(partial).as_posix(): {"bytes": file.stat().st_size, "sha256": sha256(file)}
                for file in files
            },
        }
        (partial / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        _move(partial, path)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                f"{path}: the disk is full; nothing was written; free some space or choose another --out"
            ) from None
        raise
    return manifest


def read_manifest(path: Path, form: str, what: str) -> dict[str, Any]:
    """The manifest of a folder of that form, its files present and of the right size; else one line that says so.

    `what` is the form in words ("a record set"). The sums are checked by `verify_folder`, which reads every byte.
    """
    manifest = _manifest(path)
    if manifest is None:
        raise UserError(
            f"{path}: not {what}: "
            + (f"no {MANIFEST} in it" if path.is_dir() else "no such folder")
            + "; make one with: llmpose data prepare SOURCE --root DIR --out DIR"
        )
    if manifest.get("format") != form:
        # What `data build` writes holds its record sets in folders of their own.
        within = [str(child.parent) for child in sorted(Path(path).glob(f"*/{MANIFEST}"))]
        raise UserError(
            f"{path}: not {what}: its {MANIFEST} says {manifest.get('format')!r}, expected {form!r}"
            + (f"; look into {' or '.join(within)}" if within else "")
        )
    if manifest.get("version") != _VERSION:
        raise UserError(
            f"{path}: written in version {manifest.get('version')!r} of the format, this program reads {_VERSION}; "
            "prepare it again"
        )
    for name, facts in manifest["files"].items():
        file = path / name
        size = file.stat().st_size if file.is_file() else None
        if size != facts["bytes"]:
            found = "is missing" if size is None else f"has {size} bytes"
            raise UserError(f"{file}: {found}, the manifest says {facts['bytes']}; copy or prepare the folder again")
    return manifest


def verify_folder(path: Path, manifest: dict[str, Any]) -> None:
    """Compare every file with its sum in the manifest."""
    for name, facts in manifest["files"].items():
        if sha256(path / name) != facts["sha256"]:
            raise UserError(f"{path / name}: changed since it was written (sha256 differs); prepare the folder again")


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _manifest(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return None
    except json.JSONDecodeError as error:
        raise UserError(f"{path / MANIFEST}: not readable as JSON ({error})") from None
    return content if isinstance(content, dict) else None


def _check_place(path: Path, form: str, *, overwrite: bool) -> None:
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    manifest = _manifest(path) if path.is_dir() else None
    ours = manifest is not None and manifest.get("format") == form
    if not ours:
        raise UserError(f"{path}: exists and is something else, so it is left alone; choose another --out")
    if not overwrite:
        raise UserError(f"{path}: is already there; pass --overwrite to replace it, or choose another --out")


def _remove_dead(path: Path) -> None:
    """What a run that was killed left behind; that of a run still alive stays."""
    for partial in path.parent.glob(f".{path.name}.partial-*"):
        owner = partial.name.rpartition("-")[2]
        try:
            os.kill(int(owner), 0)
        except ProcessLookupError:
            shutil.rmtree(partial, ignore_errors=True)
        except (ValueError, PermissionError):
            continue


def _move(partial: Path, path: Path) -> None:
    """Rename into place. A folder that stood there moves away first and goes only when the new one is in place."""
    old = path.parent / f".{path.name}.old-{os.getpid()}"
    if path.exists():
        os.replace(path, old)
    try:
        os.replace(partial, path)
    except BaseException:
        if old.exists():
            os.replace(old, path)
        raise
    shutil.rmtree(old, ignore_errors=True)
