"""The things on disk: whole, the same for the same seed, in the layouts of MP-100 and AP-10K."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.prepare import prepare
from data.synth import object_world
from data.synth.object_scene import picture
from data.synth.objects import CATEGORIES, split_categories


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(object_world.PRESETS, "micro", 2)
        return object_world.write_objects(
            tmp_path_factory.mktemp("things") / "out", preset="micro", size_px=64, processes=1
        )


def test_each_split_holds_its_categories_and_no_other(folder: Path) -> None:
    for part, names in split_categories(2).items():
        content = json.loads((folder / "mp100" / "annotations" / f"mp100_split2_{part}.json").read_text())
        assert {category["name"] for category in content["categories"]} == set(names)
        assert len(content["images"]) == len(content["annotations"]) == 2 * len(names)


def test_annotations_fit_their_pictures(folder: Path) -> None:
    content = json.loads((folder / "mp100" / "annotations" / "mp100_split1_train.json").read_text())
    counts = {category["id"]: len(category["keypoints"]) for category in content["categories"]}
    for image, annotation in zip(content["images"], content["annotations"], strict=True):
        assert Image.open(folder / "mp100" / "images" / image["file_name"]).size == (64, 64)
        assert len(annotation["keypoints"]) == 3 * counts[annotation["category_id"]]
        x, y, w, h = annotation["bbox"]
        assert x >= 0
        assert y >= 0
        assert x + w <= 64
        assert y + h <= 64
        assert annotation["num_keypoints"] > 0


def test_ap10k_pictures_are_dealt_to_one_part_each(folder: Path) -> None:
    seen: list[str] = []
    for part in ("train", "val", "test"):
        content = json.loads((folder / "ap10k" / "annotations" / f"ap10k-{part}-split1.json").read_text())
        seen += [image["file_name"] for image in content["images"]]
        assert all(len(category["keypoints"]) == 17 for category in content["categories"])
        assert min(index for category in content["categories"] for link in category["skeleton"] for index in link) == 1
    assert len(seen) == len(set(seen)) == len(list((folder / "ap10k" / "data").iterdir()))


def test_same_seed_same_picture() -> None:
    first, second = (picture(CATEGORIES["car"], np.random.default_rng(4), 64) for _ in range(2))
    assert first.image.tobytes() == second.image.tobytes()
    assert np.array_equal(first.keypoints, second.keypoints)


def test_a_keypoint_behind_the_thing_is_hidden() -> None:
    chosen = CATEGORIES["car"]
    names = list(chosen.keypoints)
    hidden = 0
    for seed in range(12):
        points = picture(chosen, np.random.default_rng(seed), 96).keypoints
        wheels = [
            points[names.index(f"{side} {end} wheel"), 2] for side in ("left", "right") for end in ("front", "back")
        ]
        assert max(wheels) == 2
        hidden += min(wheels) == 1
    assert hidden >= 8


def test_the_readers_of_the_real_sets_read_the_things(folder: Path, tmp_path: Path) -> None:
    things = prepare("mp100", folder / "mp100", tmp_path / "mp100", options={"number": "2"})
    parts = split_categories(2)
    for part, names in parts.items():
        chosen = things.filter(split=part)
        assert {entry["category"] for entry in chosen.attributes()} == set(names)
    record = next(one for one in things if one.attributes["category"] == "cat")
    assert record.skeleton is not None
    skeleton = things.skeleton(record.skeleton)
    # Names, twins and sentences come from the skeleton files beside the annotations.
    assert skeleton.keypoints == CATEGORIES["cat"].keypoints
    assert skeleton.flip_pairs == CATEGORIES["cat"].skeleton().flip_pairs
    assert "ear" in skeleton.describe("left ear tip")
    animals = prepare("ap10k", folder / "ap10k", tmp_path / "ap10k")
    assert animals.column("skeleton") == ["ap10k"] * len(animals)
    assert max(len(animals.filter(split=part)) for part in ("train", "test")) > 0
