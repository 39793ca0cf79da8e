"""One cross-entropy for text and poses (UniPose Eq. 3–6), without the logits of a whole row ever standing in memory.

Only positions that have a label reach the head (in a stage-2 mixture about a third of them), and of those only a chunk
at a time; the backward pass recomputes a chunk's logits. The value and the gradients are those of the plain loss.

Shape letters: M labelled positions, D hidden width, V vocabulary, K tasks.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

CHUNK_BYTES = 256 * 2**20
"""Logits of one chunk, in fp32, may take this much memory."""


@dataclass
class LossSums:
    """Sums over the labelled positions of one call; whoever reports divides by counts summed over all processes."""

    loss: Tensor
    """Summed cross-entropy; the one that has a gradient."""
    count: Tensor
    """Labelled positions."""
    task_loss: Tensor
    """(K,) the same sum, task by task."""
    task_correct: Tensor
    """(K,) positions whose most probable token is the label."""
    task_count: Tensor
    """(K,)"""


def cross_entropy_sums(
    head: Callable[[Tensor], Tensor],
    hidden: Tensor,
    labels: Tensor,
    tasks: Tensor,
    num_tasks: int,
    *,
    vocab_size: int,
    num_chunks: int | None = None,
) -> LossSums:
    """Token losses of `labels` (M,) under `head(hidden)`, hidden (M, D), summed in all and by `tasks` (M,).

    `num_chunks` None takes as many as CHUNK_BYTES asks for. Where parameters are gathered at every call of the head
    (ZeRO-3), all ranks must call it equally often: give a number then.
    """
    if num_chunks is None:
        num_chunks = max(1, -(-len(labels) * vocab_size * 4 // CHUNK_BYTES))
    losses, correct = [], []
    for hidden_part, label_part in zip(hidden.tensor_split(num_chunks), labels.tensor_split(num_chunks), strict=True):
        if num_chunks > 1 and torch.is_grad_enabled():
            part = checkpoint(_token_losses, head, hidden_part, label_part, use_reentrant=False)
            assert part is not None
        else:
            part = _token_losses(head, hidden_part, label_part)
        losses.append(part[0])
        correct.append(part[1])
    token_loss, token_correct = torch.cat(losses), torch.cat(correct)
    by_task = token_loss.new_zeros(3, num_tasks)
    if num_tasks:
        rows = torch.stack([token_loss.detach(), token_correct.to(token_loss), torch.ones_like(token_loss)])
        by_task = by_task.index_add(1, tasks, rows)
    return LossSums(token_loss.sum(), torch.tensor(len(labels), device=labels.device), *by_task)


def _token_losses(head: Callable[[Tensor], Tensor], hidden: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """(M,) losses in fp32 and (M,) whether the label was the most probable token."""
    logits = head(hidden).float()
    if not len(labels):  # argmax knows no empty rows; the head stays in the graph all the same
        return logits.sum(-1), labels == labels
    return F.cross_entropy(logits, labels, reduction="none"), logits.detach().argmax(-1) == labels
