"""AMASS: motion capture as SMPL-H poses, an .npz per sequence. Its frame is ours (z up): poses enter as they are."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data.record import Record
from data.rejects import Rejects
from data.sources.base import Items, Source, as_text, not_the_dataset, number
from data.sources.motion import middle_frames, motion_records
from data.sources.npz import read_npz
from llmpose.errors import BadUsage, UserError

_ALIASES = {
    "BioMotionLab_NTroje": "BMLrub",
    "DFaust_67": "DFaust",
    "Eyes_Japan_Dataset": "EyesJapan",
    "Eyes_Japan": "EyesJapan",
    "MPI_HDM05": "HDM05",
    "MPI_Limits": "PosePrior",
    "MPI-Limits": "PosePrior",
    "MPI_mosh": "MoSh",
    "MPI-Mosh": "MoSh",
    "SSM_synced": "SSM",
    "TCD_handMocap": "TCDHands",
    "TCD_handMocap_corrected": "TCDHands",
    "Transitions_mocap": "Transitions",
}
"""AMASS renamed its subsets; folders of both ages are around. Left as found on disk, right as the site says today."""

_SPLIT_OF = {
    **dict.fromkeys(("HumanEva", "HDM05", "SFU", "MoSh"), "val"),
    **dict.fromkeys(("Transitions", "SSM"), "test"),
}
"""The convention of human_body_prior (VPoser), which TokenHMR and UniPose follow; all other subsets train."""

_SUFFIXES = ("_poses.npz", "_stageii.npz")
"""Sequences of the first release (SMPL+H) and of the later ones (SMPL-X)."""


def subset_name(folder: str) -> str:
    """The subset's name of today for a folder of any age."""
    return _ALIASES.get(folder, folder)


def split_of(folder: str) -> str:
    return _SPLIT_OF.get(subset_name(folder), "train")


def find_sequences(root: Path) -> list[Path]:
    """All <Subset>/<subject>/<sequence> files, sorted. A folder `poses` that holds the subsets will do too."""
    for base in (root, root / "poses"):
        found = sorted(path for path in base.glob("*/*/*.npz") if path.name.endswith(_SUFFIXES))
        if found:
            return found
    raise not_the_dataset(root, "AMASS", "<Subset>/<subject>/<sequence>_poses.npz")


def read_motion(path: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """(F, 66 or more) axis-angle of one AMASS file, and whatever else of use is in it."""
    wanted = ("betas", "gender", "mocap_framerate", "mocap_frame_rate", "root_orient", "pose_body")
    arrays = read_npz(path, (), ("poses", *wanted))
    if "poses" in arrays:
        return arrays.pop("poses"), arrays
    if "root_orient" in arrays and "pose_body" in arrays:
        return np.concatenate([arrays["root_orient"], arrays["pose_body"]], axis=-1), arrays
    raise UserError(f"{path}: no poses in it; an AMASS sequence holds poses (frames, 156), betas, gender")


def _read(
    root: Path,
    split: str | None,
    rejects: Rejects,
    *,
    subsets: str = "",
    trim: float | str = 0.2,
    step: int | str = 10,
) -> Items:
    trim, step = number(trim, "trim", 0, 0.49), int(number(step, "step", 1, 1e6))
    chosen = {subset_name(name.strip()) for name in subsets.split(",") if name.strip()}
    paths = [path for path in find_sequences(root) if path.parent.parent.name.lower() != "moyo"]
    strangers = chosen - {subset_name(path.parent.parent.name) for path in paths}
    if strangers:
        there = ", ".join(sorted({path.parent.parent.name for path in paths}))
        raise BadUsage(f"{root} has no AMASS subset {sorted(strangers)[0]!r}; it has {there}")
    for path in paths:
        folder = path.parent.parent.name
        if (split is None or split_of(folder) == split) and (not chosen or subset_name(folder) in chosen):
            yield from _sequence(path, split_of(folder), rejects, trim=trim, step=step)


def _sequence(path: Path, split: str, rejects: Rejects, *, trim: float, step: int) -> Iterator[Record]:
    folder = path.parent.parent.name
    name = f"{folder}/{path.parent.name}/{path.name}"
    try:
        axis_angle, rest = read_motion(path)
        frames = middle_frames(len(axis_angle), trim=trim, step=step)
        if not len(frames):
            raise UserError(f"{path}: no frame in it")
        rate = rest.get("mocap_framerate", rest.get("mocap_frame_rate"))
        attributes: dict[str, object] = {
            "subset": subset_name(folder),
            "gender": as_text(rest.get("gender", "neutral")),
        }
        if rate is not None:
            attributes["frames_per_second"] = float(rate)
        yield from motion_records(
            axis_angle,
            frames,
            source="amass",
            split=split,
            sequence=name,
            betas=rest.get("betas"),
            attributes=attributes,
        )
    except UserError as error:
        # One bad file of thousands is no reason to stop; its frames cannot be counted, so it counts as one.
        rejects.add("motion file not readable", f"{name}: {str(error).removeprefix(f'{path}: ')}")


AMASS = Source(
    name="amass",
    title="AMASS motion capture",
    gives="poses",
    layout=("<Subset>/<subject>/<sequence>_poses.npz", "subsets of the SMPL+H G (or SMPL-X) release, as unpacked"),
    where="https://amass.is.tue.mpg.de (registration)",
    licence="MPI licence: non-commercial research, no redistribution",
    reader=_read,
    options={
        "subsets": "only these, comma-separated, old or new names (default all of the split)",
        "trim": "share of each sequence left out at both ends (default 0.2, as TokenHMR)",
        "step": "every how many frames one is taken (default 10, as TokenHMR)",
    },
)
