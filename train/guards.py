"""What may go wrong in a step, said at once: a loss or gradient that is not a number, a step without targets.

The loss is looked at before its backward pass and the gradients before the optimizer moves anything, so the weights on
disk and in memory are those of the last good step.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from llmpose.errors import UserError


class Guard(TrainerCallback):
    """Remembers the records of the current step; stops the run on the first number that is none."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.step_ids: list[Any] = []
        """Of the micro-batches of this step, as the batches gave them; only read when something is wrong."""
        self.checks_gradients = True
        """Off under DeepSpeed, which steps inside its backward pass and shards gradients: there the loss is checked."""

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.step_ids = []

    def check_loss(self, loss: Tensor, terms: dict[str, Tensor], record_ids: Any, step: int) -> None:
        """Before the backward pass of one micro-batch."""
        self.step_ids.append(record_ids)
        if torch.isfinite(loss):
            return
        bad = [name for name, term in terms.items() if not bool(torch.isfinite(term).all())]
        at_fault = f" (terms: {', '.join(bad)})" if bad else ""
        raise UserError(self._message(f"the loss is {loss.item()}{at_fault}", step, record_ids))

    def on_pre_optimizer_step(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: torch.nn.Module | None = None,
        **_: Any,
    ) -> None:
        if model is None or not self.checks_gradients:
            return
        grads = [p.grad for p in model.parameters() if p.grad is not None]
        if grads and not bool(torch.isfinite(torch.nn.utils.get_total_norm(grads))):
            # Which one cannot be told any more: clipping has spread it over all of them.
            raise UserError(self._message("a gradient is not finite", state.global_step, self.step_ids))

    def _message(self, what: str, done: int, record_ids: Any) -> str:
        ids = list(_flat(record_ids))
        shown = ", ".join(ids[:8]) + (f" and {len(ids) - 8} more" if len(ids) > 8 else "")
        records = f"; records: {shown}" if ids else ""
        return f"{self.name}, step {done + 1}: {what}; stopped before the weights were touched{records}"


def _flat(ids: Any) -> Iterator[str]:
    if isinstance(ids, str):
        yield ids
    elif isinstance(ids, Iterable):
        for entry in ids:
            yield from _flat(entry)
