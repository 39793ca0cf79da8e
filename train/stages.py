"""A stage is data: what trains, how, and what it starts from (UniPose §3.3, Fig. 3).

    1 tokenizer        the pose tokenizer                                        from nothing
    2 align            LoRA on the language model, pose words and pose queries   from a language model and 1
    3 projector        the projector                                             from 2 and two vision encoders
    4 instruct         LoRA, pose words, pose queries and projector              from 3

Whatever a stage does not name is frozen. A recipe's `adapt` changes single entries.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, cast, get_args

from torch import nn

from llmpose.errors import UserError

How: TypeAlias = Literal["full", "lora", "rows", "frozen"]
"""All weights; a low-rank update; only the rows of new words; nothing."""


@dataclass(frozen=True)
class Stage:
    """One line of the table."""

    kind: str
    about: str
    trains: Mapping[str, How] = field(default_factory=dict)
    """Component -> how it trains. Empty: the kind has one component, trained in full."""
    starts_from: tuple[str, ...] = ()
    """Stages whose model it needs; the first is continued, the others are parts."""


STAGES: dict[str, Stage] = {
    "tokenizer": Stage("tokenizer", "a pose becomes a short row of tokens and comes back"),
    "retrieval": Stage(
        "retrieval",
        "poses and texts in one space, for the metrics (UniPose suppl. §B.2)",
        {"pose_encoder": "full", "pose_head": "full", "text_encoder": "full", "words": "full"},
        ("tokenizer",),
    ),
    "vision_clip": Stage("vision_clip", "pictures and sentences in one space"),
    "vision_pose": Stage("vision_pose", "a person's pose from a picture, for its features"),
    "vision_match": Stage("vision_match", "a point's counterpart in another object of its category, for the features"),
    "align": Stage(
        "language",
        "pose words and text in one language (UniPose §3.3, Fig. 3a)",
        {
            "language_model": "lora",
            "token_rows": "rows",
            "pose_queries": "full",
            "projector": "frozen",
            "vision": "frozen",
        },
        ("tokenizer",),
    ),
    "projector": Stage(
        "language",
        "pictures enter the shared space (UniPose §3.3, Fig. 3b)",
        {
            "language_model": "frozen",
            "token_rows": "frozen",
            "pose_queries": "frozen",
            "projector": "full",
            "vision": "frozen",
        },
        ("align", "vision_clip", "vision_pose"),
    ),
    "instruct": Stage(
        "language",
        "all tasks, as people ask for them (UniPose §3.3, Fig. 3c)",
        {
            "language_model": "lora",
            "token_rows": "rows",
            "pose_queries": "full",
            "projector": "full",
            "vision": "frozen",
        },
        ("projector",),
    ),
    "keypoints": Stage(
        "keypoints",
        "any keypoint of any object, shown or told (KptLLM++ §3.5)",
        {
            "language_model": "lora",
            "token_rows": "rows",
            "pose_queries": "frozen",
            "projector": "full",
            "vision": "lora",
            "prompts": "full",
            "point_head": "full",
        },
    ),
}


def plan(stage: str, adapt: Mapping[str, str]) -> dict[str, How]:
    """Component -> how it trains in this stage, with a recipe's changes; one line when a name is unknown."""
    if stage not in STAGES:
        raise UserError(f"stage: {stage!r} is not a stage; valid: {', '.join(STAGES)}")
    table = dict(STAGES[stage].trains)
    unknown = [name for name in adapt if name not in table]
    if unknown:
        raise UserError(f"adapt: {unknown[0]!r} is no component of stage {stage}; valid: {', '.join(table) or 'none'}")
    for name, how in adapt.items():
        if how not in get_args(How):
            raise UserError(f"adapt.{name}: {how!r} is no way to train; valid: {', '.join(get_args(How))}")
    return {**table, **cast(Mapping[str, How], adapt)}


def freeze(model: nn.Module, components: Mapping[str, tuple[str, ...]], table: Mapping[str, How]) -> None:
    """Let what the table calls full train, and nothing else that it names; for kinds without low-rank updates."""
    for name, parameter in model.named_parameters():
        how = table.get(component_of(name, components), "full")
        if how not in ("full", "frozen"):
            raise UserError(f"adapt: {component_of(name, components)} trains in full or is frozen here, not {how}")
        parameter.requires_grad_(how == "full")


def component_of(name: str, components: Mapping[str, tuple[str, ...]]) -> str:
    """The component that a parameter belongs to, by the longest leading part of its name; `model` where none fits."""
    # DDP, torch.compile and activation checkpointing put words of their own into names.
    plain = name.replace("_orig_mod.", "").replace("_checkpoint_wrapped_module.", "").removeprefix("module.")
    found = [(len(start), label) for label, starts in components.items() for start in starts if plain.startswith(start)]
    return max(found)[1] if found else "model"


def what_trains(model: nn.Module, components: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[int, int]]:
    """Component -> (trainable, frozen) parameters."""
    counts: dict[str, tuple[int, int]] = {}
    for name, parameter in model.named_parameters():
        label = component_of(name, components)
        trainable, frozen = counts.get(label, (0, 0))
        # Under ZeRO-3 a parameter is empty here and knows its real size.
        size = int(getattr(parameter, "ds_numel", parameter.numel()))
        counts[label] = (trainable + size, frozen) if parameter.requires_grad else (trainable, frozen + size)
    return counts
