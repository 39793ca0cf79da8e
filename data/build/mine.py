"""Pairs of poses of a record set: targets chosen in each source, pairs mined within each split."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from data.build.choose import Group, Progress, choose, quiet
from data.build.pairs import MIN_DIFFERENT, Kind, Motions, joint_features, mine_pairs
from data.captions.posecodes import posecodes
from data.record_set import RecordSet
from llmpose.errors import UserError

FRAMES_PER_S = 30.0
"""Of motions whose source does not say."""


@dataclass(frozen=True)
class Found:
    """Pairs, those of a split together."""

    places: np.ndarray
    """(P, 2) places of A and B in the record set."""
    splits: list[str]
    in_sequence: list[bool]
    """Both from one motion, so that the turn between them means something."""


def find_pairs(
    records: RecordSet,
    joints_m: Tensor,
    wanted: list[Group],
    *,
    features: Tensor | None = None,
    in_sequence_share: float | None = None,
    seed: int = 0,
    progress: Progress = quiet,
) -> Found:
    """One pair for each of the groups' counts, as far as there are; no pose stands in two splits.

    in_sequence_share: so many pairs from one motion first, the rest from two (PoseFix); None: whatever is near.
    """
    motions = motions_of(records)
    places: list[np.ndarray] = []
    splits: list[str] = []
    for split in dict.fromkeys(group.split for group in wanted):
        mine = [group for group in wanted if group.split == split]
        pool = np.sort(np.concatenate([group.rows for group in mine]))
        targets = np.concatenate([choose(joints_m, group, progress=progress) for group in mine])
        inside = torch.from_numpy(pool)
        near = joint_features(joints_m[inside]) if features is None else features[inside]
        codes = posecodes(joints_m[inside]).category
        known = Motions(motions.sequence[pool], motions.time_s[pool])
        total = left = len(targets)
        for kind, most in _kinds(left, in_sequence_share):
            mined = mine_pairs(
                near,
                codes,
                motions=known,
                kind=kind,
                count=min(most, left),
                targets=np.searchsorted(pool, targets),
                seed=seed,
                progress=lambda done, split=split, total=total: progress(f"pairs {split}", done, total),
            )
            places.append(pool[mined])
            splits += [split] * len(mined)
            left -= len(mined)
    found = np.concatenate(places)
    if not len(found):
        raise UserError(
            f"no pair among {len(records)} poses: none has another near it that differs in {MIN_DIFFERENT} posecodes; "
            "give more poses"
        )
    return Found(found, splits, (motions.sequence[found[:, 0]] == motions.sequence[found[:, 1]]).tolist())


def _kinds(count: int, in_sequence_share: float | None) -> Iterator[tuple[Kind, int]]:
    if in_sequence_share is None:
        yield "any", count
    else:
        yield "in", round(count * in_sequence_share)
        yield "out", count


def motions_of(records: RecordSet) -> Motions:
    """Which motion each record is from, and when in it."""
    times: list[float | None] = []
    for frame, text in zip(records.column("frame"), records.column("attributes"), strict=True):
        times.append(None if frame is None else frame / _frames_per_second(text or ""))
    return Motions.of(records.column("sequence"), times)


def _frames_per_second(attributes: str) -> float:
    known = json.loads(attributes).get("frames_per_second") if "frames_per_second" in attributes else None
    return float(known or FRAMES_PER_S)
