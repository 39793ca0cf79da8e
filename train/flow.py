"""When a step logs, measures, saves and stops; and what happens to a checkpoint once Trainer has written it."""

from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from train.recipe import Recipe


class Flow(TrainerCallback):
    """The recipe's log.every, checkpoints.* and stop_at; the last step does everything."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        step, last = state.global_step, state.global_step >= state.max_steps
        points, stop_at = self.recipe.checkpoints, self.recipe.stop_at
        stops = stop_at is not None and step >= stop_at
        control.should_evaluate = last or _due(step, points.evaluate_every)
        control.should_save = last or stops or _due(step, points.every)
        # A log with every checkpoint: the averages since the last log are not in it, a resumed run would report others.
        control.should_log = control.should_save or step == 1 or _due(step, self.recipe.log.every)
        control.should_training_stop = last or stops

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        # Trainer asks again at the end of an epoch; the step has had its turn.
        control.should_evaluate = control.should_save = control.should_log = False


class OnSaved(TrainerCallback):
    """Runs when Trainer has written all of a checkpoint, on every process."""

    def __init__(self, saved: Callable[[int], None]) -> None:
        self.saved = saved

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.saved(state.global_step)


def _due(step: int, every: int | None) -> bool:
    return every is not None and step % every == 0
