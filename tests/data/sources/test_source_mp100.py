"""MP-100: five splits, categories by id, skeletons from the files, and the episodes that everybody is compared on."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from source_kit import WriteJson

from data.prepare import prepare
from data.records import RecordSet
from data.sources.mp100 import cleaned_box, mp100_episodes
from llmpose.errors import UserError

# In the file's order, which is not that of the ids; two of one name.
CATEGORIES = [
    {"id": 40, "name": "face", "supercategory": "person", "keypoints": [], "skeleton": []},
    {"id": 18, "name": "face", "supercategory": "person", "keypoints": ["0", "1", "2"], "skeleton": [[0, 1], [1, 9]]},
    {"id": 33, "name": "squirrel_body", "supercategory": "Sciuridae", "keypoints": ["x"] * 17, "skeleton": []},
    {"id": 10, "name": "klipspringer_face", "supercategory": "animal_face", "keypoints": ["0"] * 9, "skeleton": []},
    {"id": 38, "name": "bus", "supercategory": "vehicle", "keypoints": ["0"] * 13, "skeleton": [[0, 2]]},
    {
        "id": 80,
        "name": "hand",
        "supercategory": "hand",
        "keypoints": ["wrist", "left thumb1", "right thumb1"],
        "skeleton": [],
    },
]
COUNTS = {40: 5, 18: 3, 33: 17, 10: 9, 38: 13, 80: 3}


def made(instances: int = 20) -> dict[str, Any]:
    """Annotations of all categories, shuffled among images, with every kind that the published loader passes over."""
    images, annotations = [], []
    order = [(category["id"], k) for k in range(instances) for category in CATEGORIES]
    random.Random(3).shuffle(order)
    for number, (category, _) in enumerate(order):
        image = number // 2  # two instances an image
        if number % 2 == 0:
            images.append({"id": 1000 - image, "file_name": f"folder/{image}.jpg", "width": 64, "height": 48})
        points = [float(value) for k in range(COUNTS[category]) for value in (5 + k, 6 + k, 2)]
        entry = {"id": 7000 + number, "image_id": 1000 - image, "category_id": category, "iscrowd": 0}
        annotations.append({**entry, "bbox": [2, 3, 30, 20], "area": 600, "keypoints": points})
    passed_over = (
        {"iscrowd": 1},
        {"keypoints": [0.0] * 9},
        {"num_keypoints": 0},
        {"bbox": [60, 40, 1, 1]},
        {"area": 0},
    )
    for number, change in enumerate(passed_over):
        extra = next(entry for entry in annotations if entry["category_id"] == 18)
        annotations.insert(number * 7, {**extra, "id": 9000 + number, **change})
    return {"images": images, "annotations": annotations, "categories": CATEGORIES}


def published(content: dict[str, Any], shots: int, episodes: int, queries: int) -> list[tuple[int, list[int], int]]:
    """The published procedure, written down apart from the reader and with the global generator: annotation ids."""
    groups: dict[int, list[int]] = {category["id"]: [] for category in content["categories"]}
    for image in content["images"]:
        for entry in content["annotations"]:
            if entry["image_id"] == image["id"] and entry["id"] < 9000:
                groups[entry["category_id"]].append(entry["id"])
    random.seed(1)
    pairs = []
    for category, ids in groups.items():
        for _ in range(episodes):
            drawn = random.sample(ids, shots + queries)
            pairs += [(category, drawn[:shots], query) for query in drawn[shots:]]
    return pairs


@pytest.fixture
def mp100(tmp_path: Path, write_json: WriteJson) -> Callable[[dict[str, Any]], RecordSet]:
    def write(content: dict[str, Any], **more: Any) -> RecordSet:
        write_json(tmp_path / "annotations/mp100_split4_test.json", content)
        options = {"number": "4"}
        records = prepare("mp100", tmp_path, tmp_path / "out", images="none", options=options, overwrite=True, **more)
        assert isinstance(records, RecordSet)
        return records

    return write


@pytest.mark.parametrize("shots", [1, 5])
def test_episodes_are_the_published_ones(mp100: Callable[..., RecordSet], shots: int) -> None:
    content = made()
    records = mp100(content)
    ids = [entry["annotation_id"] for entry in records.attributes()]
    ours = [
        (episode.category_id, [ids[row] for row in episode.supports], ids[episode.query])
        for episode in mp100_episodes(records, shots=shots, num_episodes=4)
    ]
    assert ours == published(content, shots, 4, 15)


def test_a_test_split_has_two_hundred_episodes_of_fifteen_queries(mp100: Callable[..., RecordSet]) -> None:
    """3,000 pairs a category, 60,000 in the real split of twenty."""
    assert sum(1 for _ in mp100_episodes(mp100(made()))) == len(CATEGORIES) * 200 * 15


def test_episodes_do_not_hang_on_the_order_of_the_record_set(mp100: Callable[..., RecordSet]) -> None:
    records = mp100(made())
    turned = records.select(np.arange(len(records))[::-1])
    straight = [records.ids()[episode.query] for episode in mp100_episodes(records, num_episodes=2)]
    assert [turned.ids()[episode.query] for episode in mp100_episodes(turned, num_episodes=2)] == straight


def test_an_image_without_its_size_is_one_line(mp100: Callable[..., RecordSet]) -> None:
    content = made()
    del content["images"][3]["width"]
    with pytest.raises(UserError, match="has no width and height"):
        mp100(content)


def test_an_annotation_of_another_form_is_counted_and_drawn_by_no_episode(mp100: Callable[..., RecordSet]) -> None:
    content, before = made(), len(mp100(made()))
    content["annotations"] += [None, {"id": 1, "image_id": 1000, "category_id": [18], "bbox": 3, "keypoints": 5}]
    records = mp100(content, max_rejects=0.1)
    assert len(records) == before
    assert records.manifest["rejects"]["reasons"]["annotation not readable"]["count"] == 2


def test_episodes_of_an_incomplete_split_are_refused(mp100: Callable[..., RecordSet]) -> None:
    records = mp100(made())
    with pytest.raises(UserError, match="would not be the published ones"):
        list(mp100_episodes(records.select(range(len(records) - 2)[1:])))
    with pytest.raises(UserError, match="has 20 instances in test, an episode of 10 shots"):
        list(mp100_episodes(records, shots=10))
    with pytest.raises(UserError, match="no MP-100 val split"):
        list(mp100_episodes(records, split="val"))


def test_categories_of_one_name_stay_apart(mp100: Callable[..., RecordSet]) -> None:
    records = mp100(made())
    faces = {record.skeleton: len(record.keypoints) for record in records if record.attributes["category"] == "face"}
    assert faces == {"mp100_40_face": 5, "mp100_18_face": 3}


def test_skeletons_take_the_names_of_the_sets_they_come_from(mp100: Callable[..., RecordSet]) -> None:
    records = mp100(made())
    assert records.skeleton("mp100_33_squirrel_body").keypoints[4] == "root of tail"
    assert records.skeleton("mp100_10_klipspringer_face").keypoints[4] == "nose tip"
    bus = records.skeleton("mp100_38_bus")
    assert (bus.num_keypoints, bus.keypoints[0]) == (13, "right front wheel")
    # Names that say nothing are replaced, a link that leads nowhere is none.
    face = records.skeleton("mp100_18_face")
    assert face.keypoints == ("point 1", "point 2", "point 3")
    assert face.links == ((0, 1),)
    assert records.skeleton("mp100_80_hand").flip_pairs == ((1, 2),)
    assert records.skeleton("mp100_40_face").num_keypoints == 5  # its category lists no names


@pytest.mark.parametrize(
    ("written", "keypoints", "flip_pairs"),
    [
        (["wrist", "Left_Eye", "right-eye"], ("wrist", "left eye", "right eye"), ((1, 2),)),
        (["wrist", "L_Eye", "R_Eye"], ("wrist", "l eye", "r eye"), ((1, 2),)),
        (["wrist", "left_fin", "tail"], ("wrist", "left fin", "tail"), ()),  # one side alone is a dataset's own affair
        (["left ear", "left-ear", "tail"], ("point 1", "point 2", "point 3"), ()),
        (["wrist", "", "tail"], ("point 1", "point 2", "point 3"), ()),
    ],
)
def test_names_of_a_category_are_taken_however_they_are_written(
    mp100: Callable[..., RecordSet], written: list[str], keypoints: tuple[str, ...], flip_pairs: tuple[tuple[int, int]]
) -> None:
    content = made()
    content["categories"] = [{**one, "keypoints": written} if one["id"] == 80 else one for one in CATEGORIES]
    hand = mp100(content).skeleton("mp100_80_hand")
    assert (hand.keypoints, hand.flip_pairs) == (keypoints, flip_pairs)


def test_a_skeleton_file_beside_the_data_is_taken(mp100: Callable[..., RecordSet], tmp_path: Path) -> None:
    (tmp_path / "skeletons").mkdir()
    (tmp_path / "skeletons/synth_hand.yaml").write_text(
        "name: synth_hand\nkeypoints: {wrist: where the hand begins, tip: the end, palm: the middle}"
    )
    assert mp100(made()).skeleton("mp100_80_hand").describe("wrist") == "where the hand begins"


def own_skeleton(folder: Path, name: str, count: int) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"keypoints: [{', '.join(f'own {k}' for k in range(count))}]")


@pytest.mark.parametrize("name", ["squirrel_body.yaml", "Squirrel-body.yml", "synth_squirrel_body.yaml"])
def test_a_skeleton_file_is_found_however_its_name_is_written(
    mp100: Callable[..., RecordSet], tmp_path: Path, name: str
) -> None:
    own_skeleton(tmp_path / "skeletons", name, 17)
    assert mp100(made()).skeleton("mp100_33_squirrel_body").keypoints[3] == "own 3"


def test_a_skeleton_file_with_other_keypoints_than_its_annotations_is_refused(
    mp100: Callable[..., RecordSet], tmp_path: Path
) -> None:
    own_skeleton(tmp_path / "skeletons", "hand.yaml", 4)
    with pytest.raises(
        UserError, match=r"skeletons/hand\.yaml: has 4 keypoints, the annotations of category 'hand' have 3$"
    ):
        mp100(made())


def test_a_skeleton_file_need_fit_only_one_of_the_categories_that_share_its_name(
    mp100: Callable[..., RecordSet], tmp_path: Path
) -> None:
    own_skeleton(tmp_path / "skeletons", "face.yaml", 5)
    records = mp100(made())
    assert records.skeleton("mp100_40_face").keypoints[0] == "own 0"
    assert records.skeleton("mp100_18_face").keypoints[0] == "point 1"
    own_skeleton(tmp_path / "skeletons", "face.yaml", 6)
    with pytest.raises(UserError, match="has 6 keypoints, the annotations of category 'face' have 3 or 5"):
        mp100(made())


def test_a_skeleton_file_of_no_category_is_refused_with_the_nearest(
    mp100: Callable[..., RecordSet], tmp_path: Path, write_json: WriteJson
) -> None:
    own_skeleton(tmp_path / "skeletons", "hands.yaml", 3)
    said = (
        r"hands\.yaml: named after no category of the annotations; did you mean hand\.yaml\? They have: face, squirrel"
    )
    with pytest.raises(UserError, match=said):
        mp100(made())
    # One file of several may lack categories that others have; and what lies beside the folder may be another set's.
    content = write_json(tmp_path / "part.json", made())
    prepare("mp100", tmp_path, tmp_path / "part", images="none", options={"annotations": content.name})
    (tmp_path / "skeletons" / "hands.yaml").unlink()
    own_skeleton(tmp_path.parent / "skeletons", "hands.yaml", 3)
    assert mp100(made()).skeleton("mp100_80_hand").keypoints[0] == "wrist"


def test_the_box_that_pck_divides_by() -> None:
    """A box of 50 x 80 inside its image counts as 49 x 79; one over the edge is cut."""
    assert cleaned_box([10, 10, 50, 80], 200, 200) == (10, 10, 49, 79)
    assert cleaned_box([-10, 180, 50, 80], 200, 200) == (0, 180, 49, 19)


def test_real_annotations_give_one_five_shot_episode_a_category(samples_dir: Path, tmp_path: Path) -> None:
    for split, count in (("1", 5), ("4", 4)):
        options = {"annotations": f"mp100_split{split}_test_subset.json", "number": split}
        root = samples_dir / "mp100_annotations_only"
        records = prepare("mp100", root, tmp_path / split, images="none", options=options)
        assert isinstance(records, RecordSet)
        episodes = list(mp100_episodes(records, shots=5, num_episodes=1))
        assert len(episodes) == 15 * count
        assert all(len({*episode.supports, episode.query}) == 6 for episode in episodes)
        for record in records:
            assert len(record.keypoints) == records.skeleton(record.skeleton).num_keypoints


@pytest.fixture
def split(tmp_path: Path, write_json: WriteJson) -> Path:
    """A folder with the three files of split 1."""
    content = made()
    groups = {"train": (40, 33), "val": (18, 80), "test": (10, 38)}
    for name, ids in groups.items():
        categories = [category for category in CATEGORIES if category["id"] in ids]
        own = {**content, "categories": categories}
        own["annotations"] = [entry for entry in content["annotations"] if entry["category_id"] in ids]
        write_json(tmp_path / f"annotations/mp100_split1_{name}.json", own)
    return tmp_path


def categories_of(records: Any) -> dict[str, set[int]]:
    return {
        name: {entry["category_id"] for entry in records.filter(split=name).attributes()} for name in ("train", "test")
    }


def test_a_group_is_kept_for_the_test_and_all_others_train(split: Path) -> None:
    records = prepare("mp100", split, split / "out", images="none", options={"without": "human_face"})
    assert isinstance(records, RecordSet)
    assert categories_of(records) == {"train": {33, 10, 38, 80}, "test": {40, 18}}
    episodes = list(mp100_episodes(records, num_episodes=2))
    assert [episode.category_id for episode in episodes] == [40] * 30 + [18] * 30


@pytest.mark.parametrize(
    ("group", "ids"), [("Sciuridae", {33}), ("animal_face", {10}), ("animal face", {10}), ("person", {40, 18})]
)
def test_any_super_category_of_the_files_is_a_group(split: Path, group: str, ids: set[int]) -> None:
    records = prepare("mp100", split, split / "out", images="none", options={"without": group})
    assert categories_of(records) == {"train": set(COUNTS) - ids, "test": ids}


@pytest.mark.parametrize("group", ["clothes", "furniture"])
def test_a_group_that_is_not_in_the_files_is_told_with_those_there(split: Path, group: str) -> None:
    there = "human_face, vehicle, animal_face, hand, person, sciuridae$"
    with pytest.raises(UserError, match=f"option without '{group}'; choose one of {there}"):
        prepare("mp100", split, split / "no", images="none", options={"without": group})
