"""Zero-shot evaluation on the little world: the truth scores the maximum, controls do not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.tasks import TALKS, TASKS
from data.tasks.grammar import content_words
from eval.benchmarks.base import Bench
from eval.benchmarks.talk import DESCRIBE, EDIT, ESTIMATE
from eval.benchmarks.taskset import TaskSet
from eval.benchmarks.wording import paraphrases, right_kind
from eval.predict import Prediction
from eval.run import evaluate
from eval.zero_shot import ZERO_SHOT
from llmpose.body.pose import Pose
from llmpose.talk.conversation import Conversation, fill_template
from tests.eval.little import COUNTS, OracleBench, check_joints, write_model, write_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("world"), people_in_a_picture=2)


def knowing(world: Path, out: Path) -> OracleBench:
    bench = OracleBench(world, out)
    people = TaskSet.load("pose_estimation", bench, "test")

    def truths(task: str, record_id: str) -> Any:
        return people.conversation(people.ids.index(record_id)).answer

    bench.truths = truths  # type: ignore[attr-defined]
    return bench


def test_the_truth_needs_no_hint(world: Path, tmp_path: Path) -> None:
    result = ZERO_SHOT["zero_shot_hint"]().run(knowing(world, tmp_path))
    assert result is not None
    assert result.table.row("image and its description").values["change_mm"] == 0
    assert result.table.n == COUNTS["test"]


def test_the_truth_is_nearest_to_whom_was_meant(world: Path, tmp_path: Path) -> None:
    result = ZERO_SHOT["zero_shot_whom"]().run(knowing(world, tmp_path))
    assert result is not None
    assert result.table.rows[0].values["found"] == 1.0
    assert result.table.row("chance").values["found"] == 0.5
    assert result.table.n == COUNTS["test"] // 2 * 2  # the last one is alone in its picture

    stranger = knowing(world, tmp_path)
    people = TaskSet.load("pose_estimation", stranger, "test")
    other = dict(
        zip(people.ids, [people.ids[k + 1 if k % 2 == 0 else k - 1] for k in range(8)] + [people.ids[8]], strict=True)
    )
    told = stranger.truths  # type: ignore[attr-defined]
    stranger.truths = lambda task, record_id: told(task, other[record_id])  # type: ignore[attr-defined]
    wrong = ZERO_SHOT["zero_shot_whom"]().run(stranger)
    assert wrong is not None
    assert wrong.table.rows[0].values["found"] == 0.0


def test_typed_questions_fill_the_slots_of_their_task_and_are_no_template() -> None:
    tasks = {**TASKS, **TALKS}
    assert set(paraphrases()) == set(tasks)
    for task, lines in paraphrases().items():
        assert len(set(lines)) == len(lines) >= 6
        for line in lines:
            fill_template(line, dict.fromkeys(tasks[task].shows, "x"))  # names every slot once, and no other
            assert line not in tasks[task].templates("train")
            assert line not in tasks[task].templates("held_out")


def test_no_template_of_training_has_the_words_of_the_talk() -> None:
    asked = {"pose_estimation": "{image} " + ESTIMATE, "talk_edit": EDIT + "{text}", "talk_describe": DESCRIBE}
    for task, words in asked.items():
        trained = {content_words(template) for template in {**TASKS, **TALKS}[task].templates("train")}
        assert content_words(words) not in trained, words


def test_true_answers_to_a_talk_are_scored_as_true(world: Path, tmp_path: Path) -> None:
    bench = OracleBench(world, tmp_path)
    pairs = TaskSet.load("talk_edit", bench, "test")
    estimate, edit = pairs.pair_poses()

    def truths(task: str, record_id: str) -> Any:
        index, turn = pairs.ids.index(record_id), task.removeprefix("talk_")
        said = {"estimate": Pose(estimate[index]), "edit": Pose(edit[index]), "describe": "Somebody."}[turn]
        return Conversation().user("?").assistant(said).answer

    bench.truths = truths  # type: ignore[attr-defined]
    result = ZERO_SHOT["talk"]().run(bench)
    assert result is not None
    found = [row.values["mpjpe_mm"] for row in result.table.rows]
    assert found[:2] == pytest.approx([0, 0], abs=1e-3)
    assert found[2] == pytest.approx(found[3])
    assert found[2] > 10


def test_the_kind_of_an_answer() -> None:
    pose = np.zeros((1, 22, 3, 3), np.float32)
    assert right_kind(Prediction("a", "", pose), "pose")
    assert not right_kind(Prediction("a", "words", pose), "text")
    assert not right_kind(Prediction("a", "words"), "pose")
    assert right_kind(Prediction("a", "words"), "text")
    assert not right_kind(Prediction("a", " "), "text")


def test_an_untrained_model_goes_through_all_of_it(
    world: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    model = write_model(tmp_path_factory.mktemp("model"))
    bench = Bench(world, tmp_path, model_dir=model, limit=3, batch_size=4, max_new_tokens=4)
    results = evaluate(["zero-shot"], bench)
    assert [result.table.name for result in results] == list(ZERO_SHOT)
    for result in results:
        check_joints(result.table)
    wording, _, _, talk = results
    assert len(wording.table.rows) == 3 * len({**TASKS, **TALKS})
    assert all(0 <= row.values["right_kind"] <= 1 for row in wording.table.rows)
    assert talk.table.row("turn 2: the estimate, edited, against B").values["mpjpe_mm"] > 0
