"""Which person is meant: HumanRef's precision, recall, DensityF1 and rejection; overall IoU of masks (RefHuman,
RefCOCO).

Follows HumanRef's released code where it differs from its text: the density penalty is answers over predictions (the
number of people in the picture cancels out), and thresholds carry the float noise of np.arange, so an IoU of exactly
.6 or .8 misses.
"""

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from eval.metrics.base import Metric

IOU_THRESHOLDS = np.arange(0.5, 1.0, 0.05)


def box_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N, 4), (M, 4) xyxy -> (N, M)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.prod((high - low).clip(0), axis=-1)
    area_a, area_b = np.prod(a[:, 2:] - a[:, :2], axis=-1), np.prod(b[:, 2:] - b[:, :2], axis=-1)
    return shared / np.maximum(area_a[:, None] + area_b[None] - shared, 1e-12)


def greedy_matches(iou: np.ndarray, threshold: float) -> int:
    """True boxes in file order each take the unused prediction of largest IoU, if it reaches the threshold."""
    free = np.ones(iou.shape[1], dtype=bool)
    matches = 0
    for row in iou:
        candidates = np.where(free, row, -1.0)
        best = int(candidates.argmax()) if len(candidates) else 0
        if len(candidates) and candidates[best] >= threshold:
            free[best] = False
            matches += 1
    return matches


def density_f1(precision: float, recall: float, num_true: int, num_found: int) -> float:
    """F1 times min(1, answers / predictions): boxes thrown over everybody are punished."""
    if precision + recall == 0 or num_found == 0:
        return 0.0
    return 2 * precision * recall / (precision + recall) * min(1.0, num_true / num_found)


@dataclass(frozen=True)
class ReferringRow:
    recall: float
    precision: float
    density_f1: float
    recall_50: float
    precision_50: float
    rejected: bool | None
    """For expressions that mean nobody: whether nothing was answered. None for all others."""
    group: Hashable = ""


def score_boxes(true: np.ndarray, found: np.ndarray, group: Hashable = "") -> ReferringRow:
    """One expression: (N, 4) answers, (M, 4) predictions, xyxy; N = 0 is an expression to be rejected."""
    true, found = np.asarray(true, float).reshape(-1, 4), np.asarray(found, float).reshape(-1, 4)
    if not len(true):
        return ReferringRow(0.0, 0.0, 0.0, 0.0, 0.0, len(found) == 0, group)
    if not len(found):
        return ReferringRow(0.0, 0.0, 0.0, 0.0, 0.0, None, group)
    iou = box_iou(true, found)
    matches = np.array([greedy_matches(iou, threshold) for threshold in IOU_THRESHOLDS])
    recall, precision = matches / len(true), matches / len(found)
    density = [density_f1(p, r, len(true), len(found)) for p, r in zip(precision, recall, strict=True)]
    return ReferringRow(
        float(recall.mean()),
        float(precision.mean()),
        float(np.mean(density)),
        float(recall[0]),
        float(precision[0]),
        None,
        group,
    )


class HumanRef(Metric[ReferringRow]):
    """Means over expressions; rejection apart. `groups` (domains) give `compute_by_group`."""

    def update(
        self,
        ids: Sequence[str],
        true: Sequence[np.ndarray],
        found: Mapping[str, np.ndarray],
        groups: Sequence[Hashable] | None = None,
    ) -> None:
        """`found` by id: an id that is missing has not been asked, which is an error and not an empty answer."""
        missing = [record_id for record_id in ids if record_id not in found]
        if missing:
            raise ValueError(
                f"{len(missing)} expressions have no prediction, the first is {missing[0]!r}; ask them too"
            )
        names = groups if groups is not None else [""] * len(ids)
        self.add(ids, [score_boxes(t, found[i], g) for i, t, g in zip(ids, true, names, strict=True)])

    def compute(self) -> dict[str, float]:
        return {**_means(self.ordered()), "n": len(self)}

    def compute_by_group(self) -> dict[Hashable, dict[str, float]]:
        groups: dict[Hashable, list[ReferringRow]] = defaultdict(list)
        for row in self.ordered():
            groups[row.group].append(row)
        return {group: {**_means(rows), "n": len(rows)} for group, rows in groups.items()}


def _means(rows: Sequence[ReferringRow]) -> dict[str, float]:
    meant = [row for row in rows if row.rejected is None]
    nobody = [row for row in rows if row.rejected is not None]
    names = ("recall", "precision", "density_f1", "recall_50", "precision_50")
    result = {name: float(np.mean([getattr(row, name) for row in meant])) for name in names} if meant else {}
    if nobody:
        result["rejection"] = sum(row.rejected is True for row in nobody) / len(nobody)
    return result


class MaskOverlap(Metric[tuple[int, int]]):
    """oIoU: summed intersection over summed union, so large persons weigh more; mIoU: mean over samples; P@X: share
    above X.
    """

    def __init__(self, thresholds: Sequence[float] = (0.5, 0.7, 0.9)) -> None:
        super().__init__()
        self.thresholds = tuple(thresholds)

    def update(self, ids: Sequence[str], predicted: Sequence[np.ndarray], true: Sequence[np.ndarray]) -> None:
        """Boolean masks of the original picture's size."""
        self.add(ids, [(int((p & t).sum()), int((p | t).sum())) for p, t in zip(predicted, true, strict=True)])

    def compute(self) -> dict[str, float]:
        if not self.rows:
            return {"n": 0}
        counts = np.array(self.ordered(), dtype=np.float64)
        iou = counts[:, 0] / np.maximum(counts[:, 1], 1)
        above = {f"p_at_{t:g}": float((iou > t).mean()) for t in self.thresholds}
        return {
            "oiou": float(counts[:, 0].sum() / counts[:, 1].sum()),
            "miou": float(iou.mean()),
            **above,
            "n": len(self),
        }
