"""One cross-entropy for text and poses (UniPose Eq. 3–6), without the logits of a whole row ever standing in memory.

Only positions that have a label reach the head (in a stage-2 mixture about a third of them), and of those only a chunk
at a time; the backward pass recomputes a chunk's logits. The value and the gradients are those of the plain loss.

On CUDA liger-kernel (extra `gpu`) does the same in fused kernels, where the head is one matrix and no rank holds a part
of it. Tasks are logged apart, so it is asked for a loss and a hit per token; for that it computes the logits again in
the backward pass, as the chunks do. What it saves are the passes over them.

Shape letters: M labelled positions, D hidden width, V vocabulary, K tasks.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

import torch
import torch.nn.functional as F
from packaging.version import Version
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers.distributed.fsdp import is_fsdp_enabled
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled

from llmpose.model.head import MatrixHead

CHUNK_BYTES = 256 * 2**20
"""Logits of one chunk, in fp32, may take this much memory."""

FIRST_LIGER = "0.8.2"
"""The first release whose losses per token have the right gradients."""


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
    matrix: MatrixHead | None = None,
) -> LossSums:
    """Token losses of `labels` (M,) under `head(hidden)`, hidden (M, D), summed in all and by `tasks` (M,).

    `num_chunks` None takes as many as CHUNK_BYTES asks for. Where parameters are gathered at every call of the head
    (ZeRO-3), all ranks must call it equally often: give a number then. With `matrix`, which is what `head` computes,
    liger's kernels do it.
    """
    if matrix is not None and len(labels):
        token_loss, token_correct = _fused_losses(matrix, hidden, labels)
    else:
        chunks = num_chunks or max(1, -(-len(labels) * vocab_size * 4 // CHUNK_BYTES))
        token_loss, token_correct = _chunked_losses(head, hidden, labels, chunks)
    by_task = token_loss.new_zeros(3, num_tasks)
    if num_tasks:
        rows = torch.stack([token_loss.detach(), token_correct.to(token_loss), torch.ones_like(token_loss)])
        by_task = by_task.index_add(1, tasks, rows)
    return LossSums(token_loss.sum(), torch.tensor(len(labels), device=labels.device), *by_task)


def choose_loss(device_type: str, *, liger: str | None, is_sharded: bool) -> Literal["liger", "chunked"]:
    """Which loss runs: liger's on CUDA, if its release (None: not installed) will do and every rank has the whole head.

    A weight that is sharded over ranks is whole only while its own module is called, and liger does not call it.
    """
    new_enough = liger is not None and Version(liger) >= Version(FIRST_LIGER)
    return "liger" if device_type == "cuda" and new_enough and not is_sharded else "chunked"


def describe_loss(device_type: str, *, liger: str | None, is_sharded: bool) -> str:
    """Which loss runs, for a log, and why not liger's where it could be expected."""
    if choose_loss(device_type, liger=liger, is_sharded=is_sharded) == "liger":
        return f"liger-kernel {liger}, fused"
    if device_type != "cuda":
        return "in chunks"
    if liger is None:
        return "in chunks (liger-kernel is not installed)"
    return f"in chunks ({'the head is sharded' if is_sharded else f'liger-kernel {liger} is older than {FIRST_LIGER}'})"


def is_sharded() -> bool:
    """Whether the ranks of this run hold parts of the weights (ZeRO-3, FSDP)."""
    return is_deepspeed_zero3_enabled() or is_fsdp_enabled()


@cache
def liger_version() -> str | None:
    """The release of liger-kernel that is installed; None without it."""
    try:
        return version("liger-kernel")
    except PackageNotFoundError:
        return None


def _fused_losses(head: MatrixHead, hidden: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """(M,) losses in fp32 and (M,) whether the label was the most probable token, by liger's kernels."""
    from liger_kernel.transformers.fused_linear_cross_entropy import (  # pyright: ignore[reportMissingImports]
        LigerFusedLinearCrossEntropyLoss,
    )

    scale, cap = head.squash.scale, head.squash.cap
    # Gradients of the matrix are added up over liger's own chunks: in fp32, or bf16 would lose the later ones.
    fused = LigerFusedLinearCrossEntropyLoss(
        reduction="none", softcap=cap, accum_dtype=torch.float32, return_token_accuracy=True
    )
    bias = head.bias
    if scale != 1.0:
        hidden, bias = hidden * scale, None if bias is None else bias * scale
    out = fused(head.weight, hidden, labels, bias)
    return out.loss, out.token_accuracy > 0


def _chunked_losses(
    head: Callable[[Tensor], Tensor], hidden: Tensor, labels: Tensor, num_chunks: int
) -> tuple[Tensor, Tensor]:
    """(M,) losses in fp32 and (M,) whether the label was the most probable token, a chunk at a time."""
    losses, correct = [], []
    for hidden_part, label_part in zip(hidden.tensor_split(num_chunks), labels.tensor_split(num_chunks), strict=True):
        if num_chunks > 1 and torch.is_grad_enabled():
            part = checkpoint(_token_losses, head, hidden_part, label_part, use_reentrant=False)
            assert part is not None
        else:
            part = _token_losses(head, hidden_part, label_part)
        losses.append(part[0])
        correct.append(part[1])
    return torch.cat(losses), torch.cat(correct)


def _token_losses(head: Callable[[Tensor], Tensor], hidden: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """(M,) losses in fp32 and (M,) whether the label was the most probable token."""
    logits = head(hidden).float()
    if not len(labels):  # argmax knows no empty rows; the head stays in the graph all the same
        return logits.sum(-1), labels == labels
    return F.cross_entropy(logits, labels, reduction="none"), logits.detach().argmax(-1) == labels
