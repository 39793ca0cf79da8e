"""The one training engine: transformers' Trainer through its public hooks, for every kind of model.

    job + recipe -> Engine -> run folder

What it adds to Trainer: a loss that is exact over accumulation and processes, data drawn by step, a guard against
numbers that are none, checkpoints that are whole, and the best model kept. Trainer keeps the loop, mixed precision,
DDP, DeepSpeed, FSDP and the state of a resume.
"""

import json
import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainingArguments

from llmpose.errors import UserError
from train.checkpoints import WRITING, CheckpointFolder, replace_folder
from train.flow import Flow, OnSaved
from train.guards import Guard
from train.job import Job
from train.muon import Muon
from train.optim import learning_rate_shape, parameter_groups
from train.progress import Reporter
from train.recipe import Recipe
from train.runfolder import RunFolder
from train.sampler import EpochLoader, Split, StepSampler, make_loader, split_batch
from train.saving import bare_model, save_with, trained_state, whole_model


class Engine(Trainer):
    """One stage in training. `train/run.py` makes it; nothing else needs to."""

    optimizer: torch.optim.Optimizer | None
    lr_scheduler: torch.optim.lr_scheduler.LRScheduler | None

    def __init__(self, job: Job, recipe: Recipe, folder: RunFolder, rebuild: Callable[[], nn.Module]) -> None:
        self.job, self.recipe, self.run_folder, self.rebuild = job, recipe, folder, rebuild
        processes = PartialState()
        self.split = split_batch(recipe.batch, processes.num_processes)
        self.sampler = StepSampler(
            len(job.train_data), self.split, seed=recipe.seed, rank=processes.process_index, lengths=job.lengths
        )
        steps = recipe.max_steps or max(1, round(recipe.epochs * self.sampler.steps_per_epoch))
        args = training_arguments(recipe, folder, self.split, steps)
        self.checkpoints = CheckpointFolder(folder.checkpoints, recipe.checkpoints.keep)
        self.guard = Guard(recipe.name)
        self.reporter = Reporter(recipe, folder)
        self.term_sums: dict[str, Tensor] = {}
        self.ratio_sums: dict[str, Tensor] = {}
        self.terms_since: int | None = None
        """The step after which the sums began: the last one that was logged, or that this run began at."""
        self.is_saving = False
        """While a checkpoint or a model is being written: what fails then is told as such."""
        super().__init__(
            model=job.model,
            args=args,
            data_collator=job.collate,  # pyright: ignore[reportArgumentType]
            train_dataset=job.train_data,  # pyright: ignore[reportArgumentType]
            callbacks=[Flow(recipe), self.guard, self.reporter, OnSaved(self._checkpoint_written)],
        )
        for callback in (PrinterCallback, ProgressCallback):
            self.remove_callback(callback)
        if not hasattr(job.model, "_keys_to_ignore_on_save"):
            # Trainer asks a transformers model for this when a checkpoint lacks keys, as ours lack the frozen ones.
            job.model._keys_to_ignore_on_save = None  # pyright: ignore[reportArgumentType]
        # compute_loss divides by the targets of the whole step itself; the second name is that of older Trainers.
        self.loss_is_scaled_for_ga = self.model_accepts_loss_kwargs = True
        self.guard.checks_gradients = not self.is_deepspeed_enabled

    # --- data -----------------------------------------------------------------------------------------------------

    def get_train_dataloader(self) -> EpochLoader:
        """Rank-aware draws through a plain loader."""
        return make_loader(self.job, self.sampler, workers=self.recipe.data.workers, seed=self.recipe.seed)

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], int]:
        """The micro-batches of one step, and the number of targets in them over all processes."""
        batches = [next(epoch_iterator) for _ in range(num_batches)]
        count = sum(self.job.count(batch) for batch in batches)
        if self.args.world_size > 1:
            count = int(self.accelerator.reduce(torch.tensor(count, device=device), "sum").item())  # type: ignore[union-attr]
        if not count:
            raise UserError(f"{self.recipe.name}: a step has no targets at all; look at the data's labels")
        return batches, count

    # --- one step -------------------------------------------------------------------------------------------------

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """This micro-batch's share of the step's loss: sum over its targets / targets of the whole step."""
        if self.terms_since is None:
            self.terms_since = self.state.global_step
        fields = {name: value for name, value in inputs.items() if name != "record_ids"}
        outputs = model(**fields, num_items_in_batch=num_items_in_batch)
        terms = getattr(outputs, "terms", None) or {}
        self.guard.check_loss(outputs.loss, terms, inputs.get("record_ids", ()), self.state.global_step)
        for name, term in terms.items():
            self.term_sums[name] = self.term_sums.get(name, torch.zeros_like(term)) + term.detach()
        for name, pair in (getattr(outputs, "ratios", None) or {}).items():
            both = torch.stack(pair).detach().float()
            self.ratio_sums[name] = self.ratio_sums.get(name, torch.zeros_like(both)) + both
        # Gradients are averaged over processes; the sum is wanted.
        loss = outputs.loss * self.args.world_size
        return (loss, outputs) if return_outputs else loss

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """AdamW or Muon; a learning rate per component where the recipe gives one; no decay on biases and norms."""
        if self.optimizer is None:
            trained: Any = self.model if model is None else model
            optim = self.recipe.optim
            decays = set(self.get_decay_parameter_names(trained))
            groups = parameter_groups(trained, self.job.components, optim, decays)
            if optim.name == "muon" and (self.is_fsdp_enabled or self.is_deepspeed_enabled):
                raise UserError("optim.name: muon needs whole matrices, which DeepSpeed and FSDP divide; use adamw")
            kind = Muon if optim.name == "muon" else torch.optim.AdamW
            self.optimizer = kind(groups, lr=optim.lr, betas=optim.betas, fused=not self.is_fsdp_enabled)
        return self.optimizer

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """The recipe's schedule, stepped once per optimizer step whatever the number of processes."""
        if self.lr_scheduler is None:
            shape = learning_rate_shape(self.recipe.optim, num_training_steps)
            over: Any = optimizer or self.optimizer
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(over, shape)
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the loss's terms, averaged over the steps since the last log, as the loss itself is."""
        if "loss" in logs and self.term_sums:
            assert self.terms_since is not None
            steps = self.state.global_step - self.terms_since
            names = sorted(self.term_sums)
            sums = torch.stack([self.term_sums[name].float() for name in names])
            if self.args.world_size > 1:
                sums = self.accelerator.reduce(sums, "sum")
            logs.update({name: value / steps for name, value in zip(names, sums.tolist(), strict=True)})  # type: ignore[union-attr]
            self.term_sums = {}
        if "loss" in logs and self.ratio_sums:
            names = sorted(self.ratio_sums)
            pairs = torch.stack([self.ratio_sums[name] for name in names])
            if self.args.world_size > 1:
                pairs = self.accelerator.reduce(pairs, "sum")
            found = zip(names, pairs.tolist(), strict=True)  # type: ignore[union-attr]
            logs.update({name: part / whole for name, (part, whole) in found if whole})
            self.ratio_sums = {}
        if "loss" in logs:
            self.terms_since = self.state.global_step
        super().log(logs, start_time)

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Not counted: the usual estimate is wrong for packed rows and pose blocks."""
        return 0

    # --- measuring and saving -------------------------------------------------------------------------------------

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """The job's own measurement, on every process. The best model so far is written, and the last one.

        Trainer saves its checkpoint after this, so a run whose last checkpoint is there has its model, too.
        """
        metrics: dict[str, float] = {}
        if self.job.evaluate is not None:
            model = bare_model(self)
            model.eval()
            with torch.no_grad(), torch.random.fork_rng():
                metrics = self.job.evaluate(model)
            model.train()
            self.log({f"eval_{name}": value for name, value in metrics.items()})
        wanted = self.recipe.checkpoints.best
        if wanted is not None and wanted not in metrics:
            raise UserError(f"checkpoints.best: no metric {wanted!r}; measured: {', '.join(metrics) or 'none'}")
        if wanted is not None and self._is_best(metrics[wanted]):
            self.write_model(self.run_folder.best, metrics)
        if self.state.global_step >= self.state.max_steps:
            self.write_model(self.run_folder.model, metrics)
        return metrics

    def write_model(self, target: Path, result: dict[str, float]) -> None:
        """Save what later stages load, whole or not at all."""
        self.is_saving = True
        fresh = target.with_name(f".new-{target.name}")
        with whole_model(self, self.rebuild) as model:
            if self.args.should_save:
                shutil.rmtree(fresh, ignore_errors=True)
                fresh.mkdir(parents=True)
                save_with(self.job.save, model, fresh)
                (fresh / "result.json").write_text(json.dumps({"step": self.state.global_step, **result}, indent=1))
                replace_folder(fresh, target)
        self.accelerator.wait_for_everyone()
        self.is_saving = False

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """For a checkpoint: only what training changes. Frozen weights come back from where they came."""
        self.is_saving = True
        if self.is_deepspeed_enabled or self.is_fsdp_enabled:
            super().save_model(output_dir, _internal_call)
        elif self.args.should_save:
            folder = Path(output_dir or self.args.output_dir or ".")
            folder.mkdir(parents=True, exist_ok=True)
            save_file(trained_state(bare_model(self)), folder / "model.safetensors")

    def _checkpoint_written(self, step: int) -> None:
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            self.checkpoints.commit(step)
        self.accelerator.wait_for_everyone()
        self.is_saving = False

    def _is_best(self, value: float) -> bool:
        """Decided by the first process for all: a slow one could already read the file that a fast one has written."""
        verdict = self._beats_best(value) if self.is_world_process_zero() else False
        if self.args.world_size > 1:
            told = torch.tensor(int(verdict), device=self.args.device)
            verdict = bool(self.accelerator.reduce(told, "sum").item())  # type: ignore[union-attr]
        return verdict

    def _beats_best(self, value: float) -> bool:
        try:
            before = json.loads((self.run_folder.best / "result.json").read_text())[self.recipe.checkpoints.best]
        except (OSError, ValueError, KeyError):
            return not math.isnan(value)
        return value < before if self.recipe.checkpoints.best_is == "min" else value > before


def training_arguments(recipe: Recipe, folder: RunFolder, split: Split, steps: int) -> TrainingArguments:
    """What Trainer itself has to know, also to fill in a DeepSpeed file's "auto"; all timing is in train/flow.py."""
    optim = recipe.optim
    known = {field.name for field in fields(TrainingArguments)}  # renamed in transformers 5.23
    checkpointing = "activation_checkpointing" if "activation_checkpointing" in known else "gradient_checkpointing"
    recompute: dict[str, Any] = {
        checkpointing: recipe.activation_checkpointing,
        f"{checkpointing}_kwargs": {"use_reentrant": False},
    }
    return TrainingArguments(
        output_dir=str(folder.checkpoints / WRITING),
        run_name=recipe.name,
        project=recipe.log.project,
        seed=recipe.seed,
        max_steps=steps,
        per_device_train_batch_size=split.micro if split.unit == "examples" else 1,
        gradient_accumulation_steps=split.accumulation,
        use_cpu=not torch.cuda.is_available(),
        bf16=recipe.precision == "bf16",
        **recompute,
        learning_rate=optim.lr,
        weight_decay=optim.weight_decay,
        adam_beta1=optim.betas[0],
        adam_beta2=optim.betas[1],
        max_grad_norm=optim.clip_norm,
        logging_strategy="no",
        save_strategy="no",
        eval_strategy="no",
        disable_tqdm=True,
        logging_nan_inf_filter=False,  # the guard stops instead
        report_to="none" if recipe.log.wandb == "off" else "wandb",
        log_level="error",
        log_level_replica="error",
        deepspeed=recipe.deepspeed,
        remove_unused_columns=False,
        ddp_find_unused_parameters=False,
    )
