"""Stages 2 to 4: the language model learns poses, sees pictures, follows instructions (UniPose §3.3, suppl. §B.3).

A stage is a plan (train/stages.py) and a mixture of tasks over prepared record sets. Examples are packed into rows
(data/collate.py); the loss is one cross-entropy over text and pose tokens, reported task by task.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from accelerate import PartialState
from torch import Tensor, nn

from data.collate import Collator
from data.examples import Examples, texts_of
from data.features import ABOUT, Features, make_features, weights_of
from data.mixture import STAGE_WEIGHTS, Mixture, Part
from data.pair_set import PairSet
from data.record_set import RecordSet
from data.sightings import Sightings, read_sightings, write_sightings
from data.tasks import task_named
from llmpose.body.model import load_body_model
from llmpose.errors import UserError
from llmpose.model.batch import Batch, Example
from llmpose.model.modeling import LlmPoseForConditionalGeneration
from train.job import Job
from train.language_model import LanguageModel, Lora, Started, adapt, components, save, start
from train.pose_error import PoseError
from train.recipe import Data, Recipe, Source, at_least
from train.stages import plan as plan_of

logger = logging.getLogger("train")


@dataclass(kw_only=True)
class Packing:
    """How examples become rows."""

    row_tokens: int = 2048
    """Longest row; an example that is longer is an error."""
    multiple_of: int | None = None
    """Rows are padded to a multiple of this; null: 128 on a GPU (a tile of flex_attention), 8 elsewhere."""
    branches: bool = False
    """Examples that begin alike (same image, same question) share what they begin with."""


@dataclass(kw_only=True)
class LanguageRecipe(Recipe):
    """Recipe of kind `language`."""

    model: LanguageModel = field(default_factory=LanguageModel)
    """What the model is made of."""
    lora: Lora = field(default_factory=Lora)
    """Of components that train as lora."""
    packing: Packing = field(default_factory=Packing)
    """How examples become rows."""
    strangers: float = 0.0
    """Share of examples that are followed by one or two others in the same conversation, as far as a row has room, so
    that later turns are learnt to speak of what they show. What follows adds to an epoch; the papers have none."""
    texts: int = 1
    """Texts that an example answers with at most, where its pose, pair or picture has several: what is shown is read
    once, each text is a branch (packing.branches). Tasks that answer in words are dealt so many times more rarely."""
    examples_per_epoch: int | None = None
    """Length of an epoch; null: as many as show the most-used records about once."""
    keep_features: str | None = None
    """Folder for what frozen vision encoders make of every image, so that they look once; null: look every time."""
    pose_error: float = 0.0
    """What a metre of error of an answered pose is worth in nats, for each of its tokens (train/pose_error.py)."""
    eval_examples: int = 256
    """Held-out examples whose loss is measured."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("pose_error", self.pose_error, 0)
        if not 0 <= self.strangers <= 1:
            raise ValueError(f"strangers is {self.strangers}, expected a share from 0 to 1")
        at_least("eval_examples", self.eval_examples, 1)
        at_least("texts", self.texts, 1)
        if self.texts > 1 and not self.packing.branches:
            raise ValueError(f"texts is {self.texts}, which only saves anything with packing.branches: true")


RECIPES: dict[str, type[Recipe]] = {"language": LanguageRecipe}


def build(recipe: Recipe) -> Job:
    """Model, data and measurement of a language stage."""
    assert isinstance(recipe, LanguageRecipe)
    if not recipe.stage:
        raise UserError(f"stage: missing; a language recipe is one of {', '.join(STAGE_WEIGHTS)}")
    plan = plan_of(recipe.stage, recipe.adapt)
    mixture = make_mixture(
        recipe, recipe.data.train, size=recipe.examples_per_epoch, strangers=recipe.strangers, texts=recipe.texts
    )
    held_out = make_mixture(recipe, recipe.data.eval, size=recipe.eval_examples) if recipe.data.eval else None
    started = start(
        recipe.model,
        start_from=recipe.start_from,
        texts=texts_of(mixture, most=4000),
        run_dir=Path(recipe.run_dir),
        seed=recipe.seed,
    )
    started = adapt(started, plan, recipe.lora, Path(recipe.run_dir))
    if recipe.pose_error:
        codec = deepcopy(started.processor.pose_tokenizer)
        started.bare.pose_error = PoseError(codec, load_body_model())
        started.bare.pose_error_weight = recipe.pose_error
    _check_eyes(started, mixture)
    train_data = Examples(mixture, started.processor, longest=_row_tokens(recipe, started), texts=recipe.texts)
    test_data = Examples(held_out, started.processor) if held_out is not None else None
    features = _features(recipe, started, plan, [d for d in (train_data, test_data) if d is not None])
    tasks = tuple(dict.fromkeys((*mixture.tasks, *(held_out.tasks if held_out is not None else ()))))
    collate = _collator(recipe, started, tasks, features)
    return Job(
        model=started.model,
        train_data=train_data,
        collate=collate,
        evaluate=None if test_data is None else _evaluator(test_data, collate, recipe),
        save=lambda model, folder: save(model, folder, started.processor, started.base),
        components=components(started.model),
        sources=[recipe.data.folder(source) for source in (*recipe.data.train.values(), *recipe.data.eval.values())],
    )


# --- data -------------------------------------------------------------------------------------------------------------


def make_mixture(
    recipe: LanguageRecipe, sources: dict[str, Source], size: int | None, strangers: float = 0.0, texts: int = 1
) -> Mixture:
    """The recipe's sources as parts: every task of the stage over every source that can serve it.

    A source's own `tasks` are weights as they are. Otherwise a task has its share of UniPose suppl. Tab. 1, divided
    among the sources that serve it by their size and weight. What answers with `texts` at a time is asked as much less.
    """
    defaults = STAGE_WEIGHTS.get(recipe.stage, {})
    found: list[tuple[str, Part, float, bool]] = []
    for name, source in sources.items():
        records = open_source(recipe.data, name, source)
        for task, weight in (source.tasks or defaults).items():
            served = _serving(records, task)
            if served is None or not len(served):
                if source.tasks:
                    raise UserError(
                        f"data: source {name} has nothing for the task {task}; it holds {_contents(records)}"
                    )
                continue
            chosen = _limited(served, source.limit, recipe.seed)
            found.append((task, Part(task_named(task), chosen, weight), source.weight, bool(source.tasks)))
    totals: dict[str, float] = {}
    for task, part, source_weight, _ in found:
        totals[task] = totals.get(task, 0.0) + source_weight * len(part.records)
    parts = [
        Part(
            part.task,
            part.records,
            part.weight
            * source_weight
            * (1.0 if own else len(part.records) / max(totals[task], 1e-9))
            / _texts_told(part, texts),
        )
        for task, part, source_weight, own in found
    ]
    if not any(part.weight > 0 for part in parts):
        raise UserError(
            "data.train: no source serves any task of this stage; name one, like data.train.people.records=…"
        )
    return Mixture(parts, seed=recipe.seed, size=size, strangers=strangers)


def _texts_told(part: Part, most: int) -> float:
    """How many texts an example of this part tells on average, by a few hundred of its items."""
    if most == 1 or not part.task.tells_texts:
        return 1.0
    looked_at = range(0, len(part.records), max(1, len(part.records) // 256))
    return float(np.mean([min(most, len(part.task.texts(part.item(index)))) for index in looked_at]))


def open_source(data: Data, name: str, source: Source) -> RecordSet | PairSet:
    """A prepared folder: a set of records, or of pairs."""
    folder = data.folder(source)
    is_pairs = (folder / "pairs.arrow").is_file()
    found = PairSet.load(folder) if is_pairs else RecordSet.load(folder)
    if source.split is not None:
        found = found.filter(split=source.split)
    if not len(found):
        raise UserError(f"data: source {name}: {folder} has nothing of split {source.split!r}")
    return found


def _serving(records: RecordSet | PairSet, name: str) -> RecordSet | PairSet | None:
    task = task_named(name)
    if task.takes != ("pair" if isinstance(records, PairSet) else "record"):
        return None
    return records.filter(has=task.needs) if isinstance(records, RecordSet) else records.having(*task.needs)


def _limited(records: RecordSet | PairSet, limit: int | None, seed: int) -> RecordSet | PairSet:
    if limit is None or limit >= len(records):
        return records
    return records.select(np.sort(np.random.default_rng(seed).permutation(len(records))[:limit]))


def _contents(records: RecordSet | PairSet) -> str:
    if isinstance(records, PairSet):
        return f"pairs with {', '.join(records.records.columns)}"
    return ", ".join(records.columns)


def _check_eyes(started: Started, mixture: Mixture) -> None:
    sees = started.bare.vision is not None
    blind = [part.task.name for part in mixture.parts if not sees and "image" in part.task.needs]
    if blind:
        raise UserError(
            f"the task {blind[0]} shows images, and the model has no vision encoder; name one, like "
            "model.vision.clip.folder=runs/vision_clip"
        )


# --- rows -------------------------------------------------------------------------------------------------------------


def _collator(recipe: LanguageRecipe, started: Started, tasks: tuple[str, ...], features: Features | None) -> Collator:
    packing, processor = recipe.packing, started.processor
    multiple = packing.multiple_of or (128 if torch.cuda.is_available() else 8)
    return Collator(
        row_tokens=_row_tokens(recipe, started),
        pad_id=processor.vocabulary.pad_id,
        multiple_of=multiple,
        tasks=tasks,
        pixels=processor.pixels if started.bare.vision is not None and features is None else None,
        features=features,
        image_id=processor.vocabulary.image_id,
        num_image_tokens=processor.num_image_tokens,
        branches=packing.branches,
    )


def _row_tokens(recipe: LanguageRecipe, started: Started) -> int:
    """Tokens of a row, and so of an example, at most."""
    longest = started.processor.context_length
    return recipe.packing.row_tokens if longest is None else min(recipe.packing.row_tokens, longest)


def _features(
    recipe: LanguageRecipe, started: Started, plan: dict[str, Any], data: Sequence[Examples]
) -> Features | None:
    """The cache of image features, made by the first process if it is not there."""
    model, state = started.bare, PartialState()
    if recipe.keep_features is None or model.vision is None:
        return None
    if plan.get("vision") != "frozen":
        raise UserError("keep_features: the vision encoders train in this stage, so what they see must not be kept")
    if not any("image" in part.task.needs for d in data for part in d.mixture.parts):
        return None
    device = state.device
    model.vision.to(device).eval()

    def images() -> Iterator[Any]:
        for own in data:
            yield from own.images()

    def encode(pictures: Sequence[Any]) -> Tensor:
        with torch.no_grad():
            pixels = started.processor.pixels(pictures)
            return model.encode_images({name: value.to(device) for name, value in pixels.items()})

    folder, encoders = Path(recipe.keep_features), weights_of(model.vision)
    with state.main_process_first():
        known = _known_sightings(folder)
        for own in data:
            own.sightings = dict(known)
        made = make_features(folder, images(), encode, encoders=encoders)
        missing = [image for image in images() if image not in made]
        seen = {key: picture for own in data for key, picture in own.sightings.items()}
        if state.is_main_process and not missing and seen != known:
            write_sightings(folder, seen)
    if missing:
        raise UserError(
            f"{folder}: {len(missing)} images of this recipe are not in it; remove it or name another folder"
        )
    return made


def _known_sightings(folder: Path) -> Sightings:
    """Those whose pictures have their features in the folder."""
    if not (folder / ABOUT).is_file():
        return {}
    kept = Features(folder).place
    return {key: picture for key, picture in read_sightings(folder).items() if picture in kept}


# --- measuring --------------------------------------------------------------------------------------------------------


def _evaluator(data: Examples, collate: Callable[[list[Example]], Batch], recipe: LanguageRecipe) -> Callable[..., Any]:
    micro = recipe.batch.micro or min(recipe.batch.size, 32)

    def evaluate(model: nn.Module) -> dict[str, float]:
        """Held-out loss per target, and share of targets that are the likeliest token, in all and by task."""
        device = next(model.parameters()).device
        sums: Tensor | None = None
        tasks: tuple[str, ...] = ()
        total = torch.zeros(2)
        for begin in range(0, len(data), micro):
            picks = [data.mixture.pick(0, index) for index in range(begin, min(begin + micro, len(data)))]
            batch = collate(data.encode(picks)).to(device)
            found = cast(LlmPoseForConditionalGeneration, model)(**batch).sums
            assert found is not None
            part = torch.stack([found.task_loss, found.task_correct, found.task_count]).cpu()
            sums, tasks = part if sums is None else sums + part, batch.tasks
            total += torch.tensor([found.loss.item(), found.count.item()])
        assert sums is not None
        metrics = {"loss": float(total[0] / total[1]), "accuracy": float(sums[1].sum() / sums[2].sum())}
        for name, (loss, correct, count) in zip(tasks, sums.T.tolist(), strict=True):
            if count:
                metrics |= {f"loss_{name}": loss / count, f"accuracy_{name}": correct / count}
        return metrics

    return evaluate
