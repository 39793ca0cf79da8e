"""Keypoints of anything (KptLLM, KptLLM++ §3.5): name them, find them by example, in words, or both.

The model is the language stage's, with an encoder of keypoint prompts beside its projector. A micro-batch is a number
of objects; all keypoints of an object are branches of one row, so its image is read once.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import CLIPVisionConfig

from data.collate import Collator
from data.keypoint_examples import Asked, Asking, KeypointExamples, keypoint_texts
from data.keypoints import MARGIN, KeypointObjects, ObjectNoise
from data.record_set import RecordSet
from data.tasks import keypoint_task
from llmpose.errors import UserError
from llmpose.model.assemble import assemble, grow_tables
from llmpose.model.batch import Batch, Example
from llmpose.model.config import VisionEncoderSpec
from llmpose.model.modeling import LlmPoseForConditionalGeneration
from llmpose.talk.processing import LlmPoseProcessor
from llmpose.talk.vocabulary import add_point_word, add_pose_words
from train.apart import Apart, keep_apart
from train.job import Job
from train.language import LanguageRecipe
from train.language_model import (
    LanguageModel,
    Started,
    adapt,
    components,
    model_folder,
    new_encoders,
    new_language,
    new_tokenizer,
    save,
    start,
)
from train.recipe import Recipe, Source, at_least
from train.stages import plan as plan_of

TASK_WEIGHTS: dict[str, float] = {
    "keypoint_semantic": 1.0,
    "keypoint_visual": 2.0,
    "keypoint_textual": 2.0,
    "keypoint_combined": 1.0,
}
"""Where a source does not say which tasks it serves."""


@dataclass(kw_only=True)
class NewVision:
    """A small vision transformer from nothing: for the built-in things, where no pretrained one is at hand."""

    image_px: int = 128
    """Side of the images that it sees."""
    patch_px: int = 16
    """Side of a patch."""
    hidden_size: int = 192
    """Width."""
    num_layers: int = 4
    """Depth."""
    num_heads: int = 6
    """Attention heads."""

    def spec(self) -> VisionEncoderSpec:
        config = CLIPVisionConfig(
            hidden_size=self.hidden_size,
            intermediate_size=4 * self.hidden_size,
            num_hidden_layers=self.num_layers,
            num_attention_heads=self.num_heads,
            image_size=self.image_px,
            patch_size=self.patch_px,
        )
        return VisionEncoderSpec.of("new", config)


@dataclass(kw_only=True)
class Keypoints:
    """How keypoints are shown, asked for and answered."""

    prompts: Literal["extractor", "average"] = "extractor"
    """How a shown keypoint becomes a token: cross-attention (KptLLM++ §3.3), or averaged features (Tab. 14)."""
    answers: Literal["described", "named", "position"] = "described"
    """Name, description, position; name, position; position alone, without identifying first (Tab. 13)."""
    positions: Literal["text", "regression"] = "text"
    """x and y in digits (KptLLM++), or read by a head off the word <point> (KptLLM, Eq. 5 and 7)."""
    position_loss: float = 2.0
    """λ of the head's L1 loss."""
    shots: int = 1
    """Support images of a visual prompt, at most."""
    per_object: int | None = None
    """Keypoints of one object asked for in a row; null: all that are shown."""
    crop_px: int = 224
    """Side of the crop around an object's box."""
    margin: float = MARGIN
    """The crop's side, in sides of the box."""
    keep_crops: bool = False
    """Crops stay in memory once they were cut."""
    noise: ObjectNoise = field(default_factory=ObjectNoise)
    """What happens to training crops."""

    def __post_init__(self) -> None:
        at_least("keypoints.shots", self.shots, 1)
        at_least("keypoints.crop_px", self.crop_px, 16)
        at_least("keypoints.position_loss", self.position_loss, 0)


_ONLY_OF_PEOPLE = {"strangers": 0.0, "texts": 1, "pose_error": 0.0, "keep_features": None}
"""What stages about poses have besides, and the values that mean nothing."""


@dataclass(kw_only=True)
class KeypointRecipe(LanguageRecipe):
    """Recipe of kind `keypoints`. A source's `tasks` are those of data/tasks/keypoint_tasks.py."""

    keypoints: Keypoints = field(default_factory=Keypoints)
    """How keypoints are shown, asked for and answered."""
    new_vision: NewVision = field(default_factory=NewVision)
    """The vision encoder, where the model is new and model.vision names none."""
    apart: Apart = field(default_factory=Apart)
    """Test sets whose images must not be trained on."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, nothing in _ONLY_OF_PEOPLE.items():
            if getattr(self, name) != nothing:
                raise ValueError(f"{name} means something in recipes of kind language only; keypoint stages ignore it")


RECIPES: dict[str, type[Recipe]] = {"keypoints": KeypointRecipe}


def build(recipe: Recipe) -> Job:
    """Model, data and measurement of a keypoint stage."""
    assert isinstance(recipe, KeypointRecipe)
    plan = plan_of(recipe.stage or "keypoints", recipe.adapt)
    asked = asked_sets(recipe, recipe.data.train)
    started = _start(recipe, asked)
    started = adapt(started, plan, recipe.lora, Path(recipe.run_dir))
    own = recipe.keypoints
    said: dict[str, Any] = {"form": own.answers, "positions": own.positions, "most": own.per_object}
    asking = Asking(**said, shots=own.shots, noise=own.noise)
    train_data = KeypointExamples(asked, started.processor, asking, seed=recipe.seed, size=recipe.examples_per_epoch)
    collate = _collator(recipe, started, tuple(dict.fromkeys(one.task.name for one in asked)))
    evaluate = None
    if any(source.weight > 0 for source in recipe.data.eval.values()):
        still = Asking(**said, shots=1, noise=None)
        held_out = asked_sets(recipe, recipe.data.eval)
        test_data = KeypointExamples(held_out, started.processor, still, seed=0, size=recipe.eval_examples)
        evaluate = _evaluator(test_data, collate, recipe)
    return Job(
        model=started.model,
        train_data=train_data,
        collate=collate,
        evaluate=evaluate,
        save=lambda model, folder: save(model, folder, started.processor, started.base),
        components=components(started.model),
        sources=[
            recipe.data.folder(source)
            for source in (*recipe.data.train.values(), *recipe.data.eval.values())
            if source.weight > 0
        ],
    )


def asked_sets(recipe: KeypointRecipe, sources: dict[str, Source]) -> list[Asked]:
    """Every task over every source; a source's weight is divided among its tasks, and grows with its records.

    A source without weight is not read: so a recipe's own need not be there for somebody who leaves it out.
    """
    found: list[Asked] = []
    for name, source in sources.items():
        if source.weight <= 0:
            continue
        records = RecordSet.load(recipe.data.folder(source))
        if source.split is not None:
            records = records.filter(split=source.split)
        if sources is recipe.data.train:
            records = keep_apart(name, records, recipe.apart, recipe.data, Path(recipe.run_dir))
        if source.limit is not None and source.limit < len(records):
            chosen = torch.randperm(len(records), generator=torch.Generator().manual_seed(recipe.seed))
            records = records.select(sorted(chosen[: source.limit].tolist()))
        own = recipe.keypoints
        objects = KeypointObjects(records, size_px=own.crop_px, margin=own.margin, keep=own.keep_crops)
        weights = source.tasks or TASK_WEIGHTS
        for task, weight in weights.items():
            share = weight / max(sum(weights.values()), 1e-9)
            found.append(Asked(keypoint_task(task), objects, share * source.weight * len(objects)))
    if not any(one.weight > 0 for one in found):
        raise UserError("data.train: no source; name one, like data.train.things.records=records/things")
    return found


# --- the model --------------------------------------------------------------------------------------------------------


def _start(recipe: KeypointRecipe, asked: list[Asked]) -> Started:
    """The last stage's model, or a new one; with an encoder of keypoint prompts."""
    parts, run_dir = recipe.model, Path(recipe.run_dir)
    texts = list(keypoint_texts(asked, recipe.keypoints.answers))
    if recipe.start_from is not None or parts.pose_tokenizer is not None:
        started = start(parts, start_from=recipe.start_from, texts=texts, run_dir=run_dir, seed=recipe.seed)
    else:
        started = _of_keypoints_alone(parts, recipe.new_vision, texts, recipe.seed)
    if started.bare.prompts is None:
        if isinstance(started.model, PeftModel):
            raise UserError(
                "start_from: an adapter whose model knows no keypoint prompts; start from a whole model, such as the "
                "adapter merged into its base"
            )
        started.bare.add_keypoint_prompts(recipe.keypoints.prompts, seed=recipe.seed)
        started = Started(started.model, _processor_of(started, started.processor.tokenizer), started.base)
    if recipe.keypoints.positions == "regression" and started.bare.point_head is None:
        if isinstance(started.model, PeftModel):
            raise UserError(
                "keypoints.positions=regression: start_from is an adapter whose model writes positions in digits; "
                "start from a whole model, such as the adapter merged into its base"
            )
        tokenizer: Any = started.processor.tokenizer
        vocabulary = add_point_word(tokenizer)
        assert vocabulary.point_id is not None
        grow_tables(started.bare.language, vocabulary.size)
        started.bare.add_point_head(vocabulary.point_id, seed=recipe.seed)
        started = Started(started.model, _processor_of(started, tokenizer), started.base)
    if recipe.keypoints.positions == "text" and started.bare.point_head is not None:
        raise UserError("start_from: this model's head reads positions off a word; set keypoints.positions=regression")
    started.bare.config.keypoint_loss_weight = recipe.keypoints.position_loss
    started.bare.config.keypoint_answers = recipe.keypoints.answers
    return started


def _processor_of(started: Started, tokenizer: Any) -> LlmPoseProcessor:
    """Anew, after the model has learnt to take or give something more."""
    old = started.processor
    codec = old.pose_tokenizer if old.has_pose_tokenizer else None
    return LlmPoseProcessor.for_model(started.bare.config, tokenizer, codec)


def _of_keypoints_alone(parts: LanguageModel, vision: NewVision, texts: list[str], seed: int) -> Started:
    """A model without a pose tokenizer: its vocabulary has one pose word, which is never said."""
    tokenizer = new_tokenizer(parts, texts)
    language = new_language(parts, tokenizer, seed)
    vocabulary = add_pose_words(tokenizer, 1)
    options: dict[str, Any] = {"num_pose_tokens": 1, "pose_attention": parts.pose_attention, "attn": parts.attn}
    encoders = new_encoders(parts)
    if parts.llava is not None:
        from llmpose.model.weights.llava import import_llava, load_llava

        model = import_llava(load_llava(model_folder(parts.llava)), vocabulary, more_encoders=encoders, **options)
    else:
        assert language is not None
        encoders = encoders or [(vision.spec(), None)]
        model = assemble(language, vocabulary, encoders=encoders, projector=parts.projector, seed=seed, **options)
    model = cast(Any, model).to(getattr(torch, parts.dtype))
    return Started(model, LlmPoseProcessor.for_model(model.config, tokenizer), None)


# --- rows and measuring -----------------------------------------------------------------------------------------------


def _collator(recipe: KeypointRecipe, started: Started, tasks: tuple[str, ...]) -> Collator:
    packing, processor = recipe.packing, started.processor
    # A row may be longer than the context: its branches all begin where the prefix ends.
    return Collator(
        row_tokens=packing.row_tokens,
        pad_id=processor.vocabulary.pad_id,
        multiple_of=packing.multiple_of or (128 if torch.cuda.is_available() else 8),
        tasks=tasks,
        pixels=processor.pixels,
        image_id=processor.vocabulary.image_id,
        num_image_tokens=processor.num_image_tokens,
        branches=packing.branches,
        keypoint_id=processor.vocabulary.keypoint_id,
    )


def _evaluator(
    data: KeypointExamples, collate: Callable[[list[Example]], Batch], recipe: KeypointRecipe
) -> Callable[..., Any]:
    micro = recipe.batch.micro or min(recipe.batch.size, 16)

    def evaluate(model: nn.Module) -> dict[str, float]:
        """Held-out loss per target and share of targets that are the likeliest token, by task."""
        device = next(model.parameters()).device
        sums: Tensor | None = None
        points = torch.zeros(2)
        tasks: tuple[str, ...] = ()
        for begin in range(0, len(data), micro):
            picks = [data.mixture.pick(0, index) for index in range(begin, min(begin + micro, len(data)))]
            batch = collate(data.encode(picks)).to(device)
            out = cast(LlmPoseForConditionalGeneration, model)(**batch)
            found = out.sums
            assert found is not None
            if "keypoint_l1" in (out.ratios or {}):
                points += torch.stack(out.ratios["keypoint_l1"]).cpu()
            part = torch.stack([found.task_loss, found.task_correct, found.task_count]).cpu()
            sums, tasks = part if sums is None else sums + part, batch.tasks
        assert sums is not None
        total = sums.sum(1)
        metrics = {"loss": float(total[0] / total[2]), "accuracy": float(total[1] / total[2])}
        for name, (loss, correct, count) in zip(tasks, sums.T.tolist(), strict=True):
            if count:
                metrics |= {f"loss_{name}": loss / count, f"accuracy_{name}": correct / count}
        return metrics | ({"keypoint_l1": float(points[0] / points[1])} if points[1] else {})

    return evaluate
