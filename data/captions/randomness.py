"""Random numbers that depend on (seed, key, place) only: a pose has the same text alone or in a batch."""

import numpy as np

_MIX_1, _MIX_2, _STEP = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB), np.uint64(0x9E3779B97F4A7C15)


def mix(words: np.ndarray) -> np.ndarray:
    """Scramble uint64 words (the finaliser of splitmix64, Steele, Lea & Flood 2014)."""
    with np.errstate(over="ignore"):
        words = (words ^ (words >> np.uint64(30))) * _MIX_1
        words = (words ^ (words >> np.uint64(27))) * _MIX_2
        return words ^ (words >> np.uint64(31))


def fold(seed: int, *parts: int | np.ndarray) -> np.ndarray:
    """One uint64 per element from a seed and any number of integers or integer arrays (broadcast together)."""
    state = mix(np.asarray(seed & 0xFFFFFFFFFFFFFFFF, dtype=np.uint64) + _STEP)
    with np.errstate(over="ignore"):
        for part in parts:
            state = mix((state ^ np.asarray(part).astype(np.uint64)) * _STEP + _STEP)
    return state


def uniform(seed: int, keys: np.ndarray, count: int, stream: int = 0) -> np.ndarray:
    """(len(keys), count) float32 in [0, 1): row i depends on (seed, stream, keys[i]) alone."""
    rows = fold(seed, stream, keys)[:, None]
    words = fold(0, rows, np.arange(count, dtype=np.uint64)[None])
    return (words >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)
