"""An answered pose costs what it is worth: nothing where it is right, less for a near miss than for a far one."""

import json
from pathlib import Path

import pytest
import torch
from people import write_people

from llmpose.body.model import load_body_model
from llmpose.errors import UserError
from tokenizer_vq import PoseTokenizer, PoseTokenizerConfig
from train.pose_error import PoseError
from train.recipe import load_recipe
from train.run import run

TOKENS, CODES = 8, 64


def codec_with(**fields) -> PoseTokenizer:
    torch.manual_seed(0)
    sizes = {"num_pose_tokens": TOKENS, "codebook_size": TOKENS * CODES, "hidden_size": 16, "own_codes": True}
    return PoseTokenizer(PoseTokenizerConfig(design="parts", **{**sizes, "quantizer": "fsq", **fields}))


def certain(codes: torch.Tensor) -> torch.Tensor:
    """Logits that leave no doubt."""
    return 100.0 * torch.nn.functional.one_hot(codes, TOKENS * CODES).float()


@pytest.fixture(scope="module")
def error() -> PoseError:
    return PoseError(codec_with(), load_body_model())


def truth(count: int = 3) -> torch.Tensor:
    own = torch.randint(CODES, (count, TOKENS), generator=torch.Generator().manual_seed(1))
    return own + CODES * torch.arange(TOKENS)


def test_the_true_pose_costs_nothing_and_another_what_its_joints_are_off(error: PoseError):
    codes = truth()
    assert error(certain(codes), codes).max() < 1e-4
    other = codes.clone()
    other[:, 0] = (codes[:, 0] + CODES // 2) % CODES
    body = load_body_model()
    joints = [body.joints(error.codec.decode(c))[:, :22] for c in (codes, other)]
    off = torch.linalg.vector_norm((joints[0] - joints[0][:, :1]) - (joints[1] - joints[1][:, :1]), dim=-1).mean(1)
    torch.testing.assert_close(error(certain(other), codes), off, atol=1e-4, rtol=1e-3)
    assert off.min() > 1e-3


def test_only_codes_of_a_place_count_there(error: PoseError):
    codes = truth()
    logits = certain(codes)
    elsewhere = logits.clone()
    elsewhere[:, 0, CODES:] = 1000.0  # codes of all other places
    torch.testing.assert_close(error(elsewhere, codes), error(logits, codes))


def test_a_gradient_leads_towards_the_true_pose_and_the_tokenizer_stays_as_it_is(error: PoseError):
    codes, logits = truth(), torch.zeros(3, TOKENS, TOKENS * CODES, requires_grad=True)
    before, adam = error(logits, codes).sum().item(), torch.optim.Adam([logits], lr=0.3)
    for _ in range(60):
        adam.zero_grad()
        error(logits, codes).sum().backward()
        adam.step()
    assert error(logits, codes).sum().item() < 0.7 * before
    assert not any(parameter.requires_grad for parameter in error.codec.parameters())


def test_codes_that_mean_something_only_together_are_refused():
    codec = codec_with(quantizer="residual", own_codes=False, num_residual=2, codebook_size=16, num_pose_tokens=16)
    with pytest.raises(UserError, match="pose_error"):
        PoseError(codec, load_body_model())


def test_a_run_adds_it_to_the_loss_alike_however_the_batch_is_cut(tmp_path: Path):
    people = write_people(tmp_path / "people")
    codec_with().save_pretrained(tmp_path / "codec")
    logged = {}
    for name, micro, weight in (("none", 8, 0), ("whole", 8, 10), ("cut", 2, 10)):
        words = [
            "kind=language", "stage=align", f"name={name}", f"run_dir={tmp_path / name}", f"pose_error={weight}",
            f"model.pose_tokenizer={tmp_path / 'codec'}", f"data.train.people.records={people}",
            "model.new.hidden_size=32", "model.new.num_layers=1", "model.new.num_heads=2", "model.new.vocab_size=300",
            "model.new.intermediate_size=32", "packing.row_tokens=256", "batch.size=8", f"batch.micro={micro}",
            "max_steps=2", "log.every=1", "log.progress=false", "checkpoints.every=null", "adapt.language_model=full",
            "adapt.token_rows=full", "examples_per_epoch=16",
        ]  # fmt: skip
        run(load_recipe([], words))
        lines = [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        logged[name] = [line for line in lines if "loss" in line]
    assert logged["whole"][0]["loss"] > logged["none"][0]["loss"] + 0.01
    for whole, cut in zip(logged["whole"], logged["cut"], strict=True):
        assert whole["loss"] == pytest.approx(cut["loss"], rel=1e-4)
        assert whole["pose_error_mm"] == pytest.approx(cut["pose_error_mm"], rel=1e-4)
    assert "pose_error_mm" not in logged["none"][0]
