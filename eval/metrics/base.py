"""A metric is a pile of rows, one per record id; its value is computed from the whole pile at the end.

That makes three things fall out by themselves: results do not depend on the batch size, piles of several processes
are merged by joining them, and a record that a distributed sampler hands out twice (to fill the last batch) counts
once.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, Self, TypeVar

import numpy as np

Row = TypeVar("Row")


class Metric(ABC, Generic[Row]):
    """update (in the subclass) adds rows; merge and gather join piles; compute reads them in the order of their ids."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}

    def __len__(self) -> int:
        return len(self.rows)

    def add(self, ids: Iterable[str], rows: Iterable[Row]) -> None:
        for record_id, row in zip(ids, rows, strict=True):
            self.rows.setdefault(record_id, row)

    def merge(self, other: Self) -> Self:
        for record_id, row in other.rows.items():
            self.rows.setdefault(record_id, row)
        return self

    def gather(self) -> Self:
        """Join the piles of all processes; every process ends with the whole pile. Does nothing outside a process
        group.
        """
        import torch.distributed as dist

        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            piles: list[dict[str, Row]] = [{} for _ in range(dist.get_world_size())]
            dist.all_gather_object(piles, self.rows)
            self.rows = {}
            for pile in piles:
                for record_id, row in pile.items():
                    self.rows.setdefault(record_id, row)
        return self

    @property
    def ids(self) -> list[str]:
        return sorted(self.rows)

    def ordered(self) -> list[Row]:
        return [self.rows[record_id] for record_id in self.ids]

    @abstractmethod
    def compute(self) -> dict[str, float]:
        """Named values over all rows; always with "n", the number of records."""


@dataclass(frozen=True)
class Interval:
    """A value and the range that `level` of the bootstrap resamplings fall into."""

    value: float
    low: float
    high: float
    level: float = 0.95

    def __str__(self) -> str:
        return f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}]"


def bootstrap_mean(
    values: np.ndarray, *, samples: int = 1000, level: float = 0.95, seed: int = 0, chunk: int = 50
) -> Interval:
    """Percentile bootstrap of a mean over records. Resampling n records = drawing how often each one is taken."""
    values = np.asarray(values, dtype=np.float64)
    n = len(values)
    if n == 0:
        return Interval(float("nan"), float("nan"), float("nan"), level)
    rng = np.random.default_rng(seed)
    share = np.full(n, 1.0 / n)
    means = [
        rng.multinomial(n, share, size=min(chunk, samples - start)) @ values / n for start in range(0, samples, chunk)
    ]
    return _interval(float(values.mean()), np.concatenate(means), level)


def bootstrap(
    n: int, statistic: Callable[[np.ndarray], float], *, samples: int = 200, level: float = 0.95, seed: int = 0
) -> Interval:
    """Percentile bootstrap of any statistic of a set of records; `statistic` is given row numbers, with repetitions."""
    rng = np.random.default_rng(seed)
    drawn = np.array([statistic(rng.integers(0, n, n)) for _ in range(samples)])
    return _interval(statistic(np.arange(n)), drawn, level)


def _interval(value: float, drawn: np.ndarray, level: float) -> Interval:
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high), level)


def mean_and_variance(runs: list[dict[str, float]]) -> dict[str, tuple[float, float]]:
    """Per metric, mean and (unbiased) variance over runs with different seeds, as UniPose suppl. Tab. 6 and 7 report
    them.
    """
    names = [name for name in runs[0] if all(name in run for run in runs)]
    ddof = 1 if len(runs) > 1 else 0
    return {
        name: (float(np.mean([run[name] for run in runs])), float(np.var([run[name] for run in runs], ddof=ddof)))
        for name in names
    }
