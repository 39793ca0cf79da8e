"""The report of a whole run, from what lies in its folders: tables, scores, kept answers, curves, models.

    sections, figures = run_sections(RunFiles(bench, runs={...}, seconds={...}, ...))
    write_summary(folder / "summary.json", figures, seconds)
    write_report(folder, sections, title="...", **page_words(run, figures))

What is not there yet is left out, so this can be called after every step of a run.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from eval import charts
from eval.benchmarks import BENCHMARKS
from eval.benchmarks.base import Bench, MissingNeed, Result, run_model
from eval.benchmarks.features import pose_features, text_features
from eval.benchmarks.taskset import SETS, TaskSet
from eval.examples import drawn, example_cards
from eval.keypoint_pictures import KEYPOINT_RULE, keypoint_pictures
from eval.metrics.body import PROTOCOLS
from eval.report import Example, Panel, Section
from eval.report_sections import (
    attention_section,
    chat_section,
    curves_section,
    examples_section,
    keypoints_section,
    results_section,
    retrieval_section,
    tasks_section,
    time_section,
    tokenizer_section,
    world_section,
)
from eval.summary import Figure, figures_of, judge
from eval.tables import Table
from eval.zero_shot import ZERO_SHOT
from llmpose import __version__
from llmpose.body.draw import contact_sheet, draw_skeleton
from llmpose.body.pose import Pose

if TYPE_CHECKING:
    from PIL import Image

TOKENIZER_TABLE = "tokenizer"
CELL = 128
"""Side of a picture on a contact sheet."""
EXAMPLE_RULE = (
    "Of the held-out records the best, the median and the worst by score; picked by that rule, not by hand. "
    "Poses are scored by their joint error, words by ROUGE-L."
)


@dataclass
class RunFiles:
    """Where a run keeps what its report shows."""

    bench: Bench
    runs: dict[str, Path] = field(default_factory=dict)
    """Title -> run folder of a training stage, for the curves."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Step -> time."""
    tokenizer: Path | None = None
    """Model folder of the pose tokenizer."""
    keypoints: Bench | None = None
    """The bench of the model that finds keypoints, where that is another one."""
    machine: str = ""
    chat: Sequence[str] = ()
    """Commands to go on with."""


def run_sections(run: RunFiles) -> tuple[list[Section], list[Figure]]:
    """All sections that can be made by now, in the order of the page, and the figures of the summary."""
    bench = run.bench
    results = read_results(bench.out_dir)
    tables = [result.table for result in results.values()]
    figures = figures_of(tables)
    sections = [tasks_section(judge(figures))] if figures else []
    if run.seconds:
        sections.append(time_section(run.seconds, run.machine))
    examples = task_examples(bench, results)
    if examples:
        sections.append(examples_section(examples, EXAMPLE_RULE))
    if any((folder / "metrics.jsonl").is_file() for folder in run.runs.values()):
        sections.append(curves_section(run.runs))
    sections.append(_attention(results))
    if run.tokenizer is not None and run.tokenizer.is_dir():
        pictures = rebuilt_poses(bench, run.tokenizer)
        tokenizer = results.get(TOKENIZER_TABLE)
        if pictures:
            sections.append(tokenizer_section(pictures, tokenizer.table if tokenizer else None))
    if pictures := keypoint_pictures(run.keypoints or bench, results):
        sections.append(keypoints_section(pictures, KEYPOINT_RULE))
    if bench.retrieval_dir is not None and bench.retrieval_dir.is_dir():
        sections.append(retrieval_section(retrieval_examples(bench)))
    sheets = world_sheets(bench)
    if sheets:
        sections.append(world_section(sheets))
    shown = [table for table in tables if table.name != TOKENIZER_TABLE]
    if shown:
        sections.append(results_section(shown))
    if run.chat:
        sections.append(chat_section(run.chat, "The model stays where it was trained; it can be talked to."))
    return sections, figures


def page_words(run: RunFiles, figures: Sequence[Figure]) -> dict[str, Any]:
    """What stands at the top and the bottom of the page: lead, tiles and foot, for `write_report`."""
    verdicts = [verdict for verdict in judge(figures) if verdict.reached is not None]
    facts = []
    if verdicts:
        facts.append((f"{sum(bool(v.reached) for v in verdicts)} of {len(verdicts)}", "goals reached"))
    if run.seconds:
        facts.append((charts.duration(sum(run.seconds.values())), "from nothing to this page"))
    parameters = count_parameters(run.bench.model_dir)
    if parameters:
        facts.append((f"{parameters / 1e6:.1f} M", "parameters"))
    seven = [figure for figure in figures if figure.task in SETS and figure.value is not None]
    if seven:
        facts.append((str(len(seven)), "tasks, one model"))
    lead = (
        "A small multimodal language model that describes, compares, imagines, estimates and edits human poses: "
        "what it learned, what it answers, and how far it is from trivial answers."
    )
    return {"lead": lead, "facts": facts, "foot": f"Written by llmpose {__version__}. Nothing on this page is fetched."}


def count_parameters(folder: Path | None) -> int:
    """All numbers in a model folder's weights, from the headers of its files; 0 where there are none."""
    from safetensors import safe_open

    total = 0
    for path in run_model(folder).glob("*.safetensors") if folder is not None else ():
        with safe_open(path, "pt") as weights:  # type: ignore[no-untyped-call]
            total += sum(math.prod(weights.get_slice(name).get_shape()) for name in weights.keys())  # noqa: SIM118
    return total


def read_results(out_dir: Path) -> dict[str, Result]:
    """What earlier runs left in OUT/tables, in the order of the benchmarks."""
    order = [*BENCHMARKS, TOKENIZER_TABLE, *ZERO_SHOT]
    names = sorted((path.stem for path in (out_dir / "tables").glob("*.json")), key=_position(order))
    found = {name: Result.read(out_dir, name) for name in names}
    return {name: result for name, result in found.items() if result is not None}


def _position(order: Sequence[str]) -> Callable[[str], tuple[int, str]]:
    return lambda name: (order.index(name) if name in order else len(order), name)


def task_examples(bench: Bench, results: Mapping[str, Result]) -> dict[str, list[Example]]:
    """Cards of the seven tasks, from answers that are kept already; nothing is asked here."""
    cards = {}
    for name, result in results.items():
        if name in SETS and result.scores and bench.model_dir is not None:
            try:
                test = TaskSet.load(name, bench, "test")
            except MissingNeed:
                continue
            grammar = "pose" if test.definition.answer == "pose" else "text"
            answers = bench.kept_answers(name, grammar=grammar, about=test.about)
            cards[name] = example_cards(bench, test, result, answers)
    return {name: examples for name, examples in cards.items() if examples}


def rebuilt_poses(bench: Bench, folder: Path, count: int = 6) -> "list[tuple[Image.Image, Image.Image, str]]":
    """Held-out poses evenly spread by how well they come back: (original, rebuilt, error)."""
    from tokenizer_vq import PoseTokenizer

    try:
        test = TaskSet.load("text_to_pose", bench, "test", limit=200)
    except MissingNeed:
        return []
    tokenizer = PoseTokenizer.from_pretrained(run_model(folder)).eval()
    poses = test.poses()
    with torch.no_grad():
        rebuilt = tokenizer.decode(tokenizer.encode(poses)).cpu()
    error = PROTOCOLS["smpl22"].mpjpe_mm(bench.joints(rebuilt), bench.joints(poses))
    order = error.argsort()
    chosen = order[torch.linspace(0, len(order) - 1, min(count, len(order))).round().long()]
    places = [
        f"rank {int(rank) + 1} of {len(order)}" for rank in torch.linspace(0, len(order) - 1, len(chosen)).round()
    ]
    return [
        (drawn(Pose(poses[k]), bench.body), drawn(Pose(rebuilt[k]), bench.body), f"{error[k]:.0f} mm, {place}")
        for k, place in zip(chosen.tolist(), places, strict=True)
    ]


def retrieval_examples(bench: Bench, queries: int = 3, shown: int = 4) -> list[Example]:
    """For some texts of the test set, taken evenly, the poses that the retrieval model ranks first."""
    try:
        test = TaskSet.load("text_to_pose", bench, "test")
    except MissingNeed:
        return []
    texts, poses = test.first_texts(), test.poses()
    scores = text_features(bench.retrieval, texts) @ pose_features(bench.retrieval, poses).T
    cards = []
    for query in np.linspace(0, len(texts) - 1, min(queries, len(texts))).round().astype(int):
        order = np.argsort(-scores[query], kind="stable")
        rank = int(np.flatnonzero(order == query)[0]) + 1
        found = [drawn(Pose(poses[k]), bench.body) for k in order[:shown]]
        panels = [
            Panel("Asked", texts[query]),
            Panel("Its pose", images=[drawn(Pose(poses[query]), bench.body)]),
            Panel(f"First {len(found)} of {len(poses)}", images=found),
        ]
        cards.append(Example("text → pose", f"own pose found at rank {rank}", panels, test.ids[query]))
    return cards


def world_sheets(bench: Bench, count: int = 24) -> "list[tuple[Image.Image, str]]":
    """Pictures of the training set with their keypoints, and poses of the text set with their words."""
    sheets: list[tuple[Image.Image, str]] = []
    try:
        people = TaskSet.load("pose_estimation", bench, "train", limit=count)
        sheets.append(
            (contact_sheet(_labelled(people), columns=8, cell=CELL), "People to estimate, with keypoints drawn.")
        )
    except MissingNeed:
        pass
    try:
        poses = TaskSet.load("text_to_pose", bench, "train", limit=count)
        pictures = [drawn(Pose(pose), bench.body, CELL) for pose in poses.poses()]
        sheets.append((contact_sheet(pictures, columns=8, cell=CELL), "Poses of the training set, heading removed."))
    except MissingNeed:
        pass
    return sheets


def _labelled(people: TaskSet) -> "list[Image.Image]":
    pictures = []
    for index in range(len(people)):
        record = people.item(index)
        assert not isinstance(record, tuple)
        image = record.load_image()
        if record.keypoints is not None and record.skeleton is not None:
            skeleton = people.records.skeleton(record.skeleton)  # type: ignore[union-attr]
            image = draw_skeleton(image, record.keypoints, skeleton)
        pictures.append(image)
    return pictures


def _attention(results: Mapping[str, Result]) -> Section:
    if "pose_decoding" not in results:
        return attention_section()
    table: Table = results["pose_decoding"].table
    ours, causal = table.rows[0], table.rows[1]
    speed = {"mixed": ours.values["latency_s"], "causal": causal.values["latency_s"]}
    return attention_section(speed=speed, measured=table.protocol)
