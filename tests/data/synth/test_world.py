"""The world on disk: the same bytes whoever makes it, whole or not there, and read by the readers of the real sets."""

import errno
import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from data.rejects import Rejects
from data.sources import SOURCES
from data.synth.presets import PRESETS, WorldRecipe, world_recipe
from data.synth.shards import NOTES, plan
from data.synth.world import make_world
from llmpose.errors import BadUsage, UserError

SMALLER = WorldRecipe(
    persons={"train": 5, "val": 2, "test": 2},
    poses={"train": 29, "val": 0, "test": 0},
    extreme_poses={"train": 0, "val": 0, "test": 0},
    image_px=48,
)


def sums(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def read(name: str, root: Path, **options: Any) -> list[Any]:
    rejects = Rejects(0.0)
    records = list(SOURCES[name].read(root, rejects=rejects, **options))
    assert rejects.rejected == 0
    return records


# ---- same bytes ------------------------------------------------------------------------------------------------------


def test_any_number_of_processes_makes_the_same_bytes(world: Path, nano: WorldRecipe, tmp_path: Path) -> None:
    make_world(tmp_path / "two", nano, workers=2)
    assert sums(tmp_path / "two") == sums(world)


def test_another_seed_makes_another_world(world: Path, nano: WorldRecipe, tmp_path: Path) -> None:
    make_world(tmp_path / "other", replace(nano, poses=SMALLER.poses), seed=1, workers=1)
    other, first = sums(tmp_path / "other"), sums(world)
    same = [name for name in other if first.get(name) == other[name]]
    assert same == []


def test_the_manifest_sums_up_every_file(world: Path) -> None:
    manifest = json.loads((world / "manifest.json").read_text())
    found = sums(world)
    del found["manifest.json"]
    assert {name: entry["sha256"] for name, entry in manifest["files"].items()} == found
    assert all((world / name).stat().st_size == entry["bytes"] for name, entry in manifest["files"].items())
    assert manifest["seed"] == 0
    assert manifest["versions"]["numpy"] == np.__version__
    assert not (world / NOTES).exists()


# ---- interrupted, damaged, full --------------------------------------------------------------------------------------


class Stopped(Exception):
    pass


def test_an_interrupted_world_goes_on_where_it_stopped(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    make_world(whole, SMALLER, workers=1)
    cut = tmp_path / "cut"

    def stop(done: int, total: int) -> None:
        if 0 < done < total:
            raise Stopped

    with pytest.raises(Stopped):
        make_world(cut, SMALLER, workers=1, progress=stop)
    assert not (cut / "manifest.json").exists()
    kept = {path: path.stat().st_mtime_ns for path in (cut / "images").rglob("*.jpg")}
    assert kept
    reports: list[tuple[int, int]] = []
    make_world(cut, SMALLER, workers=1, progress=lambda *report: reports.append(report))
    assert sums(cut) == sums(whole)
    assert reports[0][0] > 0  # something was done already
    assert reports[-1][0] == reports[-1][1]
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())


def test_a_half_file_is_made_again(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done == total:
            raise Stopped

    out = tmp_path / "world"
    with pytest.raises(Stopped):
        make_world(out, SMALLER, workers=1, progress=stop)
    damaged = sorted((out / "images" / "train").glob("*.jpg"))[0]
    content = damaged.read_bytes()
    damaged.write_bytes(content[: len(content) // 2])
    (damaged.parent / f".{damaged.name}.partial").write_bytes(b"half")
    make_world(out, SMALLER, workers=1)
    assert damaged.read_bytes() == content


def test_a_finished_world_is_left_alone_and_other_settings_are_refused(tmp_path: Path) -> None:
    out = tmp_path / "world"
    first = make_world(out, SMALLER, workers=1)
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert make_world(out, SMALLER, workers=1) == first
    assert times == {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    with pytest.raises(UserError, match=r"holds another world \(seed 0, not 1\)"):
        make_world(out, SMALLER, seed=1)
    with pytest.raises(UserError, match=r"holds another world \(recipe"):
        make_world(out, replace(SMALLER, image_px=64))


def test_a_folder_of_something_else_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("dear")
    with pytest.raises(UserError, match="not empty and not a world"):
        make_world(tmp_path, SMALLER)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(UserError, match="not readable"):
        make_world(tmp_path, SMALLER)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["letters.txt", "manifest.json"]


def test_a_full_disk_is_one_line_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "world"
    rename = os.replace
    written: list[str] = []

    def full_after_three(source: str, target: str) -> None:
        if len(written) >= 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(str(target))
        rename(source, target)

    monkeypatch.setattr(os, "replace", full_after_three)
    with pytest.raises(UserError, match=r"disk is full; free some space and start again"):
        make_world(out, SMALLER, workers=1)
    assert not list(out.rglob("*.partial"))
    monkeypatch.setattr(os, "replace", rename)
    make_world(out, SMALLER, workers=1)
    make_world(tmp_path / "quiet", SMALLER, workers=1)
    assert sums(out) == sums(tmp_path / "quiet")


# ---- read back -------------------------------------------------------------------------------------------------------


def test_the_coco_reader_reads_pictures_and_poses(world: Path, nano: WorldRecipe) -> None:
    records = read("coco", world)
    manifest = json.loads((world / "manifest.json").read_text())
    assert len(records) == sum(count["persons"] for count in manifest["counts"].values())
    for record in records:
        assert record.pose_rotmat.shape == (22, 3, 3)
        assert record.keypoints.shape == (17, 3)
        assert record.camera["focal_px"] > 0
        assert record.attributes["clothes"]["phrases"]
        with Image.open(world / record.image) as image:
            assert image.size == (record.width, record.height)
            assert image.height == nano.image_px


def test_the_amass_reader_finds_about_the_asked_number_of_poses_in_the_right_splits(
    world: Path, nano: WorldRecipe
) -> None:
    for split in ("train", "val", "test"):
        records = read("amass", world, split=split)
        assert 0.6 * nano.poses[split] <= len(records) <= 1.6 * nano.poses[split]
    headings = [np.degrees(np.arctan2(r.pose_rotmat[0, 1, 0], r.pose_rotmat[0, 0, 0])) for r in read("amass", world)]
    assert np.ptp(headings) > 90


def test_the_moyo_and_hmr_readers_read_theirs(world: Path) -> None:
    extreme = read("moyo", world / "moyo")
    assert {record.split for record in extreme} == {"train", "val"}
    people, rows = read("coco", world), read("hmr", world)
    assert len(people) == len(rows)
    by_pose = {record.pose_rotmat.round(3).tobytes(): record for record in people}
    matched = [row for row in rows if row.pose_rotmat.round(3).tobytes() in by_pose]
    assert len(matched) > 0.9 * len(rows)  # the same people; rounding of single numbers may differ
    for row in rows:
        assert (row.keypoints[:, 2] > 0).sum() > 5
        assert (world / row.image).is_file()


def test_splits_share_neither_people_nor_motions(world: Path) -> None:
    shapes: dict[str, set[bytes]] = {}
    for record in [*read("coco", world), *read("amass", world)]:
        shapes.setdefault(record.split, set()).add(record.betas.tobytes())
    assert not shapes["train"] & shapes["val"]
    assert not shapes["train"] & shapes["test"]
    assert not shapes["val"] & shapes["test"]


# ---- sizes and the command -------------------------------------------------------------------------------------------


def test_shards_cover_the_recipe_and_are_the_same_whatever_is_done() -> None:
    for name, recipe in PRESETS.items():
        shards = plan(recipe)
        assert len({shard.name for shard in shards}) == len(shards)
        pictures = sum(shard.count for shard in shards if (shard.kind, shard.split) == ("images", "train"))
        persons = recipe.persons["train"]
        assert 0.7 * persons < pictures < persons, name
        for kind in ("images", "motions", "extremes"):
            for split in ("train", "val", "test"):
                mine = [shard for shard in shards if (shard.kind, shard.split) == (kind, split)]
                firsts = np.cumsum([0, *[shard.count for shard in mine]])
                assert [shard.first for shard in mine] == firsts[:-1].tolist()


def test_recipes_are_checked() -> None:
    assert world_recipe("tiny").image_px == 160
    assert world_recipe("tiny", image_px=96).image_px == 96
    with pytest.raises(BadUsage, match="choose one of micro, tiny, small, large"):
        world_recipe("huge")
    with pytest.raises(BadUsage, match="from 32 to 2048"):
        world_recipe("tiny", image_px=3)


def test_the_command_makes_a_world_and_says_what_is_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from llmpose.cli import app

    monkeypatch.setattr("data.synth.presets.PRESETS", {"micro": SMALLER})
    out = tmp_path / "world"
    done = CliRunner().invoke(app, ["data", "synth", "--out", str(out), "--preset", "micro", "--workers", "1"])
    assert done.exit_code == 0, done.output
    assert "people in" in done.output
    assert "motions" in done.output
    assert (out / "manifest.json").is_file()
