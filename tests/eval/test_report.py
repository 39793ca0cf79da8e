"""The report: one page that stands alone, says what is true, and cannot be broken by what a model answers."""

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from eval import charts, papers
from eval.report import Cell, Example, Grid, Panel, Picture, ResultTable, Section, render_page, write_report
from eval.report_sections import (
    attention_section,
    curves_section,
    examples_section,
    pick_by_rule,
    results_section,
    show_value,
    tasks_section,
    time_section,
    tokenizer_section,
)
from eval.spread import spread_tables
from eval.summary import Figure, figures_of, judge, read_summary, write_summary
from eval.tables import Headline, Row, Table, millimetres, percent
from llmpose.errors import UserError

GREY = Image.new("RGB", (64, 48), "grey")


def table() -> Table:
    columns = [percent("r_precision_top3", "R@3"), percent("bleu4", "BLEU-4")]
    rows = [
        Row("this model", "ours", {"r_precision_top3": 0.512, "bleu4": 0.3}, {"r_precision_top3": (0.48, 0.55)}),
        Row("random training caption", "baseline", {"r_precision_top3": 0.08}),
        Row("chance", "baseline", {"r_precision_top3": 3 / 32}),
        *papers.COMPREHENSION["pose_to_text"][1],
    ]
    head = Headline("pose_to_text", "r_precision_top3", "random training caption", "chance")
    return Table(
        "pose_to_text", "Pose to text", columns, rows, "pose -> texts", 400, "the world", "PoseScript", [], [head]
    )


def all_sections(tmp_path: Path) -> list[Section]:
    (tmp_path / "run").mkdir()
    lines = [json.dumps({"step": i, "loss": 5 / i, "eval_mpjpe_mm": 200 / i}) for i in range(1, 60)]
    (tmp_path / "run" / "metrics.jsonl").write_text("\n".join([*lines, '{"step": 60, "lo']))
    return [
        tasks_section(judge(figures_of([table()]))),
        time_section({"world": 80, "training": 300}),
        curves_section({"stage 1": tmp_path / "run", "not there": tmp_path / "nowhere"}),
        examples_section({"pose_to_text": [Example("best", "31 mm", [Panel("Asked", "?", [GREY])])]}, "by rule"),
        attention_section(speed={"mixed": 0.02, "causal": 0.24}, num_pose_tokens=16),
        tokenizer_section([(GREY, GREY, "12 mm")]),
        results_section([table()]),
    ]


def test_the_page_asks_nothing_of_the_network(tmp_path: Path) -> None:
    page = write_report(tmp_path, all_sections(tmp_path), title="A report").read_text()
    assert not re.search(r"(?:src|href)\s*=\s*[\"'](?!#|data:)", page)
    assert not re.search(r"url\(|@import|https?://|fetch\(|XMLHttpRequest", page)
    assert page.count("<section") == 7
    for link in re.findall(r'href="#([^"]+)"', page):
        assert f'id="{link}"' in page


def test_every_opened_element_is_closed(tmp_path: Path) -> None:
    page = render_page(all_sections(tmp_path), title="t")
    body = re.sub(r"<(script|style)>.*?</\1>", "", page, flags=re.DOTALL)
    stack: list[str] = []
    void = {"meta", "link", "img"}
    for closing, name in re.findall(r"<(/?)([a-z0-9]+)", body):
        if closing:
            assert stack.pop() == name
        elif name not in void:
            stack.append(name)
    assert stack == []


def test_an_answer_cannot_inject_markup(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>\"'&"
    example = Example(evil, evil, [Panel(evil, evil, [GREY])], evil)
    sections = [
        examples_section({"pose_to_text": [example]}, evil),
        Section("x", evil, [Grid([evil], [[Cell(evil, "good", evil)]], stacked=True), Picture(GREY, evil)], evil),
        results_section(
            [Table(evil, evil, [percent(evil, evil)], [Row(evil, "ours", {evil: 1.0}, note=evil)], evil, 1)]
        ),
        time_section({evil: 3.0}),
    ]
    page = render_page(sections, title=evil, lead=evil, facts=[(evil, evil)], foot=evil)
    assert page.count("<script") == 1
    assert "alert(1)</script>" not in page
    assert '="<' not in page


def test_a_curve_cut_by_a_kill_is_drawn_as_far_as_it_goes(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 3.0}\n{"step": 2, "loss": 2.0}\n{"step": 3, "lo')
    assert curves_section({"run": tmp_path}).html().count("<circle") == 2


def test_best_median_and_worst_are_picked_by_rule() -> None:
    scores = {"a": 3.0, "b": 1.0, "c": 2.0, "d": 9.0, "e": 2.5}
    assert pick_by_rule(scores, higher_is_better=False) == [("best", "b"), ("median", "e"), ("worst", "d")]
    assert pick_by_rule(scores, higher_is_better=True) == [("best", "d"), ("median", "e"), ("worst", "b")]
    assert pick_by_rule({"a": 1.0}, higher_is_better=True) == [("best", "a")]
    assert pick_by_rule({}, higher_is_better=True) == []


def test_the_attention_picture_is_the_rule_of_the_model() -> None:
    page = attention_section().html()
    # Fourteen tokens, two blocks of three. Causal: 14 * 15 / 2 = 105 cells seen; mixed adds 3 forward cells per block.
    assert page.count('class="cell both"') == 6
    assert page.count('class="cell off"') == (196 - 105 - 6) + (196 - 105)


@pytest.mark.parametrize(("low", "high", "ticks"), [(0, 10, [0, 5, 10]), (0.11, 0.42, [0.2, 0.4]), (3, 3, [3])])
def test_ticks_are_round_numbers(low: float, high: float, ticks: list[float]) -> None:
    assert charts.nice_ticks(low, high, 3) == pytest.approx(ticks)


def test_labels_of_ticks_differ_and_stay_short() -> None:
    assert charts.tick_labels([5.995, 6.0, 6.005]) == ["5.995", "6.000", "6.005"]
    assert charts.tick_labels([0, 100, 200]) == ["0", "100", "200"]
    assert charts.tick_labels([0, 10_000, 20_000]) == ["0", "10k", "20k"]


def test_smoothing_keeps_a_straight_line_and_does_not_lag() -> None:
    line = [2.0 * i for i in range(100)]
    assert charts.smoothed(line, 0.2) == pytest.approx(line)


def test_a_chart_survives_nan_constant_and_empty_series() -> None:
    assert "nan" not in charts.line_chart([charts.Series("a", [1, 2, 3], [1.0, float("nan"), 1.0])])
    assert "No points" in charts.line_chart([charts.Series("a", [], [])])
    assert "polyline" in charts.line_chart([charts.Series("a", [1, 2], [1e-3, 10.0])], log_y=True)


def test_values_are_shown_in_their_units() -> None:
    assert show_value("mpjpe_mm", 96.24) == "96.2\u00a0mm"
    assert show_value("r_precision_top3", 0.512) == "51.2\u00a0%"
    assert show_value("speedup_mixed_vs_causal", 11.3) == "11.3×"
    assert show_value("mpjpe_mm", None) == "–"


def test_goals_are_judged_against_their_baseline_and_an_unmeasured_figure_is_not_failed() -> None:
    def reached(task: str, metric: str, value: float | None, baseline: float | None = None) -> bool | None:
        return judge([Figure(task, metric, value, baseline, None, 10, "")])[0].reached

    assert reached("pose_estimation", "mpjpe_mm", 60.0, 100.0) is True
    assert reached("pose_estimation", "mpjpe_mm", 60.1, 100.0) is False
    assert reached("pose_editing", "mpjpe_mm", 100.0, 100.0) is False
    assert reached("pose_editing", "mpjpe_mm", 99.9, 100.0) is True
    assert reached("pose_to_text", "r_precision_top3", 0.45) is True
    assert reached("pose_decoding", "speedup_mixed_vs_causal", 7.9) is False
    assert reached("image_diff", "r_precision_top3", None) is None
    assert reached("pose_estimation", "mpjpe_mm", 60.0, None) is None
    assert reached("something", "else", 1.0) is None


def test_figures_name_the_baseline_and_chance_rows_of_their_table() -> None:
    (figure,) = figures_of([table()])
    assert (figure.value, figure.baseline, figure.chance, figure.n) == (0.512, 0.08, 3 / 32, 400)
    assert "random training caption" in figure.protocol


def test_the_summary_is_valid_json_without_nan(tmp_path: Path) -> None:
    figures = [Figure("pose_estimation", "mpjpe_mm", float("nan"), 200.0, None, 5, "p")]
    write_summary(tmp_path / "summary.json", figures, {"world": 81.23456})
    stored = json.loads((tmp_path / "summary.json").read_text())
    assert list(stored) == ["figures", "seconds"]
    assert list(stored["figures"][0]) == ["task", "metric", "value", "baseline", "chance", "n", "protocol"]
    assert stored["figures"][0]["value"] is None
    assert read_summary(tmp_path / "summary.json")[1] == {"world": 81.235}


def test_a_table_survives_the_disk_and_says_when_rows_are_not_comparable(tmp_path: Path) -> None:
    original = table()
    original.write(tmp_path)
    again = Table.from_json(json.loads((tmp_path / "pose_to_text.json").read_text()))
    assert again == original
    markdown = (tmp_path / "pose_to_text.md").read_text()
    assert "51.2 [48.0, 55.0]" in markdown
    assert "other data" in markdown
    same_data = Table(**{**original.__dict__, "paper_data": "the world"})
    assert not any("other data" in note for note in same_data.footnotes())
    assert "51.2" in ResultTable(original).html()


def test_means_and_variances_over_seeds_stand_in_the_units_of_the_paper(tmp_path: Path) -> None:
    for seed, value in enumerate((0.50, 0.52, 0.54)):
        run = table()
        run.rows[0].values = {"r_precision_top3": value, "bleu4": 0.3}
        run.write(tmp_path / f"seed{seed}" / "tables")
    means, variances = spread_tables([tmp_path / f"seed{seed}" for seed in range(3)])
    assert means.cells(means.rows[0])[:2] == ["52.0", "30.0"]
    assert variances.cells(variances.rows[0])[:2] == ["4.00", "0.00"]  # percent squared
    published = next(row for row in variances.rows if row.kind == "paper")
    assert variances.cells(published)[:4] == ["0.26", "0.03", "0.12", "0.09"]  # Tab. 6, pose to text
    with pytest.raises(UserError, match="at least two"):
        spread_tables([tmp_path / "seed0"])


def test_columns_scale_and_mark_their_direction() -> None:
    assert percent("a", "A").show(0.5) == "50.0"
    assert millimetres("b", "MPJPE").title == "MPJPE ↓"
    assert percent("a", "A").show(None) == "–"


def test_the_papers_rows_are_shares_and_millimetres() -> None:
    unipose = {row.method: row for row in papers.TEXT_TO_POSE}["UniPose"].values
    assert unipose["r_t2p_5"] == 0.737
    assert unipose["mpjpe_mm"] == 308.6
    assert unipose["fid"] == 0.038
    assert "mpjpe_mm" not in {row.method: row for row in papers.TEXT_TO_POSE}["ChatPose"].values
    for row in papers.RETRIEVAL["pose"]:  # mRecall is the mean of the six recalls, as printed to 0.2
        recalls = [value for key, value in row.values.items() if key != "mrecall"]
        assert sum(recalls) / 6 == pytest.approx(row.values["mrecall"], abs=0.002)
