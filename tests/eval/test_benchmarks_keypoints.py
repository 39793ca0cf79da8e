"""Benchmarks of keypoints: perfect answers score one, answers are asked as published, trivial ones are known."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from data.prepare import prepare
from data.synth import object_world
from eval.benchmarks.base import Bench, MissingNeed
from eval.benchmarks.keypoint_objects import TestObjects, said_points
from eval.benchmarks.keypoints import (
    MEAN_KEYPOINT,
    CombinedPrompts,
    CrossGroups,
    Semantics,
    TextualPrompts,
    VisualPrompts,
)
from eval.predict import Prediction
from eval.run import evaluate
from llmpose.errors import BadUsage


@pytest.fixture(scope="module", name="data")
def _data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("things")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(object_world.PRESETS, "micro", 20)
        names = ("dog", "cow", "cat", "chair")  # two of training, two of the unseen ones of split 1
        patch.setattr(object_world, "CATEGORIES", {name: object_world.CATEGORIES[name] for name in names})
        patch.setattr(object_world, "TEST_CATEGORIES", object_world.TEST_CATEGORIES[:1])
        patch.setattr(object_world, "split_categories", lambda _: {"train": names[:2], "val": (), "test": names[2:]})
        patch.setattr(object_world, "_write_ap10k", lambda *_: None)
        root = object_world.write_objects(folder / "out", preset="micro", size_px=48, processes=1)
        (root / "mp100" / "annotations" / "mp100_split1_val.json").unlink()
        prepare("mp100", root / "mp100", folder / "mp100_1")
    return folder


class Knowing(Bench):
    """A bench whose model knows every answer, or says the middle."""

    knows = True
    set_name = "mp100_1"

    @property
    def model(self):  # type: ignore[override]
        return SimpleNamespace(
            prompts=object(), config=SimpleNamespace(keypoint_answers="named", keypoint_positions="text")
        )

    @property
    def processor(self):  # type: ignore[override]
        return SimpleNamespace(vision=[SimpleNamespace(side=48)])

    def answers(self, task, questions, *, grammar, about, points="said"):  # type: ignore[override]
        self.asked = [question.make() for question in questions]
        objects = TestObjects(self, self.set_name).objects
        found = {}
        for question in questions:
            _, row, keypoint = (int(part) for part in question.id.split("/"))
            x, y, _ = objects.crop(row).points[keypoint]
            x, y = (x, y) if self.knows else (0.5, 0.5)
            name = objects.skeleton(row).keypoints[keypoint]
            text = f"{name}: {x:.3f}, {y:.3f}" if grammar != "text" else f"{name}."
            near, middle = [float(x), float(y)], [(float(x) + 0.5) / 2, (float(y) + 0.5) / 2]
            readings = [{"said": [x, y], "densest": near, "mean": middle}] if points != "said" else []
            found[question.id] = Prediction(question.id, text, readings=readings)
        return found


def bench(data: Path, tmp_path: Path, **fields) -> Knowing:
    return Knowing(data_dir=data, out_dir=tmp_path, limit=9, **fields)


@pytest.mark.parametrize("shots", [1, 5])
def test_a_model_that_knows_finds_every_keypoint_that_is_shown(data: Path, tmp_path: Path, shots: int) -> None:
    asked = bench(data, tmp_path)
    result = VisualPrompts(str(shots)).run(asked)
    assert result is not None
    ours = result.table.rows[0].values["pck_0.2_by_instance"]
    assert ours > 0.97  # a labelled point may lie outside the crop; nobody is asked for it
    assert len(result.scores) == 9
    mean = result.table.row(MEAN_KEYPOINT).values["pck_0.2_by_instance"]
    assert 0.0 < mean < 0.6
    parts = asked.asked[0].turns[0].parts
    assert any(len(getattr(part, "images", ())) == shots for part in parts)


def test_three_readings_of_the_digits_stand_side_by_side_and_the_table_says_what_they_win(
    data: Path, tmp_path: Path
) -> None:
    result = VisualPrompts("1").run(bench(data, tmp_path))
    assert result is not None
    densest, said, mean = result.table.rows[:3]
    assert (said.method, mean.method) == (f"{densest.method}, digits as said", f"{densest.method}, at expected values")
    assert densest.values["nme_pooled"] < said.values["nme_pooled"]  # the truth, not rounded to three decimals
    assert said.values["nme_pooled"] < mean.values["nme_pooled"]  # half the way to the middle here
    assert "densest place" in result.table.protocol
    assert any("do not lower the error" in note for note in result.table.notes)
    assert any("The densest place finds" in note for note in result.table.notes)


def test_shown_and_told_together_stand_beside_shown_alone(data: Path, tmp_path: Path) -> None:
    asked = bench(data, tmp_path)
    result = CombinedPrompts().run(asked)
    assert result is not None
    names = [row.method for row in result.table.rows if row.kind == "ours"]
    assert names[::3] == ["this model, visual and textual", "this model, visual"]
    assert [row.method for row in result.table.rows if row.kind == "paper"] == ["visual", "visual and textual"]


def test_a_group_that_training_left_out_is_tested(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sets"
    folder.mkdir()
    prepare("mp100", data / "out" / "mp100", folder / "mp100_cross_furniture", options={"without": "furniture"})
    asked = bench(folder, tmp_path)
    asked.set_name = "mp100_cross_furniture"
    result = CrossGroups("furniture").run(asked)
    assert result is not None
    objects = TestObjects(asked, asked.set_name)
    assert {objects.objects.categories[row].split()[0] for row in objects.test_rows} == {"chair"}
    assert result.table.rows[0].values["pck_0.2_by_instance"] > 0.97
    assert result.table.row("KptLLM").values["pck_0.2_by_instance"] == 0.5405
    with pytest.raises(MissingNeed, match="--option without=vehicle"):
        CrossGroups("vehicle").run(asked)


def test_any_super_category_is_a_group_of_its_own_without_published_rows(data: Path, tmp_path: Path) -> None:
    name, options = "mp100_cross_four_legged_animal", {"without": "four-legged animal"}
    prepare("mp100", data / "out" / "mp100", tmp_path / "sets" / name, options=options)
    asked = bench(tmp_path / "sets", tmp_path)
    asked.set_name = name
    (result,) = evaluate(["keypoint_cross_four_legged_animal"], asked)
    assert result.table.rows[0].values["pck_0.2_by_instance"] > 0.97
    assert not [row for row in result.table.rows if row.kind == "paper"]
    with pytest.raises(MissingNeed, match=r"mp100_cross_bird is not there.*--option without=bird"):
        evaluate(["keypoint_cross_bird"], asked)
    for wrong in ("keypoint_cross_", "keypoint_cross"):
        with pytest.raises(BadUsage, match="no benchmark is called"):
            evaluate([wrong], asked)


def test_the_middle_is_not_enough(data: Path, tmp_path: Path) -> None:
    asked = bench(data, tmp_path)
    asked.knows = False
    result = VisualPrompts("1").run(asked)
    assert result is not None
    assert result.table.rows[0].values["pck_0.2_by_instance"] < 0.6


def test_names_and_words_are_measured(data: Path, tmp_path: Path) -> None:
    named = Semantics().run(bench(data, tmp_path))
    told = TextualPrompts().run(bench(data, tmp_path))
    assert named is not None
    assert told is not None
    assert named.table.rows[0].values["accuracy"] == 1.0
    assert named.table.row("commonest name").values["accuracy"] < 0.5
    assert [row.kind for row in told.table.rows] == ["ours"] * 6 + ["baseline"]


def test_the_last_point_of_an_answer_counts_and_none_is_the_middle() -> None:
    answers = {"a": Prediction("a", "eye: 0.100, 0.200"), "b": Prediction("b", "I do not")}
    found = said_points(answers)
    np.testing.assert_allclose(found["a"], [0.1, 0.2])
    np.testing.assert_allclose(found["b"], [0.5, 0.5])


def test_a_model_without_prompts_is_told_so(data: Path, tmp_path: Path) -> None:
    class Plain(Knowing):
        @property
        def model(self):  # type: ignore[override]
            return SimpleNamespace(prompts=None)

    with pytest.raises(MissingNeed, match="takes no keypoint prompts"):
        VisualPrompts("1").run(Plain(data_dir=data, out_dir=tmp_path))
