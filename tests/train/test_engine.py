"""The engine on a toy: what is learned does not depend on how the work is cut, stopped or restarted."""

import json
import os
import signal
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Literal

import pytest
import torch
from torch import Tensor
from toy import ToyModel, ToyRecipe, weights

from llmpose.errors import UserError
from train import checkpoints
from train import run as train_run
from train.engine import Engine
from train.recipe import Batch, Checkpoints, load_recipe, resolved
from train.run import run


def final(recipe: ToyRecipe) -> dict[str, Tensor]:
    return weights(Path(recipe.run_dir) / "model")


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a) and a.keys() == b.keys()


def elsewhere(recipe: ToyRecipe, name: str, **changes: object) -> ToyRecipe:
    return replace(recipe, run_dir=str(Path(recipe.run_dir).with_name(name)), **changes)  # type: ignore[arg-type]


def lines(recipe: ToyRecipe) -> list[dict[str, float]]:
    """metrics.jsonl without what a clock says."""
    found = [json.loads(line) for line in (Path(recipe.run_dir) / "metrics.jsonl").read_text().splitlines()]
    timed = ("examples_per_s", "tokens_per_s", "seconds_left", "memory_gb")
    return [{key: value for key, value in line.items() if key not in timed} for line in found]


# --- exactness --------------------------------------------------------------------------------------------------------


def test_the_same_recipe_gives_the_same_weights(toy: ToyRecipe) -> None:
    run(toy)
    other = elsewhere(toy, "other")
    run(other)
    assert same(final(toy), final(other))
    assert lines(toy) == lines(other)


def test_accumulation_changes_nothing(toy: ToyRecipe) -> None:
    """Batch 4 = 4 x 1 = 2 x 2, with unequal numbers of targets: a mean of means would be far off."""
    plain = replace(toy, model=ToyModel(dropout=0.0))
    run(plain)
    for micro in (1, 2):
        cut = elsewhere(plain, f"micro{micro}", batch=Batch(size=4, micro=micro))
        run(cut)
        for name, value in final(plain).items():
            if name != "average":  # a running average sees micro-batches, not steps
                assert torch.allclose(value, final(cut)[name], atol=2e-6), name
        pairs = zip(lines(plain), lines(cut), strict=True)
        assert all(a.get("loss", 0) == pytest.approx(b.get("loss", 0), rel=1e-5) for a, b in pairs)


def test_the_loss_is_a_mean_over_all_targets_of_the_step(toy: ToyRecipe) -> None:
    """By hand, from the records of the first step."""
    from toy import build, collate

    one = replace(toy, model=ToyModel(dropout=0.0), max_steps=1, batch=Batch(size=4, micro=1))
    run(one)
    torch.manual_seed(0)
    from transformers import set_seed

    set_seed(one.seed)
    job = build(one)
    from train.sampler import StepSampler, split_batch

    draws = StepSampler(50, split_batch(Batch(size=4), 1), seed=0, rank=0, lengths=None)
    batch = collate([job.train_data[index] for index in next(iter(draws))])
    del batch["record_ids"]
    assert lines(one)[0]["loss"] == pytest.approx(job.model(**batch).loss.item(), rel=1e-6)
    assert lines(one)[0]["double"] == pytest.approx(2 * lines(one)[0]["loss"], rel=1e-6)


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_stopped_and_resumed_is_as_if_never_stopped(toy: ToyRecipe, name: Literal["adamw", "muon"]) -> None:
    """In the middle of an epoch (12 steps each) and at its end, dropout, averages and schedule included."""
    optim = replace(toy.optim, name=name)
    long = replace(toy, max_steps=30, checkpoints=Checkpoints(every=5, evaluate_every=10, best="loss"), optim=optim)
    run(long)
    parts = elsewhere(long, "parts")
    for stop in (7, 12, 24, None):
        run(replace(parts, stop_at=stop))
    assert same(final(long), final(parts))
    # A stop logs once more, so the next loss is a mean over fewer steps; the rest of every line is the same.
    means = {"loss", "words", "double"}
    rest = {(line["step"], "eval_loss" in line): line for line in lines(parts)}
    for line in lines(long):
        found = rest[line["step"], "eval_loss" in line]
        assert {k: v for k, v in found.items() if k not in means} == {k: v for k, v in line.items() if k not in means}
    assert not (Path(parts.run_dir) / "checkpoints" / ".writing").exists()


def test_a_finished_run_is_not_trained_again(toy: ToyRecipe) -> None:
    run(toy)
    before = (Path(toy.run_dir) / "metrics.jsonl").read_text()
    result = run(toy)
    assert result.finished
    assert result.steps == 12
    assert (Path(toy.run_dir) / "metrics.jsonl").read_text() == before


def test_workers_change_nothing(toy: ToyRecipe) -> None:
    run(toy)
    other = elsewhere(toy, "workers", data=replace(toy.data, workers=2))
    run(other)
    assert same(final(toy), final(other))


def test_tokens_fill_a_step(toy: ToyRecipe) -> None:
    budget = replace(toy, batch=Batch(unit="tokens", size=80, micro=40), model=ToyModel(dropout=0.0))
    run(budget)
    assert lines(budget)[-1]["step"] == 12


# --- killed -----------------------------------------------------------------------------------------------------------


def in_a_child(work: Callable[[], None]) -> int:
    """Run in a forked process; its exit code, negative for a signal."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_after(calls: int, function: Callable[..., object]) -> Callable[..., object]:
    """The function, until it is called once too often."""
    left = [calls]

    def wrapped(*args: object, **kwargs: object) -> object:
        left[0] -= 1
        if left[0] < 0:
            die()
        return function(*args, **kwargs)

    return wrapped


def _half_written(*args: object, **kwargs: object) -> None:
    Path(str(args[1])).write_bytes(b"half of an optimizer")
    die()


KILLS: dict[str, tuple[object, str, Callable[[object], object]]] = {
    "while the second checkpoint's optimizer is written": (torch, "save", lambda f: die_after(4, f)),
    "with half an optimizer on disk": (torch, "save", lambda f: _half_written),
    "before the marker": (checkpoints, "seal", lambda f: die_after(4, f)),
    "after the marker, before the rename": (checkpoints.os, "rename", lambda f: die_after(5, f)),
    "while old checkpoints go": (checkpoints.shutil, "rmtree", lambda f: die_after(5, f)),
}


@pytest.mark.parametrize("moment", list(KILLS))
def test_killed_at_any_moment_it_ends_the_same(toy: ToyRecipe, moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = elsewhere(toy, "whole")
    run(whole)
    place, name, change = KILLS[moment]

    def work() -> None:
        setattr(place, name, change(getattr(place, name)))
        run(toy)

    assert in_a_child(work) == -signal.SIGKILL
    run(toy)
    assert same(final(toy), final(whole))
    assert lines(toy) == lines(whole)
    found = checkpoints.CheckpointFolder(Path(toy.run_dir) / "checkpoints", keep=2).steps()
    assert list(found) == [8, 12]


def test_killed_at_random_steps_it_ends_the_same(toy: ToyRecipe) -> None:
    whole = elsewhere(toy, "whole")
    run(whole)
    for step in (2, 6, 11):

        def work(step: int = step) -> None:
            from train.guards import Guard

            check = Guard.on_pre_optimizer_step

            def at_step(self: Guard, args: object, state: object, *rest: object, **more: object) -> None:
                if state.global_step == step:  # type: ignore[attr-defined]
                    die()
                check(self, args, state, *rest, **more)  # type: ignore[arg-type]

            Guard.on_pre_optimizer_step = at_step  # type: ignore[method-assign,assignment]
            run(toy)

        assert in_a_child(work) == -signal.SIGKILL
    run(toy)
    assert same(final(toy), final(whole))
    assert lines(toy) == lines(whole)


def test_a_damaged_checkpoint_is_passed_over(toy: ToyRecipe) -> None:
    whole = elsewhere(toy, "whole")
    run(whole)
    run(replace(toy, stop_at=9))
    optimizer = Path(toy.run_dir) / "checkpoints" / "step-00000009" / "optimizer.pt"
    optimizer.write_bytes(optimizer.read_bytes()[:-10])
    run(toy)
    assert same(final(toy), final(whole))


@pytest.mark.parametrize("file", ["best model", "optimizer"])
def test_a_full_disk_keeps_the_last_good_checkpoint(toy: ToyRecipe, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    save, calls = torch.save, []

    def full(*args: object, **kwargs: object) -> None:
        calls.append(args)
        if len(calls) > (4 if file == "best model" else 5):
            raise OSError(28, "No space left on device")
        save(*args, **kwargs)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(
        UserError, match=r"save step 8 .*the disk is full.*last good checkpoint is .*step-00000004.*go on"
    ):
        run(toy)
    folder = Path(toy.run_dir) / "checkpoints"
    assert [path.name for path in folder.iterdir()] == ["step-00000004"]
    assert list(folder.parent.glob(".new-*")) == []
    monkeypatch.undo()
    run(toy)
    whole = elsewhere(toy, "whole")
    run(whole)
    assert same(final(toy), final(whole))


# --- guards and folders -----------------------------------------------------------------------------------------------


def test_a_loss_that_is_no_number_names_stage_step_and_records(toy: ToyRecipe) -> None:
    from train.sampler import StepSampler, split_batch

    draws = list(StepSampler(50, split_batch(Batch(size=4), 1), seed=0, rank=0, lengths=None))
    bad = replace(toy, model=ToyModel(poison=draws[5][0]))
    records = ", ".join(f"sentence-{index}" for index in draws[5])
    with pytest.raises(UserError, match=rf"toy, step 6: the loss is nan.*weights were touched.*records: {records}"):
        run(bad)
    assert [path.name for path in (Path(bad.run_dir) / "checkpoints").glob("step-*")] == ["step-00000004"]


def test_a_gradient_that_is_no_number_stops_before_the_weights_move(toy: ToyRecipe) -> None:
    kept: list[torch.nn.Module] = []
    bad = replace(toy, model=ToyModel(bad_gradient=True))
    build = train_run.build

    def keep(recipe: ToyRecipe) -> object:
        job = build(recipe)
        kept.append(job.model)
        return job

    train_run.build = keep  # type: ignore[assignment]
    try:
        with pytest.raises(UserError, match=r"step 1: a gradient is not finite; .*records: sentence-"):
            run(bad)
    finally:
        train_run.build = build
    assert all(torch.isfinite(p).all() for p in kept[0].parameters())


def test_the_run_folder_tells_its_story(toy: ToyRecipe) -> None:
    result = run(toy)
    folder = Path(toy.run_dir)
    assert load_recipe([folder / "recipe.yaml"]) == resolved(toy)
    environment = json.loads((folder / "environment.json").read_text())
    assert environment["versions"]["torch"] == torch.__version__
    assert {"git", "command", "python", "processes"} <= environment.keys()
    steps = [line["step"] for line in lines(toy) if "loss" in line]
    assert steps == [1, 2, 4, 6, 8, 10, 12]
    assert {"loss", "words", "grad_norm", "learning_rate"} <= lines(toy)[0].keys()
    assert [line["step"] for line in lines(toy) if "eval_loss" in line] == [4, 8, 12]
    assert result.model == folder / "best"
    assert json.loads((folder / "best" / "result.json").read_text())["loss"] == result.metrics["loss"]
    assert not any("frozen" in name for name in checkpoint_weights(folder / "checkpoints" / "step-00000012"))


def checkpoint_weights(folder: Path) -> list[str]:
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", "pt") as file:
        return list(file.keys())


def test_the_best_model_stays_while_the_last_one_moves_on(toy: ToyRecipe) -> None:
    upside_down = replace(toy, checkpoints=Checkpoints(every=4, evaluate_every=4, best="loss", best_is="max"))
    run(upside_down)
    folder = Path(upside_down.run_dir)
    assert json.loads((folder / "best" / "result.json").read_text())["step"] == 4
    assert json.loads((folder / "model" / "result.json").read_text())["step"] == 12


def test_a_slow_process_follows_the_first_ones_verdict(tmp_path: Path) -> None:
    """It may look at best/result.json when the first process has already written it, and must still come along."""
    (tmp_path / "result.json").write_text('{"loss": 3.0}')

    def stub(first: bool, told: int) -> object:
        return SimpleNamespace(
            args=SimpleNamespace(world_size=2, device="cpu"),
            is_world_process_zero=lambda: first,
            accelerator=SimpleNamespace(reduce=lambda own, how: own if first else torch.tensor(told)),
            run_folder=SimpleNamespace(best=tmp_path),
            recipe=SimpleNamespace(checkpoints=Checkpoints(best="loss")),
            _beats_best=lambda value: value < 3.0,
        )

    assert Engine._is_best(stub(first=False, told=1), 3.0)  # type: ignore[arg-type]
    assert not Engine._is_best(stub(first=False, told=0), 2.0)  # type: ignore[arg-type]
    assert Engine._is_best(stub(first=True, told=0), 2.0)  # type: ignore[arg-type]


def test_frozen_parts_stay_and_all_others_move(toy: ToyRecipe) -> None:
    from toy import build
    from transformers import set_seed

    set_seed(toy.seed)
    start = {name: value.clone() for name, value in build(toy).model.state_dict().items()}
    run(toy)
    moved = {name for name, value in final(toy).items() if not torch.equal(value, start[name])}
    assert moved == {name for name in start if "frozen" not in name}


def test_another_recipe_in_the_same_folder_is_refused_with_its_fields(toy: ToyRecipe) -> None:
    run(replace(toy, stop_at=4))
    with pytest.raises(UserError, match=r"another recipe: batch.size 4 -> 8, model.width 8 -> 16; .*another run_dir"):
        run(replace(toy, batch=Batch(size=8), model=ToyModel(width=16)))
    run(replace(toy, log=replace(toy.log, every=3)))


def test_two_runs_do_not_share_a_folder(toy: ToyRecipe) -> None:
    from train.runfolder import RunFolder

    folder = RunFolder(Path(toy.run_dir))
    folder.lock()
    with pytest.raises(UserError, match=rf"in use by process {os.getpid()} on "):
        run(toy)
    folder.unlock()
    run(replace(toy, stop_at=1))


def test_a_metric_that_is_not_measured_is_refused(toy: ToyRecipe) -> None:
    with pytest.raises(UserError, match=r"checkpoints.best: no metric 'mpjpe'; measured: loss"):
        run(replace(toy, checkpoints=Checkpoints(evaluate_every=2, best="mpjpe")))


def test_an_unknown_component_of_lr_of_is_refused(toy: ToyRecipe) -> None:
    with pytest.raises(UserError, match=r"lr_of: 'tail' is no component that trains; these do: body, head"):
        run(replace(toy, optim=replace(toy.optim, lr_of={"tail": 0.1})))


def test_more_per_step_than_there_is_data_is_refused(toy: ToyRecipe) -> None:
    with pytest.raises(UserError, match=r"batch.size asks for 64 examples per step, the data has 50 examples"):
        run(replace(toy, batch=Batch(size=64)))
