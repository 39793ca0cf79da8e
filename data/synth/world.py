"""The built-in world on disk, in the formats of the field's real datasets, read back by the readers of the real ones.

    OUT/poses/<subset>/<subject>/<motion>_poses.npz   AMASS (SMPL-H G): motions, z up; subsets named so that the usual
                                                      split by subset holds: CMU train, HumanEva val, SSM_synced test
    OUT/moyo/<split>/yoga_<n>.npz                     MOYO's export: extreme poses
    OUT/images/<split>/<id>.jpg
    OUT/annotations/person_keypoints_<split>.json     COCO; each annotation has an extra key "llmpose"
    OUT/hmr/synth_<split>.npz                         HMR 2.0's evaluation files
    OUT/manifest.json                                 seed, versions, counts, sha256 of every file; written last

The same recipe and seed give the same bytes, whatever the number of processes. An interrupted world goes on where it
stopped.
"""

import json
import multiprocessing
import os
import shutil
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from data.synth.formats_coco import coco_bytes
from data.synth.formats_hmr import hmr_bytes
from data.synth.presets import SPLITS, WorldRecipe, world_recipe
from data.synth.shards import NOTES, Shard, compile_loops, make_shard, plan, read_note, write_file, write_in
from llmpose import __version__
from llmpose.errors import UserError

FORM = "llmpose.world"
MANIFEST = "manifest.json"
_SETTINGS = "settings.json"
_VERSION = 1
_SMALL = 150
"""Pictures and motions up to which one process is faster than starting several."""

Progress = Callable[[int, int], None]
"""Called with what is done and what there is to do, in pictures and motions."""


def make_world(
    out: str | Path,
    recipe: WorldRecipe | str = "tiny",
    *,
    seed: int = 0,
    workers: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Make (or go on making) a world in folder `out` and return its manifest.

    `recipe` is a preset's name or sizes of your own; `workers` processes share the work (default: all cores).
    A finished world of the same recipe and seed is left as it is.
    """
    out = Path(out)
    recipe = world_recipe(recipe) if isinstance(recipe, str) else recipe
    settings = {"form": FORM, "version": _VERSION, "seed": seed, "recipe": recipe.to_dict()}
    finished = _finished(out, settings)
    if finished is not None:
        return finished
    _begin(out, settings)
    shards = plan(recipe)
    waiting = [shard for shard in shards if read_note(out, shard) is None]
    total = sum(shard.count for shard in shards)
    done = total - sum(shard.count for shard in waiting)
    if progress:
        progress(done, total)
    for shard in _make(out, waiting, recipe, seed, _workers(workers, total - done)):
        done += shard.count
        if progress:
            progress(done, total)
    return _finish(out, shards, settings)


# ---- the work --------------------------------------------------------------------------------------------------------


def _workers(wanted: int | None, units: int) -> int:
    if wanted is not None and wanted < 1:
        raise UserError(f"a world is made by at least one process, got {wanted}")
    if wanted is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return 1 if units <= _SMALL else cores
    return wanted


def _make(out: Path, shards: list[Shard], recipe: WorldRecipe, seed: int, workers: int) -> Iterator[Shard]:
    """Make shards, here or in processes of their own; yields each as it is done."""
    if workers == 1 or len(shards) <= 1:
        with _one_thread():
            for shard in shards:
                make_shard(out, shard, recipe, seed)
                yield shard
        return
    # Fresh processes (not forks of this one): torch and numba do not survive a fork with threads around.
    with _single_threaded_children():
        pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_settle_in)
        try:
            # One process compiles what paints; the others make motions meanwhile. Pictures begin when the compiled code
            # lies on disk, else each process would compile the same for itself.
            pictures = [shard for shard in shards if shard.kind == "images"]
            compiling = pool.submit(compile_loops) if pictures else None
            futures = {pool.submit(make_shard, out, s, recipe, seed): s for s in shards if s.kind != "images"}
            pending: set[Future[None]] = {*futures, *([compiling] if compiling else [])}
            while pending:
                finished, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in finished:
                    future.result()
                    if future is compiling:
                        painting = {pool.submit(make_shard, out, shard, recipe, seed): shard for shard in pictures}
                        futures |= painting
                        pending |= painting.keys()
                    else:
                        yield futures[future]
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _settle_in() -> None:
    """First thing in every process. One thread each: more would change the order of sums, and so the last digit."""
    import torch

    torch.set_num_threads(1)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    """A pool's processes wait for ever if their parent is killed; ours go too."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def _one_thread() -> Generator[None, None, None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _single_threaded_children() -> Generator[None, None, None]:
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


# ---- begin and finish ------------------------------------------------------------------------------------------------


def _finished(out: Path, settings: dict[str, Any]) -> dict[str, Any] | None:
    """The manifest of a finished world made with these settings; an error if something else stands there."""
    path = out / MANIFEST
    if not path.exists():
        return None
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not readable ({error}); remove the folder or choose another --out") from None
    for key, value in settings.items():
        if manifest.get(key) != value:
            raise UserError(
                f"{out} holds another world ({key} {_short(manifest.get(key))}, not {_short(value)}); "
                "remove it or choose another --out"
            )
    return manifest


def _begin(out: Path, settings: dict[str, Any]) -> None:
    path = out / NOTES / _SETTINGS
    if path.exists():
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            before = None
        if before != settings:
            raise UserError(f"{out} holds an unfinished world of other settings; remove it or choose another --out")
        return
    if out.exists() and any(out.iterdir()):
        raise UserError(f"{out} is not empty and not a world of ours; choose another --out")
    write_file(path, _json(settings))


def _finish(out: Path, shards: list[Shard], settings: dict[str, Any]) -> dict[str, Any]:
    """Put the notes together into the files that hold many shards, write the manifest, drop the notes."""
    files: dict[str, Any] = {}
    counts: dict[str, dict[str, int]] = {}
    motions: dict[str, Any] = {}
    for split in SPLITS:
        images: list[str] = []
        annotations: list[str] = []
        rows: list[dict[str, Any]] = []
        for shard in shards:
            if shard.split != split:
                continue
            note = read_note(out, shard)
            if note is None:
                raise UserError(f"{out}: files of {shard.name} went missing while the world was made; start again")
            files |= note["files"]
            images += note.get("images", [])
            annotations += note.get("annotations", [])
            rows += note.get("hmr", [])
            motions |= {motion.pop("file"): motion for motion in note.get("motions", [])}
        coco = coco_bytes(split, images, annotations)
        files |= write_in(out, f"annotations/person_keypoints_{split}.json", coco)
        files |= write_in(out, f"hmr/synth_{split}.npz", hmr_bytes(rows))
        counts[split] = {"images": len(images), "persons": len(annotations)}
    manifest = {
        **settings,
        "versions": {"llmpose": __version__, "python": ".".join(map(str, sys.version_info[:3])), **_versions()},
        "counts": counts,
        "motions": motions,
        "files": dict(sorted(files.items())),
    }
    write_file(out / MANIFEST, _json(manifest))
    shutil.rmtree(out / NOTES, ignore_errors=True)
    return manifest


def _versions() -> dict[str, str]:
    """What the bytes depend on."""
    found = {}
    for name in ("numpy", "numba", "torch", "pillow", "roma"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _json(content: Any) -> bytes:
    return (json.dumps(content, indent=1) + "\n").encode()


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
