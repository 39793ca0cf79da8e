"""Every benchmark on a little world: truth scores the maximum, baselines stand beside it, what is missing is named."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from data.record_set import RecordSet
from data.tasks import TASKS
from eval import papers
from eval.benchmarks import BENCHMARKS
from eval.benchmarks.base import Bench, MissingNeed, Result
from eval.benchmarks.neighbours import nearest_training
from eval.benchmarks.pose_decoding import causal_twin
from eval.benchmarks.taskset import SETS, TaskSet, chosen_rows
from eval.run import evaluate, names_of
from eval.spread import spread_tables
from eval.summary import figures_of
from eval.tables import millimetres
from llmpose.errors import BadUsage
from tests.eval.little import COUNTS, KnowsAll, OracleBench, check_joints, pose_of, write_model, write_world

SEVEN = ("pose_to_text", "pose_diff", "image_to_text", "image_diff", "text_to_pose", "pose_estimation", "pose_editing")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


def oracle(world: Path, out: Path, **options: Any) -> OracleBench:
    bench = OracleBench(world, out, **options)
    sets: dict[str, TaskSet] = {}

    def truths(task: str, record_id: str) -> Any:
        if task not in sets:
            sets[task] = TaskSet.load(task, bench, "test")
        return sets[task].conversation(sets[task].ids.index(record_id)).answer

    bench.truths = truths  # type: ignore[attr-defined]
    known, pairs = {}, {}
    for split in COUNTS:
        poses, changes = TaskSet.load("pose_to_text", bench, split), TaskSet.load("pose_diff", bench, split)
        for texts, pose in zip(poses.references(), poses.poses(), strict=True):
            known |= dict.fromkeys(texts, pose.flatten())
        for texts, a, b in zip(changes.references(), *changes.pair_poses(), strict=True):
            pairs |= dict.fromkeys(texts, torch.cat([a.flatten(), b.flatten()]))
    bench.__dict__["retrieval"], bench.__dict__["pair_retrieval"] = KnowsAll(known), KnowsAll(pairs)
    return bench


@pytest.mark.parametrize("name", SEVEN)
def test_the_truth_scores_the_maximum(name: str, world: Path, tmp_path: Path) -> None:
    result = BENCHMARKS[name]().run(oracle(world, tmp_path))
    assert result is not None
    ours = result.table.rows[0]
    assert ours.kind == "ours"
    if name.endswith(("text", "diff")):
        assert [ours.values[f"r_precision_top{k}"] for k in (1, 2, 3)] == [1.0, 1.0, 1.0]
        assert ours.values["bleu4"] == pytest.approx(1.0)
        assert ours.values["rouge_l"] == 1.0
    elif name == "pose_estimation":  # the answer has the mean shape, the truth its own
        assert 0 < ours.values["mpjpe_mm"] < 30
    else:
        assert ours.values["mpjpe_mm"] == pytest.approx(0, abs=1e-3)
        assert ours.values["fid"] == pytest.approx(0, abs=1e-6)
    if name == "text_to_pose":
        assert ours.values["r_t2p_5"] == ours.values["r_p2t_20"] == 1.0
    assert result.table.n == COUNTS["test"] == len(result.scores)


@pytest.mark.parametrize("name", SEVEN)
def test_trivial_baselines_and_published_rows_stand_beside_it(name: str, world: Path, tmp_path: Path) -> None:
    result = BENCHMARKS[name]().run(oracle(world, tmp_path))
    assert result is not None
    kinds = [row.kind for row in result.table.rows]
    assert kinds.count("baseline") >= 3
    assert sum("nearest training" in row.method for row in result.table.rows) == 1
    assert kinds.count("paper") >= 2
    (figure,) = figures_of([result.table])
    assert figure.task == name
    assert figure.baseline is not None
    assert figure.chance is not None
    if figure.metric == "mpjpe_mm":
        assert figure.value is not None
        assert figure.value < figure.baseline
    stored = Result.read(tmp_path, name)
    assert stored is not None
    assert stored.table == result.table
    assert stored.scores == result.scores


def test_errors_of_other_joints_have_columns_of_their_own(world: Path, tmp_path: Path) -> None:
    result = BENCHMARKS["pose_estimation"]().run(oracle(world, tmp_path))
    assert result is not None
    labels = {column.key: column.label for column in result.table.columns}
    assert labels["mpjpe_mm"] == "MPJPE, 24 joints"
    assert labels["mpjpe_14_mm"] == "MPJPE, 14 joints"
    by_kind = {
        kind: {k for row in result.table.rows if row.kind == kind for k in row.values} for kind in ("ours", "paper")
    }
    assert by_kind["ours"] & set(labels) == {"mpjpe_mm", "pa_mpjpe_mm"}
    assert by_kind["paper"] == {"mpjpe_14_mm", "pa_mpjpe_14_mm"}
    mixed = replace(result.table, columns=[millimetres("mpjpe_mm", "MPJPE", "smpl24")], rows=papers.TEXT_TO_POSE)
    with pytest.raises(AssertionError, match="published mpjpe_mm are not smpl24"):
        check_joints(mixed)


def test_means_over_seeds_keep_the_joints_of_each_task_apart(world: Path, tmp_path: Path) -> None:
    runs = [tmp_path / "a", tmp_path / "b"]
    for run in runs:
        for name in ("text_to_pose", "pose_estimation"):
            BENCHMARKS[name]().run(oracle(world, run))
    for table in spread_tables(runs):
        check_joints(table, says_protocol=False)
        ours = {row.method: set(row.values) for row in table.rows if row.kind == "ours"}
        assert "mpjpe_mm" in ours["text to pose"]
        assert ours["pose estimation"] == {"mpjpe_24_mm", "pa_mpjpe_24_mm"}


def test_copying_pose_a_scores_what_the_copy_baseline_says(world: Path, tmp_path: Path) -> None:
    bench = oracle(world, tmp_path)
    test = TaskSet.load("pose_editing", bench, "test")
    sources = dict(zip(test.ids, test.pair_poses()[0], strict=True))
    result = BENCHMARKS["pose_editing"]().run(bench)
    assert result is not None
    copied = bench.joints(torch.stack([sources[i] for i in test.ids]))
    true = bench.joints(test.target_poses())
    distance = ((copied - copied[:, :1]) - (true - true[:, :1]))[:, :22].norm(dim=-1).mean() * 1000
    assert result.table.row("copying pose A").values["mpjpe_mm"] == pytest.approx(distance.item(), rel=1e-4)


def test_the_nearest_edit_is_alike_in_pose_a_and_in_words(world: Path, tmp_path: Path) -> None:
    bench = Bench(world, tmp_path)
    train = TaskSet.load("pose_editing", bench, "train")
    assert nearest_training(bench, train, train).tolist() == list(range(len(train)))

    def edits(*pairs: tuple[int, str]) -> Any:
        poses = torch.stack([torch.from_numpy(pose_of(number)) for number, _ in pairs])
        return SimpleNamespace(
            task="pose_editing",
            input_name="pose A with its instruction",
            pair_poses=lambda: (poses, torch.zeros_like(poses)),
            first_texts=lambda: [text for _, text in pairs],
        )

    known = edits((0, "lift the left arm"), (0, "bend the right knee"), (1, "lift the left arm"), (2, "turn the head"))
    asked = edits((0, "bend the right knee more"), (1, "lift the left arm a bit"), (2, "say hello"))
    assert nearest_training(bench, asked, known).tolist() == [1, 2, 3]


@pytest.mark.parametrize("task", SEVEN)
def test_poses_read_at_once_are_those_of_the_task(task: str, world: Path, tmp_path: Path) -> None:
    items = TaskSet.load(task, Bench(world, tmp_path), "test")
    at_once = items.pair_poses() if items.is_pair else (items.poses(),)
    for index in range(len(items)):
        one_by_one = TASKS[task].poses(items.item(index))
        for bulk, pose in zip(at_once, one_by_one, strict=True):
            assert torch.allclose(bulk[index], pose.rotmat, atol=1e-5)


def test_a_question_does_not_depend_on_how_many_are_asked(world: Path, tmp_path: Path) -> None:
    whole, few = (TaskSet.load("text_to_pose", Bench(world, tmp_path, limit=n), "test") for n in (None, 3))
    assert len(few) == 3
    for index, record_id in enumerate(few.ids):
        assert few.question(index).turns[0].text == whole.question(whole.ids.index(record_id)).turns[0].text
    assert chosen_rows(10, 3).tolist() == [0, 4, 9]
    assert chosen_rows(3, 10).tolist() == [0, 1, 2]


def test_held_out_wordings_are_not_those_of_training(world: Path, tmp_path: Path) -> None:
    bench = Bench(world, tmp_path, templates="held_out")
    items = TaskSet.load("pose_estimation", bench, "test")
    asked = {items.question(i).turns[0].text.strip() for i in range(len(items))}
    trained = {t.replace("{image}", "").strip() for t in TASKS["pose_estimation"].templates("train")}
    assert not asked & trained


def test_an_untrained_model_goes_through_all_benchmarks_and_a_second_run_asks_nothing(
    world: Path, model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bench() -> Bench:
        return Bench(world, tmp_path, model_dir=model_dir, limit=4, batch_size=4, max_new_tokens=6)

    console = Console(record=True, width=160, file=open("/dev/null", "w"))  # noqa: SIM115
    results = evaluate(["all"], bench(), console)
    speed = ["pose_decoding", "keypoint_training", "keypoint_decoding"]
    assert [r.table.name for r in results] == [*SEVEN[:6], "pose_editing", *speed]
    printed = console.export_text()
    assert "SMPL_to_J19" in printed or "3dpw" in printed  # what could not run is named
    assert "published" in printed
    for result in results:
        assert all(np.isfinite(v) for v in result.table.rows[0].values.values())
        assert (tmp_path / "tables" / f"{result.table.name}.md").is_file()
        check_joints(result.table)
    decoding = next(r.table for r in results if r.table.name == "pose_decoding")
    assert decoding.rows[0].values["speedup_mixed_vs_causal"] > 1

    def nobody(*_: object, **__: object) -> None:
        raise AssertionError("asked again")

    monkeypatch.setattr("llmpose.talk.generation.generate", nobody)
    again = evaluate(["text_to_pose", "pose_to_text"], bench())
    assert again[0].table.rows[0].values == results[4].table.rows[0].values


def test_the_causal_twin_says_the_same_number_of_tokens(model_dir: Path, world: Path, tmp_path: Path) -> None:
    from llmpose.talk.decoding import Decoding
    from llmpose.talk.generation import generate

    bench = Bench(world, tmp_path, model_dir=model_dir)
    question = TaskSet.load("text_to_pose", bench, "test").question(0)
    settings = Decoding(grammar="pose")
    twin = causal_twin(bench.processor)
    mixed, causal = (generate(bench.model, p, [question], settings)[0] for p in (bench.processor, twin))
    assert len(mixed.codes[0]) == len(causal.codes[0]) == bench.processor.num_pose_tokens


def test_missing_data_and_models_are_named_with_the_way_to_get_them(world: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingNeed, match=r"pose_to_text: .*nowhere/posescript is not there; it holds PoseScript"):
        evaluate(["pose_to_text"], Bench(tmp_path / "nowhere", tmp_path))
    with pytest.raises(MissingNeed, match="--model DIR"):
        evaluate(["pose_to_text"], Bench(world, tmp_path))
    with pytest.raises(MissingNeed, match="--retrieval DIR"):
        evaluate(["retrieval"], Bench(world, tmp_path))
    with pytest.raises(BadUsage, match="'pose_to_txt'; did you mean 'pose_to_text'"):
        names_of(["pose_to_txt"])
    assert set(SEVEN) <= set(SETS)


def test_refined_texts_are_asked_where_the_split_has_them(world: Path, tmp_path: Path) -> None:
    built = tmp_path / "posescript"
    shutil.copytree(world / "posescript", built / "auto")
    assert TaskSet.load("text_to_pose", Bench(tmp_path, tmp_path), "test").name == "posescript/auto"
    everybody = RecordSet.load(world / "posescript")
    only_train = [record for record in everybody if record.split == "train"]
    RecordSet.write(built / "refined", only_train, source="little", image_root=world / "images")
    assert TaskSet.load("text_to_pose", Bench(tmp_path, tmp_path), "train").name == "posescript/refined"
    assert TaskSet.load("text_to_pose", Bench(tmp_path, tmp_path), "test").name == "posescript/auto"


def test_a_set_may_lie_elsewhere(world: Path, tmp_path: Path) -> None:
    bench = Bench(tmp_path, tmp_path, sets={"posescript": str(world / "imagescript")})
    assert len(TaskSet.load("text_to_pose", bench, "test")) == COUNTS["test"]


def test_the_retrieval_benchmark_scores_a_model_that_knows_everything(world: Path, tmp_path: Path) -> None:
    bench = oracle(world, tmp_path, retrieval_dir=tmp_path, pair_retrieval_dir=tmp_path)
    for name in ("retrieval", "pair_retrieval"):
        result = BENCHMARKS[name]().run(bench)
        assert result is not None
        assert result.table.rows[0].values["mrecall"] == 1.0
        assert result.table.rows[0].values["r_precision_top1"] == 1.0
        assert result.table.row("chance").values["r_precision_top1"] == pytest.approx(1 / COUNTS["test"])


def test_the_command_lists_prints_and_writes(world: Path, model_dir: Path, tmp_path: Path, root_dir: Path) -> None:
    def llmpose(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "llmpose.cli", *words], cwd=root_dir, capture_output=True, text=True
        )

    options = ["--data", str(world), "--model", str(model_dir), "--out", str(tmp_path), "--limit", "2"]
    done = llmpose("eval", "text_to_pose", *options)
    assert done.returncode == 0, done.stderr
    assert "MPJPE" in done.stdout
    assert json.loads((tmp_path / "tables" / "text_to_pose.json").read_text())["n"] == 2
    wrong = llmpose("eval", "text_to_poses", *options)
    assert wrong.returncode == 2
    assert len(wrong.stderr.strip().splitlines()) == 1
