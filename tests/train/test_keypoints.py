"""The keypoint stage: objects drawn alike everywhere, their keypoints branches of one row, a run that ends whole."""

import json
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import torch
from PIL import Image

from data.keypoints import KeypointObjects
from data.prepare import prepare
from data.record_set import RecordSet
from data.synth import object_world
from data.tasks import KEYPOINT_TASKS
from llmpose.errors import UserError
from llmpose.model.adapters import is_adapter, load_model
from llmpose.model.modeling import LlmPoseForConditionalGeneration
from llmpose.talk.conversation import Conversation, ImagePart, KeypointPart
from llmpose.talk.decoding import Decoding
from llmpose.talk.generation import generate
from llmpose.talk.keypoints import find_in_pictures, named_keypoints
from llmpose.talk.processing import LlmPoseProcessor
from train.keypoints import KeypointRecipe, asked_sets, build
from train.recipe import load_recipe
from train.run import run

RECIPE = "launch/recipes/kptllm/tiny.yaml"
_FOLDER = "launch/recipes/kptllm"
KPTLLM_RECIPES = [
    (f"{_FOLDER}/kptllm_mp100.yaml",),
    (f"{_FOLDER}/kptllm_mp100.yaml", f"{_FOLDER}/kptllm_mp100_cross.yaml"),
    (f"{_FOLDER}/kptllm_ap10k_cross.yaml",),
    (f"{_FOLDER}/kptllmpp_joint.yaml",),
    (RECIPE,),
    (RECIPE, f"{_FOLDER}/tiny_average.yaml"),
    (RECIPE, f"{_FOLDER}/tiny_position.yaml"),
]
ONLY_VISUAL = [f"data.train.things.tasks.keypoint_{other}=0" for other in ("semantic", "textual", "combined")]


@pytest.fixture(scope="module", name="data")
def _data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("things")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(object_world.PRESETS, "micro", 2)
        root = object_world.write_objects(folder / "out", preset="micro", size_px=64, processes=1)
    prepare("mp100", root / "mp100", folder / "mp100_1")
    return folder


def words(data: Path, out: Path) -> list[str]:
    small = "model.vision={} adapt.vision=full new_vision.image_px=64 "
    small += "new_vision.hidden_size=32 new_vision.num_layers=1 new_vision.num_heads=2 "
    small += "model.new.hidden_size=32 model.new.num_layers=1 model.new.num_heads=2 model.new.intermediate_size=48 "
    small += "max_steps=2 batch.size=2 eval_examples=2 keypoints.crop_px=64 checkpoints.every=null"
    return [*small.split(), f"data.root={data}", f"run_dir={out}"]


def made(data: Path, out: Path, *more: str) -> KeypointRecipe:
    recipe = load_recipe([RECIPE], [*words(data, out), *more])
    assert isinstance(recipe, KeypointRecipe)
    return recipe


@pytest.mark.parametrize("words", KPTLLM_RECIPES, ids=lambda words: Path(words[-1]).stem)
def test_every_recipe_loads(words: tuple[str, ...], root_dir: Path) -> None:
    recipe = load_recipe([str(root_dir / word) for word in words], ["data.root=d"])
    assert isinstance(recipe, KeypointRecipe)
    asked = {task for source in recipe.data.train.values() for task in source.tasks}
    assert asked <= set(KEYPOINT_TASKS)
    if "tiny" not in recipe.name:
        assert (recipe.lora.rank, recipe.lora.alpha, recipe.optim.lr, recipe.optim.weight_decay) == (128, 256, 2e-4, 0)
    if recipe.model.llava:  # KptLLM regresses, KptLLM++ writes digits
        assert recipe.keypoints.positions == "regression"
        assert recipe.keypoints.position_loss == 2


def with_twins(data: Path, count: int) -> list[str]:
    """A test set of the first training images under other names; the names of the originals."""
    records = RecordSet.load(data / "mp100_1").filter(split="train")
    images = list(dict.fromkeys(records.column("image")))[:count]
    root = data / "twins_images"
    root.mkdir(exist_ok=True)
    twins = []
    for number, row in enumerate(records.column("image").index(image) for image in images):
        record = records[row]
        (root / f"twin{number}.jpg").write_bytes(cast(Path, record.image_path()).read_bytes())
        twins.append(replace(record, id=f"twin/{number}", image=f"twin{number}.jpg", split="test", image_root=None))
    RecordSet.write(data / "twins", twins, source="made", image_root=root, skeletons=records.skeletons, overwrite=True)
    return images


@pytest.mark.parametrize("where", ["apart.sets.other", "data.eval.other"])
def test_images_of_a_test_are_left_out_of_training_and_told(data: Path, tmp_path: Path, where: str) -> None:
    originals = with_twins(data, 3)
    whole = made(data, tmp_path / "a", "data.train.things.limit=null")
    apart = made(data, tmp_path / "b", "data.train.things.limit=null", "apart.check=content", f"{where}.records=twins")
    seen = [asked_sets(recipe, recipe.data.train)[0].objects.records for recipe in (whole, apart)]
    lost = set(seen[0].column("image")) - set(seen[1].column("image"))
    assert lost >= set(originals)
    assert len(seen[1]) == sum(image not in lost for image in seen[0].column("image"))
    assert "same bytes" in (tmp_path / "b" / "leaks.txt").read_text()
    copies = made(data, tmp_path / "c", "apart.check=names", f"{where}.records=mp100_1", "data.train.things.limit=null")
    with pytest.raises(UserError, match="no record"):  # a set kept apart from itself
        asked_sets(copies, copies.data.train)
    assert "same name" in (tmp_path / "c" / "leaks.txt").read_text()


def test_mixed_sources_that_nobody_compares_are_told(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mixed = made(data, tmp_path, "data.train.other.records=mp100_1", "data.train.other.split=train")
    with caplog.at_level("INFO", logger="train.apart"):
        asked_sets(mixed, mixed.data.train)
    assert sum("unchecked; apart.check=content" in line for line in caplog.messages) == 2


def test_a_source_without_weight_need_not_be_there(data: Path, tmp_path: Path) -> None:
    own = ["data.train.own.records=mp100_1", "data.train.own.split=train", "data.train.things.records=gone"]
    left_out = ["data.train.things.weight=0", "data.eval.things.records=gone", "data.eval.things.weight=0"]
    job = build(made(data, tmp_path, *own, *left_out))
    assert job.sources == [data / "mp100_1"]
    assert job.evaluate is None
    with pytest.raises(UserError, match="gone"):
        build(made(data, tmp_path, *own))


@pytest.mark.parametrize("word", ["texts=2", "strangers=0.1", "pose_error=10", "keep_features=kept"])
def test_what_keypoint_stages_have_no_use_for_is_refused(data: Path, tmp_path: Path, word: str) -> None:
    with pytest.raises(UserError, match=f"{word.partition('=')[0]} means something in recipes of kind language only"):
        made(data, tmp_path, word)


def test_all_keypoints_of_an_object_are_branches_of_one_row(data: Path, tmp_path: Path) -> None:
    job = build(made(data, tmp_path, "keypoints.per_object=null", *ONLY_VISUAL))
    examples = job.train_data[3]
    again = job.train_data[3]
    assert [one.token_ids.tolist() for one in examples] == [one.token_ids.tolist() for one in again]
    batch = job.collate(examples)
    assert len(examples) > 3
    assert int(batch["branch"].max()) == len(examples)
    assert int((batch["token_ids"] == examples[0].token_ids[2]).sum()) == 16  # the image's own tokens, once


def test_supports_are_other_objects_of_the_same_category(data: Path, tmp_path: Path) -> None:
    recipe = made(data, tmp_path, *ONLY_VISUAL)
    examples = build(recipe).train_data
    objects = examples.parts[0].objects  # type: ignore[attr-defined]
    assert isinstance(objects, KeypointObjects)
    assert all(
        objects.categories[row] == objects.categories[other] for row in range(9) for other in objects.others(row)
    )
    for index in range(6):
        for example in examples[index]:
            assert len(example.images) == len(example.prompts) == 1
            assert example.prompts[0].images[0] is not example.images[0]


@pytest.mark.parametrize("kind", ["whole", "adapter"])
def test_a_head_that_regresses_trains_and_comes_back(data: Path, tmp_path: Path, kind: str) -> None:
    more = ["keypoints.positions=regression", "optim.lr=0.01"]
    if kind == "adapter":
        more += ["adapt.language_model=lora", "adapt.token_rows=rows", "adapt.vision=lora", "lora.rank=2"]
    recipe = made(data, tmp_path / "run", *more)
    before = build(made(data, tmp_path / "other", *more)).model.state_dict()
    run(recipe)
    model = load_model(tmp_path / "run" / "model").eval()
    assert isinstance(model, LlmPoseForConditionalGeneration)
    assert model.point_head is not None
    name = next(name for name in before if name.endswith("point_head.mlp.0.weight") or "default.mlp.0.weight" in name)
    assert not torch.equal(model.point_head.mlp[0].weight, before[name])  # type: ignore[arg-type]
    logged = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert any("eval_keypoint_l1" in line for line in logged)
    processor = LlmPoseProcessor.from_pretrained(tmp_path / "run" / "model")
    image = Image.fromarray(torch.zeros(64, 64, 3, dtype=torch.uint8).numpy())
    ((found,),) = find_in_pictures(model, processor, [(image, None)], named_keypoints(["nose"]))
    assert found.keypoints_px[0, 2] > 0
    with pytest.raises(UserError, match=r"set keypoints\.positions=regression"):
        build(made(data, tmp_path / "third", f"start_from={tmp_path / 'run'}"))


@pytest.mark.parametrize("kind", ["whole", "adapter"])
def test_a_run_ends_in_a_model_that_answers_with_a_point(data: Path, tmp_path: Path, kind: str) -> None:
    more = (
        []
        if kind == "whole"
        else ["adapt.language_model=lora", "adapt.token_rows=rows", "adapt.vision=lora", "lora.rank=2"]
    )
    run(made(data, tmp_path / "run", *more))
    folder = tmp_path / "run" / "model"
    assert is_adapter(folder) == (kind == "adapter")
    model = load_model(folder).eval()
    assert isinstance(model, LlmPoseForConditionalGeneration)
    assert model.prompts is not None
    processor = LlmPoseProcessor.from_pretrained(folder)
    image = torch.zeros(64, 64, 3, dtype=torch.uint8).numpy()
    asked = Conversation().user(ImagePart(image), " Where is ", KeypointPart((image,), ((0.5, 0.5),)), "?")
    (answer,) = generate(model, processor, [asked], Decoding(grammar="named_point", max_new_tokens=40))
    assert len(answer.points) == 1
