"""The table of posecodes: which relations of the body are measured, into which categories they fall, which may be told.

A *code* is one measured relation (a kind and its points). Its *category* is the bin the measured value falls into.
A *super-code* is true when one of its recipes is: a recipe is a list of codes with the categories they must have.
Figures follow the posecode pipeline of PoseScript (Delmas et al., TPAMI 2024), which UniPose uses (UniPose suppl.
§A.1). Where a support code is asked for by no recipe we never tell it, and every rule is the same for left and right.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Literal, NamedTuple

Side = Literal["", "left", "right", "both"]
SIDES: tuple[Side, Side] = ("left", "right")
OTHER_SIDE: dict[str, Side] = {"": "", "left": "right", "right": "left", "both": "both"}
NOT_TOLD = "-"
"""Name of a bin that lies between two categories: nothing is said about it."""


class Part(NamedTuple):
    """A body part as text names it."""

    side: Side
    name: str


@dataclass(frozen=True)
class Kind:
    """One way to measure, and its bins."""

    categories: tuple[str, ...]
    """From low to high; one more than thresholds."""
    thresholds: tuple[float, ...]
    """A value equal to a threshold belongs to the bin below it."""
    tolerance: float
    """Half-width of the uniform noise that sampled captions add before binning: people are not exact."""


_RELATIVE = (-0.15, -0.05, 0.05, 0.15)
KINDS: dict[str, Kind] = {
    "angle": Kind(
        ("completely_bent", "very_bent", "right_angle", "partly_bent", "slightly_bent", "straight"),
        (45, 75, 105, 135, 160),
        5,
    ),
    "distance": Kind(("close", "shoulder_width", "spread", "wide"), (0.2, 0.4, 0.8), 0.05),
    "x": Kind(("at_right", NOT_TOLD, "x_level", NOT_TOLD, "at_left"), _RELATIVE, 0.05),
    "y": Kind(("below", NOT_TOLD, "y_level", NOT_TOLD, "above"), _RELATIVE, 0.05),
    "z": Kind(("behind", NOT_TOLD, "z_level", NOT_TOLD, "in_front"), _RELATIVE, 0.05),
    "upright": Kind(("vertical", NOT_TOLD, "horizontal"), (10, 80), 5),
    "ground": Kind(("on_ground", NOT_TOLD), (0.1,), 0.05),
    "incline": Kind(
        ("lean_back", "lean_slightly_back", NOT_TOLD, "lean_slightly_forward", "lean_forward"), (-50, -20, 20, 50), 5
    ),
    "twist": Kind(
        ("twist_left", "twist_slightly_left", NOT_TOLD, "twist_slightly_right", "twist_right"), (-50, -20, 20, 50), 5
    ),
    "sway": Kind(
        ("lean_right", "lean_slightly_right", NOT_TOLD, "lean_slightly_left", "lean_left"), (-30, -15, 15, 30), 5
    ),
    "head_pitch": Kind(("tipped_back", NOT_TOLD, "bowed"), (-45, 30), 5),
    "head_turn": Kind(
        ("turned_right", "turned_slightly_right", NOT_TOLD, "turned_slightly_left", "turned_left"),
        (-30, -15, 15, 30),
        5,
    ),
    "head_roll": Kind(("tilted_left", NOT_TOLD, "tilted_right"), (-30, 30), 5),
}
HEAD_KINDS = ("head_pitch", "head_turn", "head_roll")
"""Kinds that need rotations: the head's place says nothing about where the face looks."""


@dataclass(frozen=True)
class Code:
    """One measured relation. `points` are names of `points.POINTS`; `other` is None where only the subject is named."""

    kind: str
    points: tuple[str, ...]
    subject: Part
    other: Part | None = None
    usual: frozenset[str] = frozenset()
    """Categories that may be told, and skipped at random."""
    rare: frozenset[str] = frozenset()
    """Categories that are always told."""
    unless_super: frozenset[str] = frozenset()
    """Told only where no super-code came out that is built on it."""
    absolute: frozenset[str] = frozenset()
    """May be told of the second pose of a pair."""


@dataclass(frozen=True)
class SuperCode:
    """One relation inferred from others. Its category is `name`, or one of `by_offset` where a direction is told."""

    name: str
    subject: Part
    recipes: tuple[tuple[tuple[tuple[str, tuple[str, ...]], frozenset[str]], ...], ...]
    """Any recipe is enough; a recipe is ((kind, points), categories it must be in), all of which must hold."""
    other: Part | None = None
    rare: bool = False
    absolute: bool = False
    by_offset: tuple[tuple[str, tuple[str, ...]], tuple[str, str, str]] | None = None
    """(code, names for its categories below / around / above zero)."""

    @property
    def categories(self) -> tuple[str, ...]:
        """Index 0 means absent."""
        return (NOT_TOLD, *(self.by_offset[1] if self.by_offset else (self.name,)))


def _set(words: str = "") -> frozenset[str]:
    return frozenset(words.split())


def part(point: str) -> Part:
    """left_upper_arm -> Part("left", "upper arm")."""
    side, _, name = point.partition("_")
    if side in SIDES:
        return Part(side, name.replace("_", " "))  # type: ignore[arg-type]
    return Part("", point)


def alignment_pairs() -> list[tuple[str, str]]:
    """The 48 pairs (hand or foot, another part) whose alignment is told; never a hand with its own arm."""
    arm, leg = ("shoulder", "upper_arm", "elbow", "forearm"), ("hip", "thigh", "knee", "shin")
    return [
        (f"{side}_{end}", f"{other_side}_{other}")
        for end, own in (("hand", arm), ("foot", leg))
        for side in SIDES
        for other_side in SIDES
        for other in (*arm, *leg)
        if not (other in own and side == other_side)
    ]


def _angles() -> Iterator[Code]:
    all_bins = _set("very_bent right_angle partly_bent slightly_bent straight")
    absolute = _set("completely_bent right_angle straight")
    for side in SIDES:
        points = (f"{side}_hip", f"{side}_knee", f"{side}_ankle")
        bent = _set("completely_bent")
        yield Code("angle", points, Part(side, "knee"), None, all_bins, bent, unless_super=bent, absolute=absolute)
    for side in SIDES:
        points = (f"{side}_shoulder", f"{side}_elbow", f"{side}_wrist")
        yield Code("angle", points, Part(side, "elbow"), None, all_bins, _set("completely_bent"), absolute=absolute)


def _distances() -> Iterator[Code]:
    told = {
        "elbow": ("wide", "close"),
        "hand": ("close spread wide", ""),
        "knee": ("close", "wide"),
        "foot": ("wide", "close"),
    }
    for name, (usual, rare) in told.items():
        yield _pair("distance", f"left_{name}", f"right_{name}", usual, rare, absolute="close")
    named = set()
    for side in SIDES:
        other = OTHER_SIDE[side]
        hand = f"{side}_hand"
        for target in (f"{side}_shoulder", "left_ankle", "right_ankle", "left_foot", "right_foot"):
            yield _pair("distance", hand, target, "", "close", absolute="close")
        for target in (f"{other}_shoulder", f"{other}_elbow", "left_knee", "right_knee"):
            named.add((hand, target))
            yield _pair("distance", hand, target, "", "close", unless_super="close", absolute="close")
    for name, side in product(("elbow", "hand", "knee", "foot"), SIDES):
        yield _pair("distance", f"{side}_{name}", "torso")
    for a, b in alignment_pairs():
        if (a, b) not in named:
            yield _pair("distance", a, b)


def _pair(
    kind: str,
    a: str,
    b: str,
    usual: str = "",
    rare: str = "",
    *,
    unless_super: str = "",
    absolute: str = "",
    subject: str | None = None,
) -> Code:
    return Code(kind, (a, b), part(subject or a), part(b), _set(usual), _set(rare), _set(unless_super), _set(absolute))


def _positions() -> Iterator[Code]:
    """Relative positions along one axis. What nearly everybody does (left hand left of the right one) is not told."""
    aligned = alignment_pairs()
    told: dict[tuple[str, str, str], tuple[str, str, str]] = {}
    for axis, words in (("y", "below above"), ("z", "behind in_front")):
        for name in ("shoulder", "elbow", "hand", "knee", "foot"):
            # a raised knee is part of kneeling on the other one
            told[axis, f"left_{name}", f"right_{name}"] = (words, "", words if (axis, name) == ("y", "knee") else "")
    for name in ("hand", "foot"):
        told["x", f"left_{name}", f"right_{name}"] = ("", "at_right", "")
    for side, crossed in (("left", "at_right"), ("right", "at_left")):
        told["x", f"{side}_hand", f"{side}_shoulder"] = (crossed, "", "")
        told["x", f"{side}_foot", f"{side}_hip"] = ("", crossed, "")
        told["y", f"{side}_hip", f"{side}_knee"] = ("", "", "")
        told["y", f"{side}_hand", f"{side}_shoulder"] = ("above", "", "")
        told["y", f"{side}_foot", f"{side}_hip"] = ("", "above", "")
        told["y", f"{side}_wrist", "neck"] = ("above", "", "")
        told["y", f"{side}_hand", f"{side}_hip"] = ("below", "", "")
        told["z", f"{side}_hand", "torso"] = ("behind", "", "")
        told["z", f"{side}_foot", "torso"] = ("behind in_front", "", "")
    for axis in "xyz":
        for a, b in aligned:
            told.setdefault((axis, a, b), ("", "", ""))
    for (axis, a, b), (usual, rare, unless) in told.items():
        # the neck is compared with the wrist, but people speak of the hand
        yield _pair(axis, a, b, usual, rare, unless_super=unless, subject=a.replace("wrist", "hand"))


def _uprights() -> Iterator[Code]:
    for (upper, lower, name), side in product(
        (
            ("hip", "knee", "thigh"),
            ("knee", "ankle", "shin"),
            ("shoulder", "elbow", "upper arm"),
            ("elbow", "wrist", "forearm"),
        ),
        SIDES,
    ):
        leg = name in ("thigh", "shin")
        usual, rare = ("vertical", "horizontal") if leg else ("horizontal", "vertical")
        absolute = _set("horizontal") if leg else _set("horizontal vertical")
        points = (f"{side}_{upper}", f"{side}_{lower}")
        yield Code("upright", points, Part(side, name), None, _set(usual), _set(rare), absolute=absolute)
    for side in SIDES:
        yield Code("upright", ("pelvis", f"{side}_shoulder"), Part("", "torso"))
    yield Code("upright", ("pelvis", "neck"), Part("", "torso"), None, _set("vertical"))
    yield Code("upright", ("left_hand", "right_hand"), Part("both", "hand"))
    yield Code("upright", ("left_foot", "right_foot"), Part("both", "foot"))


def _whole_body() -> Iterator[Code]:
    for name, side in product(("knee", "foot", "hand"), SIDES):
        told = _set("on_ground") if name == "hand" else _set()
        yield Code("ground", (f"{side}_{name}",), Part(side, name), None, told, absolute=told)
    trunk = ("left_shoulder", "right_shoulder", "pelvis", "left_ankle", "right_ankle")
    for kind in ("incline", "twist", "sway"):
        yield Code(kind, trunk, Part("", "body"), None, _told(kind))
    for kind, chain in (
        ("head_pitch", ("neck", "head")),
        ("head_turn", ("spine1", "head")),
        ("head_roll", ("neck", "head")),
    ):
        yield Code(kind, chain, Part("", "head"), None, _told(kind))


def _told(kind: str) -> frozenset[str]:
    return frozenset(KINDS[kind].categories) - {NOT_TOLD}


CODES: tuple[Code, ...] = tuple(
    sorted(
        (*_angles(), *_distances(), *_positions(), *_uprights(), *_whole_body()),
        key=lambda code: list(KINDS).index(code.kind),
    )
)
"""All codes, those of a kind side by side."""
CODE_INDEX = {(code.kind, code.points): index for index, code in enumerate(CODES)}


def _kneeling() -> Iterator[SuperCode]:
    body = Part("", "body")

    def below_hips(side: str) -> tuple[tuple[str, tuple[str, ...]], frozenset[str]]:
        return ("y", (f"{side}_hip", f"{side}_knee")), _set("above")

    def on_ground(point: str) -> tuple[tuple[str, tuple[str, ...]], frozenset[str]]:
        return ("ground", (point,)), _set("on_ground")

    def folded(side: str) -> tuple[tuple[str, tuple[str, ...]], frozenset[str]]:
        return ("angle", (f"{side}_hip", f"{side}_knee", f"{side}_ankle")), _set("completely_bent")

    knees = [on_ground("left_knee"), on_ground("right_knee")]
    yield SuperCode(
        "kneel",
        body,
        ((below_hips("left"), below_hips("right"), *knees), (folded("left"), folded("right"), *knees)),
        rare=True,
    )
    for side, height in (("left", "below"), ("right", "above")):
        lower = (("y", ("left_knee", "right_knee")), _set(height))
        # the hip must be over its knee: a person who sits cross-legged and leans over does not kneel
        recipe = (lower, below_hips(side), on_ground(f"{side}_knee"), on_ground(f"{OTHER_SIDE[side]}_foot"))
        yield SuperCode(f"kneel_{side}", body, (recipe,), rare=True)


def _supers() -> Iterator[SuperCode]:
    flat = tuple((("upright", ("pelvis", f"{side}_shoulder")), _set("horizontal")) for side in SIDES)
    yield SuperCode("horizontal", Part("", "torso"), (flat,), rare=True, absolute=True)
    yield from _kneeling()
    for name, rare in (("hand", True), ("foot", False)):
        pair = (f"left_{name}", f"right_{name}")
        # side by side: neither crossed nor one before the other, which nobody would call a shoulder's width apart
        aside = (("x", pair), _set("at_left"))
        recipe = ((("distance", pair), _set("shoulder_width")), (("upright", pair), _set("horizontal")), aside)
        yield SuperCode("shoulder_width", Part("both", name), (recipe,), rare=rare, absolute=True)
    reachable = _set("close shoulder_width spread")
    for pair in alignment_pairs():
        near = (("distance", pair), reachable)
        for free, (low, middle, high) in (
            ("z", ("straight_behind", "right_at", "straight_in_front")),
            ("y", ("straight_below", "right_at", "straight_above")),
            ("x", ("level", "right_at", "level")),
        ):
            level = tuple(((axis, pair), _set(f"{axis}_level")) for axis in "xyz" if axis != free)
            a, b = part(pair[0]), part(pair[1])
            yield SuperCode(
                f"aligned_{free}", a, ((*level, near),), b, absolute=True, by_offset=((free, pair), (low, middle, high))
            )


SUPER_CODES: tuple[SuperCode, ...] = tuple(_supers())
