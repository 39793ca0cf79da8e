"""MOYO: yoga poses, the extremes that AMASS lacks. Read from its SMPL pickles or from its AMASS-format export."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data.record import Record
from data.rejects import Rejects
from data.sources.amass import read_motion
from data.sources.base import Items, Source, not_the_dataset, number
from data.sources.joblib_files import load_joblib
from data.sources.motion import middle_frames, motion_records
from llmpose.errors import UserError

_SPLITS = ("train", "val", "test")


def _read(root: Path, split: str | None, rejects: Rejects, *, trim: float | str = 0.1, step: int | str = 5) -> Items:
    trim, step = number(trim, "trim", 0, 0.49), int(number(step, "step", 1, 1e6))
    paths = _find(root)
    for path in paths:
        found = _split_of(path.relative_to(root))
        if split is None or found == split:
            yield from _sequence(path, path.relative_to(root).as_posix(), found, rejects, trim=trim, step=step)


def _find(root: Path) -> list[Path]:
    """The pickles where there are some, else the export: both hold the same motion."""
    for pattern in ("mosh_smpl/**/*.pkl", "*/mosh_smpl/**/*.pkl", "**/*.npz", "*.pkl", "*/*.pkl"):
        found = sorted(root.glob(pattern))
        if found:
            return found
    raise not_the_dataset(root, "MOYO", "<release>/mosh_smpl/{train,val}/*.pkl or an AMASS-format export (.npz)")


def _split_of(path: Path) -> str:
    """The folder that says train, val or test; what says nothing trains."""
    return next((part for part in path.parts[:-1] if part in _SPLITS), "train")


def _sequence(path: Path, name: str, split: str, rejects: Rejects, *, trim: float, step: int) -> Iterator[Record]:
    try:
        if path.suffix == ".pkl":
            content = load_joblib(path)
            axis_angle, betas = _smpl_motion(content, path)
        else:
            axis_angle, rest = read_motion(path)
            betas = rest.get("betas")
        frames = middle_frames(len(axis_angle), trim=trim, step=step)
        if not len(frames):
            raise UserError(f"{path}: no frame in it")
        yield from motion_records(
            axis_angle,
            frames,
            source="moyo",
            split=split,
            sequence=name,
            betas=betas,
            attributes={"gender": "neutral"},
        )
    except UserError as error:
        rejects.add("motion file not readable", f"{name}: {str(error).removeprefix(f'{path}: ')}")


def _smpl_motion(content: object, path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """(F, 66) from global_orient (F, 3) and body_pose (F, 63 or 69), whose last six numbers are SMPL's rigid hands."""
    if not isinstance(content, dict) or not {"global_orient", "body_pose"} <= content.keys():
        held = ", ".join(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise UserError(f"{path}: expected global_orient and body_pose, it holds {held}")
    root, body = (np.asarray(content[key]) for key in ("global_orient", "body_pose"))
    root, body = root.reshape(len(root), -1), body.reshape(len(body), -1)
    if root.shape[1] != 3 or body.shape[1] < 63 or len(root) != len(body):
        raise UserError(
            f"{path}: global_orient is {root.shape} and body_pose {body.shape}, expected (F, 3) and (F, 69)"
        )
    betas = content.get("betas")
    return np.concatenate([root, body[:, :63]], axis=1), None if betas is None else np.asarray(betas)


MOYO = Source(
    name="moyo",
    title="MOYO yoga motion capture",
    gives="poses",
    layout=("<release>/mosh_smpl/{train,val}/*.pkl", "or its export in AMASS format: {train,val}/**/*.npz"),
    where="https://moyo.is.tue.mpg.de (registration)",
    licence="MPI licence: non-commercial research, no redistribution",
    reader=_read,
    options={
        "trim": "share of each sequence left out at both ends (default 0.1, as TokenHMR)",
        "step": "every how many frames one is taken (default 5, as TokenHMR)",
    },
)
