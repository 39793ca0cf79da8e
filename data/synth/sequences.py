"""Short motions: sampled poses as key frames, smooth ways between them, walking and running with a path on the floor.

Motion is laid out in angles at a coarse rate, settled and checked there like single poses, then filled up to the file's
rate with a smooth curve. All of it lies in the world frame, z up, feet on z = 0.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from data.synth.angles import INDEX, IS_UPPER, NUM_ANGLES, Array, mirrored, to_rotmat, within_limits
from data.synth.poses import PoseBatch, draw_poses
from data.synth.posture import overlap_m, place, probe, settle
from data.synth.primitives import PRIMITIVES, Category, Support, gait, tables

Theme: TypeAlias = Literal["standing", "sport", "floor", "sitting", "anything", "walk", "run", "repeat", "extreme"]

_THEMES: dict[Theme, float] = {
    "standing": 0.24, "sport": 0.16, "floor": 0.08, "sitting": 0.10, "anything": 0.16, "walk": 0.10, "run": 0.04,
    "repeat": 0.12,
}  # fmt: skip
_CATEGORIES: dict[Theme, tuple[Category, ...] | None] = {
    "standing": ("standing", "gesture"),
    "sport": ("sport", "standing", "gesture"),
    "floor": ("ground", "kneeling", "yoga"),
    "sitting": ("sitting",),
    "anything": None,
}
_COARSE = 5
"""Frames between two that are laid out and checked."""
_MAX_OVERLAP_M = 0.07
_MAX_BAD_SHARE = 0.05
_ATTEMPTS = 5


@dataclass(frozen=True, eq=False)
class Motion:
    """One motion at the file's rate."""

    theme: Theme
    names: list[str]
    """The poses it goes through."""
    frames_per_second: float
    rotmat: NDArray[np.float32]
    """(F, 22, 3, 3) in the world frame."""
    trans_m: Array
    """(F, 3) SMPL's translation."""


@dataclass(frozen=True, eq=False)
class _Layout:
    """A motion at the coarse rate, in angles, before it is checked."""

    theme: Theme
    names: list[str]
    angles: Array
    supports: list[Support]
    flat: NDArray[np.bool_]
    yaw_deg: Array
    path_m: Array
    """(T, 2) of the pelvis on the floor."""
    lift_m: Array
    """(T,) above the floor."""


def make_motion(
    rng: np.random.Generator,
    *,
    frames: int,
    frames_per_second: float,
    betas: NDArray[np.float32],
    theme: Theme | None = None,
) -> Motion:
    """A motion of `frames` frames for a body of shape (10,). The best of a few attempts if none is free of overlaps."""
    best: tuple[float, _Layout] | None = None
    for _ in range(_ATTEMPTS):
        layout = _lay_out(rng, frames // _COARSE + 4, frames_per_second / _COARSE, theme)
        overlap = overlap_m(place(to_rotmat(layout.angles)))
        bad = float((overlap > _MAX_OVERLAP_M).mean())
        if best is None or bad < best[0]:
            best = bad, layout
        if bad <= _MAX_BAD_SHARE:
            break
    assert best is not None
    return _filled_up(best[1], frames, frames_per_second, betas)


def _filled_up(layout: _Layout, frames: int, frames_per_second: float, betas: NDArray[np.float32]) -> Motion:
    shape = np.broadcast_to(betas, (len(layout.angles), 10))
    placement = place(to_rotmat(layout.angles, layout.yaw_deg), shape)
    pelvis = probe().body.rest_joints(torch.from_numpy(betas))[0].double().numpy()
    coarse = np.concatenate(
        [
            layout.angles,
            np.unwrap(layout.yaw_deg, period=360)[:, None],
            layout.path_m - pelvis[:2],
            (layout.lift_m - placement.floor_m)[:, None],
        ],
        axis=1,
    )
    time = np.arange(frames) / _COARSE + 1
    fine = _curve(coarse, time)
    return Motion(
        layout.theme,
        layout.names,
        frames_per_second,
        to_rotmat(within_limits(fine[:, :NUM_ANGLES]), fine[:, NUM_ANGLES]),
        fine[:, NUM_ANGLES + 1 :],
    )


def _curve(points: Array, time: Array) -> Array:
    """Catmull-Rom through (T, D) points at whole times, read at `time` in [1, T - 2)."""
    index = np.clip(np.floor(time).astype(np.int64), 1, len(points) - 3)
    t = (time - index)[:, None]
    a, b, c, d = (points[index + k] for k in (-1, 0, 1, 2))
    return b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))


def _smoothed(values: Array) -> Array:
    """Each value with its neighbours, 1/4 1/2 1/4, ends held."""
    padded = np.concatenate([values[:1], values, values[-1:]])
    return 0.25 * padded[:-2] + 0.5 * padded[1:-1] + 0.25 * padded[2:]


# ---- laying out ------------------------------------------------------------------------------------------------------


def _lay_out(rng: np.random.Generator, steps: int, rate: float, theme: Theme | None) -> _Layout:
    if theme is None:
        theme = list(_THEMES)[int(rng.choice(len(_THEMES), p=np.array(list(_THEMES.values()))))]
    if theme in ("walk", "run"):
        layout = _going(rng, steps, rate, theme)
    elif theme == "repeat":
        layout = _repeating(rng, steps, rate)
    else:
        layout = _through_keys(rng, steps, rate, theme)
    angles = settle(layout.angles, layout.supports, layout.flat)
    angles = within_limits(_smoothed(angles))
    return _Layout(
        layout.theme,
        layout.names,
        angles,
        layout.supports,
        layout.flat,
        layout.yaw_deg,
        layout.path_m,
        layout.lift_m,
    )


def _through_keys(rng: np.random.Generator, steps: int, rate: float, theme: Theme) -> _Layout:
    """From one sampled pose to the next, with a rest at each."""
    count = int(np.ceil(steps / rate / 0.7)) + 3
    extreme = theme == "extreme"
    keys = draw_poses(count, rng, categories=None if extreme else _CATEGORIES[theme], extreme=extreme)
    move, rest = rng.uniform(0.45, 1.3, count), rng.uniform(0.0, 0.5, count) * (rng.random(count) < 0.6)
    arrive = np.cumsum(move + np.concatenate([[0.0], rest[:-1]])) - move[0]
    time = np.arange(steps) / rate
    after = np.clip(np.searchsorted(arrive, time, side="right"), 1, count - 1)
    before = after - 1
    begin = arrive[before] + rest[before]
    share = _eased(np.clip((time - begin) / np.maximum(arrive[after] - begin, 1e-6), 0, 1))
    return _between(rng, keys, before, after, share, theme, rate)


def _repeating(rng: np.random.Generator, steps: int, rate: float) -> _Layout:
    """One primitive up and down its range, a little different each time."""
    movers = [i for i, p in enumerate(PRIMITIVES) if not p.is_extreme and np.abs(p.high_deg - p.low_deg).max() > 15]
    number = movers[int(rng.integers(len(movers)))]
    primitive, (low, high) = PRIMITIVES[number], tables()
    count = steps + 2
    flip = rng.random() < 0.5
    amount = np.where(np.arange(count) % 2 == 0, rng.uniform(0, 0.25, count), rng.uniform(0.75, 1, count))[:, None]
    ends = low[number] + amount * (high[number] - low[number]) + rng.normal(0, 2.5, (count, NUM_ANGLES))
    ends = mirrored(ends) if flip else ends
    flat = np.tile(primitive.flat[::-1] if flip else primitive.flat, (count, 1))
    supports: list[Support] = [primitive.support] * count
    keys = PoseBatch(
        settle(within_limits(ends), supports, flat),
        np.zeros(count),
        [primitive.name] * count,
        supports,
        np.full(count, primitive.overlap_m),
        flat,
    )
    pace = rng.uniform(0.45, 1.2)
    phase = np.arange(steps) / rate / pace
    before = np.floor(phase).astype(np.int64)
    return _between(rng, keys, before, before + 1, _eased(phase - before), "repeat", rate)


def _between(
    rng: np.random.Generator,
    keys: PoseBatch,
    before: NDArray[np.int64],
    after: NDArray[np.int64],
    share: Array,
    theme: Theme,
    rate: float,
) -> _Layout:
    angles = keys.angles[before] + share[:, None] * (keys.angles[after] - keys.angles[before])
    # On the way between two different supports nothing is known about the floor: such frames are left as they fall.
    supports: list[Support] = [
        keys.supports[a] if keys.supports[a] == keys.supports[b] else "step" for a, b in zip(before, after, strict=True)
    ]
    in_air = np.array([keys.supports[i] == "air" for i in range(len(keys))], np.float64)
    lift = 0.22 * ((1 - share) * in_air[before] + share * in_air[after])
    steps = len(share)
    sway = _wander(rng, steps, rate, 0.06)
    yaw = rng.uniform(-180, 180) + _wander(rng, steps, rate, 25.0)[:, 0]
    names = list(dict.fromkeys(keys.names[i] for i in np.unique(np.concatenate([before, after]))))
    return _Layout(theme, names, angles, supports, keys.flat[before] & keys.flat[after], yaw, sway, lift)


def _going(rng: np.random.Generator, steps: int, rate: float, theme: Theme) -> _Layout:
    """Walking or running along a curve, a gesture of the arms now and then."""
    vigour = np.clip(rng.uniform(0.75, 1.1) + _wander(rng, steps, rate, 0.08)[:, 0], 0.6, 1.25)
    if theme == "run":
        vigour = vigour + 0.85
    speed = rng.uniform(5.0, 6.4) * (
        0.8 + 0.35 * vigour
    )  # of the phase, radians per second: about a step each half turn
    phase = rng.uniform(0, 2 * np.pi) + np.cumsum(speed) / rate
    angles = gait(phase, vigour) + _noise(rng, steps, rate)
    gestures = [i for i, p in enumerate(PRIMITIVES) if p.category == "gesture"]
    names = [str(theme)]
    if theme == "walk" and rng.random() < 0.6:
        number = gestures[int(rng.integers(len(gestures)))]
        low, high = tables()
        pose = low[number] + rng.random() * (high[number] - low[number])
        pose = mirrored(pose) if rng.random() < 0.5 else pose
        middle, width = rng.uniform(0.25, 0.75) * steps, rng.uniform(0.12, 0.3) * steps
        share = _eased(np.clip(1.5 - np.abs(np.arange(steps) - middle) / width, 0, 1))[:, None]
        angles = np.where(IS_UPPER, angles + share * (pose - angles), angles)
        names.append(PRIMITIVES[number].name)
    yaw = rng.uniform(-180, 180) + np.cumsum(_wander(rng, steps, rate, 22.0)[:, 0]) / rate
    step_m = 0.33 + 0.38 * (vigour - 0.6)
    velocity = step_m * speed / np.pi
    radians = np.radians(yaw)
    # A body of heading 0 goes towards -y.
    path = np.cumsum(np.stack([np.sin(radians), -np.cos(radians)], 1) * velocity[:, None], axis=0) / rate
    lift = 0.05 * np.abs(np.cos(phase)) if theme == "run" else np.zeros(steps)
    flat = np.zeros((steps, 2), bool)
    return _Layout(theme, names, within_limits(angles), ["step"] * steps, flat, yaw, path - path[0], lift)


def _eased(t: Array) -> Array:
    """0 to 1 with rest at both ends (least jerk)."""
    return t**3 * (10 - 15 * t + 6 * t * t)


def _wander(rng: np.random.Generator, steps: int, rate: float, size: float) -> Array:
    """(T, 2) smooth and slow, about `size` large."""
    knots = int(np.ceil(steps / rate)) + 5
    values = rng.normal(0, size, (knots, 2))
    return _curve(values, np.arange(steps) / rate + 1)


def _noise(rng: np.random.Generator, steps: int, rate: float) -> Array:
    """(T, NUM_ANGLES) small drifts of all joints, the legs less."""
    knots = int(np.ceil(steps / rate * 1.5)) + 5
    values = rng.normal(0, 1, (knots, NUM_ANGLES)) * np.where(IS_UPPER, 4.0, 1.5)
    values[:, INDEX["root.sway"]] = 0
    return _curve(values, np.arange(steps) / rate * 1.5 + 1)
