"""Recipes: layers, words, errors of one line, and the saved one as input."""

import dataclasses
from pathlib import Path

import pytest

from llmpose.errors import BadUsage, UserError
from train.layers import describe_fields, field_meanings
from train.recipe import KINDS, Recipe, differences, load_recipe, recipe_class, resolved, save_recipe
from train.tokenizer import TokenizerRecipe

RECIPES = Path(__file__).resolve().parents[2] / "launch" / "recipes"

BASE = """
kind: tokenizer
name: base
optim:
  lr: 1e-4
data:
  root: /data
  train:
    amass: {records: amass, split: train}
"""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "base.yaml"
    path.write_text(BASE)
    return path


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_later_files_win_and_words_win_over_files(base: Path, tmp_path: Path) -> None:
    more = write(tmp_path / "more.yaml", "optim: {warmup: 7}\nmodel: {num_pose_tokens: 20}\nname: more\n")
    recipe = load_recipe([base, more], ["optim.lr=3e-3", "data.train.moyo.records=moyo", "data.train.amass.limit=9"])
    assert isinstance(recipe, TokenizerRecipe)
    assert (recipe.name, recipe.optim.lr, recipe.optim.warmup) == ("more", 3e-3, 7)
    assert recipe.model.num_pose_tokens == 20
    assert recipe.data.train["amass"].limit == 9
    assert recipe.data.train["amass"].split == "train"
    assert recipe.data.folder(recipe.data.train["moyo"]) == Path("/data/moyo")


def test_the_name_makes_the_run_folder(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_recipe([base]).run_dir == "runs/base"
    monkeypatch.setenv("LLMPOSE_RUNS", "/elsewhere")
    assert load_recipe([base], ["name=a/b"]).run_dir == "/elsewhere/a/b"


def test_the_saved_recipe_is_a_valid_recipe_and_the_same(base: Path, tmp_path: Path) -> None:
    recipe = load_recipe([base], ["augment.part_noise_rad=[0.1,0.2]", "max_steps=null"])
    save_recipe(recipe, tmp_path / "saved.yaml")
    assert load_recipe([tmp_path / "saved.yaml"]) == recipe
    assert resolved(recipe) == recipe


@pytest.mark.parametrize(
    ("word", "says"),
    [
        (
            "optim.lrr=1",
            r"command line: optim.lrr: no such field in optim; did you mean 'lr'\? valid: name, lr, lr_of, sched",
        ),
        ("lr=1", "command line: lr: no such field; valid: kind, name"),
        ("optim.schedule=cos", r"optim.schedule: .*expected one of \['constant', 'linear', 'cosine', 'steps'\]"),
        ("data.train.amass.limt=3", "no such field in data.train.amass; did you mean 'limit'"),
        ("model.hidden_size=x", "model.hidden_size: .*'x' .*could not be converted to Integer"),
        ("model.hidden_size='3_6'", "model.hidden_size: expected a number, found the text '3_6'"),
        ("optim.betas=[1,2,3]", "optim.betas: .*length 3"),
        ("batch=3", "batch: expected a section with the fields unit, size, micro; found 3"),
        ("nothing", "expected key=value"),
        ("optim.lr=[1", "not valid YAML"),
    ],
)
def test_a_wrong_word_is_bad_usage_in_one_line(base: Path, word: str, says: str) -> None:
    with pytest.raises(BadUsage, match=says) as caught:
        load_recipe([base], [word])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "optim:\n  lr: 1e-4\n  warmpu: 3\n",
            r"more.yaml:3: optim.warmpu: no such field in optim; did you mean 'warmup'",
        ),
        ("optim:\n  lr: fast\n", r"more.yaml:2: optim.lr: .*'fast'"),
        ("data:\n  train:\n    a: {recrods: x}\n", r"more.yaml:3: data.train.a.recrods: .*did you mean 'records'"),
        ("kind: tokeniser\n", r"'tokeniser' is not a kind of model; did you mean 'tokenizer'"),
        ("optim: [\n", r"more.yaml: not valid YAML"),
        ("- 1\n", r"more.yaml: a recipe is a mapping"),
        ("batch: {size: 0}\n", r"batch.size is 0, expected at least 1"),
        ("data: {root: '${oc.env:LLMPOSE_NOT_SET}'}\n", r"data.root: .*LLMPOSE_NOT_SET"),
    ],
)
def test_a_wrong_file_names_file_line_and_key(base: Path, tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        load_recipe([base, write(tmp_path / "more.yaml", text)])
    assert "\n" not in str(caught.value)


def test_a_missing_file_names_its_neighbours(base: Path) -> None:
    with pytest.raises(UserError, match=r"bas.yaml: no such recipe file; in .* there is: base.yaml"):
        load_recipe([base.with_name("bas.yaml")])


def test_a_recipe_needs_a_kind(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no `kind`; say which kind of model: tokenizer, retrieval"):
        load_recipe([write(tmp_path / "x.yaml", "name: x\n")])


def test_differences_leave_out_what_does_not_change_the_result(base: Path) -> None:
    recipe = load_recipe([base])
    other = load_recipe([base], ["log.every=7", "stop_at=3", "data.workers=2", "checkpoints.keep=9", "run_dir=/x"])
    assert differences(recipe, other) == {}
    assert differences(recipe, load_recipe([base], ["seed=1", "optim.lr=1"])) == {
        "optim.lr": (1e-4, 1.0),
        "seed": (0, 1),
    }


@pytest.mark.parametrize("path", sorted(RECIPES.rglob("*.yaml")), ids=lambda path: path.relative_to(RECIPES).as_posix())
def test_every_recipe_of_the_project_loads(path: Path) -> None:
    # tiny_average.yaml is a layer: it only says what differs from tiny.yaml, behind which it is given.
    below = [other for other in path.parent.glob("*.yaml") if path.stem.startswith(f"{other.stem}_")]
    layers = [] if "\nkind:" in "\n" + path.read_text() else [max(below, key=lambda other: len(other.stem))]
    recipe = load_recipe([*layers, path])
    assert recipe.kind in KINDS
    assert recipe.name


def test_an_empty_mapping_empties(base: Path, tmp_path: Path) -> None:
    more = write(tmp_path / "more.yaml", "data: {train: {}}\n")
    assert load_recipe([base, more]).data.train == {}
    assert load_recipe([base], ["data.train={}"]).data.train == {}


@pytest.mark.parametrize("kind", list(KINDS))
def test_mappings_start_empty(kind: str) -> None:
    """Layers add to a mapping, so a default entry could not be left out of a saved recipe."""
    full = [key for key, type_, default, _ in describe_fields(recipe_class(kind)) if "dict" in type_ and ":" in default]
    assert full == []


@pytest.mark.parametrize("kind", list(KINDS))
def test_every_field_of_every_kind_is_explained(kind: str) -> None:
    fields = list(describe_fields(recipe_class(kind)))
    assert len(fields) > 30
    assert [key for key, _, _, meaning in fields if not meaning] == []


def test_meanings_are_read_from_under_the_fields() -> None:
    assert field_meanings(Recipe)["epochs"].startswith("Passes over the training data")
    assert set(field_meanings(Recipe)) == {field.name for field in dataclasses.fields(Recipe)}
