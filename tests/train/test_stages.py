"""Each stage against a written table, and parameters against their components."""

import pytest
from torch import nn

from llmpose.errors import UserError
from train.optim import learning_rate_shape, parameter_groups
from train.recipe import KINDS, Optim
from train.stages import STAGES, component_of, freeze, plan, what_trains

TABLE = {
    "tokenizer": {},
    "retrieval": {"pose_encoder": "full", "pose_head": "full", "text_encoder": "full", "words": "full"},
    "vision_clip": {},
    "vision_pose": {},
    "align": {
        "language_model": "lora",
        "token_rows": "rows",
        "pose_queries": "full",
        "projector": "frozen",
        "vision": "frozen",
    },
    "projector": {
        "language_model": "frozen",
        "token_rows": "frozen",
        "pose_queries": "frozen",
        "projector": "full",
        "vision": "frozen",
    },
    "instruct": {
        "language_model": "lora",
        "token_rows": "rows",
        "pose_queries": "full",
        "projector": "full",
        "vision": "frozen",
    },
}


@pytest.mark.parametrize("name", list(TABLE))
def test_what_a_stage_trains(name: str) -> None:
    assert plan(name, {}) == TABLE[name]


def test_stages_know_their_kinds_and_what_they_start_from() -> None:
    assert {stage.kind for stage in STAGES.values()} <= set(KINDS)
    assert all(set(stage.starts_from) <= set(STAGES) for stage in STAGES.values())
    assert STAGES["align"].starts_from == ("tokenizer",)
    assert STAGES["projector"].starts_from[0] == "align"
    assert STAGES["instruct"].starts_from == ("projector",)


def test_a_recipe_changes_single_entries() -> None:
    assert plan("align", {"language_model": "full"})["language_model"] == "full"
    with pytest.raises(UserError, match=r"'visoin' is no component of stage align; valid: language_model"):
        plan("align", {"visoin": "full"})
    with pytest.raises(UserError, match=r"'alig' is not a stage; valid: tokenizer"):
        plan("alig", {})


def _model() -> nn.Module:
    model = nn.Module()
    model.text = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3))
    model.words = nn.Embedding(5, 2)
    return model


COMPONENTS = {"text": ("text", "words"), "words": ("words",)}


def test_the_longest_name_wins_and_wrappers_are_seen_through() -> None:
    assert component_of("words.weight", COMPONENTS) == "words"
    assert component_of("module.text.0.weight", COMPONENTS) == "text"
    assert component_of("text._checkpoint_wrapped_module.0.bias", {"deep": ("text.0",)}) == "deep"
    assert component_of("other.weight", COMPONENTS) == "model"


def test_frozen_and_trained_are_counted() -> None:
    model = _model()
    freeze(model, COMPONENTS, {"words": "frozen", "text": "full"})
    assert what_trains(model, COMPONENTS) == {"text": (9 + 6, 0), "words": (0, 10)}
    with pytest.raises(UserError, match="words trains in full or is frozen here, not lora"):
        freeze(model, COMPONENTS, {"words": "lora"})


def test_groups_by_rate_and_decay() -> None:
    model = _model()
    groups = parameter_groups(
        model, COMPONENTS, Optim(lr=1.0, lr_of={"words": 0.1}, weight_decay=0.5), {"text.0.weight", "words.weight"}
    )
    assert sorted((group["lr"], group["weight_decay"], len(group["params"])) for group in groups) == [
        (0.1, 0.5, 1), (1.0, 0.0, 3), (1.0, 0.5, 1),
    ]  # fmt: skip
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    with pytest.raises(UserError, match="nothing trains"):
        parameter_groups(model, COMPONENTS, Optim(), set())


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [1.0, 1.0, 1.0]),
        ("linear", [0.75, 0.5, 0.25]),
        ("cosine", [0.853553, 0.5, 0.146447]),
        ("steps", [1.0, 1.0, 0.1]),
    ],
)
def test_the_rate_at_a_quarter_a_half_and_three_quarters(schedule: str, expected: list[float]) -> None:
    shape = learning_rate_shape(Optim(schedule=schedule, warmup=0), 100)  # type: ignore[arg-type]
    assert [shape(step) for step in (25, 50, 75)] == pytest.approx(expected, abs=1e-6)


def test_warm_up_is_a_share_or_a_number_of_steps() -> None:
    share, number = (learning_rate_shape(Optim(schedule="constant", warmup=w), 100) for w in (0.04, 4))
    assert [share(step) for step in range(6)] == [number(step) for step in range(6)] == [0.2, 0.4, 0.6, 0.8, 1.0, 1.0]


def test_steps_end_a_hundredfold_lower_and_floors_hold() -> None:
    assert learning_rate_shape(Optim(schedule="steps", warmup=0), 12)(11) == pytest.approx(0.01)
    assert learning_rate_shape(Optim(schedule="cosine", warmup=0, floor=0.1), 10)(10) == pytest.approx(0.1)
