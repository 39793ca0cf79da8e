"""Record sets: what goes in comes out; what is wrong is set aside and counted; a folder is whole or not there."""

import errno
import json
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import roma
import torch
from PIL import Image

import data.record_set
from data.records import PairRecord, PairSet, Record, RecordSet, Rejects, load_set
from llmpose.body.skeleton import Skeleton
from llmpose.errors import UserError


def rotations(count: int) -> np.ndarray:
    """(count, 22, 3, 3)."""
    vectors = torch.randn(count, 22, 3, generator=torch.Generator().manual_seed(0)) * 0.4
    return roma.rotvec_to_rotmat(vectors).numpy()


def pose_records(count: int, split: str = "train") -> list[Record]:
    return [
        Record(id=f"r{index}", source="made", split=split, pose_rotmat=rotmat)
        for index, rotmat in enumerate(rotations(count))
    ]


def points(seen: float = 2) -> np.ndarray:
    return np.concatenate([np.full((17, 2), 5.0), np.full((17, 1), seen)], axis=1)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with one good JPEG of 40 x 30 and three bad ones."""
    folder = tmp_path / "images"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "good.jpg")
    whole = (folder / "good.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "text.jpg").write_text("<html>404</html>")
    # Everything in its place but the pixels: only decoding finds it.
    (folder / "rotten.png").write_bytes(_png_with_broken_pixels(folder / "good.png", noise))
    return folder


def _png_with_broken_pixels(path: Path, noise: np.ndarray) -> bytes:
    Image.fromarray(noise).save(path)
    content = bytearray(path.read_bytes())
    middle = content.index(b"IDAT") + 300
    content[middle : middle + 40] = bytes(40)
    return bytes(content)


# ---- there and back -------------------------------------------------------------------------------------------------


def test_a_full_record_comes_back_equal(tmp_path: Path, images: Path) -> None:
    record = Record(
        id="one",
        source="made",
        split="val",
        image="good.jpg",
        width=40,
        height=30,
        box_xyxy_px=np.array([1.5, 2, 20, 25], np.float32),
        pose_rotmat=rotations(1)[0],
        betas=np.arange(10, dtype=np.float32),
        joints_m=np.arange(72, dtype=np.float32).reshape(24, 3) / 72,
        keypoints=points().astype(np.float32),
        skeleton="coco17",
        mask_rle={"size": [30, 40], "counts": "0d0"},
        texts=["sits", "is sitting"],
        attributes={"clothes": {"shirt": "red"}, "n": 3},
        sequence="walk",
        frame=7,
        camera={"focal_px": 500.0, "centre_px": [20.0, 15.0]},
    )
    back = RecordSet.write(tmp_path / "set", [record], image_root=images)[0]
    for name, value in vars(record).items():
        if name == "image_root":
            continue
        found = getattr(back, name)
        assert np.array_equal(found, value) if isinstance(value, np.ndarray) else found == value, name
    assert back.load_image().size == (40, 30)
    assert torch.equal(back.pose().rotmat, torch.from_numpy(rotations(1)[0]))


def test_poses_come_all_at_once_as_one_by_one(tmp_path: Path) -> None:
    records = RecordSet.write(tmp_path / "set", pose_records(2500))
    assert np.array_equal(records.poses(), rotations(2500))
    some = records.select([2400, 3, 3])
    assert np.array_equal(some.poses(), rotations(2500)[[2400, 3, 3]])
    assert np.array_equal(some[0].pose_rotmat, rotations(2500)[2400])
    assert np.array_equal(records.poses([5, 1]), rotations(2500)[[5, 1]])


def test_bulk_access_of_one_batch_does_not_copy(tmp_path: Path) -> None:
    poses = RecordSet.write(tmp_path / "set", pose_records(500)).poses()
    assert poses.base is not None
    assert not poses.flags.writeable


def test_filters_combine_and_poses_ask_for_them(tmp_path: Path) -> None:
    mixed = pose_records(10) + [Record(id=f"t{i}", source="said", split="val", texts=["hm"]) for i in range(5)]
    records = RecordSet.write(tmp_path / "set", mixed)
    assert len(records.filter(split="val")) == 5
    assert len(records.filter(has="pose_rotmat")) == 10
    assert len(records.filter(has=("texts", "pose_rotmat"))) == 0
    assert len(records.filter(source=["said", "made"], split=["train"])) == 10
    assert records.columns == ("id", "source", "split", "pose_rotmat", "texts")
    assert records.filter(split="val").by_id("t3").texts == ["hm"]
    with pytest.raises(UserError, match="5 of 15 records have no pose_rotmat"):
        records.poses()
    with pytest.raises(UserError, match="no record 'r1'"):
        records.filter(split="val").by_id("r1")


def test_same_records_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        RecordSet.write(tmp_path / name, pose_records(20), source="made")
    assert all(
        (tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes()
        for f in ("records.arrow", "manifest.json")
    )


def test_a_record_set_travels_to_another_process(tmp_path: Path) -> None:
    chosen = RecordSet.write(tmp_path / "set", pose_records(9)).select([8, 2])
    assert [record.id for record in pickle.loads(pickle.dumps(chosen))] == ["r8", "r2"]


def test_images_can_travel_inside_or_move(tmp_path: Path, images: Path) -> None:
    record = Record(id="a", source="x", split="train", image="good.jpg")
    RecordSet.write(tmp_path / "in", [record], image_root=images, embed_images=True)
    RecordSet.write(tmp_path / "out", [record], image_root=images)
    images.rename(tmp_path / "moved")
    assert RecordSet.load(tmp_path / "in")[0].load_image().size == (40, 30)
    assert RecordSet.load(tmp_path / "out", image_root=tmp_path / "moved")[0].load_image().size == (40, 30)
    with pytest.raises(UserError, match=r"good\.jpg"):
        RecordSet.load(tmp_path / "out")[0].load_image()


def test_a_photo_turned_by_exif_stands_as_its_annotation(tmp_path: Path) -> None:
    image = Image.new("RGB", (40, 30))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "phone.jpg", exif=exif)
    record = Record(id="a", source="x", split="s", image=str(tmp_path / "phone.jpg"), width=30, height=40)
    assert record.load_image().size == (30, 40)
    record.width, record.height = 40, 30
    assert record.load_image().size == (40, 30)


def test_own_skeletons_travel_with_the_set(tmp_path: Path) -> None:
    stool = Skeleton("stool", ("seat", "foot"), descriptions={"seat": "the flat part"})
    record = Record(id="a", source="x", split="train", keypoints=np.zeros((2, 3)), skeleton="stool")
    RecordSet.write(tmp_path / "set", [record], skeletons={"stool": stool})
    loaded = RecordSet.load(tmp_path / "set")
    assert loaded.skeleton("stool") == stool
    assert loaded.skeleton("coco17").num_keypoints == 17


def test_the_manifest_describes_the_folder(tmp_path: Path) -> None:
    RecordSet.write(tmp_path / "set", pose_records(3), source="amass", options={"step": 10})
    manifest = json.loads((tmp_path / "set/manifest.json").read_text())
    assert manifest["source"] == "amass"
    assert manifest["options"] == {"step": 10}
    assert manifest["splits"] == {"train": 3}
    assert manifest["fields"]["pose_rotmat"] == 3
    assert len(manifest["files"]["records.arrow"]["sha256"]) == 64


# ---- what is set aside ----------------------------------------------------------------------------------------------


def bad(**fields: object) -> Record:
    return Record(id="bad", source="x", split="train", **fields)  # pyright: ignore[reportArgumentType]


def changed(place: tuple[int, ...], value: float) -> np.ndarray:
    rotmat = rotations(1)[0].copy()
    rotmat[place] = value
    return rotmat


MIRRORED = rotations(1)[0] * np.array([1, 1, -1])
BAD = {
    "pose holds NaN or infinite numbers": bad(pose_rotmat=changed((3, 0, 0), np.nan)),
    "pose holds what is not a rotation": bad(pose_rotmat=MIRRORED),
    "pose is not 22 rotation matrices": bad(pose_rotmat=rotations(1)[0][:21]),
    "betas holds NaN or infinite numbers": bad(betas=np.full(10, np.inf)),
    "betas has the wrong shape": bad(betas=np.zeros(9)),
    "joints_m holds NaN or infinite numbers": bad(joints_m=np.full((24, 3), np.nan)),
    "joints farther than 100 m (are they in millimetres?)": bad(joints_m=np.full((24, 3), 1700.0)),
    "all joints at the same place": bad(joints_m=np.full((24, 3), 0.4)),
    "keypoints without a skeleton": bad(keypoints=points()),
    "unknown skeleton 'coco18'": bad(keypoints=points(), skeleton="coco18"),
    "wrong number of keypoints for skeleton 'mpii16'": bad(keypoints=points(), skeleton="mpii16"),
    "keypoint visibility is not 0, 1 or 2": bad(keypoints=points(0.5), skeleton="coco17"),
    "keypoints outside their image": bad(
        keypoints=points() + np.array([90, 90, 0]), skeleton="coco17", width=80, height=80
    ),
    "image size is not two numbers": bad(width="wide", height=80),
    "attributes that JSON cannot hold, such as NaN": bad(attributes={"area": float("nan")}),
    "box of zero area": bad(box_xyxy_px=np.array([5, 5, 5, 9])),
    "box outside its image": bad(box_xyxy_px=np.array([90, 5, 99, 9]), width=80, height=80),
    "box_xyxy_px holds NaN or infinite numbers": bad(box_xyxy_px=np.array([1, 1, np.nan, 9])),
    "empty text": bad(texts=["fine", "  "]),
    "image missing": bad(image="nowhere.jpg"),
    "image cut off": bad(image="cut.jpg"),
    "image corrupt": bad(image="text.jpg"),
    "image has another size than its annotation says": bad(image="good.jpg", width=41, height=30),
}


@pytest.mark.parametrize("reason", BAD)
def test_a_bad_record_is_set_aside_by_its_reason(tmp_path: Path, images: Path, reason: str) -> None:
    rejects = Rejects(max_share=0.5)
    records = RecordSet.write(tmp_path / "set", [BAD[reason], *pose_records(3)], image_root=images, rejects=rejects)
    assert [record.id for record in records] == ["r0", "r1", "r2"]
    assert rejects.counts == {reason: 1}
    example = BAD[reason].image if reason.startswith("image ") else "bad"
    assert records.manifest["rejects"]["reasons"][reason] == {"count": 1, "examples": [example]}


def test_pixels_are_decoded_when_asked(tmp_path: Path, images: Path) -> None:
    record = bad(image="rotten.png")
    assert len(RecordSet.write(tmp_path / "quick", [record], image_root=images)) == 1
    rejects = Rejects(max_share=1)
    with pytest.raises(UserError, match="no records to write"):
        RecordSet.write(tmp_path / "slow", [record], image_root=images, images="decode", rejects=rejects)
    assert rejects.counts == {"image corrupt": 1}


def test_an_id_is_taken_once(tmp_path: Path) -> None:
    rejects = Rejects(max_share=1)
    records = RecordSet.write(tmp_path / "set", [*pose_records(2), *pose_records(1)], rejects=rejects)
    assert len(records) == 2
    assert rejects.counts == {"id is there twice": 1}


def test_a_box_that_reaches_over_the_edge_is_kept(tmp_path: Path) -> None:
    record = bad(box_xyxy_px=np.array([-30, -2, 20, 90]), width=80, height=80)
    assert len(RecordSet.write(tmp_path / "set", [record])) == 1


def test_more_than_one_per_cent_stops_and_leaves_nothing(tmp_path: Path) -> None:
    mixed = [*pose_records(97), BAD["empty text"], bad(texts=[""]), bad(texts=[""])]
    with pytest.raises(UserError, match=r"3 of 100 set aside: 3 empty text .*--max-rejects 0\.05") as error:
        RecordSet.write(tmp_path / "set", mixed)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []
    assert len(RecordSet.write(tmp_path / "set", mixed, rejects=Rejects(0.05))) == 97


def test_a_point_outside_its_image_beside_others_inside_is_kept_and_told(tmp_path: Path) -> None:
    stray = points()
    stray[3, :2] = 5000, 20
    records = [bad(keypoints=stray, skeleton="coco17", width=80, height=80)]
    rejects = Rejects()
    written = RecordSet.write(tmp_path / "set", records, rejects=rejects)
    assert rejects.summary() == "none of 1 set aside; kept: 1 with a labelled point outside its image (bad)"
    assert written.manifest["rejects"]["kept"]["with a labelled point outside its image"]["examples"] == ["bad"]


def test_what_is_left_out_on_purpose_does_not_stop() -> None:
    rejects = Rejects(accepted=10)
    rejects.leave_out("marked as a crowd", 90)
    rejects.check("here")
    assert rejects.summary() == "none of 10 set aside; left out: 90 marked as a crowd"


# ---- whole or not there ---------------------------------------------------------------------------------------------


def test_an_interrupted_write_leaves_nothing(tmp_path: Path) -> None:
    def stops() -> Iterator[Record]:
        yield from pose_records(1500)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        RecordSet.write(tmp_path / "set", stops())
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_is_no_record_set_and_is_swept(tmp_path: Path) -> None:
    dead = tmp_path / ".set.partial-999999999"
    dead.mkdir()
    (dead / "records.arrow").write_bytes(b"half")
    with pytest.raises(UserError, match=r"no manifest\.json"):
        RecordSet.load(dead)
    RecordSet.write(tmp_path / "set", pose_records(2))
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(data.record_set.TableWriter):
        def write(self, table: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(data.record_set, "TableWriter", Full)
    with pytest.raises(UserError, match="the disk is full; nothing was written"):
        RecordSet.write(tmp_path / "set", pose_records(2))
    assert list(tmp_path.iterdir()) == []


def test_what_stands_in_the_way_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/draft.txt").write_text("chapter 1")
    with pytest.raises(UserError, match="is something else"):
        RecordSet.write(tmp_path / "thesis", pose_records(2), overwrite=True)
    assert (tmp_path / "thesis/draft.txt").read_text() == "chapter 1"


def test_a_record_set_is_replaced_only_when_asked_and_only_by_a_whole_one(tmp_path: Path) -> None:
    RecordSet.write(tmp_path / "set", pose_records(2))
    with pytest.raises(UserError, match="--overwrite"):
        RecordSet.write(tmp_path / "set", pose_records(3))
    with pytest.raises(UserError, match="set aside"):
        RecordSet.write(tmp_path / "set", [*pose_records(1), BAD["empty text"]], overwrite=True)
    assert len(RecordSet.load(tmp_path / "set")) == 2
    assert len(RecordSet.write(tmp_path / "set", pose_records(3), overwrite=True)) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_damaged_folder_is_told_by_the_file(tmp_path: Path) -> None:
    RecordSet.write(tmp_path / "set", pose_records(5))
    arrow = tmp_path / "set/records.arrow"
    whole = arrow.read_bytes()
    arrow.write_bytes(whole[:-100])
    with pytest.raises(UserError, match=r"records\.arrow: has .* bytes, the manifest says"):
        RecordSet.load(tmp_path / "set")
    arrow.write_bytes(whole[:-100] + bytes(100))
    with pytest.raises(UserError, match="sha256 differs"):
        RecordSet.load(tmp_path / "set", verify=True)
    arrow.unlink()
    with pytest.raises(UserError, match=r"records\.arrow: is missing"):
        RecordSet.load(tmp_path / "set")


@pytest.mark.parametrize("content", [None, "{}", "[]", "not json", '{"format": "llmpose.objects", "version": 1}'])
def test_a_folder_that_is_no_record_set_is_one_line(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(UserError) as error:
        RecordSet.load(tmp_path)
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


# ---- pairs ----------------------------------------------------------------------------------------------------------


def pair(name: str, a: str, b: str, *texts: str, split: str = "train") -> PairRecord:
    return PairRecord(id=name, source="said", split=split, a=a, b=b, texts=list(texts), in_sequence=name == "p0")


def test_pairs_hold_the_records_that_they_name(tmp_path: Path) -> None:
    mixed = [pair("p0", "r0", "r2", "lower the arm"), *pose_records(3), pair("p1", "r1", "r0", "turn", split="val")]
    pairs = PairSet.write(tmp_path / "pairs", mixed)
    assert len(pairs) == 2
    found, a, b = pairs.both(0)
    assert found.texts == ["lower the arm"]
    assert (a.id, b.id) == ("r0", "r2")
    assert [one.id for one in pairs.filter(split="val")] == ["p1"]
    assert [one.id for one in pairs.filter(in_sequence=True)] == ["p0"]
    assert isinstance(load_set(tmp_path / "pairs"), PairSet)
    assert isinstance(load_set(tmp_path / "pairs/records"), RecordSet)
    PairSet.load(tmp_path / "pairs", verify=True)


def test_pairs_and_records_may_come_apart(tmp_path: Path) -> None:
    pairs = PairSet.write(tmp_path / "pairs", [pair("p0", "r0", "r1", "bend")], pose_records(2))
    assert pairs.both(0)[2].id == "r1"


def test_pairs_that_name_nobody_or_say_nothing_are_set_aside(tmp_path: Path) -> None:
    rejects = Rejects(max_share=0.9)
    items = [
        pair("p0", "r0", "gone", "x"),
        pair("p1", "r0", "r1"),
        pair("p2", "r0", "r1", " "),
        pair("p3", "r0", "r1", "x"),
    ]
    pairs = PairSet.write(tmp_path / "pairs", items, pose_records(2), rejects=rejects)
    assert pairs.column("id") == ["p3"]
    assert rejects.counts == {"pair names a pose that is not there": 1, "no text": 1, "empty text": 1}
