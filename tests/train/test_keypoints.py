"""The keypoint stage: objects drawn alike everywhere, their keypoints branches of one row, a run that ends whole."""

from pathlib import Path

import pytest
import torch

from data.keypoints import KeypointObjects
from data.prepare import prepare
from data.synth import object_world
from llmpose.model.adapters import is_adapter, load_model
from llmpose.model.modeling import LlmPoseForConditionalGeneration
from llmpose.talk.conversation import Conversation, ImagePart, KeypointPart
from llmpose.talk.decoding import Decoding
from llmpose.talk.generation import generate
from llmpose.talk.processing import LlmPoseProcessor
from train.keypoints import KeypointRecipe, build
from train.recipe import load_recipe
from train.run import run

RECIPE = "launch/recipes/kptllm/tiny.yaml"


@pytest.fixture(scope="module", name="data")
def _data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("things")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(object_world.PRESETS, "micro", 2)
        root = object_world.write_objects(folder / "out", preset="micro", size_px=64, processes=1)
    prepare("mp100", root / "mp100", folder / "mp100_1")
    return folder


def words(data: Path, out: Path) -> list[str]:
    small = "new_vision.hidden_size=32 new_vision.num_layers=1 new_vision.num_heads=2 new_vision.image_px=64 "
    small += "model.new.hidden_size=32 model.new.num_layers=1 model.new.num_heads=2 model.new.intermediate_size=48 "
    small += "max_steps=2 batch.size=2 eval_examples=2 keypoints.crop_px=64 checkpoints.every=null"
    return [*small.split(), f"data.root={data}", f"run_dir={out}"]


def made(data: Path, out: Path, *more: str) -> KeypointRecipe:
    recipe = load_recipe([RECIPE], [*words(data, out), *more])
    assert isinstance(recipe, KeypointRecipe)
    return recipe


def test_all_keypoints_of_an_object_are_branches_of_one_row(data: Path, tmp_path: Path) -> None:
    job = build(made(data, tmp_path, "keypoints.per_object=null", "data.train.things.tasks.keypoint_visual=1"))
    examples = job.train_data[3]
    again = job.train_data[3]
    assert [one.token_ids.tolist() for one in examples] == [one.token_ids.tolist() for one in again]
    batch = job.collate(examples)
    assert len(examples) > 3
    assert int(batch["branch"].max()) == len(examples)
    assert int((batch["token_ids"] == examples[0].token_ids[2]).sum()) == 16  # the image's own tokens, once


def test_supports_are_other_objects_of_the_same_category(data: Path, tmp_path: Path) -> None:
    recipe = made(data, tmp_path, "data.train.things.tasks.keypoint_visual=1")
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
