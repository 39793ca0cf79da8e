"""The papers' ablations on the built-in world: train the variants, measure them, say which directions come out the
same.

    OUT/prepared/<part>/               what all variants share: tokenizer, encoders, retrieval models
    OUT/<ablation>/<variant>/seed<k>/  run folder, measured/ and result.json
                                       (no run folder where another variant was trained with the same words: its model)
    OUT/tables/<ablation>.json, .md    ours with spread over seeds | published | what reproduced and what did not

Training runs in processes of its own (`python -m train.run`), which go on where they were killed; a finished variant
has its result.json and is not touched again.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eval.ablation_plans import PRESETS, Ablation, Direction, Preset, plans_named
from eval.benchmarks import BENCHMARKS
from eval.benchmarks.base import Bench, run_model
from eval.tables import Row, Table, write_text
from llmpose.errors import BadUsage, UserError

if TYPE_CHECKING:
    from rich.console import Console

ROOT = Path(__file__).resolve().parent.parent
PARTS = {
    "tokenizer": ("tokenizer", "unipose/1_tokenizer.tiny.yaml"),
    "vision_clip": ("vision_clip", "unipose/vision_clip.tiny.yaml"),
    "vision_pose": ("vision_pose", "unipose/vision_pose.tiny.yaml"),
    "retrieval": ("retrieval", "unipose/retrieval.tiny.yaml"),
    "keypoint_eyes": ("vision_match", "kptllm/eyes.tiny.yaml"),
}
_WORDS = "words.json"
"""What a finished run was trained with."""


@dataclass
class Lab:
    """One command's work."""

    bench: Bench
    preset: Preset
    seeds: int
    train: Callable[[Sequence[str], Path], None] = field(default=None)  # type: ignore[assignment]
    say: Callable[[str], None] = lambda line: None

    def __post_init__(self) -> None:
        if self.train is None:
            self.train = self._train

    @property
    def prepared(self) -> Path:
        return self.bench.out_dir / "prepared"

    def prepare(self, part: str) -> Path:
        """The run folder of something that variants share, trained if it is not there."""
        folder = self.prepared / part
        if not (run_model(folder) / "config.json").is_file():
            kind, recipe = PARTS[part]
            words = [f"launch/recipes/{recipe}", *self.preset.words.get(kind, ())]
            if kind == "retrieval":
                words.append(f"model.tokenizer={self.prepare('tokenizer')}")
            self.say(f"training {part}, which several variants share")
            self.train([*words, f"data.root={self.bench.data_dir.absolute()}"], folder)
        return folder

    def run(self, plan: Ablation) -> Table:
        for part in plan.prepared:
            self.prepare(part)
        runs: dict[str, list[dict[str, float]]] = {}
        for variant in plan.variants:
            runs[variant] = [self.result(plan, variant, seed) for seed in range(self.seeds)]
        table = as_table(plan, runs, self.bench.data_name or "the built-in world", self.preset)
        table.write(self.bench.out_dir / "tables")
        return table

    def result(self, plan: Ablation, variant: str, seed: int) -> dict[str, float]:
        """Train and measure one variant with one seed, or read what was measured."""
        folder = self.bench.out_dir / plan.name / slug(variant) / f"seed{seed}"
        done = folder / "result.json"
        if done.is_file():
            return json.loads(done.read_text("utf-8"))
        self.say(f"{plan.name}: {variant}, seed {seed}")
        words = [word.format(prepared=self.prepared.absolute(), run=folder) for word in plan.variants[variant]]
        paths = [word for word in words if word.endswith(".yaml") and "=" not in word]
        own = [word for word in words if word not in paths]
        common = [f"data.root={self.bench.data_dir.absolute()}", f"seed={seed}"]
        sizes = self.preset.words.get(plan.kind, ()) if plan.sized else ()
        run = self.trained([*paths, *own, *sizes, *common], folder)
        measured = self.measure(plan.benchmarks.get(variant, plan.benchmarks.get("", ())), run, folder, seed, plan)
        write_text(done, json.dumps(measured, indent=1) + "\n")
        return measured

    def trained(self, words: Sequence[str], folder: Path) -> Path:
        """The run folder of the model that these words make; whole recipes stand in several tables, trained once."""
        said = json.dumps(list(words), indent=1) + "\n"
        for other in sorted(self.bench.out_dir.glob(f"*/*/*/{_WORDS}")):
            if other.read_text("utf-8") == said:
                return other.parent
        self.train(words, folder)
        write_text(folder / _WORDS, said)
        return folder

    def measure(self, names: Sequence[str], run: Path, folder: Path, seed: int, plan: Ablation) -> dict[str, float]:
        """Metrics by name, and by task.metric where several tasks have the same one."""
        retrieval = self.prepared / "retrieval"
        bench = replace(
            self.bench,
            model_dir=run,
            tokenizer_dir=run,
            out_dir=folder / "measured",
            retrieval_dir=retrieval if retrieval.is_dir() else None,
            limit=min(self.preset.limit, self.bench.limit or self.preset.limit),
            seed=seed,
        )
        if plan.kind == "tokenizer":  # a thousand poses cost seconds
            bench = replace(bench, limit=self.bench.limit)
        wants_latency = any(column.key == "latency_s" for column in plan.columns)
        values: dict[str, float] = {}
        for name in names:
            result = BENCHMARKS[name]().run(bench)
            if result is None:
                continue
            ours = result.table.rows[0].values
            values |= {f"{name}.{key}": value for key, value in ours.items()}
            values = {**ours, **values}
        if wants_latency:
            from eval.benchmarks.pose_decoding import own_latency

            values["latency_s"] = own_latency(bench)
        return values

    def _train(self, words: Sequence[str], folder: Path) -> None:
        """python -m train.run, in the repository's root; its log goes into the run's folder."""
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "train.run", *words, f"run_dir={folder.absolute()}"]
        log = folder / "train.log"
        with log.open("a", encoding="utf-8") as output:
            done = subprocess.run(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, env={**os.environ})
        if done.returncode:
            tail = [line for line in log.read_text("utf-8", errors="replace").splitlines() if line.strip()][-1:]
            raise UserError(f"training stopped: {' '.join(tail) or 'no output'} (the whole log: {log})")


def as_table(plan: Ablation, runs: Mapping[str, Sequence[Mapping[str, float]]], data: str, preset: Preset) -> Table:
    """Means over seeds with their range, the published rows, and a verdict for every claim."""
    rows = []
    for variant, results in runs.items():
        keys = [column.key for column in plan.columns if all(column.key in result for result in results)]
        values = {key: float(np.mean([result[key] for result in results])) for key in keys}
        ranges = {key: (min(r[key] for r in results), max(r[key] for r in results)) for key in keys}
        rows.append(Row(variant, "ours", values, ranges if len(results) > 1 else {}))
    seeds = len(next(iter(runs.values())))
    many = f"{seeds} seeds" if seeds > 1 else "1 seed"
    protocol = f"preset {preset.name}; mean and range over {many} of training; the same data for all"
    verdicts = [verdict(direction, plan, runs) for direction in plan.directions]
    return Table(
        plan.name,
        plan.title,
        list(plan.columns),
        [*rows, *plan.published],
        protocol,
        n=seeds,
        data=data,
        paper_data=plan.paper_data,
        notes=[*plan.notes, *verdicts],
    )


def verdict(direction: Direction, plan: Ablation, runs: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """Whether a claim of the paper comes out here: by the mean, and in how many seeds."""
    key = direction.metric
    column = next(c for c in plan.columns if c.key == key)
    sign = 1.0 if column.better == "up" else -1.0
    pairs = [
        (better[key], worse[key])
        for better, worse in zip(runs.get(direction.better, ()), runs.get(direction.worse, ()), strict=False)
        if key in better and key in worse
    ]
    claim = f"{direction.claim} ({column.label})"
    if not pairs:
        return f"Not measured: {claim}."
    gains = [sign * (a - b) for a, b in pairs]
    agree = sum(gain > 0 for gain in gains)
    ours, other = (column.show(float(np.mean(values))) for values in zip(*pairs, strict=True))
    shown = f"{ours} against {other}"
    if ours == other and agree in (0, len(gains)):
        return f"No difference here: {claim}: {shown}."
    if len(gains) == 1:
        return f"{'The same way' if agree else 'The other way'} round in the one seed that was run: {claim}: {shown}."
    by_seed = f"in {agree} of {len(gains)} seeds"
    if agree == len(gains):
        return f"Reproduced: {claim}: {shown}, {by_seed}."
    if agree == 0:
        return f"Not reproduced, it is the other way round here: {claim}: {shown}, {by_seed}."
    return f"Undecided, smaller than the spread: {claim}: {shown}, {by_seed}."


def slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def run_ablations(
    bench: Bench, *, preset: str = "tiny", seeds: int = 3, only: Sequence[str] = (), console: "Console | None" = None
) -> list[Table]:
    """Each ablation's table, printed as soon as it is known."""
    chosen = plans_named(only, preset)
    if seeds < 1:
        raise BadUsage(f"--seeds {seeds}: at least 1")
    say = (lambda line: console.print(line, highlight=False)) if console is not None else (lambda line: None)
    lab = Lab(replace(bench, out_dir=bench.out_dir / "ablations"), PRESETS[preset], seeds, say=say)
    tables = []
    for plan in chosen:
        tables.append(lab.run(plan))
        if console is not None:
            console.print(*tables[-1].to_rich(console.width))
    return tables
