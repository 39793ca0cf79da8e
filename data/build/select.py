"""Which poses are worth a text: farthest point sampling by mean joint distance (UniPose suppl. §A.1).

Start with one pose, then again and again take the pose that is farthest from all taken so far. Choosing k of N poses
of J joints costs O(k N) cheap comparisons and, in the worst case, O(k N J) distances; the triangle inequality spares
many of the latter:

    d(x, new) >= d(new, m) - d(x, m)         m: the taken pose that x is nearest to
    so x can only come nearer to the new pose where d(x, m) > d(new, m) / 2

Memory is that of the joints (float32, 264 bytes for 22) and four numbers per pose, whatever k is.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from llmpose.errors import UserError

MANY = 200_000
"""From so many poses on the steps are large enough to share among threads."""
CHUNK = 65_536
"""Poses whose distances are computed at once: 17 MB of differences."""


def farthest_points(
    joints_m: Tensor | np.ndarray,
    count: int,
    *,
    start: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Tensor:
    """(count,) int64 places of the chosen poses of (N, J, 3), in the order of choice; the distance is the MPJPE.

    Joints should be comparable: the same body, pelvis at the same place, headings removed.
    """
    joints = torch.as_tensor(joints_m, dtype=torch.float32)
    if joints.ndim != 3 or joints.shape[-1] != 3:
        raise UserError(f"joints have shape {tuple(joints.shape)}; expected (N, J, 3)")
    if not 0 < count <= len(joints):
        raise UserError(f"{count} poses cannot be chosen among {len(joints)}")
    if not 0 <= start < len(joints):
        raise UserError(f"the first pose is {start}; expected a number from 0 to {len(joints) - 1}")
    if not torch.isfinite(joints).all():
        raise UserError("a joint is not a number (NaN or infinite); set such poses aside before choosing")
    with _few_threads(len(joints)):
        return _farthest(joints, count, start, progress)


def _farthest(joints: Tensor, count: int, start: int, progress: Callable[[int], None] | None) -> Tensor:
    chosen = torch.empty(count, dtype=torch.long)
    nearest_m = torch.full((len(joints),), float("inf"))
    owner = torch.zeros(len(joints), dtype=torch.long)
    spacing_m = torch.empty(count)
    new = start
    for number in range(count):
        chosen[number] = new
        if 0 < number < len(joints) // 3:
            # distances from the new pose to those taken before, to know where it can matter
            spacing_m[:number] = mean_distance(joints[chosen[:number]], joints[new])
            near = torch.nonzero(nearest_m > spacing_m[owner] / 2 - 1e-6)[:, 0]
        else:  # many are taken: it is quicker to look at all that are left
            near = torch.nonzero(nearest_m >= 0)[:, 0]
        for rows in near.split(CHUNK):
            distance = mean_distance(joints[rows], joints[new])
            closer = distance < nearest_m[rows]
            nearest_m[rows[closer]] = distance[closer]
            owner[rows[closer]] = number
        nearest_m[new] = -1  # taken; equal poses are still chosen after all others
        new = int(nearest_m.argmax())
        if progress is not None:
            progress(1)
    return chosen


@contextmanager
def _few_threads(count: int) -> Generator[None, None, None]:
    """Small steps on one thread: sharing them out costs more than it gains, and much more on a busy machine."""
    before = torch.get_num_threads()
    if count < MANY:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def mean_distance(joints_m: Tensor, other_m: Tensor) -> Tensor:
    """(N,) mean distance of corresponding joints of (N, J, 3) and (J, 3) or (N, J, 3), in metres."""
    return (joints_m - other_m).square().sum(-1).sqrt().mean(-1)
