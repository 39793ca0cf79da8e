"""Trivial answers that every benchmark compares with: the mean pose, a random training answer, the nearest neighbour's.

A model that does not beat them has learned nothing that a table lookup does not know.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, cast

import numpy as np
import roma
import torch
from torch import Tensor

from eval.metrics.text import tokenize_13a


def mean_pose(rotmat: Tensor) -> Tensor:
    """(N, 22, 3, 3) -> (22, 3, 3): per joint the rotation nearest to the mean matrix (the chordal mean)."""
    return cast(Tensor, roma.special_procrustes(rotmat.double().mean(dim=0))).to(rotmat.dtype)


def draw(count: int, size: int, seed: int) -> np.ndarray:
    """`size` draws with repetition from range(count): which training answer a guesser gives to each question."""
    return np.random.default_rng(seed).integers(0, count, size)


def nearest(query: np.ndarray, bank: np.ndarray, chunk: int = 512) -> np.ndarray:
    """Index of the nearest row of `bank` (M, D) for each row of `query` (N, D), Euclidean."""
    query, bank = np.asarray(query, np.float32), np.asarray(bank, np.float32)
    norms = (bank**2).sum(axis=1)
    parts = [
        (norms - 2 * query[start : start + chunk] @ bank.T).argmin(axis=1) for start in range(0, len(query), chunk)
    ]
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def joint_features(joints_m: Tensor) -> np.ndarray:
    """(N, J, 3) -> (N, 3J): joints about the pelvis, flat."""
    return (joints_m - joints_m[:, :1]).flatten(1).cpu().numpy()


def image_features(images: Sequence[Any], side: int = 16) -> np.ndarray:
    """Pictures as grey thumbnails (N, side²), without brightness and contrast, for nearest-pixel lookup."""
    rows = []
    for image in images:
        small = np.asarray(image.convert("L").resize((side, side)), dtype=np.float32).ravel()
        rows.append((small - small.mean()) / (small.std() + 1e-6))
    return np.stack(rows) if rows else np.zeros((0, side * side), np.float32)


class TextFeatures:
    """Tf-idf vectors of word pairs and words, fitted on training captions; L2-normalised, so nearest = most alike."""

    def __init__(self, captions: Sequence[str], max_terms: int = 4096) -> None:
        counts = Counter(term for caption in captions for term in set(_terms(caption)))
        common = sorted(counts, key=lambda term: (-counts[term], term))[:max_terms]
        self.index = {term: column for column, term in enumerate(common)}
        self.idf = np.array([np.log((1 + len(captions)) / (1 + counts[term])) + 1 for term in common], np.float32)

    def __call__(self, captions: Sequence[str]) -> np.ndarray:
        rows = np.zeros((len(captions), len(self.index)), np.float32)
        for row, caption in zip(rows, captions, strict=True):
            for term, count in Counter(_terms(caption)).items():
                if term in self.index:
                    row[self.index[term]] = count
        rows *= self.idf
        return rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(1e-9)


def _terms(caption: str) -> list[str]:
    words = [word.lower() for word in tokenize_13a(caption)]
    return words + [f"{a} {b}" for a, b in pairwise(words)]


def repeated(rotmat: Tensor, count: int) -> Tensor:
    """The same answer to every question: (22, 3, 3) -> (count, 22, 3, 3)."""
    return rotmat[None].expand(count, *rotmat.shape).to(torch.float32)
