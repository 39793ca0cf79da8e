"""Tasks: the parts in their slots, headings as PoseScript and PoseFix have them, clear errors."""

from dataclasses import replace
from random import Random

import numpy as np
import pytest
import torch
from PIL import Image

from data.record import PairRecord, Record
from data.tasks import TASKS, ZERO_SHOT, task_named
from data.tasks.referring import referring_phrase
from llmpose.body.pose import Pose
from llmpose.errors import UserError
from llmpose.talk.conversation import ImagePart, PosePart, TextPart


def record(name: str, *, yaw_deg: float = 0.0, texts: tuple[str, ...] = ("Arms up.",), **more) -> Record:
    pose = Pose.rest().turned(yaw_deg)
    return Record(id=name, source="made", split="train", pose_rotmat=pose.rotmat.numpy(), texts=list(texts), **more)


@pytest.fixture
def with_image(tmp_path) -> Record:
    Image.new("RGB", (80, 60), (200, 30, 30)).save(tmp_path / "a.png")
    box = np.array([10, 10, 40, 50], np.float32)
    return record("p", yaw_deg=30, image="a.png", image_root=tmp_path, width=80, height=60, box_xyxy_px=box)


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if task.takes == "record"])
def test_each_record_task_asks_and_answers(name: str, with_image: Record) -> None:
    said = TASKS[name].conversation(with_image, Random(0))
    assert said.task == name
    assert said.record_id == "p"
    kind = TextPart if TASKS[name].answer == "text" else PosePart
    assert [type(part) for part in said.answer.parts] == [kind]
    asked = said.turns[0].parts
    assert sum(isinstance(part, ImagePart) for part in asked) == sum(s.startswith("image") for s in TASKS[name].shows)
    assert sum(isinstance(part, PosePart) for part in asked) == sum(s.startswith("pose") for s in TASKS[name].shows)


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if task.takes == "record"])
def test_a_question_alone_needs_no_pose_that_it_only_asks_for(name: str, with_image: Record) -> None:
    task = TASKS[name]
    whole = task.conversation(with_image, Random(0)).question
    unknown = with_image if "pose" in task.shows else replace(with_image, pose_rotmat=None)
    alone = task.conversation(unknown, Random(0), answered=False)
    assert [turn.text for turn in alone.turns] == [turn.text for turn in whole.turns]
    assert (alone.task, alone.record_id) == (whole.task, whole.record_id)
    if task.answer == "pose":
        with pytest.raises(UserError, match="pose"):
            task.conversation(unknown, Random(0))


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if task.takes == "pair"])
def test_each_pair_task_keeps_the_order_of_a_and_b(name: str, tmp_path) -> None:
    for file, colour in (("a.png", (255, 0, 0)), ("b.png", (0, 0, 255))):
        Image.new("RGB", (32, 32), colour).save(tmp_path / file)
    a, b = (record(n, image=f"{n}.png", image_root=tmp_path) for n in ("a", "b"))
    pair = PairRecord(id="ab", source="made", split="train", a="a", b="b", texts=["Raise the arm."])
    template = next(t for t in TASKS[name].templates() if t.find("_a}") < t.find("_b}") or "{pose}" in t)
    said = TASKS[name].conversation(
        (pair, a, b), Random(1), template, codes=[(1, 2), (3, 4)] if "image" not in name else None
    )
    parts = [*said.turns[0].parts, *said.answer.parts]
    poses = [part.codes for part in parts if isinstance(part, PosePart)]
    images = [np.asarray(part.image)[16, 16].argmax() for part in parts if isinstance(part, ImagePart)]
    assert poses in ([], [(1, 2), (3, 4)])
    assert images in ([], [0, 2])


def test_text_tasks_remove_the_heading_and_estimation_keeps_it(with_image: Record) -> None:
    (bare,) = TASKS["text_to_pose"].poses(with_image)
    (seen,) = TASKS["pose_estimation"].poses(with_image)
    assert float(bare.yaw_deg) == pytest.approx(0, abs=1e-3)
    assert float(seen.yaw_deg) == pytest.approx(30, abs=1e-3)


def test_a_pair_from_one_sequence_keeps_the_turn_between_its_poses() -> None:
    a, b = record("a", yaw_deg=20), record("b", yaw_deg=65)
    for in_sequence, turn in ((True, 45.0), (False, 0.0)):
        pair = PairRecord(id="ab", source="made", split="train", a="a", b="b", in_sequence=in_sequence)
        first, second = TASKS["pose_diff"].poses((pair, a, b))
        assert float(first.yaw_deg) == pytest.approx(0, abs=1e-3)
        assert float(second.yaw_deg) == pytest.approx(turn, abs=1e-3)


def test_the_same_random_state_asks_the_same_question(with_image: Record) -> None:
    first, second = (TASKS["pose_to_text"].conversation(with_image, Random(9)) for _ in range(2))
    assert first.turns[0].text == second.turns[0].text


def test_the_person_is_cut_out_whole(with_image: Record) -> None:
    said = TASKS["pose_estimation"].conversation(with_image, Random(0))
    (image,) = (part.image for part in said.turns[0].parts if isinstance(part, ImagePart))
    assert image.size == (256, 256)


def test_zero_shot_tasks_add_the_words_behind_the_question(with_image: Record) -> None:
    helped = ZERO_SHOT["text_enhanced_estimation"].conversation(with_image, Random(0))
    assert helped.turns[0].text.endswith("Arms up.")
    with_image.attributes = {"position": "second from the left", "clothes": {"shirt": "red", "trousers": "blue"}}
    meant = ZERO_SHOT["reasoning_estimation"].conversation(with_image, Random(0))
    assert "the person who is second from the left, in a red shirt and blue trousers" in meant.turns[0].text
    (image,) = (part.image for part in meant.turns[0].parts if isinstance(part, ImagePart))
    assert image.size == (80, 60)


def test_a_person_who_is_meant_needs_no_text(with_image: Record) -> None:
    unsaid = replace(with_image, texts=[], attributes={"position": "on the left"})
    meant = ZERO_SHOT["reasoning_estimation"]
    assert "texts" not in meant.needs
    assert "I mean the person who is on the left." in meant.conversation(unsaid, Random(0)).turns[0].text
    with pytest.raises(UserError, match="needs a text"):
        ZERO_SHOT["text_enhanced_estimation"].conversation(unsaid, Random(0))


@pytest.mark.parametrize(
    ("attributes", "phrase"),
    [
        ({"position": ["leftmost", "on the left"]}, "the leftmost person"),
        ({"position": ["leftmost"], "posture": "sitting"}, "the leftmost person who is sitting"),
        (
            {"position": ["second from the left"], "posture": "kneeling", "clothes": {"phrases": ["a red t-shirt"]}},
            "the person who is kneeling, second from the left, in a red t-shirt",
        ),
        (
            {"position": [], "clothes": {"phrases": ["a red t-shirt", "black jeans", "white shoes"], "skin": "x"}},
            "the person in a red t-shirt and black jeans",
        ),
        ({"clothes": {"jacket": "orange"}}, "the person in an orange jacket"),
        ({"expression": "The man with the cap."}, "The man with the cap"),
    ],
)
def test_people_are_told_apart_by_posture_place_and_clothes(attributes: dict, phrase: str) -> None:
    somebody = record("r", texts=())
    somebody.attributes = attributes
    assert referring_phrase(somebody) == phrase


def test_who_cannot_be_told_apart_is_an_error() -> None:
    with pytest.raises(UserError, match="neither position nor clothes"):
        referring_phrase(record("r", texts=()))


def test_a_missing_text_names_the_record() -> None:
    with pytest.raises(UserError, match=r"lonely.*pose_to_text.*text"):
        TASKS["pose_to_text"].conversation(record("lonely", texts=()), Random(0))


def test_an_unknown_task_suggests_the_nearest() -> None:
    with pytest.raises(UserError, match="pose_editing"):
        task_named("pose_edit")


def test_given_codes_spare_the_poses() -> None:
    said = TASKS["text_to_pose"].conversation(record("r"), Random(0), codes=[(5, 6, 7)])
    assert said.answer.poses[0].codes == (5, 6, 7)
    assert said.answer.poses[0].pose is None
    assert torch.is_tensor(TASKS["text_to_pose"].poses(record("r"))[0].rotmat)
