"""The report's figures in a few rows: what was reached, what a trivial answer reaches, and what was asked for.

`report/summary.json` is {"figures": [{task, metric, value, baseline, chance, n, protocol}], "seconds": {stage: s}}.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from eval.tables import write_text


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
    task: str
    metric: str
    reached: Callable[[Figure], bool]
    text: str

    @property
    def key(self) -> tuple[str, str]:
        return self.task, self.metric


def at_most_share_of_baseline(task: str, metric: str, share: float) -> Goal:
    return Goal(
        task,
        metric,
        lambda f: f.value is not None and f.baseline is not None and f.value <= share * f.baseline,
        f"≤ {share:.0%} of the baseline",
    )


def better_than_baseline(task: str, metric: str) -> Goal:
    return Goal(
        task,
        metric,
        lambda f: f.value is not None and f.baseline is not None and f.value < f.baseline,
        "< the baseline",
    )


def at_least(task: str, metric: str, value: float, shown: str) -> Goal:
    return Goal(task, metric, lambda f: f.value is not None and f.value >= value, f"≥ {shown}")


def at_most(task: str, metric: str, value: float, shown: str) -> Goal:
    return Goal(task, metric, lambda f: f.value is not None and f.value <= value, f"≤ {shown}")


GOALS: tuple[Goal, ...] = (
    at_most_share_of_baseline("pose_estimation", "mpjpe_mm", 0.60),
    at_most_share_of_baseline("text_to_pose", "mpjpe_mm", 0.75),
    better_than_baseline("pose_editing", "mpjpe_mm"),
    at_least("pose_to_text", "r_precision_top3", 0.45, "45 %"),
    at_least("image_to_text", "r_precision_top3", 0.30, "30 %"),
    at_least("pose_diff", "r_precision_top3", 0.25, "25 %"),
    at_least("image_diff", "r_precision_top3", 0.25, "25 %"),
    at_least("pose_decoding", "speedup_mixed_vs_causal", 8.0, "8×"),
    at_most("pose_tokenizer", "mpjpe_mm", 25.0, "25 mm"),
    at_least("pose_text_retrieval", "r_precision_top1", 0.60, "60 %"),
)


@dataclass(frozen=True)
class Verdict:
    figure: Figure
    goal: str
    reached: bool | None
    """None: nothing was asked of this figure, or it was not measured."""


def judge(figures: Sequence[Figure], goals: Sequence[Goal] = GOALS) -> list[Verdict]:
    """Every figure beside its goal, in the order of the goals, then the rest."""
    by_key = {goal.key: goal for goal in goals}
    order = {goal.key: position for position, goal in enumerate(goals)}
    verdicts = []
    for figure in sorted(figures, key=lambda f: order.get((f.task, f.metric), len(order))):
        goal = by_key.get((figure.task, figure.metric))
        judged = goal is not None and figure.value is not None
        verdicts.append(Verdict(figure, goal.text if goal else "", goal.reached(figure) if goal and judged else None))
    return verdicts


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
