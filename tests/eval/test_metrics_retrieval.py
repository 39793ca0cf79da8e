"""Retrieval metrics and FID on cases small enough to work by hand."""

import numpy as np
import pytest
import scipy.linalg

from eval.metrics import retrieval as r


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def random_features(n: int, d: int = 16, seed: int = 0) -> np.ndarray:
    return unit(np.random.default_rng(seed).normal(size=(n, d)))


def test_equal_features_score_the_maximum_everywhere() -> None:
    features = random_features(70)
    metric = r.RetrievalPrecision()
    metric.update([f"{i:03d}" for i in range(70)], features, features)
    result = metric.compute()
    assert result.pop("n") == 70
    assert set(result.values()) == {1.0}


def test_a_model_that_answers_everything_alike_scores_nothing() -> None:
    features = np.tile(random_features(1), (64, 1))
    assert r.r_precision_unipose(features, features)["r_precision_top3"] == 0
    assert r.recall_table(features, features)["mrecall"] == 0


def test_unrelated_features_score_chance() -> None:
    poses, texts = random_features(600, seed=1), random_features(600, seed=2)
    result = r.r_precision_unipose(poses, texts)
    chance = r.chance_r_precision(600)
    assert chance["r_precision_top3"] == pytest.approx(3 / 32)
    for name, value in result.items():
        assert value == pytest.approx(chance[name], abs=0.03)


def test_ranks_are_counted_from_zero_over_the_whole_set() -> None:
    # Angles on a circle: text 0 lies nearest to pose 1, then pose 0; text 1 nearest to its own.
    def at(*degrees: float) -> np.ndarray:
        return np.stack([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], axis=1)

    poses, texts = at(0, 40, 120), at(30, 45, 0)
    assert r.ranks_of_truth(texts, poses).tolist() == [1, 0, 2]
    assert r.ranks_of_truth(poses, texts).tolist() == [1, 0, 2]
    table = r.recall_table(poses, texts, ks=(1, 2))
    assert table["r_t2p_1"] == pytest.approx(1 / 3)
    assert table["r_t2p_2"] == pytest.approx(2 / 3)
    assert table["mrecall"] == pytest.approx(0.5)


def test_several_captions_per_pose_are_averaged_caption_by_caption() -> None:
    poses, good, bad = random_features(30), random_features(30), np.roll(random_features(30), 1, axis=0)
    both = r.recall_table(poses, np.stack([good, bad]), ks=(1,))
    assert both["r_t2p_1"] == pytest.approx((1.0 + r.recall_table(poses, bad, ks=(1,))["r_t2p_1"]) / 2)


def test_posescript_averages_ranks_before_it_compares_and_the_mean_of_hits_is_another_number() -> None:
    # Query 0 of four is beaten by exactly one of the three others; with a pool of 2 its rank is 0 or 1 from draw to
    # draw.
    ranks = np.array([[0, 1, 0], [0, 0, 0], [1, 1, 0], [0, 0, 1]])
    averaged_first = (ranks.mean(axis=1) < 1).mean()
    assert averaged_first == 1.0
    assert (ranks < 1).mean() == pytest.approx(8 / 12)
    poses, texts = (
        random_features(40, 3, seed=3),
        unit(random_features(40, 3, seed=3) + 0.6 * random_features(40, 3, seed=4)),
    )
    ours = r.r_precision_posescript(texts, poses, pool=4, repetitions=3)
    drawn = r.pool_ranks(texts, poses, pool=4, repetitions=3)
    for k in (1, 2, 3):
        assert ours[f"r_precision_posescript_top{k}"] == pytest.approx((drawn.mean(axis=1) < k).mean())
    assert ours["r_precision_posescript_top1"] != pytest.approx((drawn < 1).mean())


@pytest.mark.parametrize("n", [5, 40, 600])
def test_a_pool_holds_others_only_each_once(n: int) -> None:
    pools = r.draw_pools(n, 32, 3, np.random.default_rng(0))
    assert pools.shape == (n, 3, min(32, n) - 1)
    assert pools.min() >= 0
    assert pools.max() < n
    for i in range(n):
        assert i not in pools[i]
        assert all(len(set(row)) == len(row) for row in pools[i].tolist())


def test_the_in_batch_variant_counts_the_diagonal_in_ascending_distance() -> None:
    texts = np.array([[0.0], [1.0], [2.0]])
    poses = np.array([[0.9], [0.1], [2.0]])  # texts 0 and 1 have each other's pose nearest
    result = r.r_precision_batch(texts, poses, batch=3, seed=None)
    assert result["r_precision_batch_top1"] == pytest.approx(1 / 3)
    assert result["r_precision_batch_top2"] == 1.0


def test_fid_of_two_gaussians_worked_by_hand() -> None:
    value = r.fid_of_gaussians(np.zeros(2), np.diag([1.0, 4.0]), np.array([1.0, -1.0]), np.diag([4.0, 1.0]))
    assert value == pytest.approx(4.0)


def test_fid_of_identical_sets_is_zero_even_below_the_dimension() -> None:
    for n in (200, 10):
        features = random_features(n, 32)
        assert r.fid(features, features) == pytest.approx(0, abs=1e-7)


def test_fid_equals_the_general_matrix_root() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(200, 6)) @ rng.normal(size=(6, 6)), rng.normal(size=(300, 6)) + 0.3
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = scipy.linalg.sqrtm(cov_a @ cov_b).real
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(cov_a + cov_b - 2 * root)
    assert r.fid(a, b) == pytest.approx(expected, rel=1e-6)
