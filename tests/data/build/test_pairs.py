import numpy as np
import pytest
import torch

from data.build.pairs import Motions, joint_features, mine_pairs
from data.captions import facing_viewer, posecodes, text_joints
from data.synth.poses import sample_poses
from llmpose.errors import UserError


@pytest.fixture(scope="module")
def world() -> tuple[torch.Tensor, torch.Tensor]:
    rotmat, _ = sample_poses(600, seed=4)
    joints = text_joints(facing_viewer(rotmat))
    return joint_features(joints), posecodes(joints).category


def test_a_is_among_the_100_nearest_of_b_and_differs_in_10_codes(world) -> None:
    features, codes = world
    pairs = mine_pairs(features, codes)
    assert len(pairs) > 500
    unit = torch.nn.functional.normalize(features, dim=1)
    likeness = unit @ unit.T
    likeness.fill_diagonal_(-2)
    rank = likeness.argsort(dim=1, descending=True).argsort(dim=1)
    for a, b in pairs.tolist():
        assert rank[b, a] < 100
        assert int((codes[a] != codes[b]).sum()) >= 10


def test_every_b_comes_once_and_in_the_order_asked_for(world) -> None:
    features, codes = world
    targets = np.random.default_rng(0).permutation(600)[:200]
    pairs = mine_pairs(features, codes, targets=targets)
    order = {target: place for place, target in enumerate(targets.tolist())}
    places = [order[b] for b in pairs[:, 1].tolist()]
    assert places == sorted(places)
    assert len(set(places)) == len(places)


def test_poses_a_are_spread_before_any_is_used_twice(world) -> None:
    pairs = mine_pairs(*world)
    assert len(set(pairs[:, 0].tolist())) > 0.8 * len(pairs)


def test_pairs_come_from_the_seed_and_stop_at_the_count(world) -> None:
    assert mine_pairs(*world, seed=1).tolist() == mine_pairs(*world, seed=1).tolist()
    assert mine_pairs(*world, seed=1).tolist() != mine_pairs(*world, seed=2).tolist()
    assert mine_pairs(*world, seed=1, count=50).tolist() == mine_pairs(*world, seed=1).tolist()[:50]


def test_in_sequence_pairs_go_forward_in_one_motion_by_less_than_half_a_second(world) -> None:
    features, codes = world
    motions = Motions.of([f"m{i // 20}" for i in range(600)], [i % 20 * 0.2 for i in range(600)])
    inside = mine_pairs(features, codes, motions=motions, kind="in", num_nearest=599, min_different=1)
    assert len(inside) > 100
    for a, b in inside.tolist():
        assert a // 20 == b // 20
        assert 0 < (b - a) * 0.2 < 0.5
    outside = mine_pairs(features, codes, motions=motions, kind="out")
    assert all(a // 20 != b // 20 for a, b in outside.tolist())


def test_poses_of_no_motion_are_never_in_sequence() -> None:
    motions = Motions.of([None, None, "a", "a"], [None, None, 0.0, 0.1])
    assert len(set(motions.sequence.tolist())) == 3


def test_poses_that_are_all_alike_give_no_pairs(world) -> None:
    features, codes = world
    assert mine_pairs(features[:1].repeat(50, 1), codes[:1].repeat(50, 1)).shape == (0, 2)


def test_tables_that_do_not_belong_together_are_said_so(world) -> None:
    with pytest.raises(UserError, match="do not belong together"):
        mine_pairs(world[0], world[1][:10])
