"""How the demo walks: steps in order, each done once, each timed, its end marked in runs/demo/steps.json.

A step that was killed is started again; what it is made of (the world's shards, training runs, predictions) resumes by
itself. Steps run in this one process, so libraries are imported once. The steps themselves are in `demo_steps.py`.
"""

import json
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from llmpose.errors import BadUsage, UserError

Preset = str


@dataclass(frozen=True)
class Step:
    """One step: its name, what it does in a line, and the function that does it."""

    name: str
    about: str
    do: "Callable[[Demo], None]"


@dataclass
class Demo:
    """A run of the demo in its folder."""

    out: Path
    preset: Preset = "tiny"
    seed: int = 0
    console: Console = field(default_factory=Console)

    def path(self, *parts: str) -> Path:
        return self.out.joinpath(*parts)

    def train(self, recipe: Path, folder: str, *words: str, short: Sequence[str]) -> None:
        """A training run in `folder`, going on where it was interrupted; with the words of `short` too at micro."""
        from train.recipe import load_recipe
        from train.run import run

        common = (f"data.root={self.path('data')}", f"run_dir={self.path(folder)}", f"seed={self.seed}")
        run(load_recipe([recipe], [*common, *words, *(short if self.preset == "micro" else ())]))

    @property
    def marks(self) -> dict[str, Any]:
        """What is done so far: step -> seconds, and what the run was started with."""
        try:
            return json.loads(self.path("steps.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {"preset": self.preset, "seed": self.seed, "seconds": {}}
        except ValueError:
            raise UserError(f"{self.path('steps.json')}: not readable; remove it to start anew") from None

    @property
    def seconds(self) -> dict[str, float]:
        return self.marks["seconds"]

    def _mark(self, step: str, seconds: float) -> None:
        marks = self.marks
        marks["seconds"][step] = round(seconds, 1)
        partial = self.path("steps.json.partial")
        partial.write_text(json.dumps(marks, indent=1) + "\n", encoding="utf-8")
        partial.replace(self.path("steps.json"))

    def steps(self) -> list[Step]:
        from llmpose.commands.demo_steps import STEPS

        return STEPS

    def show(self) -> None:
        """The steps, and which are done."""
        table = Table("step", "does", "seconds", box=None, header_style="bold")
        for step in self.steps():
            done = self.seconds.get(step.name)
            table.add_row(step.name, step.about, "" if done is None else f"{done:.0f}")
        self.console.print(table)

    def run(self, *, until: str | None = None) -> None:
        """Do every step that is not done yet, up to `until`."""
        steps = self.steps()
        names = [step.name for step in steps]
        if until is not None and until not in names:
            raise BadUsage(f"--until {until!r}: no such step; the steps are {', '.join(names)}")
        started = self.marks
        if (started["preset"], started["seed"]) != (self.preset, self.seed):
            raise UserError(
                f"{self.out} was started with --preset {started['preset']} --seed {started['seed']}; "
                "go on with the same, or give another --out"
            )
        self.out.mkdir(parents=True, exist_ok=True)
        _quiet()
        for number, step in enumerate(steps, start=1):
            if step.name in self.seconds:
                continue
            self.console.print(f"[bold]{number:2d}/{len(steps)}[/] {step.name}: {step.about}", highlight=False)
            before = time.monotonic()
            earlier = self._unfinished(step.name)
            step.do(self)
            self._mark(step.name, earlier + time.monotonic() - before)
            self.path(".unfinished").unlink(missing_ok=True)
            if step.name == until:
                break
        self._goodbye()

    def _unfinished(self, step: str) -> float:
        """Seconds an interrupted attempt at this step had run: the report tells the whole time, not the last leg's."""
        note = self.path(".unfinished")
        spent = 0.0
        if note.is_file():
            name, _, since = note.read_text().partition(" ")
            if name == step:
                newest = max((f.stat().st_mtime for f in self.out.rglob("*") if f.is_file()), default=float(since))
                spent = max(0.0, newest - float(since))
        note.write_text(f"{step} {time.time() - spent}")
        return spent

    def _goodbye(self) -> None:
        total = sum(self.seconds.values())
        report = self.path("report", "index.html")
        if report.is_file():
            self.console.print(f"\nreport: [bold]{report}[/]   ({total / 60:.1f} minutes in all)", highlight=False)
        if (model := self.path("4_instruct", "model")).is_dir():
            self.console.print(f"chat:   [bold]{program()} chat --model {model}[/]", highlight=False)


def program() -> str:
    """What to type for this program: its name where the shell finds it, else where it lies."""
    own, found = Path(sys.executable).parent / "llmpose", shutil.which("llmpose")
    if not own.is_file() or (found is not None and Path(found).samefile(own)):
        return "llmpose"
    return os.path.relpath(own) if own.is_relative_to(Path.cwd()) else str(own)


def _quiet() -> None:
    """One line per event of ours; libraries keep to themselves."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    for name in ("datasets", "transformers", "accelerate", "peft"):
        logging.getLogger(name).setLevel(logging.ERROR)
    import datasets

    datasets.disable_progress_bars()
