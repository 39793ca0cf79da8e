"""Ablations: the variants are valid recipes, finished work is not done again, and verdicts say what the numbers say."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from eval.ablation_plans import PRESETS, Ablation, Direction, plans
from eval.ablations import PARTS, Lab, as_table, run_ablations, slug, verdict
from eval.benchmarks.base import Bench
from eval.tables import millimetres, percent
from llmpose.errors import BadUsage
from tests.eval.little import check_joints, write_model, write_world
from train.recipe import load_recipe
from train.tokenizer import TokenizerRecipe, tokenizer_config

VARIANTS = [
    (preset, plan.name, variant)
    for preset in PRESETS
    for plan in plans(PRESETS[preset]).values()
    for variant in plan.variants
]


@pytest.mark.parametrize(("preset", "name", "variant"), VARIANTS)
def test_every_variant_is_a_valid_recipe(preset: str, name: str, variant: str, root_dir: Path) -> None:
    plan = plans(PRESETS[preset])[name]
    words = [word.format(prepared="p", run="r") for word in plan.variants[variant]]
    paths = [str(root_dir / word) for word in words if word.endswith(".yaml") and "=" not in word]
    own = [word for word in words if not (word.endswith(".yaml") and "=" not in word)]
    sizes = PRESETS[preset].words.get(plan.kind, ()) if plan.sized else ()
    recipe = load_recipe(paths, [*own, *sizes, "data.root=d", "seed=1"])
    assert recipe.kind == plan.kind
    if plan.kind == "language":
        asked = {task for source in recipe.data.train.values() if source.weight for task in source.tasks}
        assert set(plan.benchmarks.get(variant, plan.benchmarks.get("", ()))) <= asked
        assert recipe.start_from is None


@pytest.mark.parametrize("preset", PRESETS)
def test_both_designs_of_a_tokenizer_are_compared_at_the_same_sizes(preset: str, root_dir: Path) -> None:
    plan = plans(PRESETS[preset])["tokens"]
    found: dict[tuple[str, int], tuple[object, ...]] = {}
    for variant, words in plan.variants.items():
        recipe = load_recipe([str(root_dir / words[0])], words[1:])
        assert isinstance(recipe, TokenizerRecipe)
        model = recipe.model
        tokenizer_config(model)
        if "and losses" not in variant:
            same = (model.codebook_size, model.hidden_size, recipe.loss, recipe.augment, recipe.batch, recipe.max_steps)
            found[model.design, model.num_pose_tokens] = same
    assert sorted(found) == [(design, n) for design in ("conv", "parts") for n in (20, 40, 80, 160)]
    assert all(value == next(iter(found.values())) for value in found.values())


@pytest.mark.parametrize("preset", PRESETS)
def test_every_shared_part_is_a_valid_recipe(preset: str, root_dir: Path) -> None:
    for kind, file in PARTS.values():
        recipe = load_recipe([str(root_dir / "launch/recipes" / file)], PRESETS[preset].words.get(kind, ()))
        assert recipe.kind == kind


@pytest.mark.parametrize("name", plans(PRESETS["tiny"]))
def test_published_errors_share_no_column_with_other_joints(name: str) -> None:
    plan = plans(PRESETS["tiny"])[name]
    measured = {c.key: 1.0 for c in plan.columns if "_14_" not in c.key}  # the benchmarks of ablations have 22 or 24
    table = as_table(plan, {variant: [measured] for variant in plan.variants}, "the world", PRESETS["tiny"])
    check_joints(table, says_protocol=False)
    for column in plan.columns:
        if column.joints and column.key in measured:
            estimated = "pose_estimation" in (column.key.partition(".")[0], *plan.benchmarks.get("", ()))
            assert column.joints == ("smpl24" if estimated else "smpl22"), column.key


def little_plan() -> Ablation:
    return Ablation(
        "little",
        "A little ablation",
        "language",
        {"good one": ("r.yaml", "quality=1"), "bad one": ("r.yaml", "quality=0")},
        {"": ("text_to_pose",)},
        (millimetres("mpjpe_mm", "MPJPE"), percent("r_t2p_5", "T2P@5")),
        (),
        "paper data",
        (Direction("mpjpe_mm", "good one", "bad one", "good is better"),),
        ("tokenizer",),
    )


def test_verdicts_say_what_the_numbers_say() -> None:
    plan = little_plan()
    claim = plan.directions[0]

    def said(good: list[float], bad: list[float]) -> str:
        return verdict(
            claim, plan, {"good one": [{"mpjpe_mm": v} for v in good], "bad one": [{"mpjpe_mm": v} for v in bad]}
        )

    assert said([10, 11], [20, 21]).startswith("Reproduced: good is better (MPJPE): 10.5 against 20.5, in 2 of 2")
    assert said([30, 31], [20, 21]).startswith("Not reproduced, it is the other way round")
    assert said([10, 31], [20, 21]).startswith("Undecided")
    assert verdict(claim, plan, {"good one": [{}], "bad one": [{}]}).startswith("Not measured")
    upward = Direction("r_t2p_5", "good one", "bad one", "found more often")
    gained = {"good one": [{"r_t2p_5": 0.2}] * 2, "bad one": [{"r_t2p_5": 0.1}] * 2}
    assert verdict(upward, plan, gained).startswith("Reproduced")
    assert said([10], [20]).startswith("The same way round in the one seed")
    assert said([20], [10]).startswith("The other way round in the one seed")
    assert said([10, 10], [10, 10]).startswith("No difference here")


def test_the_table_has_means_ranges_and_verdicts() -> None:
    plan = little_plan()
    runs = {"good one": [{"mpjpe_mm": 10.0}, {"mpjpe_mm": 14.0}], "bad one": [{"mpjpe_mm": 20.0}, {"mpjpe_mm": 22.0}]}
    table = as_table(plan, runs, "the world", PRESETS["tiny"])
    assert table.rows[0].values == {"mpjpe_mm": 12.0}
    assert table.rows[0].intervals == {"mpjpe_mm": (10.0, 14.0)}
    assert "Reproduced" in table.notes[-1]
    assert "2 seeds" in table.protocol


def test_finished_variants_are_not_trained_again(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    world, trained = write_world(tmp_path_factory.mktemp("world")), []

    def train(words: Sequence[str], folder: Path) -> None:
        trained.append((folder.relative_to(tmp_path).as_posix(), list(words)))
        write_model(folder / "model")

    def lab() -> Lab:
        return Lab(Bench(world, tmp_path, limit=3, max_new_tokens=3), PRESETS["tiny"], seeds=2, train=train)

    table = lab().run(little_plan())
    folders = [folder for folder, _ in trained]
    assert folders == ["prepared/tokenizer", *[f"little/{v}/seed{s}" for v in ("good_one", "bad_one") for s in (0, 1)]]
    words = trained[1][1]
    assert words[0] == "r.yaml"
    assert words[-2:] == [f"data.root={world}", "seed=0"]
    assert table.rows[0].values["mpjpe_mm"] > 0
    stored = json.loads((tmp_path / "little" / "bad_one" / "seed1" / "result.json").read_text())
    assert stored["text_to_pose.mpjpe_mm"] == stored["mpjpe_mm"]

    (tmp_path / "little" / "bad_one" / "seed1" / "result.json").unlink()
    again = lab().run(little_plan())
    assert len(trained) == len(folders)  # its model is there, and is measured anew
    assert again.rows[0].values == table.rows[0].values


def test_one_recipe_in_two_tables_is_trained_once(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    world, trained = write_world(tmp_path_factory.mktemp("world")), []

    def train(words: Sequence[str], folder: Path) -> None:
        trained.append(list(words))
        write_model(folder / "model")

    lab = Lab(Bench(world, tmp_path, limit=3, max_new_tokens=3), PRESETS["tiny"], seeds=1, train=train)
    first = lab.run(replace(little_plan(), prepared=()))
    second = lab.run(replace(little_plan(), name="other", variants={"whole": ("r.yaml", "quality=1")}, prepared=()))
    assert [words[1] for words in trained] == ["quality=1", "quality=0"]
    assert second.rows[0].values == first.rows[0].values
    assert not (tmp_path / "other/whole/seed0/model").exists()


def test_the_wide_decoder_of_table_16_is_twice_as_wide(root_dir: Path) -> None:
    variants = plans(PRESETS["tiny"])["keypoint_size"].variants
    words = [[word.format(prepared="p") for word in own] for own in variants.values()]
    sizes = [load_recipe([str(root_dir / own[0])], own[1:]).model.new for own in words]
    assert sizes[0].hidden_size == 2 * sizes[1].hidden_size
    assert sizes[0].intermediate_size == 2 * sizes[1].intermediate_size


def test_wrong_choices_are_bad_usage(tmp_path: Path) -> None:
    bench = Bench(tmp_path, tmp_path)
    with pytest.raises(BadUsage, match="no ablation is called 'colour'"):
        run_ablations(bench, only=["colour"], console=Console(quiet=True))
    with pytest.raises(BadUsage, match="--preset 'huge'"):
        run_ablations(bench, preset="huge")
    assert slug("CLIP-ViT + Pose-ViT") == "clip_vit_pose_vit"
