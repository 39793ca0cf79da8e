"""What a kind of model hands to the engine: a model, its data, how to measure and save it. Nothing else is passed.

A model's forward takes a batch's fields plus `num_items_in_batch`: the targets of the whole optimizer step over all
processes, or None. It returns an object with `.loss` = sum over this batch's targets / num_items_in_batch (None: the
batch's own count). It may also return `.terms: dict[str, Tensor]`, scaled the same way and detached: they are summed
over the step and logged by name; and `.ratios: dict[str, tuple[Tensor, Tensor]]`, parts and wholes, each summed over
steps and processes and logged as their quotient (a task's loss and the number of its targets).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from torch import nn

Batch = Mapping[str, Any]
"""Tensors by name, plus optionally `record_ids` (strings, nested or not), which the engine keeps for itself."""


class Draw(list[int]):
    """The indices of one micro-batch, and where in the run it is drawn.

    A dataset that needs randomness or a schedule takes it from here, never from a global generator: then the same step
    sees the same data after a resume, with any number of workers and with any accumulation.
    """

    def __init__(self, indices: Sequence[int], *, epoch: int, step: int, seed: int) -> None:
        super().__init__(indices)
        self.epoch, self.step, self.seed = epoch, step, seed

    def __reduce__(self) -> Any:
        return _draw, (list(self), self.epoch, self.step, self.seed)


def _draw(indices: list[int], epoch: int, step: int, seed: int) -> Draw:
    return Draw(indices, epoch=epoch, step=step, seed=seed)


class TrainData(Protocol):
    """A dataset of known length. Either method gives examples; `__getitems__` gets the whole Draw and is preferred."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


def count_targets(batch: Batch) -> int:
    """How many targets the batch's loss is a mean over: labels that are not ignored, else examples."""
    labels = batch.get("labels")
    if labels is not None:
        return int((labels != -100).sum())
    return len(next(value for value in batch.values() if hasattr(value, "shape")))


@dataclass(kw_only=True)
class Job:
    """One stage, ready to train."""

    model: nn.Module
    train_data: TrainData
    """Gives what `collate` takes; `__getitems__(draw: Draw) -> list`, where there is one, gives a whole micro-batch."""
    collate: Callable[[list[Any]], Batch]
    evaluate: Callable[[nn.Module], dict[str, float]] | None = None
    """Called on every process with the bare model in eval mode and without gradients; metrics in, names as logged."""
    save: Callable[[nn.Module, Path], None] | None = None
    """Write what later stages load into a folder; None calls model.save_pretrained."""
    components: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Name -> leading parts of parameter names; used to tell what trains and for optim.lr_of. Empty: one component."""
    count: Callable[[Batch], int] = count_targets
    """Targets in one micro-batch, the weight of its loss."""
    lengths: Sequence[int] | None = None
    """Tokens of each training example, for batch.unit = tokens."""
    sources: list[Path] = field(default_factory=list)
    """Folders the data came from; their manifests are hashed into the run's folder."""
