"""The report of a run, made from what lies in its folders at any moment."""

from pathlib import Path

import pytest
import torch

from eval.benchmarks.base import Bench
from eval.report import render_page
from eval.report_run import RunFiles, count_parameters, page_words, read_results, run_sections
from eval.run import evaluate
from eval.summary import judge
from tests.eval.little import KnowsAll, write_model, write_world


@pytest.fixture(autouse=True)
def _small_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eval.examples.SIZE", 32)
    monkeypatch.setattr("eval.report_run.CELL", 32)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("world"))


def test_before_anything_is_measured_the_report_shows_the_world(world: Path, tmp_path: Path) -> None:
    sections, figures = run_sections(RunFiles(Bench(world, tmp_path)))
    assert [section.id for section in sections] == ["attention", "world"]
    assert figures == []
    empty, _ = run_sections(RunFiles(Bench(tmp_path / "nowhere", tmp_path)))
    assert [section.id for section in empty] == ["attention"]


def test_after_a_run_the_report_holds_everything(
    world: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    model = write_model(tmp_path_factory.mktemp("model"))
    bench = Bench(world, tmp_path, model_dir=model, limit=5, batch_size=5, max_new_tokens=5)
    evaluate(["text_to_pose", "image_diff", "pose_estimation", "pose_decoding"], bench)
    assert list(read_results(tmp_path)) == ["image_diff", "text_to_pose", "pose_estimation", "pose_decoding"]
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.jsonl").write_text('{"step": 1, "loss": 3.0}\n{"step": 2, "loss": 2.0}\n')

    # A fresh bench, as another process has: no model in memory, and none is loaded.
    later = Bench(world, tmp_path, model_dir=model, limit=5, batch_size=5, max_new_tokens=5, retrieval_dir=tmp_path)
    later.__dict__["retrieval"] = KnowsAll({"": torch.zeros(198)})
    later.__dict__["model"] = None
    run = RunFiles(
        later,
        runs={"stage": tmp_path / "run"},
        seconds={"world": 3.0},
        tokenizer=model / "pose_tokenizer",
        chat=["llmpose chat"],
    )
    sections, figures = run_sections(run)
    ids = [section.id for section in sections]
    assert ids == [
        "tasks",
        "time",
        "examples",
        "training",
        "attention",
        "tokenizer",
        "retrieval",
        "world",
        "results",
        "chat",
    ]
    assert {figure.task for figure in figures} == {"image_diff", "text_to_pose", "pose_estimation", "pose_decoding"}
    assert all(verdict.goal is not None for verdict in judge(figures))
    words = page_words(run, figures)
    assert [what for _, what in words["facts"]] == [
        "goals reached",
        "from nothing to this page",
        "parameters",
        "tasks, one model",
    ]
    assert words["facts"][3][0] == "2"  # without a retrieval model image_diff has no headline
    assert count_parameters(model) > 10_000
    page = render_page(sections, title="t", **words)
    assert page.count('class="card"') == 3 * 3 + 3  # best, median, worst of three tasks; three retrieval queries
    assert page.count("<img") > 20
