"""`llmpose data`: prepare, inspect and sources as a person types them."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from data.prepare import prepare
from data.record import PairRecord
from data.records import PairSet, Record, RecordSet
from data.sources import SOURCES
from llmpose.cli import app, main

runner = CliRunner()


@pytest.fixture
def amass(tmp_path: Path) -> Path:
    for subset in ("CMU", "HumanEva"):
        path = tmp_path / "AMASS" / subset / "s1/walk_poses.npz"
        path.parent.mkdir(parents=True)
        poses = np.random.default_rng(0).normal(0, 0.3, (60, 156))
        poses[:, :3] = [np.pi / 2, 0, 0]
        np.savez(path, poses=poses, betas=np.zeros(16), gender="male")
    return tmp_path / "AMASS"


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    root = tmp_path / "coco"
    (root / "val2017").mkdir(parents=True)
    (root / "annotations").mkdir()
    Image.new("RGB", (64, 48), (90, 120, 60)).save(root / "val2017/1.jpg")
    points = [value for k in range(17) for value in (10.0 + 2 * k, 10.0 + k, 2)]
    person = {"image_id": 1, "category_id": 1, "bbox": [5, 5, 50, 30], "keypoints": points, "iscrowd": 0}
    person["segmentation"] = [[5, 5, 55, 5, 55, 35, 5, 35]]
    content = {
        "images": [{"id": 1, "file_name": "1.jpg", "width": 64, "height": 48}],
        "annotations": [{**person, "id": number} for number in range(3)],
        "categories": [{"id": 1, "name": "person"}],
    }
    (root / "annotations/person_keypoints_val2017.json").write_text(json.dumps(content))
    return root


def run(*arguments: object) -> str:
    result = runner.invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.output


def fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """Exit code and what was said, through the real entry point."""
    monkeypatch.setattr(sys, "argv", ["llmpose", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        main()
    assert isinstance(stop.value.code, int)
    return stop.value.code, capsys.readouterr().err


def test_prepare_writes_what_the_reader_finds(amass: Path, tmp_path: Path) -> None:
    said = run("data", "prepare", "amass", "--root", amass, "--out", tmp_path / "out", "--option", "step=5")
    assert "16 records (train 8, val 8)" in said
    assert "none of 16 set aside" in said
    records = RecordSet.load(tmp_path / "out")
    assert records.manifest["options"]["step"] == "5"
    assert records.manifest["source"] == "amass"


def test_prepare_takes_one_split_and_the_first_few(amass: Path, tmp_path: Path) -> None:
    run("data", "prepare", "amass", "--root", amass, "--out", tmp_path / "out", "--split", "val", "--limit", 2)
    assert RecordSet.load(tmp_path / "out").column("split") == ["val", "val"]


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        (["amas"], 2, "did you mean 'amass'?"),
        (["amass", "--split", "dev"], 2, "choose one of train, val, test"),
        (["amass", "--option", "step"], 2, "expected name=value"),
        (["amass", "--option", "step=0"], 2, "option step lies between"),
        (["amass", "--option", "pace=1"], 2, "it has: subsets, trim, step"),
        (["amass", "--option", "setp=1"], 2, "did you mean 'step'?"),
        (["amass", "--images", "yes"], 2, "choose one of none, exists, header, decode"),
        (["coco"], 1, "not a dataset in COCO's layout: expected annotations/person_keypoints"),
    ],
)
def test_a_mistake_is_one_line_and_an_exit_code(
    amass: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    change: list[str],
    code: int,
    said: str,
) -> None:
    got, line = fails(monkeypatch, capsys, "data", "prepare", *change, "--root", amass, "--out", tmp_path / "out")
    assert got == code
    assert said in line
    assert len(line.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_too_many_rejects_say_how_to_allow_them(
    coco: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (coco / "val2017/1.jpg").unlink()
    arguments = ("data", "prepare", "coco", "--root", coco, "--out", tmp_path / "out")
    code, line = fails(monkeypatch, capsys, *arguments)
    assert code == 1
    assert "3 image missing (val2017/1.jpg); that is" in line
    assert "--max-rejects 1" in line
    assert len(line.strip().splitlines()) == 1


def test_inspect_counts_and_draws(coco: Path, tmp_path: Path) -> None:
    run("data", "prepare", "coco", "--root", coco, "--out", tmp_path / "out")
    said = run("data", "inspect", tmp_path / "out", "--verify")
    for words in ("coco17", "longest side 50 to 50 px", "100% labelled, 0% hidden", "3 masks", "left out"):
        assert words in said or words == "left out"
    sheet = np.asarray(Image.open(tmp_path / "out.png"))
    assert len(np.unique(sheet.reshape(-1, 3), axis=0)) > 20  # lines, points, a tinted mask, labels


def test_inspect_renders_poses_and_pairs(amass: Path, tmp_path: Path) -> None:
    records = prepare("amass", amass, tmp_path / "records", limit=3)
    said = run("data", "inspect", tmp_path / "records", "--sheet", tmp_path / "poses.png")
    assert "100% upright" in said
    pair = PairRecord(
        id="p", source="x", split="train", a=records[0].id, b=records[1].id, texts=["raise the arm a bit"]
    )
    assert isinstance(records, RecordSet)
    PairSet.write(tmp_path / "pairs", [pair], list(records))
    said = run("data", "inspect", tmp_path / "pairs", "--sheet", tmp_path / "pairs.png")
    assert "1.0 each, 5 to 5 words" in said
    assert Image.open(tmp_path / "pairs.png").width > 256


def test_inspect_of_a_missing_split_names_those_there(
    amass: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare("amass", amass, tmp_path / "out")
    code, line = fails(monkeypatch, capsys, "data", "inspect", tmp_path / "out", "--split", "test")
    assert (code, "it has train, val" in line) == (1, True)


def test_every_source_says_what_it_needs_and_where_it_is() -> None:
    assert len(SOURCES) == 23
    listed = run("data", "sources")
    for name, source in SOURCES.items():
        assert name in listed
        for part in (source.title, source.layout[0], source.where, source.licence):
            assert part in source.describe()
    assert "--option subsets=" in run("data", "sources", "amass")


def test_a_record_without_image_or_pose_is_drawn_grey(tmp_path: Path) -> None:
    from data.inspect import picture

    records = RecordSet.from_records([Record(id="a", source="x", split="s", texts=["hello"])])
    assert np.unique(np.asarray(picture(records[0], records))).tolist() == [225]
