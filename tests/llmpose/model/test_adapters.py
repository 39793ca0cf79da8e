"""One folder holds all that was trained; nothing is lost by saving, loading and merging."""

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from tiny_models import FIRST_POSE, OPEN, VOCABULARY, make_example, random_pixels, stack_rows, tiny_model

from llmpose.errors import UserError
from llmpose.model.adapters import add_adapter, base_of, fingerprint, load_model, save_adapter, trainable_names
from llmpose.model.modeling import LlmPoseForConditionalGeneration

ROWS = [*range(OPEN, 34), *range(FIRST_POSE, VOCABULARY)]


def saved_base(folder: Path, tied: bool = False, seed: int = 0) -> LlmPoseForConditionalGeneration:
    model = tiny_model(seed=seed, text={"tie_word_embeddings": tied})
    model.save_pretrained(folder)
    return model


def some_batch() -> dict:
    batch = stack_rows([make_example("tiqta", seed=1), make_example("tpita", seed=2)])
    return {**batch, "pixels": random_pixels(2)}


def train(model: torch.nn.Module, steps: int = 2) -> list[float]:
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = model(**some_batch()).loss
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(**some_batch(), return_logits=True).logits


def test_lora_at_the_start_changes_nothing(tmp_path: Path):
    model = saved_base(tmp_path)
    before = logits(model)
    torch.testing.assert_close(logits(add_adapter(model, rank=4, alpha=8, rows=ROWS)), before, rtol=0, atol=0)


@pytest.mark.parametrize("tied", [False, True])
def test_after_two_steps_everything_trainable_moved_and_nothing_frozen_did(tmp_path: Path, tied: bool):
    model = add_adapter(saved_base(tmp_path, tied), rank=4, alpha=8, rows=ROWS)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    trainable = set(trainable_names(model))
    train(model)
    for name, value in model.named_parameters():
        moved = not torch.equal(value, before[name])
        assert moved == (name in trainable), f"{name} {'moved' if moved else 'did not move'}"
    parts = ("lora_A", "lora_B", "projector", "pose_queries", "token_adapter")
    assert all(any(part in name for name in trainable) for part in parts)
    assert not any("vision" in name for name in trainable)


@pytest.mark.parametrize("tied", [False, True])
def test_reloaded_and_merged_logits_are_those_before_saving(tmp_path: Path, tied: bool):
    base, folder = tmp_path / "base", tmp_path / "adapter"
    model = add_adapter(saved_base(base, tied), rank=4, alpha=8, rows=ROWS)
    losses = train(model, steps=3)
    assert losses[-1] < losses[0]
    expected = logits(model)
    save_adapter(model, folder, base)
    reloaded = load_model(folder, merge=False)
    assert isinstance(reloaded, PeftModel)
    torch.testing.assert_close(logits(reloaded), expected, rtol=0, atol=0)
    merged = load_model(folder)
    assert type(merged) is LlmPoseForConditionalGeneration
    torch.testing.assert_close(logits(merged), expected, rtol=1e-4, atol=1e-4)
    merged.save_pretrained(tmp_path / "merged")
    torch.testing.assert_close(logits(load_model(tmp_path / "merged")), logits(merged), rtol=0, atol=0)
    shares = merged.get_input_embeddings().weight is merged.get_output_embeddings().weight
    assert shares == tied


def test_the_adapter_holds_the_rows_of_both_tables_and_no_whole_table(tmp_path: Path):
    base, folder = tmp_path / "base", tmp_path / "adapter"
    model = add_adapter(saved_base(base), rank=4, alpha=8, rows=ROWS)
    save_adapter(model, folder, base)
    shapes = {name: tuple(value.shape) for name, value in load_file(folder / "adapter_model.safetensors").items()}
    rows = [name for name, shape in shapes.items() if shape == (len(ROWS), 24)]
    assert len(rows) == 2
    assert not any(shape[0] == VOCABULARY for shape in shapes.values())
    assert any("projector" in name for name in shapes)
    assert any("pose_queries" in name for name in shapes)


def test_training_goes_on_from_a_saved_adapter_as_if_it_had_not_stopped(tmp_path: Path):
    base, folder = tmp_path / "base", tmp_path / "adapter"
    model = add_adapter(saved_base(base), rank=4, alpha=8, rows=ROWS)
    train(model)
    save_adapter(model, folder, base)
    names = trainable_names(model)
    again = load_model(folder, merge=False, trainable=True)
    assert trainable_names(again) == names
    assert train(again) == train(model)


def test_an_adapter_for_another_base_is_an_error_that_names_both(tmp_path: Path):
    base, other, folder = tmp_path / "base", tmp_path / "other", tmp_path / "adapter"
    save_adapter(add_adapter(saved_base(base), rank=4, alpha=8, rows=ROWS), folder, base)
    saved_base(other, seed=1)
    with pytest.raises(UserError, match=rf"trained on {base} .* not on {other}"):
        load_model(folder, base=other)
    with pytest.raises(UserError, match=rf"base: a whole model, which needs no base; leave out {other}"):
        load_model(base, base=other)


def test_loading_an_adapter_warns_of_nothing(tmp_path: Path):
    save_adapter(add_adapter(saved_base(tmp_path / "base"), rank=2, alpha=2), tmp_path / "adapter", tmp_path / "base")
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        load_model(tmp_path / "adapter")


def test_a_base_that_moved_with_its_adapter_is_found(tmp_path: Path):
    here, there = tmp_path / "here", tmp_path / "there"
    save_adapter(add_adapter(saved_base(here / "base"), rank=4, alpha=8), here / "adapter", here / "base")
    shutil.move(here, there)
    assert base_of(there / "adapter") == there / "base"
    shutil.rmtree(there / "base")
    with pytest.raises(UserError, match=r"its base is not at .* say where it is with base="):
        load_model(there / "adapter")


def test_the_fingerprint_knows_every_weight_file(tmp_path: Path):
    saved_base(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert fingerprint(tmp_path / "a") == fingerprint(tmp_path / "b")
    saved_base(tmp_path / "b", seed=1)
    assert fingerprint(tmp_path / "a") != fingerprint(tmp_path / "b")
    with pytest.raises(UserError, match="no safetensors"):
        fingerprint(tmp_path)


def test_lora_reaches_the_language_model_alone_unless_asked_for_vision(tmp_path: Path):
    model = saved_base(tmp_path)
    assert not any("vision" in n for n in trainable_names(add_adapter(model, rank=2, alpha=2)))
    wider = add_adapter(tiny_model(), rank=2, alpha=2, vision=True)
    assert any("vision" in name and "lora" in name for name in trainable_names(wider))
    with pytest.raises(UserError, match="match no module"):
        add_adapter(tiny_model(), rank=2, alpha=2, targets="nothing")


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _narrower(path: Path) -> None:
    config = json.loads(path.read_text())
    config["num_pose_tokens"] -= 1
    path.write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("file", "damage", "says"),
    [
        ("base/model.safetensors", _cut, r"base: cannot be loaded: .*(deserializ|incomplete)"),
        ("base/config.json", lambda path: path.write_text("{"), r"base: cannot be loaded: .*config"),
        (
            "base/config.json",
            _narrower,
            r"base: its weights .* pose_queries.weight is \(.*makes it \(",
        ),
        (
            "adapter/adapter_model.safetensors",
            _cut,
            r"adapter: cannot be loaded on its base: .*(deserializ|incom)",
        ),
        ("adapter/adapter_model.safetensors", Path.unlink, r"adapter_model.safetensors is not there; copy the whole"),
        (
            "adapter/llmpose_adapter.json",
            lambda path: path.write_text("{}"),
            r"expected JSON with base, base_from",
        ),
    ],
)
def test_a_damaged_folder_is_one_line(tmp_path: Path, file: str, damage: Callable[[Path], Any], says: str):
    model = saved_base(tmp_path / "base")
    save_adapter(add_adapter(model, rank=2, alpha=2), tmp_path / "adapter", tmp_path / "base")
    damage(tmp_path / file)
    with pytest.raises(UserError, match=says) as caught:
        load_model(tmp_path / Path(file).parts[0])
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_no_model_is_an_error(tmp_path: Path):
    (tmp_path / "x.json").write_text(json.dumps({}))
    with pytest.raises(UserError, match=r"neither config.json"):
        load_model(tmp_path)
