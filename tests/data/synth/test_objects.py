"""The built-in things: closed outward solids, keypoints that lie on them, skeletons and splits that add up."""

import numpy as np
import pytest

from data.synth.objects import CATEGORIES, TEST_CATEGORIES, split_categories
from data.synth.solids import blob, box, limb, plate, volume, wedge

SQUARE = [(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0)]


@pytest.mark.parametrize(
    ("solid", "expected"),
    [
        (box((1, 1, 1), (1, 2, 3), (1, 1, 1)), 6.0),
        (wedge(SQUARE, [(x, y, 1) for x, y, _ in SQUARE], (1, 1, 1)), 1.0),
        (plate(SQUARE, 0.1, (1, 1, 1)), 0.1),
        (blob((5, 0, 0), (1, 2, 3), (1, 1, 1)), 4 / 3 * np.pi * 6),
    ],
    ids=["box", "wedge", "plate", "blob"],
)
def test_solids_are_closed_and_wound_outward(solid, expected: float) -> None:
    assert volume(solid) == pytest.approx(expected, rel=0.06)


def test_a_limb_reaches_from_start_to_end() -> None:
    points = limb((0, 0, 0), (0, 3, 4), 0.2, 0.1, (1, 1, 1)).vertices_m
    along = points @ np.array([0, 0.6, 0.8])
    assert along.min() == pytest.approx(-0.2, abs=1e-6)
    assert along.max() == pytest.approx(5.1, abs=1e-6)


@pytest.mark.parametrize("name", CATEGORIES)
def test_every_keypoint_lies_on_or_in_its_thing(name: str) -> None:
    thing = CATEGORIES[name].sample(np.random.default_rng(7))
    vertices = np.concatenate([solid.vertices_m for solid in thing.solids])
    size = np.linalg.norm(vertices.max(0) - vertices.min(0))
    nearest = np.linalg.norm(vertices[None] - thing.keypoints_m[:, None], axis=-1).min(1)
    far = [k for k, gap in zip(CATEGORIES[name].keypoints, nearest / size, strict=True) if gap > 0.3]
    assert not far, f"keypoints of {name} away from its surface: {far}"


@pytest.mark.parametrize("name", CATEGORIES)
def test_left_keypoints_stand_on_the_left(name: str) -> None:
    category = CATEGORIES[name]
    skeleton = category.skeleton()
    right_of = np.zeros(len(skeleton.flip_pairs))
    rng = np.random.default_rng(3)
    for _ in range(8):  # a turned head may cross over once, not on average
        points = category.sample(rng).keypoints_m
        right_of += [points[a, 0] - points[b, 0] for a, b in skeleton.flip_pairs]
    assert (right_of > 0).all()


def test_same_seed_same_thing() -> None:
    first, second = (CATEGORIES["dog"].sample(np.random.default_rng(5)) for _ in range(2))
    assert np.array_equal(first.keypoints_m, second.keypoints_m)


def test_skeletons_have_eight_to_thirty_keypoints_and_a_sentence_each() -> None:
    assert len(CATEGORIES) >= 16
    for category in CATEGORIES.values():
        skeleton = category.skeleton()
        assert 8 <= len(skeleton.keypoints) <= 30
        assert len(set(skeleton.keypoints)) == len(skeleton.keypoints)
        assert len(set(skeleton.descriptions.values())) == len(skeleton.keypoints)


def test_test_sets_partition_the_categories_and_no_split_overlaps() -> None:
    assert sorted(name for test in TEST_CATEGORIES for name in test) == sorted(CATEGORIES)
    for split in range(1, 6):
        parts = split_categories(split)
        names = [name for part in parts.values() for name in part]
        assert sorted(names) == sorted(CATEGORIES)
