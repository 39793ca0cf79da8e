"""Eyes for things: pairs are of one category, points are read where they lie, a run ends in an encoder."""

from pathlib import Path

import pytest
import torch

from data.prepare import prepare
from data.synth import object_world
from llmpose.model.prompts import patch_centres
from llmpose.model.weights.encoders import import_encoder
from train.matching import MatchRecipe, Pairs, cell_weights, objects_of, sampled
from train.recipe import load_recipe
from train.run import run

RECIPE = "launch/recipes/kptllm/eyes.tiny.yaml"


@pytest.fixture(scope="module", name="data")
def _data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("things")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(object_world.PRESETS, "micro", 2)
        root = object_world.write_objects(folder / "out", preset="micro", size_px=64, processes=1)
    prepare("mp100", root / "mp100", folder / "mp100_1")
    return folder


def made(data: Path, out: Path) -> MatchRecipe:
    small = "encoder.image=[64,64] encoder.stem=[4,4,8] encoder.hidden_size=16 encoder.num_layers=1 width=8 "
    small += "max_steps=2 batch.size=4 eval_pairs=4 checkpoints.every=null"
    recipe = load_recipe([RECIPE], [*small.split(), f"data.root={data}", f"run_dir={out}"])
    assert isinstance(recipe, MatchRecipe)
    return recipe


def test_pairs_are_a_function_of_seed_epoch_and_index(data: Path, tmp_path: Path) -> None:
    recipe = made(data, tmp_path)
    pairs = Pairs(objects_of(recipe, recipe.data.train), ["nose"], recipe.noise)
    one, same, other = (pairs.batch([3, 5], seed=seed, epoch=0) for seed in (1, 1, 2))
    torch.testing.assert_close(one["pixels"], same["pixels"])
    assert not torch.equal(one["pixels"], other["pixels"])
    assert one["pixels"].shape[0] == one["points"].shape[0] == 4


def test_a_point_is_shared_out_so_that_the_mean_of_its_cells_is_the_point() -> None:
    points = torch.tensor([[[0.3, 0.6, 1.0], [0.5, 0.5, 1.0]]])
    weights = cell_weights(points, (8, 8))
    torch.testing.assert_close(weights.sum(-1), torch.ones(1, 2))
    torch.testing.assert_close(weights @ patch_centres((8, 8)), points[..., :2])


def test_features_are_read_at_the_point() -> None:
    centres = patch_centres((4, 6))
    features = centres.T.reshape(1, 2, 4, 6)
    torch.testing.assert_close(sampled(features, torch.tensor([[[0.4, 0.6]]])), torch.tensor([[[0.4, 0.6]]]))


def test_a_run_ends_in_an_encoder_that_language_stages_load(data: Path, tmp_path: Path) -> None:
    run(made(data, tmp_path / "run"))
    spec, weights = import_encoder(tmp_path / "run" / "model", "things")
    assert spec.grid == (4, 4)
    assert spec.width == 16
    assert weights
