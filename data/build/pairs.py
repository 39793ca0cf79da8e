"""Which pairs of poses are worth an instruction (PoseFix; UniPose suppl. §A.2).

For each pose B, in the order given (that of farthest point sampling), a pose A is sought that is

    near enough    among the 100 poses most alike, by the cosine of retrieval features (or of normalised joints)
    far enough     at least 10 posecodes differ
    of the kind    in sequence: the same motion, less than half a second before; out of sequence: another motion

Among those left A is drawn with weight 1 / (how many poses B could use it), preferring one that is not used yet. Pairs
depend on the seed and the poses, not on the machine; the work is O(N^2 F) for F features, in chunks.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from llmpose.errors import UserError

Kind = Literal["any", "in", "out"]

NUM_NEAREST = 100
MIN_DIFFERENT = 10
MAX_GAP_S = 0.5
_CHUNK = 512


@dataclass(frozen=True)
class Motions:
    """Where poses come from. Poses of no motion have their own number each."""

    sequence: np.ndarray
    """(N,) int64: equal where poses are of one motion."""
    time_s: np.ndarray
    """(N,) seconds since the motion's start."""

    @classmethod
    def of(cls, names: Sequence[str | None], time_s: Sequence[float | None]) -> "Motions":
        """From names of motions; None is a motion of its own."""
        numbers: dict[str, int] = {}
        sequence = [
            -1 - index if name is None else numbers.setdefault(name, len(numbers)) for index, name in enumerate(names)
        ]
        return cls(np.array(sequence, np.int64), np.array([0.0 if t is None else t for t in time_s], np.float64))


def joint_features(joints_m: Tensor) -> Tensor:
    """(N, J, 3) -> (N, 3 J) features whose cosine tells how alike two poses are: joints about their mean pose.

    For use where no retrieval model is at hand: pelvis at the origin, the average pose taken away.
    """
    flat = (joints_m - joints_m[:, :1]).flatten(1)
    return flat - flat.mean(0)


def mine_pairs(
    features: Tensor,
    codes: Tensor,
    *,
    motions: Motions | None = None,
    kind: Kind = "any",
    count: int | None = None,
    targets: Sequence[int] | np.ndarray | None = None,
    seed: int = 0,
    num_nearest: int = NUM_NEAREST,
    min_different: int = MIN_DIFFERENT,
    progress: Callable[[int], None] | None = None,
) -> np.ndarray:
    """(P, 2) places of A and B, in the order of the targets B; at most `count` pairs, each B and each (A, B) once.

    features: (N, F), any length; codes: (N, C) categories of posecodes; targets: the poses B to serve (default: all).
    """
    total = len(features)
    if len(codes) != total or (motions is not None and len(motions.sequence) != total):
        raise UserError(f"{total} features, {len(codes)} rows of posecodes and the motions do not belong together")
    wanted = np.arange(total) if targets is None else np.asarray(targets, np.int64)
    candidates = _candidates(features, codes, wanted, motions, kind, num_nearest, min_different, progress)
    usable = np.zeros(total, np.int64)
    for options in candidates:
        usable[options] += 1
    rng = Random(seed)
    used = np.zeros(total, bool)
    pairs: list[tuple[int, int]] = []
    for target, options in zip(wanted.tolist(), candidates, strict=True):
        if count is not None and len(pairs) >= count:
            break
        fresh = options[~used[options]]
        pool = fresh if len(fresh) else options
        if not len(pool):
            continue
        first = int(rng.choices(pool.tolist(), (1 / usable[pool]).tolist())[0])
        used[first] = True
        pairs.append((first, target))
    return np.array(pairs, np.int64).reshape(-1, 2)


def _candidates(
    features: Tensor,
    codes: Tensor,
    targets: np.ndarray,
    motions: Motions | None,
    kind: Kind,
    num_nearest: int,
    min_different: int,
    progress: Callable[[int], None] | None,
) -> list[np.ndarray]:
    """For each target B the poses A that may lead to it, the most alike first."""
    unit = torch.nn.functional.normalize(features.float(), dim=1)
    nearest = min(num_nearest, len(unit) - 1)
    result: list[np.ndarray] = []
    for start in range(0, len(targets), _CHUNK):
        rows = torch.from_numpy(targets[start : start + _CHUNK])
        likeness = unit[rows] @ unit.T
        likeness[torch.arange(len(rows)), rows] = -2  # not itself
        near = likeness.topk(nearest, dim=1).indices
        differing = torch.stack([(codes[part] != codes[row]).sum(-1) for part, row in zip(near, rows, strict=True)])
        keep = differing >= min_different
        if motions is not None and kind != "any":
            keep &= torch.from_numpy(_of_kind(motions, near.numpy(), rows.numpy(), kind))
        result += [options[good].numpy() for options, good in zip(near, keep, strict=True)]
        if progress is not None:
            progress(len(rows))
    return result


def _of_kind(motions: Motions, first: np.ndarray, second: np.ndarray, kind: Kind) -> np.ndarray:
    """(B, K) bool: whether A -> B is in (or out of) sequence."""
    same = motions.sequence[first] == motions.sequence[second][:, None]
    if kind == "out":
        return ~same
    gap = motions.time_s[second][:, None] - motions.time_s[first]
    return same & (gap > 0) & (gap < MAX_GAP_S)
