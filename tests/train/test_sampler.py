"""Draws: the same steps for any number of processes, every example once per epoch, lengths within the budget."""

import pickle

import numpy as np
import pytest

from llmpose.errors import UserError
from train.job import Draw
from train.recipe import Batch
from train.sampler import StepSampler, split_batch


def steps(
    batch: Batch, world: int, *, count: int = 50, epoch: int = 0, lengths: list[int] | None = None
) -> list[set[int]]:
    """Examples of each optimizer step, all processes together."""
    split = split_batch(batch, world)
    found: dict[int, set[int]] = {}
    for rank in range(world):
        sampler = StepSampler(count, split, seed=3, rank=rank, lengths=lengths)
        sampler.set_epoch(epoch)
        for draw in sampler:
            found.setdefault(draw.step, set()).update(draw)
    return [found[step] for step in sorted(found)]


def test_a_step_is_the_same_set_on_any_machine() -> None:
    alone = steps(Batch(size=8), 1)
    assert steps(Batch(size=8, micro=2), 1) == alone
    assert steps(Batch(size=8, micro=1), 2) == alone
    assert steps(Batch(size=8, micro=2), 4) == alone
    assert all(len(step) == 8 for step in alone)


def test_an_epoch_sees_everything_once_and_leaves_out_what_fills_no_step() -> None:
    seen = [example for step in steps(Batch(size=8), 1) for example in step]
    assert len(seen) == len(set(seen)) == 48


def test_epochs_differ_and_repeat() -> None:
    assert steps(Batch(size=8), 1, epoch=1) != steps(Batch(size=8), 1, epoch=0)
    assert steps(Batch(size=8), 1, epoch=1) == steps(Batch(size=8), 1, epoch=1)


def test_steps_go_on_counting_over_epochs() -> None:
    sampler = StepSampler(50, split_batch(Batch(size=8, micro=4), 1), seed=0, rank=0, lengths=None)
    sampler.set_epoch(2)
    assert [draw.step for draw in sampler] == [step for step in range(12, 18) for _ in range(2)]
    assert len(sampler) == 12


def test_tokens_stay_within_the_budget_and_in_step() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(5, 30, 200).tolist()
    split = split_batch(Batch(unit="tokens", size=240, micro=60), 2)
    draws = [list(StepSampler(200, split, seed=0, rank=rank, lengths=lengths)) for rank in range(2)]
    assert all(sum(lengths[index] for index in draw) <= 60 for rank in draws for draw in rank)
    assert len(draws[0]) == len(draws[1])
    later = StepSampler(200, split, seed=0, rank=0, lengths=lengths)
    for epoch in range(1, 5):
        later.set_epoch(epoch)
        assert len(list(later)) == len(draws[0])


def test_what_cannot_be_cut_is_said() -> None:
    with pytest.raises(UserError, match=r"batch.size 10 is not a multiple of 4 .* x 1 .*try batch.size=12"):
        split_batch(Batch(size=10, micro=4), 1)
    split = split_batch(Batch(unit="tokens", size=60), 1)
    with pytest.raises(UserError, match=r"an example of 90 tokens does not fit batch.micro = 60"):
        StepSampler(2, split, seed=0, rank=0, lengths=[90, 3])


def test_a_draw_travels_to_workers() -> None:
    draw = pickle.loads(pickle.dumps(Draw([3, 1], epoch=2, step=7, seed=5)))
    assert (list(draw), draw.epoch, draw.step, draw.seed) == ([3, 1], 2, 7, 5)
