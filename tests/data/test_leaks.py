"""An image that is trained on and tested on is found, whatever it is called and however it was saved."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from data.leaks import find_leaks
from data.records import Record, RecordSet
from llmpose.cli import app


def photo(seed: int) -> Image.Image:
    """Something like a photograph: smooth, with a few hundred features."""
    noise = np.random.default_rng(seed).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((320, 240), Image.Resampling.BICUBIC)


@pytest.fixture
def sides(tmp_path: Path) -> tuple[Path, Path]:
    """Training images 0 to 3. Tested: 1 under another name, 2 saved again smaller, another picture called 3, and 9."""
    for seed in range(4):
        (tmp_path / "a").mkdir(exist_ok=True)
        photo(seed).save(tmp_path / f"a/{seed}.jpg", quality=95)
    (tmp_path / "b").mkdir()
    (tmp_path / "b/renamed.jpg").write_bytes((tmp_path / "a/1.jpg").read_bytes())
    photo(2).resize((200, 150)).save(tmp_path / "b/small.jpg", quality=60)
    photo(7).save(tmp_path / "b/3.jpg")
    photo(9).save(tmp_path / "b/9.jpg")
    for name, files in (("a", ("0", "1", "2", "3", "3")), ("b", ("renamed", "small", "3", "9"))):
        records = [
            Record(id=f"{file}{row}", source=name, split="train" if name == "a" else "test", image=f"{name}/{file}.jpg")
            for row, file in enumerate(files)
        ]
        RecordSet.write(tmp_path / f"records_{name}", records, image_root=tmp_path)
    return tmp_path / "records_a", tmp_path / "records_b"


def test_the_same_image_is_found_by_bytes_and_by_picture(sides: tuple[Path, Path]) -> None:
    report = find_leaks([sides[0]], [sides[1]])
    found = {(Path(leak.train).stem, Path(leak.test).stem, leak.how) for leak in report.leaks}
    assert found == {("1", "renamed", "same bytes"), ("2", "small", "same picture")}
    assert (report.num_train, report.num_test) == (4, 4)  # images, not records
    assert report.namesakes == 1
    assert "2 stand in both; 1 share a name but not their content" in report.summary()


def thing(seed: int) -> Image.Image:
    """A few boxes on a plain ground with a little noise: few steps to something brighter."""
    rng = np.random.default_rng(seed)
    grey = np.full((240, 320), 90.0) + rng.normal(0, 1.5, (240, 320))
    for _ in range(6):
        x, y = rng.integers(60, 220), rng.integers(60, 150)
        grey[y : y + 50, x : x + 40] = rng.integers(0, 255)
    return Image.fromarray(grey.clip(0, 255).astype(np.uint8)).convert("RGB")


def test_things_on_plain_ground_are_no_copies_of_each_other_but_their_copies_are(tmp_path: Path) -> None:
    for side in ("a", "b"):
        (tmp_path / side).mkdir()
    for seed in range(40):
        thing(seed).save(tmp_path / f"a/{seed}.jpg", quality=95)
        thing(100 + seed).save(tmp_path / f"b/{100 + seed}.jpg", quality=95)
    thing(7).resize((200, 150)).save(tmp_path / "b/copy.jpg", quality=60)
    for side in ("a", "b"):
        names = sorted(path.name for path in (tmp_path / side).iterdir())
        records = [Record(id=name, source=side, split="train", image=f"{side}/{name}") for name in names]
        RecordSet.write(tmp_path / f"records_{side}", records, image_root=tmp_path)
    report = find_leaks([tmp_path / "records_a"], [tmp_path / "records_b"])
    assert [(Path(leak.train).stem, Path(leak.test).stem) for leak in report.leaks] == [("7", "copy")]


def test_names_alone_find_what_is_called_the_same(sides: tuple[Path, Path]) -> None:
    report = find_leaks([sides[0]], [sides[1]], content=False)
    assert [(Path(leak.test).name, leak.how) for leak in report.leaks] == [("3.jpg", "same name")]


def test_splits_choose_the_sides(sides: tuple[Path, Path]) -> None:
    assert find_leaks([sides[0]], [sides[1]], train_split="val").leaks == []
    assert len(find_leaks([sides[0]], [sides[0]], test_split="train").leaks) == 4


def test_the_command_fails_when_there_is_a_leak(sides: tuple[Path, Path]) -> None:
    run = CliRunner().invoke(app, ["data", "leaks", "--train", str(sides[0]), "--test", str(sides[1])])
    assert run.exit_code == 1
    assert "same bytes" in run.output
    clean = CliRunner().invoke(
        app, ["data", "leaks", "--train", str(sides[0]), "--test", str(sides[1]), "--train-split", "val"]
    )
    assert clean.exit_code == 0
    assert "none stands in both" in clean.output
