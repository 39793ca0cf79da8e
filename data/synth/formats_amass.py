"""Motions as AMASS's files of the SMPL-H G release: poses (F, 156), trans, betas (16), dmpls, gender, rate; z up."""

import io

import numpy as np
import roma
import torch
from numpy.typing import NDArray

from data.synth.sequences import Motion

_STEPS_PER_RADIAN = 8192
"""Angles are rounded to a seven-thousandth of a degree: half the size once compressed, and nothing anybody can see."""
_NUM_HAND_ANGLES = 90


def amass_bytes(motion: Motion, betas: NDArray[np.float32]) -> bytes:
    """One sequence as the content of an .npz. The same motion gives the same bytes."""
    frames = len(motion.rotmat)
    vectors = roma.rotmat_to_rotvec(torch.from_numpy(motion.rotmat)).flatten(1).numpy()
    body = np.round(vectors * _STEPS_PER_RADIAN) / _STEPS_PER_RADIAN
    shape = np.zeros(16)
    shape[: len(betas)] = betas
    file = io.BytesIO()
    np.savez_compressed(
        file,
        poses=np.concatenate([body, np.zeros((frames, _NUM_HAND_ANGLES), np.float32)], axis=1).astype(np.float32),
        trans=np.round(motion.trans_m, 4).astype(np.float32),
        betas=shape,
        dmpls=np.zeros((frames, 8), np.float32),
        gender=np.array("neutral"),
        mocap_framerate=np.array(motion.frames_per_second, np.float64),
    )
    return file.getvalue()
