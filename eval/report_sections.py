"""The report's sections, each made from plain data: what was measured, logged and answered.

Every function returns a Section that stands alone, so a report can be written at any moment of a run with what there
is by then.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from eval import charts
from eval.report import (
    Block,
    Cell,
    ChartBlock,
    Columns,
    Commands,
    Example,
    Examples,
    Fold,
    Grid,
    Heading,
    Paragraph,
    Picture,
    Pictures,
    ResultTable,
    Section,
)
from eval.summary import Verdict
from eval.tables import Table

if TYPE_CHECKING:
    from PIL import Image

TASK_TITLES = {
    "pose_estimation": ("Pose estimation", "image → pose"),
    "text_to_pose": ("Text to pose", "words → pose"),
    "pose_editing": ("Pose editing", "pose + words → pose"),
    "pose_to_text": ("Pose to text", "pose → words"),
    "image_to_text": ("Image to text", "image → words"),
    "pose_diff": ("Pose difference", "two poses → words"),
    "image_diff": ("Image difference", "two images → words"),
    "pose_decoding": ("Decoding a pose", "mixed vs causal attention"),
    "pose_tokenizer": ("Pose tokenizer", "pose → tokens → pose"),
    "pose_text_retrieval": ("Retrieval model", "finds the text of a pose"),
    "pair_text_retrieval": ("Pair retrieval model", "finds the text of a change"),
    "visual_prompt_unseen": ("Keypoint by example", "example + image → place, unseen categories"),
    "textual_prompt_unseen": ("Keypoint in words", "image + words → place, unseen categories"),
    "keypoint_semantic": ("Naming a keypoint", "image + point → name, unseen categories"),
    "keypoint_training": ("Training on keypoints", "17 questions, one image"),
    "keypoint_decoding": ("Decoding keypoints", "17 questions, one image"),
}
METRIC_TITLES = {
    "mpjpe_mm": "mean joint error",
    "r_precision_top1": "R-precision, first of 32",
    "r_precision_top3": "R-precision, among the first 3 of 32",
    "speedup_mixed_vs_causal": "times faster",
    "speedup_branches": "times faster as branches",
    "pck_0.2": "right within a fifth of the box (PCK@0.2)",
}


def show_value(metric: str, value: float | None) -> str:
    if value is None or value != value:
        return "–"
    if metric.endswith("_mm"):
        return f"{value:.1f}\u00a0mm"
    if metric.startswith("speedup"):
        return f"{value:.1f}×"
    if metric.startswith(("r_precision", "pck", "r_t2p", "r_p2t", "bleu", "rouge", "meteor", "accuracy")):
        return f"{value * 100:.1f}\u00a0%"
    return f"{value:.3g}"


def tasks_section(verdicts: Sequence[Verdict]) -> Section:
    """The table of tasks: value beside baseline, chance and goal, and whether the goal was reached."""
    header = ["", "this model", "baseline", "chance", "goal", ""]
    rows = [_verdict_row(verdict) for verdict in verdicts]
    judged = [v for v in verdicts if v.reached is not None]
    reached = sum(bool(v.reached) for v in judged)
    lead = f"On held-out data. {reached} of {len(judged)} goals reached." if judged else "Nothing was measured yet."
    notes = [
        "The bar runs from 0 to the baseline for errors and from 0 to 100 % for shares; the dark mark is the goal, "
        "the pale one chance."
    ]
    protocols = [
        [
            Cell(TASK_TITLES.get(v.figure.task, (v.figure.task, ""))[0]),
            Cell(str(v.figure.n)),
            Cell(v.figure.protocol, "words"),
        ]
        for v in verdicts
    ]
    blocks: list[Block] = [Grid(header, rows, stacked=True, notes=notes)]
    if protocols:
        blocks.append(Fold("What exactly was measured", [Grid(["task", "n", "protocol"], protocols, stacked=True)]))
    return Section("tasks", "What it can do", blocks, lead, "Tasks")


def _verdict_row(verdict: Verdict) -> list[Cell]:
    figure = verdict.figure
    title, arrow = TASK_TITLES.get(figure.task, (figure.task.replace("_", " "), ""))
    metric = METRIC_TITLES.get(figure.metric, figure.metric.replace("_", " "))
    word = {True: "✓ reached", False: "✗ not reached", None: "not measured" if figure.value is None else ""}[
        verdict.reached
    ]
    kind = {True: "good", False: "bad", None: "muted"}[verdict.reached]
    return [
        Cell(title, "words", small=f"{arrow} · {metric}" if arrow else metric),
        Cell(show_value(figure.metric, figure.value), svg=_bullet(verdict)),
        Cell(show_value(figure.metric, figure.baseline)),
        Cell(show_value(figure.metric, figure.chance)),
        Cell(verdict.goal.text if verdict.goal else "–"),
        Cell(word, kind),
    ]


def _bullet(verdict: Verdict) -> str:
    figure = verdict.figure
    if figure.value is None or figure.metric.startswith("speedup"):
        return ""
    goal = verdict.goal.limit(figure) if verdict.goal else None
    if figure.metric.endswith("_mm"):
        return charts.bullet(figure.value, full=figure.baseline or goal or figure.value, goal=goal)
    return charts.bullet(figure.value, full=1.0, goal=goal, chance=figure.chance)


def time_section(seconds: Mapping[str, float], machine: str = "") -> Section:
    total = sum(seconds.values())
    lead = f"{charts.duration(total)} in all{f', on {machine}' if machine else ''}."
    bars = charts.bar_chart([charts.Bar(stage, s, charts.duration(s)) for stage, s in seconds.items()])
    return Section("time", "Where the time went", [ChartBlock(bars, "Stages", "in the order they ran")], lead, "Time")


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Rows of a run's metrics.jsonl; a last line cut by a kill is left out."""
    rows = []
    for line in path.read_text("utf-8").splitlines() if path.is_file() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def curve(rows: Sequence[Mapping[str, float]], keys: Sequence[str], *, smooth: bool = False) -> list[charts.Series]:
    """Series of the logged values by step; with `smooth`, a running mean over the pale raw line."""
    series = []
    for key in keys:
        points = [
            (float(r["step"]), float(r[key])) for r in rows if "step" in r and isinstance(r.get(key), int | float)
        ]
        xs, ys = [x for x, _ in points], [y for _, y in points]
        if smooth and len(ys) > 20:
            series += [charts.Series(key, xs, ys, faint=True), charts.Series(key, xs, charts.smoothed(ys))]
        else:
            series.append(charts.Series(key, xs, ys))
    return [s for s in series if s.xs]


def curves_section(runs: Mapping[str, Path]) -> Section:
    """Per run (title -> its folder with metrics.jsonl): the training loss, and every logged validation value."""
    blocks: list[Block] = []
    for title, folder in runs.items():
        rows = read_metrics(folder / "metrics.jsonl")
        loss = curve(rows, ["loss"], smooth=True)
        if loss:
            positive = all(y > 0 for s in loss for y in s.ys)
            falls = positive and max(loss[-1].ys) > 8 * min(loss[-1].ys)
            blocks.append(ChartBlock(charts.line_chart(loss, y_label="loss", log_y=falls), title, "training loss"))
        for key in sorted({k for row in rows for k in row if k.startswith("eval_") and k not in _NOT_DRAWN}):
            drawn = curve(rows, [key])
            if drawn and len(drawn[0].xs) > 1:
                name = key.removeprefix("eval_").replace("_", " ")
                blocks.append(ChartBlock(charts.line_chart(drawn, y_label=name), title, f"validation: {name}"))
    lead = "Raw values are pale, their running mean is drawn over them; point at a curve to read it."
    return Section("training", "How it learned", [Columns(blocks)] if blocks else [], lead, "Training")


_NOT_DRAWN = {"eval_runtime", "eval_samples_per_second", "eval_steps_per_second", "eval_model_preparation_time"}


def results_section(tables: Sequence[Table]) -> Section:
    """Every benchmark's table, with published rows and protocol."""
    lead = "Each table stands as the papers print it: this run, trivial baselines, published numbers."
    return Section("results", "All results", [ResultTable(table) for table in tables], lead, "Results")


def examples_section(by_task: Mapping[str, Sequence[Example]], rule: str) -> Section:
    """Per task its picked examples; `rule` says how they were picked."""
    blocks: list[Block] = []
    for task, examples in by_task.items():
        title, arrow = TASK_TITLES.get(task, (task, ""))
        blocks += [Heading(f"{title} ({arrow})" if arrow else title), Examples(examples)]
    return Section("examples", "What it answers", blocks, rule, "Examples")


def pick_by_rule(scores: Mapping[str, float], *, higher_is_better: bool) -> list[tuple[str, str]]:
    """(rank, record id) of the best, the median and the worst record by score; ties go by id, so the pick is the same
    each time.
    """
    order = sorted(
        scores, key=lambda record_id: (-scores[record_id] if higher_is_better else scores[record_id], record_id)
    )
    places = [("best", 0), ("median", len(order) // 2), ("worst", len(order) - 1)]
    picked: dict[str, str] = {}
    for rank, place in places:
        if order:
            picked.setdefault(order[place], rank)
    return [(rank, record_id) for record_id, rank in picked.items()]


def attention_section(
    *, speed: Mapping[str, float] | None = None, num_pose_tokens: int | None = None, measured: str = ""
) -> Section:
    """The mask as the model uses it, and the latency of one pose (seconds) with mixed and with causal attention."""
    drawn = [
        ChartBlock(_mask(causal=False), "Mixed attention", "text looks back; the tokens of a pose see each other"),
        ChartBlock(_mask(causal=True), "Causal attention", "every token looks back only"),
    ]
    blocks: list[Block] = [Columns(drawn)]
    if speed:
        tokens = f"{num_pose_tokens} tokens" if num_pose_tokens else "all tokens"
        names = {"mixed": f"mixed: {tokens} in one step", "causal": "causal: token by token"}
        bars = [charts.Bar(names.get(k, k), s, f"{s * 1000:.1f} ms", k == "mixed") for k, s in speed.items()]
        blocks.append(ChartBlock(charts.bar_chart(bars), "Time to produce one pose", measured))
    lead = "One rule decides who sees whom: words read from left to right, a pose is seen as a whole (UniPose §3.2)."
    return Section("attention", "Why a pose comes out at once", blocks, lead, "Attention")


def _mask(causal: bool) -> str:
    """The rule of llmpose.model.layout on a short row: question, given pose, words, pose to be produced."""
    import torch

    from llmpose.model.layout import Layout, may_see

    labels = [
        "Raise",
        "the",
        "arm",
        "<p>",
        "pose",
        "pose",
        "pose",
        "</p>",
        "Sure",
        "<p>",
        "query",
        "query",
        "query",
        "</p>",
    ]
    blocks = [0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 2, 2, 2, 0]
    zeros = torch.zeros(1, len(labels), dtype=torch.int64)
    block = zeros if causal else torch.tensor([blocks])
    layout = Layout(sample=zeros, branch=zeros, block=block, position=torch.arange(len(labels))[None])
    return charts.mask_picture(may_see(layout, layout, 0)[0].tolist(), labels, blocks)


def tokenizer_section(pairs: "Sequence[tuple[Image.Image, Image.Image, str]]", table: Table | None = None) -> Section:
    """(original, rebuilt, caption) side by side, and the tokenizer's table."""
    pictures = [Picture(side_by_side([a, b]), caption, 420) for a, b, caption in pairs]
    blocks: list[Block] = [Pictures(pictures, 260)]
    if table is not None:
        blocks.append(ResultTable(table))
    lead = "Left: a held-out pose. Right: the same pose after it went through the tokens and back."
    return Section("tokenizer", "A pose as words", blocks, lead, "Tokenizer")


def retrieval_section(examples: Sequence[Example], tables: Sequence[Table] = ()) -> Section:
    """What the retrieval model finds for some queries, and its recalls."""
    lead = "The model that scores the texts: it puts poses and descriptions into one space and looks for neighbours."
    return Section(
        "retrieval", "Finding poses by words", [Examples(examples), *map(ResultTable, tables)], lead, "Retrieval"
    )


def world_section(sheets: "Sequence[tuple[Image.Image, str]]", lead: str = "") -> Section:
    """Contact sheets of the data that everything ran on."""
    lead = lead or "Everything here was made by the project itself: bodies, poses, clothes, rooms, descriptions."
    return Section(
        "world", "The built-in world", [Pictures([Picture(i, c, 1040) for i, c in sheets], 700)], lead, "World"
    )


def keypoints_section(pictures: "Sequence[tuple[Image.Image, str]]", rule: str) -> Section:
    """Support and query side by side, for pairs that were picked by rule."""
    lead = "A point is shown in one picture and asked for in another, of categories that training never saw."
    shown = Pictures([Picture(image, text, 560) for image, text in pictures], 380)
    blocks: list[Block] = [shown, Paragraph(rule, "note")]
    return Section("keypoints", "Any keypoint of any object", blocks, lead, "Keypoints")


def chat_section(commands: Sequence[str], text: str = "") -> Section:
    """How to go on: talk to what was trained."""
    blocks: list[Block] = [Commands(commands)]
    if text:
        blocks.insert(0, Paragraph(text))
    return Section("chat", "Talk to it", blocks, "", "Chat")


def side_by_side(images: "Sequence[Image.Image]", gap: int = 6) -> "Image.Image":
    """Pictures of one height in a row on white."""
    from PIL import Image

    height = min(image.height for image in images)
    scaled = [
        image.convert("RGB").resize((round(i_w * height / i_h), height))
        for image in images
        for i_w, i_h in [image.size]
    ]
    sheet = Image.new("RGB", (sum(i.width for i in scaled) + gap * (len(scaled) - 1), height), "white")
    x = 0
    for image in scaled:
        sheet.paste(image, (x, 0))
        x += image.width + gap
    return sheet
