"""One stage from recipe to model: `python -m train.run RECIPE.yaml … [key=value …]`, or under accelerate or torchrun.

The story, in order: read the recipe, take the run's folder, say what will happen, build model and data, train (from the
last whole checkpoint, where there is one), write the model.
"""

import gc
import hashlib
import json
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from omegaconf import OmegaConf
from transformers import set_seed
from transformers.utils import logging as transformers_logging

from llmpose.errors import BadUsage, MissingExtra, UserError
from train.builds import abandoned_locks
from train.checkpoints import could_not_write, saving_failed, step_of
from train.engine import Engine
from train.job import Job
from train.kernels import describe_kernels
from train.recipe import KINDS, Recipe, load_words, resolved
from train.runfolder import RunFolder
from train.stages import STAGES, what_trains

logger = logging.getLogger("train")


@dataclass(frozen=True)
class Result:
    """What a run leaves behind."""

    model: Path
    """Folder that later stages load."""
    metrics: dict[str, float]
    """Its evaluation; empty while there is none."""
    steps: int
    finished: bool
    """False when stop_at ended it early."""


def run(recipe: Recipe) -> Result:
    """Train what the recipe says; going on where an earlier run of the same recipe stopped."""
    recipe = resolved(recipe)
    _tell_of_killed_builds(recipe)
    state = PartialState(cpu=not torch.cuda.is_available())  # before the model: codebooks ask who else is there
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    folder = RunFolder(Path(recipe.run_dir))
    if state.is_main_process:
        folder.lock()
    try:
        return _run_locked(recipe, folder, state)
    finally:
        folder.unlock()


def _tell_of_killed_builds(recipe: Recipe) -> None:
    """Before the processes meet, for meeting is what may wait for a build."""
    uses_deepspeed = recipe.deepspeed is not None or os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true"
    if not uses_deepspeed or os.environ.get("LOCAL_RANK", "0") != "0":
        return
    for lock in abandoned_locks():
        logger.warning(
            "%s: no process here holds this lock of a compilation; if the run stands still, and no other machine is "
            "compiling, remove the file: an earlier run was killed while DeepSpeed compiled",
            lock,
        )


def build(recipe: Recipe) -> Job:
    """Model and data of the recipe's kind."""
    if recipe.stage and (recipe.stage not in STAGES or STAGES[recipe.stage].kind != recipe.kind):
        fitting = [name for name, stage in STAGES.items() if stage.kind == recipe.kind]
        raise UserError(f"stage: {recipe.stage!r} is no stage of kind {recipe.kind}; valid: {', '.join(fitting)}")
    module: Any = import_module(KINDS[recipe.kind])
    return module.build(recipe)


def _run_locked(recipe: Recipe, folder: RunFolder, state: PartialState) -> Result:
    if state.is_main_process:
        folder.check_recipe(recipe)
        logger.info("recipe\n%s", OmegaConf.to_yaml(OmegaConf.structured(recipe)).rstrip())
    set_seed(recipe.seed)
    transformers_logging.disable_progress_bar()  # a bar per saved file would tear ours
    job = build(recipe)
    if state.is_main_process:
        for component, (trainable, frozen) in what_trains(job.model, job.components).items():
            logger.info("component=%s trains=%s frozen=%s", component, f"{trainable:,}", f"{frozen:,}")
    tracker = _start_tracker(recipe, folder) if state.is_main_process else None
    engine = Engine(job, recipe, folder, rebuild=lambda: build(recipe).model)
    if state.is_main_process:
        engine.checkpoints.sweep()
        folder.describe(recipe, job.sources, state.num_processes)
        logger.info(
            "run=%s examples=%d steps=%d steps_per_epoch=%d processes=%d accumulation=%d device=%s precision=%s",
            folder.path,
            len(job.train_data),
            engine.args.max_steps,
            engine.sampler.steps_per_epoch,
            state.num_processes,
            engine.split.accumulation,
            engine.args.device,
            recipe.precision,
        )
        if (kernels := describe_kernels(job.model, engine.args.device.type, recipe.precision)) is not None:
            logger.info("kernels %s", kernels)
    state.wait_for_everyone()
    try:
        result = _train(engine, folder)
    finally:
        if tracker is not None:
            tracker.finish()
    if state.is_main_process:
        told = " ".join(f"{name}={value:.4g}" for name, value in result.metrics.items())
        logger.info("done step=%d model=%s %s", result.steps, result.model, told)
    return result


def _train(engine: Engine, folder: RunFolder) -> Result:
    last = engine.checkpoints.last()
    steps = step_of(last) if last else 0
    if steps < engine.args.max_steps:
        if last is not None:
            logger.info("resume from=%s", last)
        try:
            engine.train(resume_from_checkpoint=str(last) if last else None)
        except Exception as error:
            if engine.is_saving and could_not_write(error):
                raise saving_failed(error, engine.state.global_step, folder.path, engine.checkpoints) from error
            raise
        finally:
            engine.reporter.close()
        engine.checkpoints.sweep()
        steps = engine.state.global_step
    else:
        logger.info("already finished: %s has all %d steps", folder.path, engine.args.max_steps)
    finished = steps >= engine.args.max_steps
    model = folder.best if folder.best.is_dir() else folder.model
    metrics = json.loads((model / "result.json").read_text()) if model.is_dir() else {}
    return Result(model, metrics, steps, finished)


def _start_tracker(recipe: Recipe, folder: RunFolder) -> Any:
    """Weights & Biases, one record per run folder also over resumes; Trainer's callback finds it started."""
    if recipe.log.wandb == "off":
        return None
    try:
        import wandb
    except ModuleNotFoundError:
        raise MissingExtra("wandb", "train", "log.wandb") from None
    identity = hashlib.sha256(str(folder.path.resolve()).encode()).hexdigest()[:16]
    settings = OmegaConf.to_container(OmegaConf.structured(recipe))
    return wandb.init(
        mode=recipe.log.wandb,
        project=recipe.log.project,
        name=recipe.name,
        id=identity,
        resume="allow",
        dir=folder.path,
        config=settings,  # type: ignore[arg-type]
    )


def run_words(words: Sequence[str]) -> Result:
    """`run` for a command line: recipes end in .yaml, everything else is key=value; says what happens on stderr."""
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger("train").setLevel(logging.INFO)
    return run(load_words(words))


def main() -> None:
    """One of the processes that a launcher started."""
    try:
        run_words(sys.argv[1:])
    except UserError as error:
        if os.environ.get("LLMPOSE_DEBUG"):
            raise
        sys.stderr.write(f"llmpose train: {' '.join(str(error).split())}\n")
        # At once: other processes may be waiting for this one, and their launcher ends them when it is gone.
        sys.stderr.flush()
        os._exit(2 if isinstance(error, BadUsage) else 1)
    gc.collect()  # what of DDP still holds the process group
    PartialState().destroy_process_group()  # or its threads abort the interpreter on its way out


if __name__ == "__main__":
    main()
