"""`llmpose train`: what it teaches, what it prints, and its exit codes."""

import logging
from pathlib import Path

import pytest
from toy import ToyRecipe
from typer.testing import CliRunner

from llmpose import cli
from train.recipe import load_recipe, save_recipe


@pytest.fixture
def recipe(toy: ToyRecipe, tmp_path: Path) -> Path:
    path = tmp_path / "toy.yaml"
    save_recipe(toy, path)
    return path


def run_main(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr("sys.argv", ["llmpose", *words])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    code = caught.value.code
    return code if isinstance(code, int) else 0


def test_help_teaches_a_run_a_change_and_several_gpus() -> None:
    said = CliRunner().invoke(cli.app, ["train", "--help"], env={"COLUMNS": "200", "TERM": "dumb"}).output
    for part in ("1_tokenizer.tiny.yaml", "optim.lr=1e-4", "accelerate launch", "--fields", "goes on where"):
        assert part in said


def test_it_trains(recipe: Path, toy: ToyRecipe, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="train"):
        result = CliRunner().invoke(cli.app, ["train", str(recipe), "max_steps=3"])
    assert result.exit_code == 0, result.output
    assert load_recipe([Path(toy.run_dir) / "recipe.yaml"]).max_steps == 3
    said = [record.getMessage() for record in caplog.records]
    assert said[0].startswith("recipe\nkind: toy")
    assert said[1:3] == ["component=body trains=320 frozen=72", "component=head trains=279 frozen=0"]
    assert any(line.startswith("run=") and "steps=3 " in line for line in said)
    assert said[-1].startswith("done step=3 model=")


def test_show_prints_a_valid_recipe_and_trains_nothing(recipe: Path, toy: ToyRecipe, tmp_path: Path) -> None:
    shown = CliRunner().invoke(cli.app, ["train", str(recipe), "model.width=5", "--show"])
    assert shown.exit_code == 0
    again = tmp_path / "again.yaml"
    again.write_text(shown.output)
    assert load_recipe([again]) == load_recipe([recipe], ["model.width=5"])
    assert not Path(toy.run_dir).exists()


def test_fields_explains_every_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "250")
    said = CliRunner().invoke(cli.app, ["train", "--fields", "tokenizer"]).output
    for key in ("optim.lr_of", "model.num_pose_tokens", "data.train.<name>.limit", "augment.yaw_deg"):
        assert key in said


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("nowhere.yaml",), 1, "nowhere.yaml: no such recipe file"),
        (("RECIPE", "optim.lrr=1"), 2, "did you mean 'lr'?"),
        (("RECIPE", "nonsense"), 2, "expected key=value"),
        (("--fields", "tokeniser"), 1, "did you mean 'tokenizer'?"),
        (("RECIPE", "batch.size=64"), 1, "the data has 50 examples"),
        (("max_steps=3",), 1, "no `kind`"),
    ],
)
def test_what_is_wrong_is_one_line_and_an_exit_code(
    words: tuple[str, ...],
    code: int,
    says: str,
    recipe: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = run_main(monkeypatch, "train", *(str(recipe) if word == "RECIPE" else word for word in words))
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("llmpose:")]
    assert found == code
    assert len(said) == 1
    assert says in said[0]
