"""A recipe says what a stage trains, on what, and how long: dataclasses filled by layered YAML and key=value words.

    load_recipe(["launch/recipes/unipose/1_tokenizer.tiny.yaml"], ["optim.lr=1e-3", "data.train.amass.limit=500"])

Later files win over earlier ones, words win over files; what is wrong is one line that names file, line and key. Every
kind of model adds its own sections by subclassing `Recipe` (train/tokenizer.py is an example). The resolved recipe is
saved with the run and is itself a valid input.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from omegaconf import OmegaConf

from llmpose.errors import UserError
from train.layers import choices, fill, leaves, read_layer, word_layer

KINDS: dict[str, str] = {
    "tokenizer": "train.tokenizer",
    "retrieval": "train.retrieval",
    "vision_clip": "train.vision",
    "vision_pose": "train.vision",
    "vision_match": "train.matching",
    "language": "train.language",
    "keypoints": "train.keypoints",
}
"""Kind of model -> module. The module has `RECIPES: dict[kind, subclass of Recipe]` and `build(recipe) -> Job`."""


@dataclass(kw_only=True)
class Source:
    """One prepared set of records (`llmpose data prepare …`) and how much of it is used."""

    records: str = ""
    """Folder of the record set (or pair set); relative to data.root."""
    split: str | None = None
    """Only records of this split; null takes all."""
    weight: float = 1.0
    """How often its records are seen: see data.mix; 0 leaves the source out."""
    limit: int | None = None
    """At most so many records (the first ones of a seeded shuffle)."""
    tasks: dict[str, float] = field(default_factory=dict)
    """Task name -> weight, for kinds that train on tasks; empty means the kind's default."""

    def __post_init__(self) -> None:
        at_least("weight of a source", self.weight, 0)
        if self.limit is not None:
            at_least("limit of a source", self.limit, 1)


@dataclass(kw_only=True)
class Data:
    """What is read. Sources have names, so that a later layer or a word can change one field of one source."""

    root: str = "${oc.env:LLMPOSE_DATA,.}"
    """Where relative folders of sources start."""
    train: dict[str, Source] = field(default_factory=dict)
    """Name -> source to train on."""
    eval: dict[str, Source] = field(default_factory=dict)
    """Name -> held-out source."""
    mix: Literal["records", "shares"] = "records"
    """records: every record `weight` times per epoch; shares: every example's source is drawn by weight."""
    workers: int = 0
    """Loader processes per training process; 0 loads in the training process itself."""
    max_rejected_share: float = 0.01
    """A run does not start when a larger share of records had to be set aside."""

    def folder(self, source: Source) -> Path:
        """Where this source's records lie."""
        return Path(self.root).expanduser() / Path(source.records).expanduser()


@dataclass(kw_only=True)
class Optim:
    """The optimizer and its learning rate."""

    name: Literal["adamw", "muon"] = "adamw"
    """muon: the matrices of repeated layers are moved by Muon (train/muon.py), everything else by AdamW; for models
    that learn from nothing, on one device or with plain data parallelism."""
    lr: float = 2e-4
    """Highest learning rate."""
    lr_of: dict[str, float] = field(default_factory=dict)
    """Component -> its own learning rate, where it differs (components: what the run prints as trained and frozen)."""
    schedule: Literal["constant", "linear", "cosine", "steps"] = "cosine"
    """How the rate falls after the warm-up. `steps` falls tenfold at 8/12 and 11/12 of the run."""
    warmup: float = 0.03
    """Below 1: share of all steps; from 1: number of steps."""
    floor: float = 0.0
    """The cosine and linear schedules end at this share of lr."""
    weight_decay: float = 0.01
    """Applied to matrices, not to biases and norms."""
    betas: tuple[float, float] = (0.9, 0.99)
    """Of AdamW's two moments."""
    clip_norm: float = 1.0
    """Gradients are scaled down to this norm; 0 leaves them."""

    def __post_init__(self) -> None:
        for name in ("lr", "warmup", "weight_decay", "clip_norm", "floor"):
            at_least(f"optim.{name}", getattr(self, name), 0)


@dataclass(kw_only=True)
class Batch:
    """One optimizer step, counted over all processes, so that a recipe means the same on one GPU and on eight."""

    unit: Literal["examples", "tokens"] = "examples"
    """What size and micro count. With tokens, examples are grouped by length and packed into rows."""
    size: int = 32
    """Examples (or tokens) per optimizer step over all processes and accumulation."""
    micro: int | None = None
    """What one process holds at once; the rest is accumulated. null: size / number of processes."""

    def __post_init__(self) -> None:
        at_least("batch.size", self.size, 1)
        if self.micro is not None:
            at_least("batch.micro", self.micro, 1)


@dataclass(kw_only=True)
class Checkpoints:
    """What is kept of a run, and when the model is measured."""

    every: int | None = 500
    """Steps between checkpoints to resume from; null writes none but the last."""
    keep: int = 2
    """How many of them stay."""
    evaluate_every: int | None = None
    """Steps between evaluations; null evaluates at the end only."""
    best: str | None = None
    """Metric that decides the best model (written to <run>/best); null keeps the last."""
    best_is: Literal["min", "max"] = "min"
    """Whether a small or a large metric is better."""

    def __post_init__(self) -> None:
        at_least("checkpoints.keep", self.keep, 1)
        for name in ("every", "evaluate_every"):
            if getattr(self, name) is not None:
                at_least(f"checkpoints.{name}", getattr(self, name), 1)


@dataclass(kw_only=True)
class Log:
    """Where numbers go. metrics.jsonl in the run's folder is always written."""

    every: int = 20
    """Steps between log lines."""
    progress: bool = True
    """A live bar with throughput, time left and memory (on a terminal; plain lines elsewhere)."""
    wandb: Literal["off", "offline", "online"] = "off"
    """Weights & Biases."""
    project: str = "llmpose"
    """Its project name."""

    def __post_init__(self) -> None:
        at_least("log.every", self.every, 1)


@dataclass(kw_only=True)
class Recipe:
    """Sections that every kind of model shares; a kind adds its own by subclassing."""

    kind: str = ""
    """What is trained: a name of train.recipe.KINDS."""
    name: str = ""
    """Name of the run, for logs and trackers."""
    stage: str = ""
    """A name of train.stages.STAGES: what it trains, adapts and starts from; empty: the kind trains all of itself."""
    run_dir: str = "${oc.env:LLMPOSE_RUNS,runs}/${name}"
    """Everything the run writes: recipe, logs, checkpoints, model."""
    start_from: str | None = None
    """Run folder (or saved model) of the previous stage."""
    adapt: dict[str, str] = field(default_factory=dict)  # OmegaConf knows no Literal inside a dict; stages.plan checks
    """Component -> how it trains, where it differs from the stage's table."""
    seed: int = 0
    """Of weights, data order and noise. Same recipe, same seed, same machine: same weights."""
    data: Data = field(default_factory=Data)
    """What is read."""
    optim: Optim = field(default_factory=Optim)
    """Optimizer and schedule."""
    batch: Batch = field(default_factory=Batch)
    """How much one optimizer step sees."""
    epochs: float = 1.0
    """Passes over the training data; max_steps wins when both are given."""
    max_steps: int | None = None
    """Optimizer steps in all."""
    stop_at: int | None = None
    """Stop (with a checkpoint) at this step without changing the schedule; running again goes on from there."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16: autocast for matrix work; weights and optimizer stay fp32."""
    activation_checkpointing: bool = False
    """Recompute activations in the backward pass (non-reentrant): less memory, about a third more time."""
    deepspeed: str | None = None
    """DeepSpeed JSON (launch/deepspeed/*.json), when the launcher does not give one."""
    threads: int | None = None
    """CPU threads per process; null leaves torch's choice."""
    checkpoints: Checkpoints = field(default_factory=Checkpoints)
    """What is kept, and when the model is measured."""
    log: Log = field(default_factory=Log)
    """Where numbers go."""

    def __post_init__(self) -> None:
        at_least("epochs", self.epochs, 0)
        for name in ("max_steps", "stop_at", "threads"):
            if getattr(self, name) is not None:
                at_least(name, getattr(self, name), 1)


RESUMABLE = ("run_dir", "stop_at", "log.", "threads", "checkpoints.", "data.workers", "data.root", "deepspeed")
"""Fields (or sections, with a dot) that may differ when a run is resumed: they do not change what is learned."""


def recipe_class(kind: str) -> type[Recipe]:
    """The dataclass of one kind, imported on demand."""
    if kind not in KINDS:
        raise UserError(f"kind: {kind!r} is not a kind of model; {choices(kind, KINDS)}")
    module = import_module(KINDS[kind])
    found: type[Recipe] = module.RECIPES[kind]
    return found


def load_recipe(paths: Sequence[str | Path], overrides: Sequence[str] = ()) -> Recipe:
    """Merge YAML files, then `key=value` words; fill the kind's dataclass; check it."""
    where = ", ".join(str(path) for path in paths) or "command line"
    layers = [read_layer(Path(path)) for path in paths] + [word_layer(word) for word in overrides]
    kinds = [layer.values["kind"] for layer in layers if layer.values.get("kind")]
    if not kinds:
        raise UserError(f"{where}: no `kind`; say which kind of model: {', '.join(KINDS)}")
    try:
        cls = recipe_class(str(kinds[-1]))
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    return fill(cls, layers, where)


def load_words(words: Sequence[str]) -> Recipe:
    """A command line: what ends in .yaml is a file, everything else key=value."""
    paths = [word for word in words if word.endswith((".yaml", ".yml")) and "=" not in word]
    return load_recipe(paths, [word for word in words if word not in paths])


def resolved(recipe: Recipe) -> Recipe:
    """A recipe made in Python, with `${…}` in its defaults replaced, as `load_recipe` does."""
    filled = OmegaConf.to_object(OmegaConf.structured(recipe))
    assert isinstance(filled, Recipe)
    return filled


def save_recipe(recipe: Recipe, path: Path) -> None:
    """Write the resolved recipe; `load_recipe([path])` gives an equal one."""
    path.write_text(OmegaConf.to_yaml(OmegaConf.structured(recipe)), encoding="utf-8")


def differences(old: Recipe, new: Recipe) -> dict[str, tuple[Any, Any]]:
    """Field -> (old, new) for every leaf that differs and matters for what is learned."""
    a, b = dict(leaves(dataclasses.asdict(old))), dict(leaves(dataclasses.asdict(new)))
    changed = {key: (a.get(key), b.get(key)) for key in sorted(a.keys() | b.keys()) if a.get(key) != b.get(key)}
    return {key: pair for key, pair in changed.items() if not key.startswith(RESUMABLE)}


def at_least(name: str, value: float, least: float) -> None:
    """Check used by the sections' __post_init__; `name` is the whole key, as a person would write it."""
    if not value >= least:
        raise ValueError(f"{name} is {value}, expected at least {least}")
