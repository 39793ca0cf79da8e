"""The report's figures in a few rows: what was reached, what a trivial answer reaches, and what was asked for.

`report/summary.json` is {"figures": [{task, metric, value, baseline, chance, n, protocol}], "seconds": {stage: s}}.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from eval.tables import Table, write_text


@dataclass(frozen=True)
class Figure:
    """One number of the report. Shares are of 1, errors in millimetres."""

    task: str
    metric: str
    value: float | None
    baseline: float | None
    """What the trivial answer named in the protocol reaches."""
    chance: float | None
    """What guessing reaches."""
    n: int
    protocol: str


@dataclass(frozen=True)
class Goal:
    """What is asked of a figure: to be at most (errors) or at least (shares, speed-ups) a limit."""

    task: str
    metric: str
    limit: Callable[[Figure], float | None]
    text: str
    at_most: bool
    strict: bool = False

    @property
    def key(self) -> tuple[str, str]:
        return self.task, self.metric

    def reached(self, figure: Figure) -> bool | None:
        """None where the figure or what it is compared with was not measured."""
        limit = self.limit(figure)
        if figure.value is None or limit is None:
            return None
        if figure.value == limit:
            return not self.strict
        return figure.value < limit if self.at_most else figure.value > limit


def share_of_baseline(task: str, metric: str, share: float) -> Goal:
    """At most `share` of the baseline's error; 1 means better than the baseline."""
    text = "< the baseline" if share == 1 else f"≤ {share * 100:.0f}\u00a0% of the baseline"
    return Goal(
        task,
        metric,
        lambda f: None if f.baseline is None else share * f.baseline,
        text,
        at_most=True,
        strict=share == 1,
    )


def better_share(task: str, metric: str) -> Goal:
    """More of it than the baseline has."""
    return Goal(task, metric, lambda f: f.baseline, "> the baseline", at_most=False, strict=True)


def at_least(task: str, metric: str, value: float, shown: str) -> Goal:
    return Goal(task, metric, lambda _: value, f"≥\u00a0{shown}", at_most=False)


def at_most(task: str, metric: str, value: float, shown: str) -> Goal:
    return Goal(task, metric, lambda _: value, f"≤\u00a0{shown}", at_most=True)


GOALS: tuple[Goal, ...] = (
    share_of_baseline("pose_estimation", "mpjpe_mm", 0.60),
    share_of_baseline("text_to_pose", "mpjpe_mm", 0.75),
    share_of_baseline("pose_editing", "mpjpe_mm", 1),
    at_least("pose_to_text", "r_precision_top3", 0.45, "45\u00a0%"),
    at_least("image_to_text", "r_precision_top3", 0.30, "30\u00a0%"),
    at_least("pose_diff", "r_precision_top3", 0.25, "25\u00a0%"),
    at_least("image_diff", "r_precision_top3", 0.25, "25\u00a0%"),
    at_least("pose_decoding", "speedup_mixed_vs_causal", 8.0, "8×"),
    at_most("pose_tokenizer", "mpjpe_mm", 25.0, "25\u00a0mm"),
    at_least("pose_text_retrieval", "r_precision_top1", 0.60, "60\u00a0%"),
    better_share("visual_prompt_unseen", "pck_0.2"),
    at_least("keypoint_training", "speedup_branches", 4.0, "4×"),
)


@dataclass(frozen=True)
class Verdict:
    figure: Figure
    goal: Goal | None
    """None: nothing was asked of this figure."""

    @property
    def reached(self) -> bool | None:
        return self.goal.reached(self.figure) if self.goal else None


def judge(figures: Sequence[Figure], goals: Sequence[Goal] = GOALS) -> list[Verdict]:
    """Every figure beside its goal, in the order of the goals, then the rest as they come."""
    by_key = {goal.key: goal for goal in goals}
    order = {goal.key: position for position, goal in enumerate(goals)}
    in_order = sorted(figures, key=lambda f: order.get((f.task, f.metric), len(order)))
    return [Verdict(figure, by_key.get((figure.task, figure.metric))) for figure in in_order]


def figures_of(tables: Sequence[Table]) -> list[Figure]:
    """The headlines of the tables that have one."""
    figures = []
    for table in tables:
        for head in table.headlines:
            values = {row.method: row.values.get(head.metric) for row in table.rows}
            ours = next((row.values.get(head.metric) for row in table.rows if row.kind == "ours"), None)
            baseline, chance = values.get(head.baseline), values.get(head.chance)
            protocol = f"{table.protocol}; baseline: {head.baseline or 'none'}"
            if head.chance:
                protocol += f"; chance: {'guessing' if head.chance == 'chance' else head.chance}"
            figures.append(Figure(head.task, head.shown_as or head.metric, ours, baseline, chance, table.n, protocol))
    return figures


def write_summary(path: Path, figures: Sequence[Figure], seconds: Mapping[str, float]) -> None:
    """NaN has no place in json: what could not be computed is null."""
    rows = [{key: _plain(value) for key, value in asdict(figure).items()} for figure in figures]
    content = {"figures": rows, "seconds": {stage: round(float(s), 3) for stage, s in seconds.items()}}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def read_summary(path: Path) -> tuple[list[Figure], dict[str, float]]:
    content = json.loads(path.read_text("utf-8"))
    return [Figure(**row) for row in content["figures"]], dict(content["seconds"])


def _plain(value: object) -> object:
    if isinstance(value, float):
        return None if math.isnan(value) or math.isinf(value) else round(value, 6)
    return value
