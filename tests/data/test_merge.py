"""Several record sets become one."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from data.build.choose import groups
from data.merge import merge
from data.record import Record
from data.record_set import RecordSet
from llmpose.body.skeleton import skeleton_from_dict
from llmpose.cli import app
from llmpose.errors import UserError

POSE = np.broadcast_to(np.eye(3, dtype=np.float32), (22, 3, 3))


def person(number: int, **more: object) -> Record:
    return Record(id=f"{number}", source="hmr", split="train", image="a.png", pose_rotmat=POSE, **more)  # type: ignore[arg-type]


@pytest.fixture
def two(tmp_path: Path) -> dict[str, Path]:
    for name in ("coco", "mpii"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / name / "a.png")
        RecordSet.write(tmp_path / f"{name}_set", [person(0), person(1)], image_root=tmp_path / name)
    return {name: tmp_path / f"{name}_set" for name in ("coco", "mpii")}


def test_records_keep_their_images_and_get_the_names(two: dict[str, Path], tmp_path: Path) -> None:
    merged = merge(two, tmp_path / "both")
    assert merged.ids() == ["coco/0", "coco/1", "mpii/0", "mpii/1"]
    assert merged[2].image_path() == tmp_path / "mpii" / "a.png"
    assert [group.source for group in groups(merged, None, ("pose_rotmat",))] == ["coco", "mpii"]


def test_skeletons_of_one_name_must_be_one(tmp_path: Path) -> None:
    for number, keypoint in enumerate(("seat", "foot")):
        own = skeleton_from_dict({"name": "stool", "keypoints": {keypoint: "a part"}}, "here")
        record = Record(id="a", source="x", split="train", keypoints=np.float32([[1, 1, 2]]), skeleton="stool")
        RecordSet.write(tmp_path / f"{number}", [record], skeletons={"stool": own}, images="none")
    with pytest.raises(UserError, match="skeleton 'stool' is not that of an earlier set"):
        merge({"a": tmp_path / "0", "b": tmp_path / "1"}, tmp_path / "both")


def test_the_command_wants_names(two: dict[str, Path], tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["data", "merge", str(two["coco"]), "--out", str(tmp_path / "both")])
    assert "expected NAME=FOLDER" in str(done.exception)
    done = CliRunner().invoke(app, ["data", "merge", f"coco={two['coco']}", "--out", str(tmp_path / "both")])
    assert "2 records (train 2)" in done.output
