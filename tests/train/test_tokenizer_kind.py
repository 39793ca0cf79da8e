"""Stage 1 end to end on a few random poses, through the real command's function."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import roma
import torch

from data.records import Record, RecordSet
from llmpose.errors import UserError
from tokenizer_vq import PoseTokenizer
from train.job import Draw
from train.poses import Mixture, PoseData, pose_sources
from train.recipe import load_recipe
from train.run import run
from train.runfolder import find_model
from train.tokenizer import NoisyPoses, TokenizerRecipe, align, build, reconstruction_errors


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sets: 96 poses to train on and 16 held out; 24 of another kind."""
    root = tmp_path_factory.mktemp("records")
    generator = torch.Generator().manual_seed(0)
    for name, splits in (("amass", {"train": 96, "test": 16}), ("moyo", {"train": 24})):
        rows = [
            Record(id=f"{name}-{split}-{n}", source=name, split=split, pose_rotmat=rotmat.numpy())
            for split, count in splits.items()
            for n, rotmat in enumerate(roma.rotvec_to_rotmat(0.3 * torch.randn(count, 22, 3, generator=generator)))
        ]
        RecordSet.write(root / name, rows, source=name)
    return root


@pytest.fixture
def recipe(records: Path, tmp_path: Path) -> TokenizerRecipe:
    path = tmp_path / "recipe.yaml"
    path.write_text(
        f"""
kind: tokenizer
stage: tokenizer
name: tiny
run_dir: {tmp_path / "run"}
data:
  root: {records}
  train: {{amass: {{records: amass, split: train}}, moyo: {{records: moyo, split: train}}}}
  eval: {{amass: {{records: amass, split: test}}, moyo: {{records: moyo}}}}
model: {{num_pose_tokens: 20, codebook_size: 16, hidden_size: 16, num_layers: 1}}
optim: {{lr: 3.0e-3}}
batch: {{size: 24}}
max_steps: 12
checkpoints: {{every: 5, evaluate_every: 6, best: mpjpe_mm}}
log: {{every: 3, progress: false}}
"""
    )
    found = load_recipe([path])
    assert isinstance(found, TokenizerRecipe)
    return found


def test_it_trains_and_later_stages_load_it(recipe: TokenizerRecipe) -> None:
    result = run(recipe)
    lines = [json.loads(line) for line in (Path(recipe.run_dir) / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses[-1] < 0.8 * losses[0]
    assert {"joints", "rotations", "commitment"} <= lines[0].keys()
    errors = [line["eval_mpjpe_mm"] for line in lines if "eval_mpjpe_mm" in line]
    assert errors[-1] < errors[0]
    assert {"eval_pa_mpjpe_mm", "eval_pve_mm", "eval_codebook_usage", "eval_perplexity", "eval_moyo_mpjpe_mm"} <= {
        key for line in lines for key in line
    }
    tokenizer = PoseTokenizer.from_pretrained(find_model(recipe.run_dir)).eval()
    assert find_model(recipe.run_dir) == result.model
    assert tokenizer.encode(torch.eye(3).expand(2, 22, 3, 3)).shape == (2, 20)
    hashes = json.loads((Path(recipe.run_dir) / "data.json").read_text())
    assert {Path(folder).name for folder in hashes} == {"amass", "moyo"}


def test_learned_codebooks_resume_exactly(recipe: TokenizerRecipe, tmp_path: Path) -> None:
    """Two in turn: moving averages, cluster sizes and the random revival of dead codes included."""
    model = replace(recipe.model, quantizer="residual", code_width=8, num_residual=2)
    whole = replace(recipe, model=model, run_dir=str(tmp_path / "whole"))
    parts = replace(recipe, model=model, run_dir=str(tmp_path / "parts"))
    run(whole)
    run(replace(parts, stop_at=7))
    run(parts)
    one, two = (PoseTokenizer.from_pretrained(tmp_path / name / "model").state_dict() for name in ("whole", "parts"))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_vertices_count_when_they_weigh(recipe: TokenizerRecipe) -> None:
    job = build(replace(recipe, loss=replace(recipe.loss, vertices=100.0, measure="squared")))
    out = job.model(torch.eye(3).expand(2, 22, 3, 3))
    assert set(out.terms) == {"rotations", "joints", "vertices", "commitment"}
    assert torch.allclose(torch.stack(list(out.terms.values())).sum(), out.loss)


def test_the_loss_of_a_batch_is_the_sum_of_its_parts_shares(recipe: TokenizerRecipe, records: Path) -> None:
    job = build(recipe)
    poses = torch.from_numpy(np.array(RecordSet.load(records / "amass").poses()[:12]))
    whole = job.model(poses).loss
    parts = [job.model(part, num_items_in_batch=12).loss for part in poses.split(5)]
    assert torch.allclose(sum(parts), whole, rtol=1e-5)


def test_noise_changes_the_input_and_is_the_same_for_the_same_place(recipe: TokenizerRecipe) -> None:
    clean = PoseData(pose_sources(recipe.data, recipe.data.train, has=("pose_rotmat",), seed=0), "records")
    noisy = NoisyPoses(clean, recipe.augment)
    draw = Draw([3, 40, 100], epoch=1, step=9, seed=0)
    plain, first = clean.__getitems__(draw)["rotmat"], noisy.__getitems__(draw)["rotmat"]
    assert isinstance(plain, torch.Tensor)
    assert ((first - plain).abs().amax(dim=(1, 2, 3)) > 0.01).all()
    assert torch.equal(first, noisy.__getitems__(draw)["rotmat"])
    again = Draw([40], epoch=1, step=9, seed=0)
    assert torch.equal(first[1:2], noisy.__getitems__(again)["rotmat"])
    other = noisy.__getitems__(Draw([3, 40, 100], epoch=2, step=9, seed=0))["rotmat"]
    assert not torch.equal(first, other)


def test_noise_that_is_to_be_taken_out_keeps_a_clean_target(recipe: TokenizerRecipe) -> None:
    clean = PoseData(pose_sources(recipe.data, recipe.data.train, has=("pose_rotmat",), seed=0), "records")
    augment = replace(recipe.augment, part_noise_target="clean", part_noise_share=1.0, yaw_deg=0.0, tilt_deg=0.0)
    draw = Draw([3, 40], epoch=0, step=0, seed=0)
    batch = NoisyPoses(clean, augment).__getitems__(draw)
    assert torch.equal(batch["target"], clean.__getitems__(draw)["rotmat"])
    assert not torch.equal(batch["rotmat"], batch["target"])


def test_ids_are_those_of_the_poses(recipe: TokenizerRecipe) -> None:
    data = PoseData(pose_sources(recipe.data, recipe.data.train, has=("pose_rotmat",), seed=0), "records")
    batch = data.__getitems__(Draw([95, 96, 2], epoch=0, step=0, seed=0))
    ids = batch["record_ids"]
    assert isinstance(ids, list)
    assert [name for part in ids for name in part] == ["amass-train-95", "amass-train-2", "moyo-train-0"]


def test_weights_by_records_and_by_shares() -> None:
    twice = Mixture([4, 3], [2.0, 1.0], "records")
    assert len(twice) == 11
    assert sorted(twice.rows(range(11), seed=0, epoch=0).tolist()) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 5, 6]
    half = Mixture([4, 2], [0.5, 1.0], "records")
    assert [sorted(half.rows(range(len(half)), seed=0, epoch=e).tolist()) for e in (0, 1)] == [
        [0, 1, 4, 5],
        [2, 3, 4, 5],
    ]
    shares = Mixture([1000, 10], [0.25, 0.75], "shares")
    rows = shares.rows(range(1010), seed=0, epoch=0)
    assert 0.7 < np.mean(rows >= 1000) < 0.8
    assert set(rows[rows >= 1000].tolist()) == set(range(1000, 1010))


def test_a_limit_takes_a_seeded_few(recipe: TokenizerRecipe) -> None:
    data = replace(recipe.data, train={"amass": replace(recipe.data.train["amass"], limit=10)})
    one, two = (pose_sources(data, data.train, has=("pose_rotmat",), seed=0)[0].records for _ in range(2))
    assert len(one) == 10
    assert one.column("id") == two.column("id")
    assert pose_sources(data, data.train, has=("pose_rotmat",), seed=1)[0].records.column("id") != one.column("id")


def test_errors_are_those_of_the_metric_by_hand() -> None:
    """A body turned by 90 degrees: PA-MPJPE nothing, MPJPE the mean chord."""
    from llmpose.body.model import load_body_model

    body = load_body_model()
    rest = torch.eye(3).repeat(1, 22, 1, 1)
    joints = body.joints(rest)[:, :22]
    turned = joints @ torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    assert torch.allclose(align(turned * 0.5 + 3, joints), joints, atol=1e-5)
    mirrored = joints * torch.tensor([1.0, 1, -1])
    assert (align(mirrored, joints) - joints).norm(dim=-1).mean() > 0.01


def test_perfect_codes_have_no_error(recipe: TokenizerRecipe) -> None:
    job = build(recipe)
    trained = job.model
    poses = trained.tokenizer.decode(torch.zeros(3, 20, dtype=torch.long))

    class Perfect:
        config = trained.tokenizer.config

        def encode(self, rotmat: torch.Tensor) -> torch.Tensor:
            return torch.zeros(len(rotmat), 20, dtype=torch.long)

        decode = staticmethod(trained.tokenizer.decode)

    errors = reconstruction_errors(Perfect(), trained.body, poses)  # type: ignore[arg-type]
    assert errors["mpjpe_mm"] < 1e-3
    assert errors["pa_mpjpe_mm"] < 1e-2
    assert errors["codebook_usage"] == 1 / 16


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["data.train.amass.records=amas"], r"amas"),
        (["data.train.amass.split=trian"], r"source amass: no record of split 'trian' of .*amass has pose_rotmat"),
        (
            ["model.quantizer=ema", "model.codebook_size=4096"],
            r"120 poses of 20 vectors each cannot fill so many codes",
        ),
        (["model.codebook_size=100"], r"model: codebook_size 100 is no power of two"),
        (["model.design=conv", "model.num_pose_tokens=30"], r"not 30"),
        (["stage=align"], r"stage: 'align' is no stage of kind tokenizer; valid: tokenizer"),
        (["batch.size=4096"], r"asks for 4096 examples per step, the data has 120 examples"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    recipe: TokenizerRecipe, words: list[str], says: str, tmp_path: Path
) -> None:
    bad = load_recipe([tmp_path / "recipe.yaml"], words)
    with pytest.raises(UserError, match=says) as caught:
        run(bad)
    assert "\n" not in str(caught.value)


def test_no_finished_model_is_told_apart_from_no_run(recipe: TokenizerRecipe, tmp_path: Path) -> None:
    run(replace(recipe, stop_at=2))
    with pytest.raises(UserError, match="has no finished model yet"):
        find_model(recipe.run_dir)
    with pytest.raises(UserError, match="does not exist"):
        find_model(tmp_path / "nowhere")
    with pytest.raises(UserError, match="is neither a run nor a saved model"):
        find_model(tmp_path)


def test_starting_from_another_shape_is_refused_and_from_the_same_goes_on(recipe: TokenizerRecipe) -> None:
    run(recipe)
    first = PoseTokenizer.from_pretrained(find_model(recipe.run_dir))
    again = replace(recipe, start_from=recipe.run_dir, run_dir=f"{recipe.run_dir}-again")
    started = build(again).model.get_submodule("tokenizer")
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), started.parameters(), strict=True))
    other = replace(again, model=replace(recipe.model, hidden_size=24))
    with pytest.raises(UserError, match=r"start_from: .*run holds a model of another shape: hidden_size 16, here 24"):
        build(other)
