"""Every task in words that training never used: does the model understand, or has it learnt sentences by heart?

Second turns (talk_…) follow a true first one, asked as in training.

Nothing tells the model here whether a pose or words are wanted (the grammar is free), so the first thing measured is
whether its answer is of the right kind at all.
"""

from functools import cache
from pathlib import Path
from random import Random

import yaml

from data.tasks import TALKS, TASKS
from eval.benchmarks.base import Bench, Benchmark, MissingNeed, Result
from eval.benchmarks.poses import PoseScores, error_columns, said_poses
from eval.benchmarks.taskset import TaskSet
from eval.metrics.body import PROTOCOLS
from eval.metrics.text import rouge_l
from eval.predict import Prediction, Question
from eval.tables import Row, Table, percent

PARAPHRASES = Path(__file__).with_name("paraphrases.yaml")
WORDINGS = {"train": "as in training", "held_out": "held-out templates", "free": "as people type"}
LIMIT = 120
"""Records of each task and wording, unless the bench asks for fewer."""
_COLUMNS = [
    percent("right_kind", "right kind of answer"),
    *error_columns("smpl22"),
    percent("rouge_l", "ROUGE-L"),
]


@cache
def paraphrases() -> dict[str, tuple[str, ...]]:
    return {task: tuple(lines) for task, lines in yaml.safe_load(PARAPHRASES.read_text("utf-8")).items()}


def right_kind(prediction: Prediction, answer: str) -> bool:
    """Words and no pose where words were asked for; exactly one pose where a pose was."""
    if answer == "pose":
        return len(prediction.poses) == 1
    return not len(prediction.poses) and bool(prediction.text.strip())


class Wording(Benchmark):
    name = "zero_shot_wording"
    title = "The seven tasks and second turns in other words"
    needs = "DATA as for the seven tasks, as many of them as are there"

    def measure(self, bench: Bench) -> Result | None:
        rows, count, data = [], 0, ""
        for task in (*TASKS, *TALKS):
            try:
                test = TaskSet.load(task, bench, "test", limit=min(LIMIT, bench.limit or LIMIT))
            except MissingNeed:
                continue
            count, data = count + len(test), test.data_name
            rows += [self._row(bench, test, wording) for wording in WORDINGS]
        if not rows:
            raise MissingNeed(f"{bench.data_dir} holds no set of the seven tasks")
        if not bench.is_main:
            return None
        protocol = (
            "answers free in kind: nothing constrains them to words or poses; right kind: one pose, or words without a "
            f"pose; an answer without a pose counts as the rest pose; errors: {PROTOCOLS['smpl22'].about}; held-out "
            "templates: "
            f"{len(TASKS['text_to_pose'].templates('held_out'))} a task, "
            f"{len(TALKS['talk_edit'].templates('held_out'))} a second turn; "
            f"typed: {len(paraphrases()['text_to_pose'])}"
        )
        return Result(Table(self.name, self.title, _COLUMNS, rows, protocol, count, bench.data_name or data))

    def _row(self, bench: Bench, test: TaskSet, wording: str) -> Row:
        def ask(index: int) -> Question:
            rng = Random(f"{bench.seed} {test.ids[index]} {wording}")
            choices = paraphrases()[test.task] if wording == "free" else test.definition.templates(wording)  # type: ignore[arg-type]
            template = rng.choice(choices)
            return Question(test.ids[index], lambda: test.conversation(index, wording=template).question)

        about = {**test.about, "wording": wording, "choices": paraphrases()[test.task] if wording == "free" else ""}
        questions = [ask(i) for i in range(len(test))]
        answers = bench.answers(f"{self.name}_{test.task}_{wording}", questions, grammar="free", about=about)
        kind = test.definition.answer
        values = {"right_kind": sum(right_kind(answers[i], kind) for i in test.ids) / len(test)}
        if kind == "pose":
            poses, _ = said_poses(answers, test.ids)
            error = PoseScores(bench, test).error(poses).compute()
            values |= {name: error[name] for name in ("mpjpe_mm", "pa_mpjpe_mm")}
        else:
            scores = [rouge_l(answers[i].text, refs) for i, refs in zip(test.ids, test.references(), strict=True)]
            values["rouge_l"] = sum(scores) / len(scores)
        return Row(f"{test.task.replace('_', ' ')}: {WORDINGS[wording]}", "ours", values)
