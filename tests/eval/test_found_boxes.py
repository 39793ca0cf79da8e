"""A detector's boxes find their pictures by name or by id, their species by name, by id or by what they cover."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_keypoint_sets import Knowing, write_set

from data.prepare import prepare
from data.record import Record
from data.record_set import RecordSet
from eval.benchmarks.found_boxes import categorised, overlap, place_boxes, read_boxes
from eval.benchmarks.keypoint_sets import DetectionSet
from llmpose.body.skeleton import load_skeleton
from llmpose.errors import UserError
from llmpose.talk.keypoint_files import plain_found, write_found
from llmpose.talk.keypoints import Found

BOXES = [(5.0, 20.0, 43.0, 70.0), (50.0, 20.0, 88.0, 70.0)]


def record(number: int, image: str, box: tuple[float, ...] = BOXES[0], **attributes: Any) -> Record:
    return Record(
        id=f"r{number}", source="x", split="test", image=image, box_xyxy_px=np.array(box, np.float32),
        keypoints=np.full((17, 3), 2, np.float32), skeleton="coco17", attributes=attributes,
    )  # fmt: skip


def written(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


def named(path: Path, names: list[str], **more: Any) -> Path:
    """A file in COCO's form with one box in each picture."""
    images = [{"id": number, "file_name": name} for number, name in enumerate(names, start=1)]
    entries = [{"image_id": image["id"], "category_id": 1, "bbox": [5, 20, 38, 50], **more} for image in images]
    return written(path, {"images": images, "annotations": entries, "categories": [{"id": 1, "name": "thing"}]})


def rows_of(path: Path, records: RecordSet) -> list[int]:
    placed, _ = place_boxes(read_boxes(path), records, range(len(records)))
    return [one.row for one in placed]


def test_a_list_is_read_as_coco_writes_results(tmp_path: Path) -> None:
    entries = [{"image_id": 7, "bbox": [1, 2, 3, 4], "score": 0.5}, {"image_id": 7, "bbox": [1, 2, 0, 4]}]
    (box,) = read_boxes(written(tmp_path / "boxes.json", entries)).boxes
    assert (box.image, box.box_xyxy_px.tolist(), box.score, box.category_id) == ("7", [1, 2, 4, 6], 0.5, 1)
    with pytest.raises(UserError, match="expected a list of image_id"):
        read_boxes(written(tmp_path / "boxes.json", [{"image_id": 7}]))
    with pytest.raises(UserError, match="no such file"):
        read_boxes(tmp_path / "elsewhere.json")


def test_the_score_of_a_box_is_the_detectors(tmp_path: Path) -> None:
    both = named(tmp_path / "a.json", ["a.jpg"], score=0.2, box_score=0.7, keypoint_scores=[0.2])
    alone = named(tmp_path / "b.json", ["a.jpg"], score=0.2, keypoint_scores=[0.2])
    assert [read_boxes(path).boxes[0].score for path in (both, alone)] == [0.7, 1.0]


def test_names_match_by_their_end_and_only_where_one_picture_has_it(tmp_path: Path) -> None:
    names = ["data/x/1.jpg", "data/y/1.jpg", "data/y/2.jpg"]
    records = RecordSet.from_records([record(n, name) for n, name in enumerate(names)])
    assert rows_of(named(tmp_path / "a.json", ["2.jpg", "x/1.jpg", "/photos/data/y/1.jpg"]), records) == [2, 0, 1]
    placed, told = place_boxes(read_boxes(named(tmp_path / "a.json", ["1.jpg", "y\\2.jpg", "z/2.jpg"])), records, [2])
    assert [one.row for one in placed] == [2]
    assert told == "Found boxes: 1 of 3 in a.json lie in 1 of 1 pictures; 2 are of no picture of the set."


def test_boxes_of_pictures_that_are_not_tested_are_no_strangers(tmp_path: Path) -> None:
    records = RecordSet.from_records([record(n, f"data/{n}.jpg", image_id=n) for n in range(3)])
    _, told = place_boxes(read_boxes(named(tmp_path / "a.json", ["0.jpg", "2.jpg"])), records, [0, 1])
    assert told == "Found boxes: 1 of 2 in a.json lie in 1 of 2 pictures."


@pytest.mark.parametrize(
    ("ids", "theirs", "ours"),
    [([10, 11], "image_id are '4'", "records' '10', '11'"), ([None, None], "image_id are '4'", "records' not there")],
)
def test_a_list_of_which_no_box_matches_says_both_kinds_of_names(
    tmp_path: Path, ids: list[Any], theirs: str, ours: str
) -> None:
    own = [{} if number is None else {"image_id": number} for number in ids]
    records = RecordSet.from_records([record(n, f"data/{n}.jpg", **one) for n, one in enumerate(own)])
    entries = [{"image_id": 4, "bbox": [1, 2, 3, 4]}]
    with pytest.raises(UserError, match=f"none of its 1 boxes.*{theirs}.*{ours}.*file_name"):
        rows_of(written(tmp_path / "boxes.json", entries), records)


def test_a_file_of_names_of_which_no_box_matches_says_both_kinds_of_names(tmp_path: Path) -> None:
    records = RecordSet.from_records([record(0, "data/0.jpg", image_id=1)])
    with pytest.raises(UserError, match=r"none of its 1 boxes.*called 'dog\.jpg', the records' 'data/0\.jpg'"):
        rows_of(named(tmp_path / "boxes.json", ["dog.jpg"]), records)


SPECIES = [
    record(0, "a.jpg", BOXES[0], image_id=1, category_id=8, category="king cheetah"),
    record(1, "a.jpg", BOXES[1], image_id=1, category_id=24, category="cat"),
]


@pytest.mark.parametrize(
    ("entries", "categories", "told"),
    [
        ([{"object": "cat"}, {"object": "King_Cheetah"}], [24, 8], "by name"),
        ([{"object": "cat"}, {"object": "cow"}], [24, -1], "1 of 2 have none"),
        ([{"category_id": 8}, {"category_id": 30}], [8, 30], ""),
        ([{"object": "animal"}, {}], [8, 24], "each takes that of the object it covers"),
        ([{"category_id": 77}, {"category_id": 78}], [8, 24], "each takes that of the object it covers"),
    ],
)
def test_a_species_comes_by_name_by_id_or_by_what_the_box_covers(
    tmp_path: Path, entries: list[dict[str, Any]], categories: list[int], told: str
) -> None:
    records = RecordSet.from_records(SPECIES)
    boxes = [[a, b, c - a, d - b] for a, b, c, d in BOXES]
    entries = [{"image_id": 1, "category_id": 1, "bbox": box, **own} for box, own in zip(boxes, entries, strict=True)]
    placed, _ = place_boxes(read_boxes(written(tmp_path / "boxes.json", entries)), records, [0, 1])
    found, said = categorised(placed, records, [0, 1])
    assert [one.box.category_id for one in found] == categories
    assert told in said
    assert bool(told) == bool(said)


def test_overlap_is_intersection_over_union() -> None:
    assert overlap(np.array([0, 0, 2, 2]), np.array([1, 0, 3, 2])) == pytest.approx(1 / 3)
    assert overlap(np.array([0, 0, 1, 1]), np.array([2, 2, 3, 3])) == 0


def keypoints_file(folder: Path, set_name: str, skeleton: str) -> Path:
    """What `llmpose keypoints --objects animal` writes about the six pictures of `write_set`."""
    kind, done = load_skeleton(skeleton), {}
    for number in range(1, 7):
        own = [Found(box, np.full((kind.num_keypoints, 3), 0.5), [], "animal", 0.8) for box in BOXES]
        done[f"{number:012d}.jpg"] = {"width": 96, "height": 96, "found": plain_found(own)}
    path = folder / f"{set_name}_boxes.json"
    write_found(path, done, kind, {})
    return path


@pytest.mark.parametrize(
    ("name", "skeleton", "key"),
    [
        ("animal_kingdom", "animal_kingdom", "pck_0.2_by_type"),
        ("ap10k", "ap10k", "ap"),
        ("macaque", "coco17", "ap"),
        ("carfusion", "carfusion", "ap"),
    ],
)
def test_a_file_of_the_keypoints_command_gives_the_found_boxes(
    tmp_path: Path, name: str, skeleton: str, key: str
) -> None:
    """Animal Kingdom's lists have no image_id; AP-10K has species, of which the file knows nothing."""
    write_set(name, tmp_path)
    keypoints_file(tmp_path, name, skeleton)
    result = DetectionSet(name).run(Knowing(data_dir=tmp_path, out_dir=tmp_path / "out"))
    assert result is not None
    # Boxes of Animal Kingdom's records are the points' extent, so the file's are cut out a little differently.
    assert result.table.rows[0].values[f"found_{key}"] > (0.9 if name == "animal_kingdom" else 0.998)
    assert any("12 of 12 in" in note and "6 of 6 pictures" in note for note in result.table.notes)
    assert any("covers" in note for note in result.table.notes) == (name == "ap10k")


def test_records_of_macaques_csv_are_matched_by_name(tmp_path: Path) -> None:
    rows = [["image file name", "keypoints", "segmentation"]]
    for number in (1, 2):
        points = [{"name": "nose", "position": [10, 30]}, {"name": "left_eye", "position": None}]
        outline = [{"name": "monkey", "segment": [[5, 20], [43, 20], [43, 70], [5, 70]]}]
        rows.append([f"{number}.jpg", json.dumps([points]), json.dumps([outline])])
    with (tmp_path / "annotations.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    prepare("macaque", tmp_path, tmp_path / "records", options={}, images="none")
    records = RecordSet.load(tmp_path / "records")
    assert len(records) == 2
    assert rows_of(named(tmp_path / "boxes.json", ["2.jpg", "1.jpg"]), records) == [1, 0]


def test_a_set_of_which_few_pictures_are_tested_takes_their_boxes_alone(tmp_path: Path) -> None:
    write_set("animal_kingdom", tmp_path)
    path = keypoints_file(tmp_path, "animal_kingdom", "animal_kingdom")
    content = json.loads(path.read_text())
    content["annotations"] = [one for one in content["annotations"] if one["image_id"] == 2]
    bench = Knowing(data_dir=tmp_path, out_dir=tmp_path / "out", limit=1)
    bench.sets = {"animal_kingdom_boxes": str(written(tmp_path / "mine.json", content))}
    result = DetectionSet("animal_kingdom").run(bench)
    assert result is not None
    assert any("0 of 2 in mine.json lie in 0 of 1 pictures." in note for note in result.table.notes)
    bench.sets = {"animal_kingdom_boxes": str(tmp_path / "none.json")}
    with pytest.raises(UserError, match=r"none\.json: no such file"):
        DetectionSet("animal_kingdom").run(bench)
