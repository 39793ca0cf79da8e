"""Motion files: many frames of axis-angle poses, of which some become records. Shared by AMASS and MOYO."""

from collections.abc import Iterator

import numpy as np

from data.record import Record
from llmpose.errors import UserError

_NUM_JOINTS = 22
_CHUNK = 20_000
"""Frames converted at a time, so that an hour of motion at 120 Hz needs no gigabyte."""


def middle_frames(count: int, *, trim: float, step: int) -> np.ndarray:
    """Every `step`-th frame, a share of `trim` cut off at both ends; the middle one where that leaves none.

    TokenHMR prepares AMASS with trim 0.2, step 10 and MOYO with trim 0.1, step 5; recordings begin and end in a T-pose.
    """
    chosen = np.arange(int(trim * count), int((1 - trim) * count), step)
    return chosen if len(chosen) or not count else np.array([count // 2])


def motion_records(
    axis_angle: np.ndarray,
    frames: np.ndarray,
    *,
    source: str,
    split: str,
    sequence: str,
    betas: np.ndarray | None,
    attributes: dict[str, object],
) -> Iterator[Record]:
    """Records of the chosen frames of a (F, 3 J) motion, J >= 22, in the world frame. `betas`: (B,) or (F, B)."""
    # torch takes seconds to load; listing the sources should not wait for it.
    import torch

    from llmpose.body.pose import Pose

    if axis_angle.ndim != 2 or axis_angle.shape[1] < 3 * _NUM_JOINTS or axis_angle.dtype.kind != "f":
        raise UserError(
            f"{sequence}: poses are {axis_angle.shape} of {axis_angle.dtype}, expected (frames, 66 or more) radians"
        )
    shape = None
    if betas is not None and betas.shape[-1] >= 10:
        shape = np.broadcast_to(betas[..., :10], (len(axis_angle), 10))
    stem = sequence.removesuffix(".npz").removesuffix(".pkl")
    for start in range(0, len(frames), _CHUNK):
        part = frames[start : start + _CHUNK]
        vectors = torch.from_numpy(axis_angle[part, : 3 * _NUM_JOINTS].astype(np.float64))
        rotmat = Pose.from_axis_angle(vectors).rotmat.numpy()
        for place, frame in enumerate(part.tolist()):
            yield Record(
                id=f"{source}/{stem}/{frame}",
                source=source,
                split=split,
                pose_rotmat=rotmat[place],
                betas=None if shape is None else shape[frame].astype(np.float32),
                attributes=dict(attributes),
                sequence=sequence,
                frame=frame,
            )
