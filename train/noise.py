"""Random numbers that belong to a place: a pure function of (seed, epoch, example, column).

No generator, no state: the same example gets the same noise in the same epoch, whichever process or worker draws it and
however a step is cut into micro-batches. SplitMix64 (Steele et al. 2014) over whole arrays: about 0.1 ms for a batch.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Words = NDArray[np.uint64]

_GOLDEN = 0x9E3779B97F4A7C15


def uniform(seed: int, epoch: int, examples: Sequence[int] | NDArray[np.int64], columns: int, *, stream: int) -> Tensor:
    """(examples, columns) float32 in [0, 1). Each use of noise has its own `stream`."""
    words = _words(seed, epoch, np.asarray(examples), columns, stream)
    return torch.from_numpy((words >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24))


def normal(seed: int, epoch: int, examples: Sequence[int] | NDArray[np.int64], columns: int, *, stream: int) -> Tensor:
    """(examples, columns) float32, standard normal (Box-Muller)."""
    pairs = uniform(seed, epoch, examples, 2 * columns, stream=stream)
    radius = torch.sqrt(-2 * torch.log1p(-pairs[:, :columns]))
    return radius * torch.cos(2 * torch.pi * pairs[:, columns:])


def _words(seed: int, epoch: int, examples: NDArray[np.int64], columns: int, stream: int) -> Words:
    key = np.zeros(1, dtype=np.uint64)
    for part in (seed, epoch, stream):
        key = _mix(key + np.uint64(part & 0xFFFFFFFFFFFFFFFF))
    rows = _mix(key + examples.astype(np.uint64) * np.uint64(_GOLDEN))
    return _mix(rows[:, None] + np.arange(1, columns + 1, dtype=np.uint64) * np.uint64(_GOLDEN))


def _mix(word: Words) -> Words:
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))
