"""COCO's layout and the traps of those who borrowed it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from source_kit import MakeImage, Read, WriteJson

from data.prepare import prepare
from data.records import RecordSet, Rejects
from llmpose.body.pose import Pose
from llmpose.errors import UserError


def annotation(number: int, **more: Any) -> dict[str, Any]:
    points = [[10 + k, 20 + k, 2 if k % 3 else 1] for k in range(15)] + [[0, 0, 0], [33, 44, 0]]
    return {
        "id": number,
        "image_id": 1,
        "category_id": 1,
        "bbox": [5, 10, 30, 30],
        "area": 700.5,
        "iscrowd": 0,
        "num_keypoints": 3,
        "keypoints": [value for point in points for value in point],
        "segmentation": [[5, 10, 35, 10, 35, 40, 5, 40]],
        **more,
    }


def content(*annotations: dict[str, Any], **image: Any) -> dict[str, Any]:
    return {
        "images": [{"id": 1, "file_name": "000000000001.jpg", "width": 64, "height": 48, **image}],
        "annotations": list(annotations),
        "categories": [{"id": 1, "name": "person", "supercategory": "person"}],
    }


@pytest.fixture
def coco(tmp_path: Path, make_image: MakeImage, write_json: WriteJson) -> Callable[..., Path]:
    """Writes annotations/person_keypoints_val2017.json and its one image."""

    def write(*annotations: dict[str, Any], **image: Any) -> Path:
        write_json(tmp_path / "annotations/person_keypoints_val2017.json", content(*annotations, **image))
        make_image(tmp_path / "val2017/000000000001.jpg")
        return tmp_path

    return write


def test_an_annotation_becomes_a_record(coco: Callable[..., Path], read: Read) -> None:
    (record,) = read("coco", coco(annotation(7)))
    assert (record.id, record.split, record.image) == ("coco/val/7", "val", "val2017/000000000001.jpg")
    assert record.box_xyxy_px.tolist() == [5, 10, 35, 40]
    assert record.keypoints[1].tolist() == [11, 21, 2]
    assert record.keypoints[0, 2] == 1
    assert record.attributes["area"] == 700.5
    assert record.attributes["category"] == "person"
    assert coco_mask.area(record.mask_rle) == 900


def test_stale_positions_of_unlabelled_points_are_cleared(coco: Callable[..., Path], read: Read) -> None:
    (record,) = read("coco", coco(annotation(7)))
    assert record.keypoints[16].tolist() == [0, 0, 0]


def test_num_keypoints_is_counted_not_believed(coco: Callable[..., Path], read: Read) -> None:
    """CrowdPose, OneHand10K and others: missing, or not the number of labelled points."""
    wrong, missing = annotation(1, num_keypoints=99), annotation(2)
    del missing["num_keypoints"]
    assert [record.attributes["num_keypoints"] for record in read("coco", coco(wrong, missing))] == [15, 15]


def test_a_missing_area_is_the_boxs(coco: Callable[..., Path], read: Read) -> None:
    """AI Challenger and CrowdPose have none."""
    without = annotation(1)
    del without["area"]
    assert read("coco", coco(without))[0].attributes["area"] == 900


@pytest.mark.parametrize(
    ("segmentation", "area"),
    [
        ([[5, 10, 35, 10, 35, 40, 5, 40], [40, 0, 50, 0, 50, 10, 40, 10]], 1000),
        ({"size": [48, 64], "counts": [48 * 10, 48 * 5, 48 * 49]}, 240),
        ([], None),
        ([[1, 2], []], None),
    ],
    ids=["two polygons", "plain run lengths", "none", "a point and nothing"],
)
def test_masks_come_in_every_form(coco: Callable[..., Path], read: Read, segmentation: Any, area: int | None) -> None:
    (record,) = read("coco", coco(annotation(1, segmentation=segmentation)))
    assert (None if record.mask_rle is None else int(coco_mask.area(record.mask_rle))) == area


def test_crowds_and_people_without_points_are_left_out_and_said(
    coco: Callable[..., Path], read: Read, rejects: Rejects
) -> None:
    root = coco(annotation(1, iscrowd=1), annotation(2, keypoints=[0] * 51), annotation(3))
    assert [record.id for record in read("coco", root)] == ["coco/val/3"]
    assert rejects.left_out == {"marked as a crowd": 1, "with fewer than 1 labelled keypoints": 1}
    assert rejects.rejected == 0
    assert len(read("coco", root, min_keypoints=0)) == 2
    kept = read("coco", root, min_keypoints=0, crowds="yes")
    assert [record.attributes.get("crowd", False) for record in kept] == [True, False, False]


def test_what_is_wrong_is_set_aside_by_reason(tmp_path: Path, coco: Callable[..., Path]) -> None:
    root = coco(
        annotation(1, keypoints=[1, 2, 2] * 16),
        annotation(2, bbox=[200, 200, 10, 10]),
        annotation(3, bbox=[5, 5, 0, 10]),
        annotation(4, image_id=99),
        annotation(5, bbox=None),
        annotation(6),
    )
    rejects = Rejects(max_share=1)
    records = prepare("coco", root, tmp_path / "out", rejects=rejects)
    assert records.column("id") == ["coco/val/6"]
    assert rejects.counts == {
        "keypoint list has the wrong length": 1,
        "box outside its image": 1,
        "box of zero area": 1,
        "annotation without an image entry": 1,
        "no box": 1,
    }


@pytest.mark.parametrize(
    "change",
    [
        {"bbox": [1, 2, "wide", 4]},
        {"keypoints": ["left"] * 51},
        {"segmentation": {"size": [48, 64]}},
        {"llmpose": {"pose": [0.0, [1.0, 2.0, 3.0]]}},
        {"llmpose": {"pose": [[0.0, 1.0]] * 3}},
    ],
    ids=["box", "keypoints", "mask", "ragged pose", "short pose"],
)
def test_an_annotation_of_another_form_is_set_aside(coco: Callable[..., Path], read: Read, rejects: Rejects, change):
    assert [record.id for record in read("coco", coco(annotation(1, **change), annotation(2)))] == ["coco/val/2"]
    assert rejects.counts == {"annotation not readable": 1}
    assert "annotation 1: " in rejects.examples["annotation not readable"][0]


@pytest.mark.parametrize("entry", [None, "seven", [1], {"id": 1, "image_id": [1]}])
def test_what_is_no_annotation_is_set_aside(
    coco: Callable[..., Path], read: Read, rejects: Rejects, entry: Any
) -> None:
    assert [record.id for record in read("coco", coco(entry, annotation(2)))] == ["coco/val/2"]
    assert rejects.counts == {"annotation not readable": 1}
    assert "annotations, number 1: " in rejects.examples["annotation not readable"][0]


@pytest.mark.parametrize(
    ("key", "entry", "said"),
    [
        ("images", {"id": 1}, "images, number 1 has no file_name"),
        ("images", "a.jpg", "images, number 1 has no id"),
        ("categories", {"name": "person"}, "categories, number 1 has no id"),
    ],
)
def test_images_and_categories_without_what_they_need_are_one_line(
    coco: Callable[..., Path], read: Read, key: str, entry: Any, said: str
) -> None:
    path = coco(annotation(1)) / "annotations/person_keypoints_val2017.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: [entry]}))
    with pytest.raises(UserError, match=said):
        read("coco", path.parents[1])


def test_a_missing_image_stops_by_default(tmp_path: Path, coco: Callable[..., Path]) -> None:
    root = coco(annotation(1), file_name="gone.jpg")
    with pytest.raises(UserError, match=r"1 image missing \(val2017/gone.jpg\).*--max-rejects 1"):
        prepare("coco", root, tmp_path / "out")


def test_a_size_that_the_annotation_lacks_is_taken_from_the_image(tmp_path: Path, coco: Callable[..., Path]) -> None:
    root = coco(annotation(1), width=None, height=None)
    record = prepare("coco", root, tmp_path / "out")[0]
    assert (record.width, record.height) == (64, 48)


@pytest.mark.parametrize("text", ['{"images": []', '["a"]', '{"images": [], "annotations": []}'])
def test_a_file_that_is_no_coco_json_is_one_line(tmp_path: Path, read: Read, text: str) -> None:
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations/person_keypoints_val.json").write_text(text)
    with pytest.raises(UserError, match=r"person_keypoints_val\.json: not") as error:
        read("coco", tmp_path)
    assert "\n" not in str(error.value)


def test_own_annotations_need_only_a_skeleton_file(
    tmp_path: Path, make_image: MakeImage, write_json: WriteJson
) -> None:
    (tmp_path / "stool.yaml").write_text("name: stool\nkeypoints: {seat: the round seat, foot: the end of a leg}")
    own = annotation(1, keypoints=[1, 2, 2, 3, 4, 1], segmentation=None)
    write_json(tmp_path / "stools.json", content(own))
    make_image(tmp_path / "000000000001.jpg")
    options = {"annotations": "stools.json", "skeleton": "stool.yaml"}
    prepare("coco", tmp_path, tmp_path / "out", options=options)
    records = RecordSet.load(tmp_path / "out")
    assert records[0].skeleton == "stool"
    assert records.skeleton("stool").describe("foot") == "the end of a leg"


def test_what_the_built_in_world_adds_is_taken_over(coco: Callable[..., Path], read: Read) -> None:
    """Its poses stand in the camera's frame; ours in the viewer's: upright in front of the camera is Rx(90)."""
    pose = np.zeros((22, 3))
    pose[0] = [np.pi, 0, 0]  # SMPL's y-up body in a y-down camera
    extra = {"pose": pose.tolist(), "betas": [0.5] * 10, "clothes": {"shirt": "red"}}
    camera = {"focal_px": 300.0, "centre_px": [32.0, 24.0]}
    (record,) = read("coco", coco(annotation(1, llmpose=extra), camera=camera))
    assert torch.allclose(torch.from_numpy(record.pose_rotmat), Pose.rest().rotmat, atol=1e-6)
    assert record.betas.tolist() == [0.5] * 10
    assert record.attributes["clothes"] == {"shirt": "red"}
    assert record.camera == camera


def test_real_samples_of_coco(samples_dir: Path, tmp_path: Path) -> None:
    options = {"annotations": "test_coco.json"}
    records = prepare("coco", samples_dir / "coco_keypoints", tmp_path / "out", images="decode", options=options)
    assert len(records) == 12
    assert isinstance(records, RecordSet)
    for record in records:
        assert record.mask_rle is not None
        # The mask's area is what COCO calls area, to the rounding of polygons.
        assert abs(coco_mask.area(record.mask_rle) / record.attributes["area"] - 1) < 0.15
        assert record.load_image().size == (record.width, record.height)
