"""Articulated things that are not people, each with its own skeleton: the built-in stand-in for MP-100's categories.

A category = a maker (random generator → solids + named points), the keypoints that make its skeleton, and a sentence
for each, so that the same keypoints can be asked for by example or in words (KptLLM++ §3). Left and right are the
thing's own. The five splits mirror MP-100: the unseen test categories of the splits partition all categories.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from data.synth import animals, things
from data.synth.animals import Bird, Points, Quadruped
from data.synth.object_points import (
    BIRD,
    BIRD_LINKS,
    CORNERS,
    FISH,
    FISH_LINKS,
    HAND,
    INSECT,
    INSECT_LEGS,
    INSECT_LINKS,
    LEG_LINKS,
    QUADRUPED,
    QUADRUPED_LINKS,
    ROBOT,
    VEHICLE,
    VEHICLE_LINKS,
    sided,
)
from data.synth.object_words import describe_keypoint
from data.synth.solids import Array, Solid
from llmpose.body.skeleton import Skeleton

Maker = Callable[[np.random.Generator], tuple[list[Solid], Points]]


@dataclass(frozen=True)
class Thing:
    """One instance: solids, and the keypoints of its category's skeleton, in its own frame (z up, facing -y)."""

    category: str
    solids: tuple[Solid, ...]
    keypoints_m: Array


@dataclass(frozen=True)
class Category:
    """A kind of thing: how it is made and what its keypoints are called."""

    name: str
    super_category: str
    keypoints: tuple[str, ...]
    links: tuple[tuple[str, str], ...]
    make: Maker

    def skeleton(self) -> Skeleton:
        """The category's keypoints as data: names, flip pairs, links, one sentence each."""
        index = {name: k for k, name in enumerate(self.keypoints)}
        pairs = tuple(
            (k, index["right" + name.removeprefix("left")]) for name, k in index.items() if name.startswith("left ")
        )
        return Skeleton(
            name=f"synth_{self.name.replace(' ', '_')}",
            keypoints=self.keypoints,
            flip_pairs=pairs,
            links=tuple((index[a], index[b]) for a, b in self.links),
            sigmas=tuple(0.05 for _ in self.keypoints),
            descriptions={name: describe_keypoint(self.name, self.super_category, name) for name in self.keypoints},
        )

    def sample(self, rng: np.random.Generator) -> Thing:
        """One instance with its own proportions, colours and articulation."""
        solids, points = self.make(rng)
        return Thing(self.name, tuple(solids), np.stack([points[name] for name in self.keypoints]))


_DARK, _GREY, _WHITE = (0.20, 0.16, 0.13), (0.50, 0.49, 0.48), (0.90, 0.88, 0.84)
_BROWN, _GOLD, _RUST = (0.45, 0.30, 0.18), (0.78, 0.60, 0.34), (0.65, 0.32, 0.14)


def _four_legged(name: str, shape: Quadruped, *extra: str) -> Category:
    return Category(
        name, "four-legged animal", (*QUADRUPED, *extra), QUADRUPED_LINKS, lambda rng: animals.quadruped(shape, rng)
    )


def _bird(name: str, shape: Bird) -> Category:
    return Category(name, "bird", BIRD, BIRD_LINKS, lambda rng: animals.bird(shape, rng))


def _fish(name: str, slender: float, coats: tuple[things.Colour, ...]) -> Category:
    return Category(name, "fish", FISH, FISH_LINKS, lambda rng: animals.fish(rng, slender, coats))


def _insect(name: str, coats: tuple[things.Colour, ...], *extra: str) -> Category:
    return Category(
        name,
        "insect",
        (*INSECT, *INSECT_LEGS, *extra),
        (*INSECT_LINKS, *LEG_LINKS),
        lambda rng: animals.insect(rng, name, coats),
    )


CATEGORIES: dict[str, Category] = {
    category.name: category
    for category in (
        _four_legged(
            "dog",
            Quadruped(0.62, 0.22, 0.26, 50, 0.22, 0.17, 0.45, 20, coats=(_BROWN, _DARK, _GOLD, _WHITE)),
            *sided("ear tip"),
        ),
        _four_legged(
            "cat",
            Quadruped(0.48, 0.19, 0.18, 55, 0.21, 0.06, 0.65, 35, 0.06, coats=(_GREY, _RUST, _DARK, _WHITE)),
            *sided("ear tip"),
            "tip of tail",
        ),
        _four_legged(
            "horse",
            Quadruped(
                0.85, 0.24, 0.52, 52, 0.21, 0.30, 0.45, -55, 0.07, extras=("mane",), coats=(_BROWN, _DARK, _RUST, _GREY)
            ),
            "tip of tail",
        ),
        _four_legged(
            "cow",
            Quadruped(
                0.58,
                0.31,
                0.26,
                28,
                0.23,
                0.22,
                0.45,
                -65,
                0.08,
                "flop",
                coats=(_DARK, _WHITE, _RUST),
                extras=("horns",),
            ),
            *sided("horn tip"),
        ),
        _four_legged(
            "sheep",
            Quadruped(
                0.42,
                0.28,
                0.16,
                35,
                0.18,
                0.15,
                0.12,
                -40,
                0.06,
                "flop",
                coats=(_WHITE, _GREY, _BROWN),
                extras=("wool",),
            ),
        ),
        _four_legged(
            "giraffe",
            Quadruped(
                1.10,
                0.24,
                1.05,
                66,
                0.19,
                0.20,
                0.40,
                -60,
                0.065,
                "flop",
                coats=(_GOLD, (0.80, 0.52, 0.22)),
                extras=("horns",),
            ),
            *sided("horn tip"),
        ),
        _four_legged(
            "elephant",
            Quadruped(
                0.62,
                0.36,
                0.20,
                35,
                0.34,
                0.10,
                0.35,
                -65,
                0.13,
                "sail",
                coats=(_GREY, (0.42, 0.42, 0.45)),
                extras=("trunk", "tusks"),
            ),
            "trunk middle",
            "trunk tip",
            *sided("tusk tip"),
        ),
        _four_legged(
            "camel",
            Quadruped(
                0.92,
                0.27,
                0.60,
                42,
                0.19,
                0.22,
                0.35,
                -60,
                0.07,
                "round",
                coats=(_GOLD, (0.70, 0.55, 0.36)),
                extras=("hump",),
            ),
            "hump",
        ),
        _bird("sparrow", Bird(0.22, 0.12, 0.10, 0.62, 0.35, 0.27, coats=(_BROWN, _RUST, _GREY))),
        _bird("heron", Bird(0.95, 0.75, 0.34, 0.80, 0.25, 0.26, coats=(_GREY, _WHITE, (0.45, 0.52, 0.60)))),
        _bird(
            "duck",
            Bird(0.20, 0.34, 0.20, 0.66, 0.25, 0.31, coats=((0.20, 0.36, 0.24), _BROWN, _WHITE, (0.85, 0.75, 0.25))),
        ),
        _fish("carp", 1.9, ((0.85, 0.45, 0.15), _GOLD, (0.55, 0.55, 0.40))),
        _fish("shark", 3.4, ((0.42, 0.50, 0.56), (0.35, 0.38, 0.42), (0.52, 0.56, 0.60))),
        _insect("ant", ((0.25, 0.10, 0.06), (0.12, 0.10, 0.10), (0.45, 0.16, 0.08))),
        _insect("beetle", ((0.75, 0.12, 0.10), (0.10, 0.35, 0.25), (0.20, 0.20, 0.45)), "middle of the shell"),
        _insect(
            "butterfly",
            ((0.92, 0.55, 0.10), (0.25, 0.45, 0.85), (0.85, 0.80, 0.30)),
            *sided("front wing tip", "back wing tip"),
        ),
        Category("car", "vehicle", (*VEHICLE, *sided("mirror")), VEHICLE_LINKS, lambda rng: things.vehicle(rng, "car")),
        Category("truck", "vehicle", VEHICLE, VEHICLE_LINKS, lambda rng: things.vehicle(rng, "truck")),
        Category(
            "chair",
            "furniture",
            (*CORNERS, *sided("front seat corner", "back seat corner", "top of the back")),
            tuple(
                (f"{s} {a}", f"{s} {b}")
                for s in ("left", "right")
                for a, b in (
                    ("front leg end", "front seat corner"),
                    ("back leg end", "back seat corner"),
                    ("front seat corner", "back seat corner"),
                    ("back seat corner", "top of the back"),
                )
            ),
            things.chair,
        ),
        Category(
            "table",
            "furniture",
            (*CORNERS, *sided("front table corner", "back table corner")),
            tuple(
                (f"{s} {a}", f"{s} {b}")
                for s in ("left", "right")
                for a, b in (
                    ("front leg end", "front table corner"),
                    ("back leg end", "back table corner"),
                    ("front table corner", "back table corner"),
                )
            ),
            things.table,
        ),
        Category(
            "lamp",
            "furniture",
            (
                "middle of the base",
                *sided("edge of the base"),
                "middle of the lower arm",
                "elbow",
                "middle of the upper arm",
                "top of the arm",
                "bulb",
                *sided("rim of the shade"),
                "front rim of the shade",
            ),
            (
                ("middle of the base", "middle of the lower arm"),
                ("middle of the lower arm", "elbow"),
                ("elbow", "middle of the upper arm"),
                ("middle of the upper arm", "top of the arm"),
                ("top of the arm", "bulb"),
            ),
            things.lamp,
        ),
        Category(
            "robot",
            "toy",
            ROBOT,
            tuple(
                (f"{s} {a}", f"{s} {b}")
                for s in ("left", "right")
                for a, b in (("shoulder", "elbow"), ("elbow", "hand"), ("knee", "foot"), ("eye", "aerial tip"))
            ),
            things.robot,
        ),
        Category(
            "hand",
            "hand",
            HAND,
            tuple(
                (f"{a} of the {f}", f"{b} of the {f}")
                for f in things.FINGERS
                for a, b in (("root", "lower joint"), ("lower joint", "upper joint"), ("upper joint", "tip"))
            )
            + tuple(("wrist", f"root of the {f}") for f in things.FINGERS),
            things.hand,
        ),
        Category("van", "vehicle", (*VEHICLE, *sided("mirror")), VEHICLE_LINKS, lambda rng: things.vehicle(rng, "van")),
        _four_legged(
            "pig",
            Quadruped(
                0.36,
                0.30,
                0.12,
                25,
                0.24,
                0.14,
                0.14,
                30,
                0.07,
                "flop",
                coats=((0.92, 0.68, 0.64), (0.85, 0.58, 0.52), _DARK),
            ),
            *sided("ear tip"),
        ),
    )
}

# The unseen test categories of each split; together they are all categories, each once (as in MP-100).
TEST_CATEGORIES: tuple[tuple[str, ...], ...] = (
    ("cat", "giraffe", "heron", "truck", "chair"),
    ("horse", "pig", "carp", "ant", "robot"),
    ("dog", "elephant", "sparrow", "beetle", "table"),
    ("cow", "camel", "duck", "car", "hand"),
    ("sheep", "shark", "butterfly", "van", "lamp"),
)


def split_categories(split: int) -> dict[str, tuple[str, ...]]:
    """Train, val and test categories of split 1..5; val takes half of the next split's test categories."""
    if not 1 <= split <= len(TEST_CATEGORIES):
        raise ValueError(f"split is {split}; the built-in objects have splits 1 to {len(TEST_CATEGORIES)}")
    test = TEST_CATEGORIES[split - 1]
    val = TEST_CATEGORIES[split % len(TEST_CATEGORIES)][:2]
    train = tuple(name for name in CATEGORIES if name not in test and name not in val)
    return {"train": train, "val": val, "test": test}
