"""The vocabulary of the pose sampler: named postures and gestures, as angles with ranges (`primitives.yaml`).

A primitive is a short line of poses: every range [a, b] is a at amount 0 and b at amount 1, so one amount moves the
whole body together (half a squat, a whole squat) and a sequence can do it up and down. What is not named stands at
ease. Asymmetric ones are written for one side; the sampler mirrors half of what it draws.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import yaml

from data.synth.angles import INDEX, STANDING_DEG, Array, angles_of, within_limits

Support: TypeAlias = Literal["feet", "foot", "step", "knees", "knee", "seat", "ground", "lying", "hands", "head", "air"]
"""What carries the body.

feet    both feet              knees   both knees                      lying   the trunk
foot    one foot               knee    one knee and the other foot     hands   hands, with feet or knees
step    walking and running    seat    a chair                         head    head and arms, or shoulders
air     nothing                ground  the seat on the floor
"""
Category: TypeAlias = Literal[
    "standing", "gesture", "locomotion", "sport", "sitting", "kneeling", "ground", "yoga", "jump"
]
CATEGORIES: tuple[Category, ...] = get_args(Category)

_FLAT = {"both": (True, True), "left": (True, False), "right": (False, True), "none": (False, False)}


@dataclass(frozen=True)
class Primitive:
    name: str
    category: Category
    support: Support
    flat: tuple[bool, bool]
    """Left and right: this sole lies on the floor when the foot carries."""
    is_base: bool
    """Its legs may carry another primitive's arms, and it may be blended with other bases of the same support."""
    is_extreme: bool
    """Only for the set of extreme poses (MOYO-like), not for everyday sampling."""
    overlap_m: float
    """How deep limbs may press into each other: crossed shins need more than the rest."""
    low_deg: Array = field(repr=False)
    """(NUM_ANGLES,) at amount 0."""
    high_deg: Array = field(repr=False)
    """(NUM_ANGLES,) at amount 1."""


def _read(path: Path) -> tuple[Primitive, ...]:
    table = yaml.safe_load(path.read_text(encoding="utf-8"))
    return tuple(
        _primitive(name, category, entry) for category, entries in table.items() for name, entry in entries.items()
    )


def _primitive(name: str, category: Category, entry: Mapping[str, Any]) -> Primitive:
    options = {key: value for key, value in entry.items() if "." not in key}
    angles = {key: value for key, value in entry.items() if "." in key}
    low = {key: value[0] if isinstance(value, list) else value for key, value in angles.items()}
    high = {key: value[1] if isinstance(value, list) else value for key, value in angles.items()}
    return Primitive(
        name=name,
        category=category,
        support=options["support"],
        flat=_FLAT[options.get("flat", "both")],
        is_base=options.get("base", False),
        is_extreme=options.get("extreme", False),
        overlap_m=options.get("overlap_m", 0.035),
        low_deg=within_limits(angles_of(low)),
        high_deg=within_limits(angles_of(high)),
    )


PRIMITIVES: tuple[Primitive, ...] = _read(Path(__file__).with_name("primitives.yaml"))
BY_NAME: dict[str, int] = {primitive.name: index for index, primitive in enumerate(PRIMITIVES)}
"""Name to place in PRIMITIVES."""


@cache
def tables() -> tuple[Array, Array]:
    """(P, NUM_ANGLES) of all primitives at amount 0 and at amount 1."""
    return np.stack([p.low_deg for p in PRIMITIVES]), np.stack([p.high_deg for p in PRIMITIVES])


def gait(phase: Array, vigour: Array) -> Array:
    """(N, NUM_ANGLES): walking (vigour 1) to running (1.9) at `phase` in radians; the left leg leads from 0 to pi."""
    s, c = np.sin(phase), np.cos(phase)
    result = np.tile(STANDING_DEG, (len(phase), 1))

    def swing(angle: Array) -> Array:
        return np.maximum(0.0, np.sin(angle)) ** 1.5

    def put(key: str, value: Array) -> None:
        result[:, INDEX[key]] = value

    stride = np.minimum(vigour, 1.45)
    put("left_hip.flex", (4 + 24 * s) * stride)
    put("right_hip.flex", (4 - 24 * s) * stride)
    put("left_knee.flex", 8 * vigour + 42 * vigour * swing(phase + 1.35))
    put("right_knee.flex", 8 * vigour + 42 * vigour * swing(phase + 1.35 + np.pi))
    # The foot that moves back (leg angle falling) pushes off, the one that swings forward lifts its toes.
    put("left_ankle.point", np.where(c > 0, -4 - 10 * s, 6 - 14 * s))
    put("right_ankle.point", np.where(c < 0, -4 + 10 * s, 6 + 14 * s))
    put("left_arm.swing", -26 * s * vigour)
    put("right_arm.swing", 26 * s * vigour)
    for side in ("left", "right"):
        put(f"{side}_arm.raise", np.full(len(phase), -76.0))
        put(f"{side}_elbow.bend", 18 + (vigour - 1) * 85)
    put("spine1.twist", -4 * s * vigour)
    put("spine3.twist", 6 * s * vigour)
    put("spine1.flex", 2 + 5 * (vigour - 1))
    put("root.pitch", 2 + 8 * (vigour - 1))
    return within_limits(result)
