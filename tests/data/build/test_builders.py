import json
import os
from pathlib import Path

import numpy as np
import pytest

from data.build.builders import DATASETS, Options, build
from data.build.choose import PAPER_COUNTS, _counts
from data.build.layout import size_name
from data.build.texts import Writing, refined_places
from data.records import PairSet, RecordSet, Rejects
from data.sources import SOURCES
from data.tasks import TASKS
from llmpose.errors import BadUsage, UserError

BRIEF = Writing(style="brief")


def load(folder: Path, name: str) -> dict | list:
    (path,) = folder.glob(name)
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def built(records: RecordSet, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("built")
    for dataset in DATASETS:
        build(dataset, records, root / dataset, Options(count=60, writing=BRIEF))
    return {dataset: root / dataset for dataset in DATASETS}


def test_posescript_has_the_files_of_the_release(built: dict[str, Path]) -> None:
    folder = built["posescript"]
    places = load(folder, "ids_2_dataset_sequence_and_frame_index_*.json")
    ids = [load(folder, f"{split}_ids_*.json") for split in ("train", "val", "test")]
    auto = load(folder, "posescript_auto_*.json")
    assert sorted(number for split in ids for number in split) == list(range(len(places)))
    assert len(ids[0]) == 60
    assert set(auto) == set(places)
    assert all(len(texts) == 3 for texts in auto.values())
    assert places["0"][0] in ("AMASS", "coco")


def test_others_read_it_through_the_posescript_layout(built: dict[str, Path], records: RecordSet) -> None:
    """ImageScript carries its poses along, so a reader of PoseScript finds everything in the folder itself."""
    rejects = Rejects()
    read = list(SOURCES["posescript"].read(built["imagescript"], rejects=rejects, texts="auto"))
    own = RecordSet.load(built["imagescript"] / "auto")
    assert rejects.rejected == 0
    assert len(read) == len(own)
    mine = {record.id.split("/")[1]: record for record in own}
    for record in read:
        same = mine[record.id.split("/")[1]]
        assert record.texts == same.texts
        assert record.split == same.split
        assert np.allclose(record.pose_rotmat, same.pose_rotmat, atol=1e-5)


def test_others_read_it_through_the_posefix_layout(built: dict[str, Path]) -> None:
    rejects = Rejects()
    read = list(SOURCES["posefix"].read(built["imagediff"], rejects=rejects, texts="auto"))
    own = PairSet.load(built["imagediff"] / "auto")
    pairs = [item for item in read if hasattr(item, "in_sequence")]
    assert rejects.rejected == 0
    assert sorted(pair.texts[0] for pair in pairs) == sorted(pair.texts[0] for pair in own)


def test_images_are_linked_and_their_boxes_named(built: dict[str, Path], records: RecordSet) -> None:
    folder = built["imagescript"]
    images = load(folder, "ids_2_image_*.json")
    own = RecordSet.load(folder / "auto")
    assert len(images) == len(own)
    for number, facts in images.items():
        assert (folder / facts["image"]).is_file()
        assert facts["box_xyxy_px"] == [1, 2, 20, 30]
        assert own.by_id(f"imagescript/{number}").load_image().size == (24, 32)
    first = own[0]
    original = records.by_id(first.attributes["from"])
    assert os.path.samefile(first.image_path(), original.image_path())


def test_image_sets_take_records_with_images_only(built: dict[str, Path], records: RecordSet) -> None:
    own = RecordSet.load(built["imagescript"] / "auto")
    assert all(record.source == "coco" for record in own)
    script = RecordSet.load(built["posescript"] / "auto")
    assert {record.source for record in script} == {"coco", "amass"}


def test_pairs_stay_within_their_split_and_say_whether_they_are_of_one_motion(built: dict[str, Path]) -> None:
    for dataset in ("posefix", "imagediff"):
        own = PairSet.load(built[dataset] / "auto")
        listed = {
            (split, where): load(built[dataset], f"{split}_{where}_sequence_pair_ids.json")
            for split in ("train", "val", "test")
            for where in ("in", "out")
        }
        assert sum(map(len, listed.values())) == len(own)
        for index in range(len(own)):
            pair, a, b = own.both(index)
            assert pair.split == a.split == b.split
            assert int(pair.id.split("/")[-1]) in listed[pair.split, "in" if pair.in_sequence else "out"]
            same = a.sequence is not None and a.sequence == b.sequence
            assert pair.in_sequence == same
            assert ("turn_deg" in pair.attributes) == same


def test_what_is_built_is_what_the_tasks_take(built: dict[str, Path]) -> None:
    from random import Random

    script = RecordSet.load(built["imagescript"] / "auto")
    diff = PairSet.load(built["imagediff"] / "auto")
    for name, task in TASKS.items():
        item = script[0] if task.takes == "record" else diff.both(0)
        conversation = task.conversation(item, Random(0))
        assert conversation.task == name
        assert len(conversation.turns) == 2


def test_refined_texts_are_an_eighth_of_training_and_all_of_the_rest(built: dict[str, Path]) -> None:
    refined = RecordSet.load(built["posescript"] / "refined")
    auto = RecordSet.load(built["posescript"] / "auto")
    assert len(refined.filter(split="train")) == 8
    assert len(refined.filter(split="val")) == len(auto.filter(split="val"))
    assert all(len(record.texts) == 1 and len(record.texts[0].split()) <= 45 for record in refined)
    assert refined_places(["train"] * 16 + ["test"] * 2, Writing()) == refined_places(
        ["train"] * 16 + ["test"] * 2, Writing()
    )


def test_the_same_seed_gives_the_same_files(built: dict[str, Path], records: RecordSet, tmp_path: Path) -> None:
    again = build("posefix", records, tmp_path / "again", Options(count=60, writing=BRIEF))
    first = json.loads((built["posefix"] / "manifest.json").read_text())
    changes = {name for name, facts in first["files"].items() if again["files"][name] != facts}
    # only the manifests of the record sets name the folder they stand in
    assert all(name.endswith("manifest.json") for name in changes)


def test_a_run_that_fails_leaves_nothing_behind(records: RecordSet, tmp_path: Path) -> None:
    def stop(step: str, done: int, total: int) -> None:
        if step == "captions":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build("posescript", records, tmp_path / "out", Options(count=10, writing=BRIEF), progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_what_stands_there_is_only_replaced_when_asked(records: RecordSet, tmp_path: Path) -> None:
    options = Options(count=5, writing=BRIEF)
    build("posescript", records, tmp_path / "out", options)
    with pytest.raises(UserError, match="--overwrite"):
        build("posescript", records, tmp_path / "out", options)
    build("posescript", records, tmp_path / "out", options, overwrite=True)


def test_the_papers_counts_are_the_default_where_a_source_has_one() -> None:
    assert sum(count for (_, split), count in PAPER_COUNTS.items() if split == "train") == 50_000
    there = {("h36m", "train"): 312_188, ("coco", "train"): 3_000, ("mine", "train"): 70, ("3dpw", "test"): 35_515}
    counts = _counts(there, None)
    assert counts == {
        ("h36m", "train"): 15_000,
        ("coco", "train"): 3_000,
        ("mine", "train"): 70,
        ("3dpw", "test"): 2_000,
    }


def test_a_count_is_shared_out_by_the_paper_and_no_source_gives_more_than_it_has() -> None:
    there = {("h36m", "train"): 9_000, ("mpi_inf_3dhp", "train"): 100, ("coco", "train"): 9_000, ("3dpw", "test"): 500}
    counts = _counts(there, 1_000)
    assert sum(count for (_, split), count in counts.items() if split == "train") == 1_000
    assert counts["mpi_inf_3dhp", "train"] == 100
    assert counts["h36m", "train"] > 2.5 * counts["coco", "train"]
    assert counts["3dpw", "test"] == round(500 * 1_000 / 18_100)


def test_sizes_are_written_as_the_releases_write_them() -> None:
    assert [size_name(count) for count in (100_000, 135_305, 6_293, 6_000)] == ["100k", "135305", "6293", "6k"]


def test_nothing_to_build_from_is_said(records: RecordSet, tmp_path: Path) -> None:
    without = records.filter(source="amass")
    with pytest.raises(UserError, match="pose_rotmat and image"):
        build("imagescript", without, tmp_path / "out")
    with pytest.raises(BadUsage, match="choose one of posescript, posefix"):
        build("poscript", records, tmp_path / "out")
