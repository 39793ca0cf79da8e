"""Second turns and strangers: what is asked later stands on what was answered, shows nothing twice, and fits a row."""

from dataclasses import replace
from random import Random

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from data.examples import Examples
from data.mixture import JOINED, Mixture, Part, Pick, joined
from data.pair_set import PairSet
from data.record import PairRecord, Record
from data.record_set import RecordSet
from data.tasks import TALKS, TASKS
from data.tasks.base import TEMPLATES, Item
from data.tasks.grammar import NUM_CORE, TALK_FRAMES_FILE, content_words, frames_file, templates
from llmpose.body.pose import Pose
from llmpose.model.batch import IGNORE
from llmpose.talk.conversation import Conversation, ImagePart, PosePart
from llmpose.talk.processing import LlmPoseProcessor
from tests.eval.little import write_model

COLOURS = {"a": "red", "b": "blue"}


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> tuple[RecordSet, PairSet]:
    root = tmp_path_factory.mktemp("sets")
    records = []
    for number, (name, colour) in enumerate(COLOURS.items()):
        Image.new("RGB", (32, 32), colour).save(root / f"{name}.png")
        turns = torch.zeros(22, 3)
        turns[16 + number, 2] = 1.0
        pose = Pose(Pose.from_axis_angle(turns).rotmat @ Pose.rest().rotmat).turned(20 + 45 * number)
        said = Record(id=name, source="made", split="train", texts=[f"The {colour} one stands."])
        records.append(replace(said, image=f"{name}.png", width=32, height=32, pose_rotmat=pose.rotmat.numpy()))
    pairs = [
        PairRecord("ab", "made", "train", "a", "b", ["Raise the arm."], in_sequence=True),
        PairRecord("ba", "made", "train", "b", "a", ["Lower the arm."], in_sequence=False),
    ]
    PairSet.write(root / "pairs", [*records, *pairs], source="made", image_root=root)
    RecordSet.write(root / "records", records, source="made", image_root=root)
    return RecordSet.load(root / "records"), PairSet.load(root / "pairs")


@pytest.fixture(scope="module")
def processor(tmp_path_factory: pytest.TempPathFactory) -> LlmPoseProcessor:
    return LlmPoseProcessor.from_pretrained(write_model(tmp_path_factory.mktemp("model")))


def item_of(task: str, sets: tuple[RecordSet, PairSet], index: int = 0) -> Item:
    part = Part(TALKS[task], sets[TALKS[task].takes == "pair"])
    return part.item(index)


def everything(sets: tuple[RecordSet, PairSet], strangers: float, size: int = 64, seed: int = 0) -> Mixture:
    parts = [Part(task, sets[task.takes == "pair"]) for task in (*TASKS.values(), *TALKS.values())]
    return Mixture(parts, size=size, seed=seed, strangers=strangers)


# --- second turns -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", frames_file(TALK_FRAMES_FILE))
def test_sixty_wordings_and_ten_held_out_with_the_slots_of_the_task(task: str) -> None:
    content = yaml.safe_load((TEMPLATES / f"{task}.yaml").read_text(encoding="utf-8"))
    found = templates(task)
    assert content == {"task": task, "num_core": NUM_CORE, **found}
    assert (len(found["train"]), len(found["held_out"])) == (60, 10)
    everything = [*found["train"], *found["held_out"]]
    assert len({content_words(sentence) for sentence in everything}) == 70
    for sentence in everything:
        assert [sentence.count(f"{{{slot}}}") for slot in TALKS[task].shows] == [1] * sentence.count("{")


@pytest.mark.parametrize("task", TALKS)
def test_a_second_turn_speaks_of_the_first_answer_and_shows_nothing(task: str, sets: tuple[RecordSet, PairSet]) -> None:
    item = item_of(task, sets)
    said = TALKS[task].conversation(item, Random(0))
    assert (said.task, len(said.turns)) == (task, 4)
    first, answer, second, last = said.turns
    assert [len(turn.images) for turn in said.turns] == [1, 0, 0, 0]
    (shown,) = first.images
    assert np.asarray(shown.image)[16, 16].tolist() == [255, 0, 0]  # the record, or A
    assert not second.poses
    kinds = {"pose": lambda turn: bool(turn.poses), "text": lambda turn: bool(turn.text)}
    before = TALKS[task].after
    assert before is not None
    assert kinds[before.answer](answer)
    assert kinds[TALKS[task].answer](last)


def test_what_is_asked_for_last_was_not_said_before(sets: tuple[RecordSet, PairSet]) -> None:
    described = TALKS["talk_describe"].conversation(item_of("talk_describe", sets), Random(0))
    assert described.answer.text == "The red one stands."
    assert described.answer.text not in "".join(turn.text for turn in described.turns[:-1])
    edited = TALKS["talk_edit"].conversation(item_of("talk_edit", sets), Random(0), codes=[(1, 2), (3, 4)])
    poses = [[part.codes for part in turn.parts if isinstance(part, PosePart)] for turn in edited.turns]
    assert poses == [[], [(1, 2)], [], [(3, 4)]]
    assert "Raise the arm." in edited.turns[2].text


@pytest.mark.parametrize(("index", "turn"), [(0, 45.0), (1, 0.0)])
def test_b_keeps_its_turn_in_a_sequence_and_else_has_the_heading_of_a(
    sets: tuple[RecordSet, PairSet], index: int, turn: float
) -> None:
    item = item_of("talk_edit", sets, index)
    a, b = TALKS["talk_edit"].poses(item)
    assert isinstance(item, tuple)
    assert torch.equal(a.rotmat, TASKS["pose_estimation"].poses(item[1])[0].rotmat)
    assert float(b.yaw_deg - a.yaw_deg) == pytest.approx(turn, abs=1e-3)
    torch.testing.assert_close(b.without_yaw().rotmat, item[2].pose().without_yaw().rotmat, atol=1e-5, rtol=0)


def test_a_talk_needs_and_looks_at_what_its_first_turn_shows(sets: tuple[RecordSet, PairSet]) -> None:
    assert set(TALKS["talk_describe"].needs) == {"pose_rotmat", "image", "texts"}
    assert set(TALKS["talk_edit"].needs) == {"pose_rotmat", "image"}
    assert [record.id for record in TALKS["talk_edit"].pictured(item_of("talk_edit", sets))] == ["a"]
    assert [record.id for record in TASKS["image_diff"].pictured(item_of("talk_edit", sets))] == ["a", "b"]


# --- strangers --------------------------------------------------------------------------------------------------------


def test_strangers_depend_on_seed_epoch_and_index_only(sets: tuple[RecordSet, PairSet]) -> None:
    first, second = (everything(sets, 0.5) for _ in range(2))
    forwards = [first.pick(2, k) for k in range(64)]
    second.pick(7, 3)
    assert forwards == [second.pick(2, k) for k in reversed(range(64))][::-1]
    assert forwards != [everything(sets, 0.5, seed=1).pick(2, k) for k in range(64)]
    said = [mixture.conversation(2, 5) for mixture in (first, second)]
    assert [turn.text for turn in said[0].turns] == [turn.text for turn in said[1].turns]


def test_a_share_of_the_positions_has_one_or_two_strangers(sets: tuple[RecordSet, PairSet]) -> None:
    mixture = everything(sets, 0.25, size=400)
    counts = np.bincount([len(mixture.pick(0, k).strangers) for k in range(400)])
    assert counts[1:].sum() == pytest.approx(100, abs=30)
    assert counts[1] == pytest.approx(counts[2], abs=30)
    assert mixture.tasks == (*TASKS, *TALKS, JOINED)


def test_without_strangers_an_epoch_is_what_it_was(sets: tuple[RecordSet, PairSet]) -> None:
    alone, accompanied = everything(sets, 0.0), everything(sets, 1.0)
    for index in range(64):
        one, other = alone.pick(1, index), accompanied.pick(1, index)
        assert (one.part, one.item, one.draw, one.strangers) == (other.part, other.item, other.draw, ())
        assert other.strangers
    assert JOINED not in alone.tasks


def test_every_answer_of_a_conversation_is_learnt(sets: tuple[RecordSet, PairSet], processor: LlmPoseProcessor) -> None:
    mixture = everything(sets, 1.0)
    for index in range(16):
        pick = mixture.pick(0, index)
        talks = [
            mixture.parts[one.part].task.conversation(mixture.parts[one.part].item(one.item), Random(one.draw))
            for one in (pick, *pick.strangers)
        ]
        together = learnt(processor, joined(talks))
        # Behind a pose that is not the last word the end is predicted twice: from its queries, and from its codes.
        assert without_repeats(together) == [
            token for talk in talks for token in without_repeats(learnt(processor, talk))
        ]
        assert together.count(processor.end_id) >= sum(len(talk.turns) // 2 for talk in talks)


def learnt(processor: LlmPoseProcessor, conversation: Conversation) -> list[int]:
    labels = processor.encode(conversation).labels
    return labels[labels != IGNORE].tolist()


def without_repeats(tokens: list[int]) -> list[int]:
    return [token for token, before in zip(tokens, [None, *tokens], strict=False) if token != before]


def test_as_many_strangers_come_as_a_row_has_room_for(
    sets: tuple[RecordSet, PairSet], processor: LlmPoseProcessor
) -> None:
    mixture = everything(sets, 1.0)
    alone = [len(one) for one in Examples(everything(sets, 0.0), processor).encode(picks(mixture, company=False))]
    for longest, tasks in ((10_000, {JOINED}), (max(alone) + 20, {JOINED, *TASKS, *TALKS}), (1, {*TASKS, *TALKS})):
        found = Examples(mixture, processor, longest=longest).encode(picks(mixture))
        assert {example.task for example in found} <= tasks
        assert all(len(one) <= max(longest, own) for one, own in zip(found, alone, strict=True))
        assert (JOINED in {example.task for example in found}) == (longest > 1)


def picks(mixture: Mixture, *, company: bool = True) -> list[Pick]:
    found = [mixture.pick(0, index) for index in range(32)]
    return found if company else [replace(pick, strangers=()) for pick in found]


def test_a_stranger_brings_its_own_picture(sets: tuple[RecordSet, PairSet]) -> None:
    mixture = everything(sets, 1.0)
    for index in range(16):
        said = mixture.conversation(0, index)
        pick = mixture.pick(0, index)
        tasks = [mixture.parts[one.part].task for one in (pick, *pick.strangers)]
        items = [mixture.parts[one.part].item(one.item) for one in (pick, *pick.strangers)]
        wanted = sum(len(task.pictured(item)) for task, item in zip(tasks, items, strict=True))
        assert sum(isinstance(part, ImagePart) for turn in said.turns for part in turn.parts) == wanted
        assert said.task == JOINED
