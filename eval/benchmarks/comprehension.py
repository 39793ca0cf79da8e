"""UniPose Tab. 2: describing a pose or an image, and telling two of them apart.

R-precision asks a retrieval model whether the words fit the true pose; BLEU-4, ROUGE-L and METEOR ask how alike they
are to the words of people. Both are blind in their own way: to a true description in unusual words, to a fluent one
of another pose.
"""

from collections.abc import Sequence

import numpy as np

from eval import baselines, papers
from eval.benchmarks.base import Bench, Benchmark, Result
from eval.benchmarks.features import pair_features, pose_features, text_features
from eval.benchmarks.neighbours import nearest_training
from eval.benchmarks.taskset import TaskSet, describe_need
from eval.metrics.retrieval import R_PRECISION_VARIANTS, RetrievalPrecision
from eval.metrics.text import HOW_TO_GET_WORDNET, TextOverlap, rouge_l
from eval.tables import Column, Headline, Row, RowKind, Table, percent

MAX_TRAIN = 4000
"""Training records that the baselines look answers up in."""


class Comprehension(Benchmark):
    """One task of Tab. 2."""

    def __init__(self, task: str, title: str) -> None:
        self.name, self.title = task, f"{title} (UniPose Tab. 2)"
        self.is_pair = task.endswith("_diff")
        self.needs = describe_need(task)

    def measure(self, bench: Bench) -> Result | None:
        test = TaskSet.load(self.name, bench, "test")
        answers = bench.answers(self.name, test.questions(), grammar="text", about=test.about)
        if not bench.is_main:
            return None
        said = [answers[record_id].text for record_id in test.ids]
        has_retrieval = (bench.pair_retrieval if self.is_pair else bench.retrieval) is not None
        features = PoseFeatures(bench, test) if has_retrieval else None
        rows = [self._row(bench.method, "ours", said, test, features), *self._baselines(bench, test, features)]
        overlap = TextOverlap()
        published_on, published = papers.COMPREHENSION[self.name]
        table = Table(
            self.name,
            self.title,
            _columns(overlap),
            [*rows, *published],
            protocol=f"R-precision: {R_PRECISION_VARIANTS['unipose']}, every text of a pool from the same writer, by "
            "this run's retrieval model; BLEU-4, ROUGE-L, METEOR as Hugging Face evaluate has them, against all "
            f"captions of a record; {test.protocol}",
            n=len(test),
            data=test.data_name,
            paper_data=published_on,
            notes=self._notes(overlap, has_retrieval),
            headlines=[Headline(self.name, "r_precision_top3", "random training caption", "chance")],
        )
        scores = {r: rouge_l(t, refs) for r, t, refs in zip(test.ids, said, test.references(), strict=True)}
        return Result(table, scores, "ROUGE-L", True)

    def _notes(self, overlap: TextOverlap, has_retrieval: bool) -> list[str]:
        notes = []
        if overlap.wordnet is None:
            notes.append(f"METEOR without WordNet is another, lower number. To get WordNet: {HOW_TO_GET_WORDNET}.")
        if not has_retrieval:
            option = "--pair-retrieval" if self.is_pair else "--retrieval"
            notes.append(
                f"No R-precision: pass {option} DIR, a model trained by launch/recipes/unipose/retrieval*.yaml."
            )
        return notes

    def _row(
        self,
        method: str,
        kind: RowKind,
        texts: Sequence[str],
        test: TaskSet,
        features: "PoseFeatures | None",
        note: str = "",
    ) -> Row:
        overlap = TextOverlap()
        overlap.update(test.ids, texts, test.references())
        values = overlap.compute()
        intervals = {name: (i.low, i.high) for name, i in overlap.intervals().items()} if kind == "ours" else {}
        if features is not None:
            values |= features.precision(texts)
        return Row(method, kind, values, intervals, note)

    def _baselines(self, bench: Bench, test: TaskSet, features: "PoseFeatures | None") -> list[Row]:
        train = TaskSet.load(self.name, bench, "train", limit=MAX_TRAIN)
        captions = train.first_texts()
        guessed = [captions[i] for i in baselines.draw(len(captions), len(test), bench.seed)]
        near = [captions[i] for i in nearest_training(bench, test, train)]
        looked_up = f"caption of the nearest training {test.input_name}"
        rows = [
            self._row("random training caption", "baseline", guessed, test, features),
            self._row(looked_up, "baseline", near, test, features),
        ]
        if features is not None:
            chance = {f"r_precision_top{k}": min(1.0, k / min(32, len(test))) for k in (1, 2, 3)}
            rows.append(Row("chance", "baseline", chance))
            ceiling = features.precision(test.first_texts())
            rows.append(Row("true captions", "baseline", ceiling, note="what the retrieval model itself can tell"))
        return rows


def _columns(overlap: TextOverlap) -> list[Column]:
    return [
        *(percent(f"r_precision_top{k}", f"R@{k}") for k in (1, 2, 3)),
        percent("bleu4", "BLEU-4"),
        percent("rouge_l", "ROUGE-L"),
        percent(overlap.meteor_name, "METEOR" if overlap.wordnet is not None else "METEOR (no WordNet)"),
    ]


class PoseFeatures:
    """Features of the true poses (or pairs), made once, against which any texts are measured."""

    def __init__(self, bench: Bench, test: TaskSet) -> None:
        self.model = bench.pair_retrieval if test.is_pair else bench.retrieval
        self.ids, self.seed = test.ids, bench.seed
        if test.is_pair:
            self.features = pair_features(self.model, *test.pair_poses())
        else:
            self.features = pose_features(self.model, test.poses())

    def precision(self, texts: Sequence[str]) -> dict[str, float]:
        metric = RetrievalPrecision(seed=self.seed)
        metric.update(self.ids, self.features, self.texts(texts))
        return {name: value for name, value in metric.compute().items() if name.startswith("r_precision")}

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        return text_features(self.model, texts)
