"""The mixture: shares by weight, every record before any twice, a pure function of (seed, epoch, index)."""

import numpy as np
import pytest

from data.mixture import STAGE_WEIGHTS, Mixture, Part, _apportion
from data.record import Record
from data.record_set import RecordSet
from data.tasks import TASKS
from llmpose.body.pose import Pose
from llmpose.errors import UserError


@pytest.fixture(scope="module")
def records() -> RecordSet:
    rest = Pose.rest().rotmat.numpy()
    return RecordSet.from_records(
        Record(id=f"r{k}", source="made", split="train", pose_rotmat=rest, texts=["One.", "Two."]) for k in range(10)
    )


def parts(records: RecordSet, *weights: float) -> list[Part]:
    return [Part(TASKS[name], records, w) for name, w in zip(("pose_to_text", "text_to_pose"), weights, strict=True)]


def test_an_epoch_holds_the_tasks_by_their_weights(records: RecordSet) -> None:
    mixture = Mixture(parts(records, 3, 1), size=40)
    picks = [mixture.pick(0, k).part for k in range(40)]
    assert np.bincount(picks).tolist() == [30, 10]


def test_no_record_comes_twice_before_all_came_once(records: RecordSet) -> None:
    mixture = Mixture(parts(records, 1, 1), size=20)
    seen = [mixture.pick(0, k).item for k in range(20) if mixture.pick(0, k).part == 0]
    assert sorted(seen) == list(range(10))
    half = Mixture(parts(records, 1, 1), size=10)
    over_two = [half.pick(epoch, k) for epoch in (0, 1) for k in range(10)]
    assert sorted(pick.item for pick in over_two if pick.part == 1) == list(range(10))


def test_what_comes_depends_on_seed_epoch_and_index_only(records: RecordSet) -> None:
    first, second = (Mixture(parts(records, 1, 1), seed=4, size=12) for _ in range(2))
    forwards = [first.pick(2, k) for k in range(12)]
    second.pick(5, 3)
    backwards = [second.pick(2, k) for k in reversed(range(12))]
    assert forwards == backwards[::-1]
    assert forwards != [first.pick(3, k) for k in range(12)]
    assert forwards != [Mixture(parts(records, 1, 1), seed=5, size=12).pick(2, k) for k in range(12)]


def test_a_position_gives_the_same_words_every_time(records: RecordSet) -> None:
    mixture = Mixture(parts(records, 1, 1), size=12, wordings="core")
    said = [mixture.conversation(1, 7) for _ in range(2)]
    assert said[0].turns[0].text == said[1].turns[0].text
    assert said[0].record_id == said[1].record_id


def test_shares_add_up_to_the_size() -> None:
    assert _apportion(np.array([1, 1, 1]) / 3, 10).sum() == 10
    assert _apportion(np.array([0.5, 0.25, 0.25]), 8).tolist() == [4, 2, 2]


def test_defaults_are_those_of_the_paper() -> None:
    assert STAGE_WEIGHTS["align"]["pose_diff"] == 93
    assert set(STAGE_WEIGHTS["instruct"]) == set(TASKS)


def test_a_pair_task_over_single_records_is_refused(records: RecordSet) -> None:
    with pytest.raises(UserError, match=r"pose_diff takes pairs, the set holds records"):
        Part(TASKS["pose_diff"], records)


def test_a_mixture_of_nothing_is_refused(records: RecordSet) -> None:
    with pytest.raises(UserError, match="no part"):
        Mixture(parts(records, 0, 0))
