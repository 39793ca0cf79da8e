"""docs/own_skeleton.md walked from end to end: its YAML, its folder, its commands, on stools drawn here."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image, ImageDraw
from test_docs import blocks, commands_in
from typer.testing import CliRunner

from data.records import RecordSet
from llmpose.cli import app

PAGE = Path(__file__).resolve().parent.parent / "docs" / "own_skeleton.md"
SKELETON, LAYER = (block.text for block in blocks(PAGE) if block.language == "yaml")
PLACES = tuple(yaml.safe_load(SKELETON)["keypoints"])
SPLITS = {"train": 6, "val": 3, "test": 16}
SIZE = 64
NEW = """
    new_vision.image_px=32 new_vision.hidden_size=32 new_vision.num_layers=1 new_vision.num_heads=2
    model.new.hidden_size=32 model.new.num_layers=1 model.new.num_heads=2 model.new.intermediate_size=48
"""
SHORT = """
    max_steps=1 batch.size=2 eval_examples=2 keypoints.crop_px=32 checkpoints.every=null adapt.vision=full
"""
"""One step of a model that knows nothing."""


def stool(left: int, top: int) -> tuple[Image.Image, list[float]]:
    """A picture of a stool and its five keypoints, x, y and v each; the foot behind is hidden."""
    image = Image.new("RGB", (SIZE, SIZE), (200, 205, 210))
    draw = ImageDraw.Draw(image)
    feet = [(left + 32, top + 40), (left, top + 40), (left + 16, top + 36)]
    for foot in feet:
        draw.line((left + 16, top + 4, *foot), fill=(110, 70, 40), width=3)
    draw.ellipse((left + 2, top, left + 30, top + 8), fill=(150, 40, 40))
    draw.line((left + 8, top + 24, left + 24, top + 24), fill=(60, 60, 60), width=2)
    points = [(left + 16, top + 4), (left + 16, top + 24), *feet]
    return image, [value for (x, y), seen in zip(points, (2, 2, 2, 2, 1), strict=True) for value in (x, y, seen)]


def write_stools(root: Path) -> None:
    """The folder that the page shows."""
    (root / "images" / "stool").mkdir(parents=True)
    (root / "annotations").mkdir()
    (root / "skeletons").mkdir()
    (root / "skeletons" / "stool.yaml").write_text(SKELETON, "utf-8")
    number = 0
    for split, count in SPLITS.items():
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for _ in range(count):
            number += 1
            left, top = 4 + number % 11, 3 + number % 7
            picture, keypoints = stool(left, top)
            file_name = f"stool/{number:04}.jpg"
            picture.save(root / "images" / file_name)
            images.append({"id": number, "file_name": file_name, "width": SIZE, "height": SIZE})
            box = [left - 2, top - 2, 38, 46]
            annotations.append(
                {"id": number, "image_id": number, "category_id": 1, "bbox": box, "keypoints": keypoints}
            )
        content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "stool"}]}
        (root / "annotations" / f"mp100_split1_{split}.json").write_text(json.dumps(content))


def run(text: str, *more: str) -> str:
    done = CliRunner().invoke(app, [*shlex.split(text)[1:], *more])
    assert done.exit_code == 0, f"{text}\n{done.output}{done.exception!r}"
    return done.output


def said(begin: str) -> str:
    """The page's command that begins like this."""
    (found,) = (
        command.text.partition("  #")[0]
        for block in blocks(PAGE)
        if block.language == "bash"
        for command in commands_in(block)
        if command.text.startswith(begin)
    )
    return found


@pytest.fixture(scope="module", name="workplace")
def _workplace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the page's files, where its commands are run."""
    folder = tmp_path_factory.mktemp("own")
    write_stools(folder / "stools")
    (folder / "stool.yaml").write_text(SKELETON, "utf-8")
    (folder / "stools.yaml").write_text(LAYER, "utf-8")
    (folder / "launch").symlink_to(PAGE.parent.parent / "launch")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("LLMPOSE_DATA", raising=False)
        patch.delenv("LLMPOSE_RUNS", raising=False)
        told = run(said("llmpose data prepare"))
        assert "25 records" in told
        assert "none of 25 set aside" in told
        yield folder


def test_the_records_have_the_pages_keypoints_and_pictures(workplace: Path) -> None:
    told = run(said("llmpose data inspect"))
    assert (workplace / "records" / "stools.png").is_file()
    assert "stool" in told
    records = RecordSet.load("records/stools")
    skeleton = records.skeleton("mp100_1_stool")
    assert skeleton.keypoints == PLACES
    assert skeleton.describe("Left_Foot").startswith("the lower end of the leg on the stool's own left side")
    assert (skeleton.flip_pairs, skeleton.mirrors) == (((2, 3),), True)
    assert {split: len(records.filter(split=split)) for split in SPLITS} == SPLITS
    record = records[0]
    assert record.keypoints is not None
    assert record.keypoints[:, 2].tolist() == [2, 2, 2, 2, 1]
    assert record.load_image().size == (SIZE, SIZE)


def test_a_model_is_trained_asked_and_measured_as_the_page_says(workplace: Path) -> None:
    stools = [f"data.{part}.things.records=records/stools" for part in ("train", "eval")]
    run(
        "llmpose train launch/recipes/kptllm/tiny.yaml name=kptllm_tiny model.vision={}",
        *stools,
        *f"{NEW} {SHORT}".split(),
    )
    alone = ["data.train.things.weight=0", "data.eval.things.weight=0"]
    assert all(word in PAGE.read_text("utf-8") for word in alone)
    run(said("llmpose train"), *alone, *SHORT.split())

    photo, keypoints = stool(10, 8)
    (workplace / "photos").mkdir()
    for picture in ("photo.jpg", "photos/a.jpg", "mine.jpg"):
        photo.save(picture)
    places = dict(zip(PLACES, zip(keypoints[::3], keypoints[1::3], strict=True), strict=True))
    told = said("llmpose keypoints photo.jpg").replace("40,20,220,380", "8,6,46,52")
    shown = said("llmpose keypoints photos/").replace(
        "seat=120,60; left foot=80,340",
        "; ".join(f"{name}={places[name][0]},{places[name][1]}" for name in ("seat", "left foot")),
    )
    free = "llmpose keypoints photo.jpg --model DIR --out found --keypoints 'left horn'"
    for command, asked in ((told, 5), (shown, 2), (free, 1)):
        out = f"found/{asked}"
        run(command.replace("DIR", "runs/stools/model").replace("--out found", f"--out {out}"))
        (found,) = json.loads((workplace / out / "keypoints.json").read_text())["annotations"]
        assert len(found["texts"]) == asked
        assert sum(seen > 0 for seen in found["keypoints"][2::3]) == asked

    table = run(said("llmpose eval").replace("--limit 500", "--limit 2"))
    assert "mean keypoint" in table
    written = {path.stem for path in (workplace / "runs/eval_stools/tables").iterdir()}
    assert {"keypoint_visual_1shot", "keypoint_textual"} <= written
