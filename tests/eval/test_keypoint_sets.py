"""Benchmarks of keypoints on the usual data sets: tiny files in their true layouts, true and found boxes apart."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data.prepare import prepare
from eval.benchmarks import BENCHMARKS
from eval.benchmarks.base import Bench, MissingNeed
from eval.benchmarks.keypoint_protocols import SETS
from eval.benchmarks.keypoint_sets import MEAN_KEYPOINT, DetectionSet
from eval.predict import Prediction
from llmpose.body.skeleton import load_skeleton

SIZE = 96
WHERE = {  # set -> source, where its files lie, options, skeleton, hidden points
    "coco": ("coco", "annotations/person_keypoints_val2017.json", "val2017", {}, "coco17"),
    "ap10k": ("ap10k", "annotations/ap10k-val-split1.json", "data", {}, "ap10k"),
    "ap10k_canidae": ("ap10k", "annotations/ap10k-test-split1.json", "data", {"families": "Canidae"}, "ap10k"),
    "ap10k_felidae": ("ap10k", "annotations/ap10k-test-split1.json", "data", {"families": "Felidae"}, "ap10k"),
    "humanart": ("humanart", "annotations/validation_humanart.json", "images/real", {}, "coco17"),
    "macaque": ("macaque", "annotations/macaque_test.json", "images", {}, "coco17"),
    "animal_kingdom": ("animal_kingdom", "annotation/ak_P1/test.json", "dataset/AA", {}, "animal_kingdom"),
    "carfusion": ("carfusion", "annotations/car_keypoints_test.json", "images", {}, "carfusion"),
    "animalpose": ("animalpose", "annotations/animalpose_val.json", "images", {}, "animalpose"),
}
CATEGORIES = [
    {"id": 8, "name": "dog", "supercategory": "Canidae"},
    {"id": 24, "name": "cat", "supercategory": "Felidae"},
]


def write_set(name: str, data: Path) -> Path:
    """Six pictures with two objects each, as the set has them on disk, and read by its reader."""
    source, annotations, pictures, options, skeleton = WHERE[name]
    root, rng = data / f"raw_{name}", np.random.default_rng(3)
    (root / pictures).mkdir(parents=True)
    (root / annotations).parent.mkdir(parents=True, exist_ok=True)
    count = load_skeleton(skeleton).num_keypoints
    images, entries, listed = [], [], []
    for number in range(1, 7):
        file = f"{number:012d}.jpg"
        Image.fromarray(rng.integers(0, 255, (SIZE, SIZE, 3), dtype=np.uint8)).save(root / pictures / file)
        below = {"animal_kingdom": "AA/", "humanart": "HumanArt/images/real/"}.get(name, "")
        images.append({"id": number, "file_name": below + file, "width": SIZE, "height": SIZE})
        for k in range(2):
            x, y = 5 + 45 * k, 20
            points = np.column_stack([rng.uniform(x, x + 38, count), rng.uniform(y, y + 50, count), np.full(count, 2)])
            points[1, 2] = 0
            category = CATEGORIES[k]
            entries.append(
                {
                    "id": 2 * number + k, "image_id": number, "category_id": category["id"], "iscrowd": 0,
                    "bbox": [x, y, 38, 50], "area": 38 * 50, "keypoints": points.round(2).ravel().tolist(),
                }
            )  # fmt: skip
            seen = points[:, 2] > 0
            listed.append(
                {
                    "image": below + file, "joints": np.where(seen[:, None], points[:, :2], -1).tolist(),
                    "joints_vis": seen.astype(int).tolist(), "center": [x + 19, y + 25], "scale": 0.3,
                    "animal": category["name"], "animal_parent_class": "Mammal", "animal_class": "Mammal",
                    "animal_subclass": "x",
                }
            )  # fmt: skip
    content: Any = {"images": images, "annotations": entries, "categories": CATEGORIES}
    (root / annotations).write_text(json.dumps(listed if name == "animal_kingdom" else content))
    prepare(source, root, data / name, options=options)
    return root


class Knowing(Bench):
    """A bench whose model knows every answer, or says the middle of the crop."""

    knows = True

    @property
    def model(self):  # type: ignore[override]
        return SimpleNamespace(config=SimpleNamespace(keypoint_answers="named", keypoint_positions="text"))

    @property
    def processor(self):  # type: ignore[override]
        return SimpleNamespace(vision=[SimpleNamespace(side=48)])

    def answers(self, task, questions, *, grammar, about, points="said"):  # type: ignore[override]
        assert grammar == "named_point"
        found = {}
        for question in questions:
            question.make()
            x, y, sure = self.truth(task, question.id)
            place = [x, y, sure] if self.knows else [0.5, 0.5, 0.5]
            found[question.id] = Prediction(question.id, "", points=[place])
        return found

    def truth(self, task: str, question: str) -> tuple[float, float, float]:
        benchmark = DetectionSet(task.removeprefix("keypoints_").removesuffix("_found"))
        whole = self.whole = getattr(self, "whole", {})
        if not whole:
            objects, rows = benchmark._objects(self)
            whole |= {f"{row}": objects.crop(row) for row in rows}
            boxes = [self.box(objects.records[row].box_xyxy_px) for row in rows]
            whole |= {"boxes": boxes, "rows": rows, "objects": objects}
        own, keypoint = question.rsplit("/", 1)
        if own.startswith("found"):
            row = whole["rows"][int(own.removeprefix("found "))]
            return (*whole[f"{row}"].points[int(keypoint), :2].tolist(), 0.9)
        x, y, _ = whole[own].points[int(keypoint)].tolist()
        return x, y, 0.9

    @staticmethod
    def box(corners: Any) -> list[float]:
        return [float(value) for value in corners]


@pytest.mark.parametrize("name", SETS)
def test_perfect_answers_are_perfect_and_boxes_stand_apart(name: str, tmp_path: Path) -> None:
    root = write_set(name, tmp_path)
    bench = Knowing(data_dir=tmp_path, out_dir=tmp_path / "out")
    own = SETS[name]
    result = BENCHMARKS[f"keypoints_{name}"]().run(bench)
    assert result is not None
    ours = result.table.rows[0].values
    keys = [key for key, wanted in (("ap", own.has_ap), ("ar", own.has_ap)) if wanted]
    keys += [f"pck_{t:g}_by_type" for t in own.thresholds]
    assert {key: ours[key] for key in keys} == pytest.approx(dict.fromkeys(keys, 1.0), abs=0.002)
    assert not any(key.startswith("found_") for key in ours)
    assert any("No found boxes" in note for note in result.table.notes)
    assert any("true boxes" in column.label for column in result.table.columns)
    assert any("found boxes" in column.label for column in result.table.columns)
    assert [row.method for row in result.table.rows if row.kind == "paper"]
    assert result.table.n == (6 if name in ("ap10k_canidae", "ap10k_felidae") else 12)
    shutil.rmtree(root)


def test_found_boxes_are_a_column_of_their_own(tmp_path: Path) -> None:
    write_set("coco", tmp_path)
    entries = [
        {"image_id": number, "category_id": 1, "bbox": [5 + 45 * k, 20, 38, 50], "score": 0.9 - 0.01 * k}
        for number in range(1, 7)
        for k in range(2)
    ]
    (tmp_path / "coco_boxes.json").write_text(json.dumps(entries))
    bench = Knowing(data_dir=tmp_path, out_dir=tmp_path / "out")
    result = DetectionSet("coco").run(bench)
    assert result is not None
    assert result.table.rows[0].values["found_ap"] == pytest.approx(1.0, abs=0.002)
    (tmp_path / "coco_boxes.json").write_text(json.dumps(entries[:6]))
    half = DetectionSet("coco").run(Knowing(data_dir=tmp_path, out_dir=tmp_path / "out2"))
    assert half is not None
    assert half.table.rows[0].values["ap"] == pytest.approx(1.0, abs=0.002)
    assert 0.3 < half.table.rows[0].values["found_ap"] < 0.7


def test_the_middle_of_the_crop_scores_low_and_the_mean_keypoint_needs_a_train_split(tmp_path: Path) -> None:
    write_set("animalpose", tmp_path)
    bench = Knowing(data_dir=tmp_path, out_dir=tmp_path / "out")
    bench.knows = False
    result = DetectionSet("animalpose").run(bench)
    assert result is not None
    assert result.table.rows[0].values["pck_0.2_by_type"] < 0.5
    assert MEAN_KEYPOINT not in [row.method for row in result.table.rows]


def test_what_is_missing_is_named_with_the_way_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(MissingNeed, match="llmpose data prepare carfusion"):
        DetectionSet("carfusion").run(Knowing(data_dir=tmp_path, out_dir=tmp_path))


SAMPLES = {
    "coco": ("coco", "coco_keypoints", "test_coco.json", "val"),
    "ap10k": ("ap10k", "ap10k", "test_ap10k.json", "val"),
    "humanart": ("humanart", "human_art", "test_humanart.json", "val"),
    "macaque": ("macaque", "macaquepose", "test_macaque.json", "test"),
    "animal_kingdom": ("animal_kingdom", "animal_kingdom", "test_animalkingdom.json", "test"),
    "carfusion": ("carfusion", "carfusion", "carfusion_coco.json", "test"),
    "animalpose": ("animalpose", "animalpose", "test_animalpose.json", "val"),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_true_files_are_read_and_measured(name: str, tmp_path: Path, samples_dir: Path) -> None:
    source, folder, annotations, split = SAMPLES[name]
    options = {"annotations": annotations, "images": "."}
    prepare(source, samples_dir / folder, tmp_path / name, split=split, options=options, images="none")
    result = DetectionSet(name).run(Knowing(data_dir=tmp_path, out_dir=tmp_path / "out"))
    assert result is not None
    own = SETS[name]
    key = "ap50" if own.has_ap else f"pck_{own.thresholds[-1]:g}_by_type"
    assert result.table.rows[0].values[key] > 0.9
