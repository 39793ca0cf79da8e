"""UniPose suppl. Tab. 4: how well the retrieval models, which judge the rest, know poses and words themselves."""

import numpy as np

from eval import papers
from eval.benchmarks.base import Bench, Benchmark, MissingNeed, Result
from eval.benchmarks.comprehension import PoseFeatures
from eval.benchmarks.taskset import TaskSet, describe_need
from eval.metrics.retrieval import (
    R_PRECISION_VARIANTS,
    r_precision_batch,
    r_precision_posescript,
    r_precision_unipose,
    recall_table,
)
from eval.tables import Headline, Row, Table, percent

KS = (1, 5, 10)
MAX_CAPTIONS = 3


class Retrieval(Benchmark):
    """`kind` "pose": texts of poses; "pair": texts of changes."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.name = "retrieval" if kind == "pose" else "pair_retrieval"
        self.title = f"{'Pose' if kind == 'pose' else 'Pose pair'}-text retrieval (UniPose suppl. Tab. 4)"
        self.needs = describe_need("pose_to_text" if kind == "pose" else "pose_diff")

    def measure(self, bench: Bench) -> Result | None:
        if not bench.is_main:
            return None
        is_pair = self.kind == "pair"
        if (bench.pair_retrieval_dir if is_pair else bench.retrieval_dir) is None:
            raise MissingNeed(f"pass {'--pair-retrieval' if is_pair else '--retrieval'} DIR, a trained retrieval model")
        test = TaskSet.load("pose_diff" if is_pair else "pose_to_text", bench, "test")
        features = PoseFeatures(bench, test)
        references = test.references()
        captions = min(MAX_CAPTIONS, min(len(texts) for texts in references))
        text = np.stack([features.texts([texts[c] for texts in references]) for c in range(captions)])
        pose, first, n = features.features, text[0], len(test)
        values = {
            **recall_table(pose, text, KS),
            **r_precision_unipose(pose, first, seed=bench.seed),
            **r_precision_posescript(first, pose, seed=bench.seed),
            **r_precision_batch(first, pose, seed=bench.seed),
        }
        chance = {f"r_{way}_{k}": min(1.0, k / n) for way in ("t2p", "p2t") for k in KS}
        chance |= {"mrecall": float(np.mean(list(chance.values())))}
        chance |= {f"r_precision_{variant}top1": min(1.0, 1 / min(32, n)) for variant in ("", "batch_")}
        rows = [Row("this run's retrieval model", "ours", values), Row("chance", "baseline", chance)]
        columns = [
            *(percent(f"r_p2t_{k}", f"P2T@{k}") for k in KS),
            *(percent(f"r_t2p_{k}", f"T2P@{k}") for k in KS),
            percent("mrecall", "mRecall"),
            percent("r_precision_top1", "R@1 in 32"),
            percent("r_precision_posescript_top1", "R@1 PoseScript's"),
            percent("r_precision_batch_top1", "R@1 in batches"),
        ]
        protocol = (
            f"Recalls over the whole test set, averaged over {captions} captions per record. R@1 in 32: "
            f"{R_PRECISION_VARIANTS['unipose']}. PoseScript's: {R_PRECISION_VARIANTS['posescript']}. In batches: "
            f"{R_PRECISION_VARIANTS['batch']}. {test.protocol}"
        )
        head = Headline(f"{'pair' if is_pair else 'pose'}_text_retrieval", "r_precision_top1", "", "chance")
        published = "PoseFix" if is_pair else "PoseScript"
        published_rows = papers.RETRIEVAL[self.kind]
        table = Table(self.name, self.title, columns, [*rows, *published_rows], protocol, n, test.data_name, published)
        table.headlines.append(head)
        return Result(table)
