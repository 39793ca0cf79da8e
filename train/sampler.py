"""Which examples each optimizer step sees: a pure function of seed, epoch and data, for any number of processes.

    epoch order      p q r s t u v w x y …          a seeded shuffle
    steps of 8       [p q r s t u v w] [x y …]      batch.size examples, whatever the machine
    micro-batches    [p q | r s | t u | v w]        batch.micro at a time
    two processes    0: p q, t u    1: r s, v w     dealt in turn, so that each step is the same set of examples

What does not fill a step at the end of an epoch is left out on purpose: the next epoch shuffles anew.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from llmpose.errors import UserError
from train.job import Draw, Job
from train.recipe import Batch


@dataclass(frozen=True)
class Split:
    """How one optimizer step is cut: micro-batches of `micro`, `accumulation` of them on each process."""

    unit: str
    size: int
    micro: int
    accumulation: int
    world: int

    @property
    def per_step(self) -> int:
        """Micro-batches of one step over all processes."""
        return self.accumulation * self.world


def split_batch(batch: Batch, world: int) -> Split:
    """Cut batch.size for `world` processes; one line says what does not divide."""
    micro = batch.micro or max(1, batch.size // world)
    if batch.size % (micro * world):
        raise UserError(
            f"batch.size {batch.size} is not a multiple of {micro} (batch.micro) x {world} (processes); "
            f"try batch.size={math.ceil(batch.size / (micro * world)) * micro * world} or another batch.micro"
        )
    return Split(batch.unit, batch.size, micro, batch.size // (micro * world), world)


class StepSampler(Sampler[Draw]):
    """The micro-batches of one process, epoch by epoch."""

    def __init__(self, num_examples: int, split: Split, *, seed: int, rank: int, lengths: Sequence[int] | None) -> None:
        self.num_examples, self.split, self.seed, self.rank = num_examples, split, seed, rank
        self.epoch = 0
        self.lengths = None if split.unit == "examples" else np.asarray(lengths, dtype=np.int64)
        self._cached: tuple[int, list[list[int]]] = (-1, [])
        if self.lengths is not None and len(self.lengths) and self.lengths.max() > split.micro:
            raise UserError(
                f"an example of {int(self.lengths.max())} tokens does not fit batch.micro = {split.micro} tokens; "
                "raise batch.micro (and batch.size), or shorten the data"
            )
        # Packing by tokens gives a slightly different number of micro-batches in each shuffle, but schedules and resume
        # need one length for every epoch: the first shuffle's.
        self.steps_per_epoch = self._count_steps()
        if self.steps_per_epoch < 1:
            have = f"{num_examples} examples" if self.lengths is None else f"{int(self.lengths.sum())} tokens"
            raise UserError(
                f"batch.size asks for {split.size} {split.unit} per step, the data has {have}; lower batch.size"
            )

    def set_epoch(self, epoch: int) -> None:
        """Called by the training loop before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.steps_per_epoch * self.split.accumulation

    def __iter__(self) -> Iterator[Draw]:
        batches = self._micro_batches(self.epoch)
        for number in range(len(self)):
            step = self.epoch * self.steps_per_epoch + number // self.split.accumulation
            yield Draw(batches[number * self.split.world + self.rank], epoch=self.epoch, step=step, seed=self.seed)

    def _micro_batches(self, epoch: int) -> list[list[int]]:
        if self._cached[0] != epoch:
            order = np.random.default_rng([self.seed, epoch]).permutation(self.num_examples)
            self._cached = (epoch, self._cut(order, self.steps_per_epoch * self.split.per_step))
        return self._cached[1]

    def _cut(self, order: np.ndarray, count: int) -> list[list[int]]:
        micro = self.split.micro
        if self.lengths is None:
            return order[: count * micro].reshape(count, micro).tolist()
        batches = _pack(order, self.lengths, micro)
        while len(batches) < count:  # a shuffle that packed more tightly than the first: some examples come twice
            batches += batches[: count - len(batches)]
        return batches[:count]

    def _count_steps(self) -> int:
        if self.lengths is None:
            return self.num_examples // self.split.size
        order = np.random.default_rng([self.seed, 0]).permutation(self.num_examples)
        return len(_pack(order, self.lengths, self.split.micro)) // self.split.per_step


def _pack(order: np.ndarray, lengths: np.ndarray, budget: int) -> list[list[int]]:
    """Examples in order, a new micro-batch whenever the next one would not fit."""
    batches: list[list[int]] = []
    left = 0
    for index, length in zip(order.tolist(), lengths[order].tolist(), strict=True):
        if length > left:
            batches.append([])
            left = budget
        batches[-1].append(index)
        left -= length
    return batches


class EpochLoader(DataLoader[Any]):
    """A plain loader (not accelerate's, which loses the epoch on resume) that tells its sampler the epoch."""

    def set_epoch(self, epoch: int) -> None:
        """Trainer calls this."""
        assert isinstance(self.batch_sampler, StepSampler)
        self.batch_sampler.set_epoch(epoch)


def make_loader(job: Job, sampler: StepSampler, *, workers: int, seed: int) -> EpochLoader:
    """The loader that Trainer iterates."""
    return EpochLoader(
        job.train_data,  # type: ignore[arg-type]
        batch_sampler=sampler,
        collate_fn=job.collate,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        # A generator of its own: starting an epoch must not draw from the global one, or a resume would differ.
        generator=torch.Generator().manual_seed(seed),
        prefetch_factor=4 if workers else None,
    )
