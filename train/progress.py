"""What a run tells while it runs: a live bar on a terminal, key=value lines elsewhere, and metrics.jsonl always."""

import json
import sys
import time
from typing import IO, Any

import psutil
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from train.recipe import Recipe
from train.runfolder import RunFolder

_HIDDEN = ("epoch", "grad_norm", "step")


class Reporter(TrainerCallback):
    """Speed is measured over the last stretch between two logs, evaluations and checkpoints left out."""

    def __init__(self, recipe: Recipe, folder: RunFolder) -> None:
        self.recipe, self.folder = recipe, folder
        self.console = Console(file=sys.stderr, highlight=False)
        self.bar: Progress | None = None
        self.task: Any = None
        self.file: IO[str] | None = None
        self.busy_s = 0.0
        self.step_began = 0.0
        self.steps_timed = 0

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if not state.is_world_process_zero:
            return
        self.folder.rewind_metrics(state.global_step)
        self.file = open(self.folder.metrics, "a", encoding="utf-8")  # noqa: SIM115 - closed when training ends
        if self.recipe.log.progress and self.console.is_terminal:
            self.bar = Progress(
                SpinnerColumn(),
                TextColumn("[bold]{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[told]}"),
                console=self.console,
                transient=True,
            )
            self.bar.start()
            self.task = self.bar.add_task(self.recipe.name, total=state.max_steps, completed=state.global_step, told="")
        self.step_began = time.perf_counter()

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if not self.step_began:
            self.step_began = time.perf_counter()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.busy_s += time.perf_counter() - self.step_began
        self.steps_timed += 1
        # The next step's time begins now (its data is part of it), unless something slower than a step comes between.
        between = control.should_evaluate or control.should_save
        self.step_began = 0.0 if between else time.perf_counter()
        if self.bar is not None:
            self.bar.update(self.task, completed=state.global_step)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        if self.file is None or logs is None or "train_runtime" in logs:
            return
        line: dict[str, Any] = {"step": state.global_step, **{key: _plain(value) for key, value in logs.items()}}
        if "loss" in logs and self.busy_s > 0:
            rate = self.steps_timed / self.busy_s
            line[f"{self.recipe.batch.unit}_per_s"] = round(rate * self.recipe.batch.size, 1)
            line["seconds_left"] = round((state.max_steps - state.global_step) / rate, 1)
            line["memory_gb"] = round(memory_gb(), 2)
            self.busy_s, self.steps_timed = 0.0, 0
        self.file.write(json.dumps(line) + "\n")
        self.file.flush()
        told = " ".join(f"{key}={_short(value)}" for key, value in line.items() if key not in _HIDDEN)
        if self.bar is not None:
            self.bar.update(self.task, told=told if "loss" in logs else "")
            if "loss" not in logs:
                self.console.print(f"{self.recipe.name} step={state.global_step} {told}", soft_wrap=True)
        elif self.recipe.log.progress:
            self.console.print(f"{self.recipe.name} step={state.global_step}/{state.max_steps} {told}", soft_wrap=True)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.close()

    def close(self) -> None:
        """Give the terminal and the file back, also when training failed."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None
        if self.file is not None:
            self.file.close()
            self.file = None


def memory_gb() -> float:
    """Most GPU memory in use so far; without a GPU, what this process holds now."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    return psutil.Process().memory_info().rss / 1e9


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, torch.Tensor) else value


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
