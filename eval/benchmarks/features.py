"""Points of poses, pairs of poses and texts in the space of a retrieval model, made in batches wherever it runs."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

NO_WORDS = "nothing"
"""Stands for an empty answer where a model must read something."""
_BATCH = 256


@torch.no_grad()
def _in_batches(count: int, embed: Callable[[slice], Tensor]) -> np.ndarray:
    parts = [embed(slice(start, start + _BATCH)).float().cpu() for start in range(0, count, _BATCH)]
    return torch.cat(parts).numpy()


def pose_features(model: Any, poses: Tensor) -> np.ndarray:
    """(N, 22, 3, 3), heading removed -> (N, D)."""
    device = next(model.parameters()).device
    return _in_batches(len(poses), lambda s: model.embed_pose(poses[s].to(device)))


def pair_features(model: Any, a: Tensor, b: Tensor) -> np.ndarray:
    device = next(model.parameters()).device
    return _in_batches(len(a), lambda s: model.embed_pair(a[s].to(device), b[s].to(device)))


def text_features(model: Any, texts: Sequence[str]) -> np.ndarray:
    words = [text.strip() or NO_WORDS for text in texts]
    return _in_batches(len(words), lambda s: model.embed_text(words[s]))
