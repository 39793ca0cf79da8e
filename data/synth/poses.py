"""Plausible, diverse poses without motion capture: primitives, mixed and varied within joint limits, then checked.

A draw is one of four: a primitive; a gesture on the legs of another; a blend of two that stand on the same thing; or a
random pose within the limits. It is mirrored half of the time, varied joint by joint, made to stand, and kept only if
no limb presses into another and what should carry the body touches the floor. Headings are uniform.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from data.synth.angles import (
    HIGHEST_DEG,
    IS_ROOT,
    IS_UPPER,
    LOWEST_DEG,
    NUM_ANGLES,
    SPREAD_DEG,
    STANDING_DEG,
    Array,
    mirrored,
    to_rotmat,
    within_limits,
)
from data.synth.posture import overlap_m, place, settle, touches_floor
from data.synth.primitives import BY_NAME, CATEGORIES, PRIMITIVES, Category, Support, gait, tables
from llmpose.errors import UserError

_SHARES = {"primitive": 0.45, "gesture": 0.25, "blend": 0.20, "random": 0.10}
_CATEGORY_WEIGHTS: dict[Category, float] = {
    "standing": 18, "gesture": 20, "locomotion": 14, "sport": 16, "sitting": 12, "kneeling": 6, "ground": 7, "yoga": 5,
    "jump": 2,
}  # fmt: skip
_JITTER_SCALES = (0.5, 1.0, 1.6)
_RANDOM_OVERLAP_M = 0.035
_MAX_ROUNDS = 60
_BATCH = 4096


@dataclass(frozen=True)
class PoseBatch:
    """Sampled poses and what the sampler knows about them."""

    angles: Array
    """(N, NUM_ANGLES) degrees."""
    yaw_deg: Array
    """(N,) heading; 0 faces the viewer, positive turns to the body's left."""
    names: list[str]
    """squat · squat+wave (gesture on other legs) · squat~stand (blend) · random."""
    supports: list[Support]
    allowed_overlap_m: Array
    flat: NDArray[np.bool_]
    """(N, 2) left and right sole lie on the floor if that foot carries."""

    def __len__(self) -> int:
        return len(self.angles)

    @property
    def rotmat(self) -> NDArray[np.float32]:
        """(N, 22, 3, 3) in the world frame."""
        return to_rotmat(self.angles, self.yaw_deg)

    def __getitem__(self, rows: NDArray[np.int64]) -> "PoseBatch":
        return PoseBatch(
            self.angles[rows],
            self.yaw_deg[rows],
            [self.names[row] for row in rows],
            [self.supports[row] for row in rows],
            self.allowed_overlap_m[rows],
            self.flat[rows],
        )


def sample_poses(
    count: int, seed: int, *, categories: Sequence[Category] | None = None
) -> tuple[NDArray[np.float32], list[str]]:
    """`count` plausible poses: rotations (N, 22, 3, 3) in the world frame with free headings, and their names.

    The same seed gives the same poses. `categories` limits the choice; see `primitives.CATEGORIES`.
    """
    batch = draw_poses(count, np.random.default_rng(seed), categories=categories)
    return batch.rotmat, batch.names


def draw_poses(
    count: int,
    rng: np.random.Generator,
    *,
    categories: Sequence[Category] | None = None,
    extreme: bool = False,
) -> PoseBatch:
    """As `sample_poses`, with all that is known. `extreme` draws from yoga, ground and the far ends only."""
    if count < 0:
        raise UserError(f"cannot sample {count} poses")
    unknown = [category for category in categories or () if category not in CATEGORIES]
    if unknown:
        raise UserError(f"unknown pose category {unknown[0]!r}; choose among {', '.join(CATEGORIES)}")
    kept: list[PoseBatch] = []
    missing = count
    for _ in range(_MAX_ROUNDS):
        if missing <= 0:
            break
        drafts = _draft(min(_BATCH, missing + missing // 3 + 8), rng, categories, extreme)
        good = np.flatnonzero(is_plausible(drafts))[:missing]
        kept.append(drafts[good])
        missing -= len(good)
    if missing > 0:
        raise RuntimeError(f"pose sampler kept too few of its drafts for categories {categories}")
    return _joined(kept) if kept else _draft(0, rng, categories, extreme)


def is_plausible(batch: PoseBatch) -> NDArray[np.bool_]:
    """(N,) no limb inside another, and what should carry the body lies on the floor."""
    placement = place(to_rotmat(batch.angles))
    return (overlap_m(placement) <= batch.allowed_overlap_m) & touches_floor(placement, batch.supports)


def _joined(batches: list[PoseBatch]) -> PoseBatch:
    return PoseBatch(
        np.concatenate([batch.angles for batch in batches]),
        np.concatenate([batch.yaw_deg for batch in batches]),
        [name for batch in batches for name in batch.names],
        [support for batch in batches for support in batch.supports],
        np.concatenate([batch.allowed_overlap_m for batch in batches]),
        np.concatenate([batch.flat for batch in batches]),
    )


# ---- drafts --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Choice:
    """Which primitives each kind of draw picks from, with what chance."""

    whole: NDArray[np.int64]
    chance: Array
    gestures: NDArray[np.int64]
    bases: NDArray[np.int64]
    shares: Array


@cache
def _choice(categories: tuple[Category, ...] | None, extreme: bool) -> _Choice:
    wanted = categories or CATEGORIES
    if extreme and categories is None:
        wanted = ("yoga", "ground", "sport", "jump")
    index = np.arange(len(PRIMITIVES))
    allowed = np.array([p.category in wanted and (extreme or not p.is_extreme) for p in PRIMITIVES])
    weights = np.zeros(len(PRIMITIVES))
    for category in wanted:
        members = allowed & np.array([p.category == category for p in PRIMITIVES])
        weight = _CATEGORY_WEIGHTS[category] if not extreme else {"yoga": 6.0, "ground": 2.0}.get(category, 1.0)
        weights[members] = weight / max(members.sum(), 1)
    bases = index[allowed & np.array([p.is_base for p in PRIMITIVES])]
    gestures = index[np.array([p.category == "gesture" for p in PRIMITIVES])]
    shares = np.array(list(_SHARES.values()))
    if extreme:
        shares = np.array([0.85, 0.0, 0.0, 0.15])
    if not len(bases):
        shares[1:3] = 0
    if categories is not None:
        shares[3] = 0  # a random pose belongs to no category
    whole = index[allowed]
    return _Choice(whole, weights[whole] / weights[whole].sum(), gestures, bases, shares / shares.sum())


def _draft(count: int, rng: np.random.Generator, categories: Sequence[Category] | None, extreme: bool) -> PoseBatch:
    """`count` draws, mirrored, varied and settled, not yet checked."""
    choice = _choice(None if categories is None else tuple(categories), extreme)
    kind = rng.choice(len(_SHARES), size=count, p=choice.shares)
    first = rng.choice(choice.whole, size=count, p=choice.chance)
    gesture = rng.choice(choice.gestures, size=count)
    base, other = (rng.choice(choice.bases, size=count) if len(choice.bases) else first for _ in range(2))
    first = np.where((kind == 1) | (kind == 2), base, first)
    carried_alike = np.array(
        [PRIMITIVES[a].support == PRIMITIVES[b].support for a, b in zip(first, other, strict=True)]
    )
    kind = np.where((kind == 2) & ~carried_alike.astype(bool), 0, kind)

    angles = _primitive_angles(first, rng)
    upper = _primitive_angles(gesture, rng)
    blend = _primitive_angles(other, rng)
    share = rng.uniform(0.2, 0.8, size=(count, 1))
    angles = np.where((kind == 1)[:, None] & IS_UPPER, upper, angles)
    angles = np.where((kind == 2)[:, None], (1 - share) * angles + share * blend, angles)
    angles = np.where((kind == 3)[:, None], _random_angles(count, rng, extreme), angles)

    flat = np.array([PRIMITIVES[a].flat for a in first], bool).reshape(count, 2)
    both = np.array([PRIMITIVES[b].flat for b in other], bool).reshape(count, 2)
    flat = np.where((kind == 2)[:, None], flat & both, flat)
    flip = rng.random(count) < 0.5
    angles = np.where(flip[:, None], mirrored(angles), angles)
    flat = np.where(flip[:, None], flat[:, ::-1], flat)

    scale = rng.choice(_JITTER_SCALES, size=(count, 1)) * (1.2 if extreme else 1.0)
    angles = within_limits(angles + rng.standard_normal(angles.shape) * SPREAD_DEG * scale)
    names, supports, overlaps = [], [], []
    for row in range(count):
        one = PRIMITIVES[first[row]]
        name, overlap, support = one.name, one.overlap_m, one.support
        if kind[row] == 1:
            name = f"{one.name}+{PRIMITIVES[gesture[row]].name}"
        elif kind[row] == 2:
            name, overlap = f"{one.name}~{PRIMITIVES[other[row]].name}", max(overlap, PRIMITIVES[other[row]].overlap_m)
        elif kind[row] == 3:
            name, overlap, support = "random", _RANDOM_OVERLAP_M, "foot"
        names.append(name)
        supports.append(support)
        overlaps.append(overlap)
    angles = settle(angles, supports, flat) if count else angles
    yaw = rng.uniform(-180, 180, size=count)
    return PoseBatch(angles, yaw, names, supports, np.array(overlaps), flat)


def _primitive_angles(index: NDArray[np.int64], rng: np.random.Generator) -> Array:
    """(N, NUM_ANGLES) each primitive at a random amount; walking and running at a random phase."""
    low, high = tables()
    amount = rng.random((len(index), 1))
    angles = low[index] + amount * (high[index] - low[index])
    for name, slow, fast in (("walk", 0.7, 1.15), ("run", 1.6, 2.0)):
        rows = np.flatnonzero(index == BY_NAME[name])
        angles[rows] = gait(rng.uniform(0, 2 * np.pi, len(rows)), rng.uniform(slow, fast, len(rows)))
    return angles


def _random_angles(count: int, rng: np.random.Generator, extreme: bool) -> Array:
    """(N, NUM_ANGLES) around standing, reaching towards the limits; the root stays upright."""
    step = np.clip(rng.standard_normal((count, NUM_ANGLES)) * (0.55 if extreme else 0.42), -1, 1)
    room = np.where(step > 0, HIGHEST_DEG - STANDING_DEG, STANDING_DEG - LOWEST_DEG)
    return np.where(IS_ROOT, 0.0, STANDING_DEG + step * room)
