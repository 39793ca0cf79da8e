"""Percentage of correct keypoints, and what people average it over.

A keypoint is right when its distance to the truth, divided by a length L of the object, is below a threshold. The
same hits give three results: the mean over keypoint types (mmpose), over instances (MP-100), or over all points
(pooled). Nothing here picks one silently: `pck_averages` returns the three by name.
"""

import re
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from eval.metrics.base import Metric

# MPII's joints that PCKh reports, and those its mean leaves out (pelvis, thorax).
MPII_GROUPS = {
    "head": (9,),
    "shoulder": (12, 13),
    "elbow": (11, 14),
    "wrist": (10, 15),
    "hip": (2, 3),
    "knee": (1, 4),
    "ankle": (0, 5),
}
MPII_LEFT_OUT = (6, 7)
HEAD_SIZE_SHARE = 0.6  # of the diagonal of MPII's head rectangle


def normalised_distances(predicted: np.ndarray, true: np.ndarray, length_px: float) -> np.ndarray:
    """(K, 2+), (K, 3) -> (K,): distance / length; NaN where the truth is not visible."""
    # float32, as the field's evaluators compute it: 20 px of 100 px is then not below 0.2.
    distance = np.linalg.norm((predicted[:, :2] - true[:, :2]).astype(np.float32), axis=1) / np.float32(length_px)
    return np.where(true[:, 2] > 0, distance, np.nan).astype(np.float32)


def clean_box(box_xywh: Sequence[float], width: int, height: int) -> tuple[float, float, float, float]:
    """MP-100's cleaned box as xyxy: clipped to the picture, the last pixel counted once (a 50 x 80 box becomes 49 x
    79).
    """
    x, y, w, h = box_xywh
    x1, y1 = max(0.0, x), max(0.0, y)
    return x1, y1, min(width - 1.0, x1 + max(0.0, w - 1)), min(height - 1.0, y1 + max(0.0, h - 1))


def mp100_length(box_xywh: Sequence[float], width: int, height: int) -> float:
    """Longest side of the cleaned query box."""
    x1, y1, x2, y2 = clean_box(box_xywh, width, height)
    return max(x2 - x1, y2 - y1)


def mpii_head_size(head_xyxy: Sequence[float]) -> float:
    """0.6 x diagonal of the annotated head rectangle."""
    x1, y1, x2, y2 = head_xyxy
    return HEAD_SIZE_SHARE * float(np.hypot(x2 - x1, y2 - y1))


@dataclass(frozen=True)
class PckRow:
    distances: np.ndarray
    """(K,) normalised, NaN where not scored."""
    group: Hashable = ""
    """What the instance belongs to (category, split); `compute_by_group` reads it."""


class Pck(Metric[PckRow]):
    """PCK at several thresholds; strict "<" as mmpose and MP-100 code have it."""

    def __init__(self, thresholds: Sequence[float] = (0.2,)) -> None:
        super().__init__()
        self.thresholds = tuple(thresholds)

    def update(
        self,
        ids: Sequence[str],
        predicted: Sequence[np.ndarray],
        true: Sequence[np.ndarray],
        lengths_px: Sequence[float],
        groups: Sequence[Hashable] | None = None,
    ) -> None:
        """Keypoints in pixels of the original picture. Points to leave out carry visibility 0 in `true`."""
        groups = groups if groups is not None else [""] * len(ids)
        rows = [
            PckRow(normalised_distances(p, t, length), group)
            for p, t, length, group in zip(predicted, true, lengths_px, groups, strict=True)
        ]
        self.add(ids, rows)

    def compute(self) -> dict[str, float]:
        return {**_summary(self.ordered(), self.thresholds), "n": len(self)}

    def compute_by_group(self) -> dict[Hashable, dict[str, float]]:
        by_group: dict[Hashable, list[PckRow]] = defaultdict(list)
        for row in self.ordered():
            by_group[row.group].append(row)
        return {group: {**_summary(rows, self.thresholds), "n": len(rows)} for group, rows in by_group.items()}

    def per_instance(self, threshold: float) -> np.ndarray:
        """Share of right points of each instance; an instance without a scored point is 0.0 (MP-100's rule)."""
        return np.array([_share(row.distances, threshold) for row in self.ordered()])


def pck_averages(distances: Sequence[np.ndarray], threshold: float) -> dict[str, float]:
    """The three means of the same hits; `distances` has one (K,) row per instance, NaN where not scored.

    by_type needs rows of one skeleton (types without any point are skipped); rows of several skeletons leave it NaN.
    """
    pooled = np.concatenate(distances) if len(distances) else np.zeros(0)
    one_skeleton = len({len(row) for row in distances}) == 1
    by_type = np.nan
    if one_skeleton:
        table = np.stack(distances)
        scored = ~np.isnan(table)
        hits = (np.nan_to_num(table, nan=np.inf) < np.float32(threshold)).sum(axis=0)
        seen = scored.sum(axis=0) > 0
        by_type = float((hits[seen] / scored.sum(axis=0)[seen]).mean()) if seen.any() else np.nan
    return {
        "by_type": by_type,
        "by_instance": float(np.mean([_share(row, threshold) for row in distances])) if len(distances) else np.nan,
        "pooled": _share(pooled, threshold),
    }


def _share(distances: np.ndarray, threshold: float) -> float:
    scored = distances[~np.isnan(distances)]
    return float((scored < np.float32(threshold)).mean()) if len(scored) else 0.0


def _summary(rows: Sequence[PckRow], thresholds: Sequence[float]) -> dict[str, float]:
    distances = [row.distances for row in rows]
    result: dict[str, float] = {}
    for threshold in thresholds:
        for name, value in pck_averages(distances, threshold).items():
            if not np.isnan(value):
                result[f"pck_{threshold:g}_{name}"] = value
    if len(thresholds) > 1 and distances:
        result["mpck_by_instance"] = float(np.mean([result[f"pck_{t:g}_by_instance"] for t in thresholds]))
    scored = [row[~np.isnan(row)] for row in distances]
    pooled = np.concatenate(scored) if scored else np.zeros(0)
    result["nme_pooled"] = float(pooled.mean()) if len(pooled) else float("nan")
    return result


def pckh(
    predicted: np.ndarray,
    true: np.ndarray,
    head_sizes_px: np.ndarray,
    *,
    threshold: float = 0.5,
    matlab_shift: bool = True,
) -> dict[str, float]:
    """MPII's PCKh (HRNet's way): (N, 16, 2+), (N, 16, 3), (N,) -> shares per joint group and the mean.

    Predictions get +1 because the ground truth counts pixels from 1 (matlab_shift); a hit is distance / head <=
    threshold; the mean weighs every joint type by its number of visible instances and leaves out pelvis and thorax.
    """
    shift = 1.0 if matlab_shift else 0.0
    distance = np.linalg.norm(predicted[..., :2] + shift - true[..., :2], axis=-1) / head_sizes_px[:, None]
    visible = true[..., 2] > 0
    hits = (distance <= threshold) & visible
    count = visible.sum(axis=0)
    share = np.divide(hits.sum(axis=0), count, out=np.full(len(count), np.nan), where=count > 0)
    kept = np.ones(len(count), dtype=bool)
    kept[list(MPII_LEFT_OUT)] = False
    groups = {
        name: float(np.nanmean(share[list(joints)]))
        for name, joints in MPII_GROUPS.items()
        if count[list(joints)].any()
    }
    mean = float(hits[:, kept].sum() / max(1, count[kept].sum()))
    return {**groups, "mean": mean}


_ARTICLE = re.compile(r"^(the|a|an)\s+")


def normalised_name(name: str) -> str:
    """How keypoint names are compared: lower case, one blank between words, no leading article, no punctuation at the
    ends.
    """
    name = re.sub(r"[\s_]+", " ", name.strip().lower()).strip(" .,;:!?\"'")
    return _ARTICLE.sub("", name).strip()


class SemanticAccuracy(Metric[bool]):
    """Share of keypoints named rightly (KptLLM §4). The papers publish no matching rule; ours: equal after
    `normalised_name`.
    """

    def update(self, ids: Sequence[str], answers: Sequence[str], names: Sequence[str]) -> None:
        self.add(ids, [normalised_name(a) == normalised_name(n) for a, n in zip(answers, names, strict=True)])

    def compute(self) -> dict[str, float]:
        return {"accuracy": float(np.mean(self.ordered())) if self.rows else float("nan"), "n": len(self)}
