"""Random numbers that belong to a place."""

import numpy as np
import torch

from train.noise import normal, uniform


def test_an_example_gets_the_same_numbers_in_any_batch() -> None:
    together = uniform(3, 1, [5, 9, 2], 4, stream=1)
    assert torch.equal(together[1:2], uniform(3, 1, [9], 4, stream=1))


def test_seed_epoch_and_stream_each_change_them() -> None:
    base = uniform(3, 1, [5], 4, stream=1)
    others = [uniform(4, 1, [5], 4, stream=1), uniform(3, 2, [5], 4, stream=1), uniform(3, 1, [5], 4, stream=2)]
    assert all(not torch.equal(base, other) for other in others)


def test_they_are_spread_like_random_numbers() -> None:
    many = uniform(0, 0, range(20_000), 3, stream=1).double().numpy()
    assert 0 <= many.min() < 0.001
    assert 0.999 < many.max() < 1
    assert np.allclose(np.histogram(many, bins=10, range=(0, 1))[0] / many.size, 0.1, atol=0.005)
    assert np.abs(np.corrcoef(many.T) - np.eye(3)).max() < 0.03
    assert abs(np.corrcoef(many[:-1, 0], many[1:, 0])[0, 1]) < 0.02
    bell = normal(0, 0, range(20_000), 2, stream=1).double()
    assert torch.allclose(bell.mean(0), torch.zeros(2).double(), atol=0.02)
    assert torch.allclose(bell.std(0), torch.ones(2).double(), atol=0.02)
    assert torch.isfinite(bell).all()
