"""Object keypoint similarity and COCO's keypoint AP / AR, for any skeleton (per-keypoint sigmas) and any set of
categories.

Two things decide what an AP means, so both are arguments and printed: whose boxes the poses come from (ground truth
or a detector), and whether the mean runs over categories (AP-10K: over species) or over one pooled category.
"""

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from eval.metrics.base import Metric

AP_NAMES = ("ap", "ap50", "ap75", "ap_medium", "ap_large", "ar", "ar50", "ar75", "ar_medium", "ar_large")


def oks(
    predicted: np.ndarray,
    true: np.ndarray,
    area_px: float,
    sigmas: Sequence[float],
    box_xywh: Sequence[float] | None = None,
) -> float:
    """Similarity of one predicted instance (K, 2+) to one true instance (K, 3), in 0..1.

    mean over labelled keypoints (v > 0) of exp(-d² / (2 area (2 sigma)²)). Without any labelled keypoint, distances
    are measured to the box grown by its own size on every side (0 inside) and averaged over all keypoints; `box_xywh`
    is then needed.
    """
    variance = (2 * np.asarray(sigmas, dtype=np.float64)) ** 2
    labelled = true[:, 2] > 0
    if labelled.any():
        squared = ((predicted[:, :2] - true[:, :2]) ** 2).sum(axis=1)
    else:
        if box_xywh is None:
            raise ValueError("an instance without labelled keypoints is compared by its box: pass box_xywh")
        x, y, w, h = box_xywh
        low, high = np.array([x - w, y - h]), np.array([x + 2 * w, y + 2 * h])
        outside = np.maximum(0, low - predicted[:, :2]) + np.maximum(0, predicted[:, :2] - high)
        squared = (outside**2).sum(axis=1)
        labelled = np.ones(len(true), dtype=bool)
    exponent = squared / variance / (area_px + np.spacing(1)) / 2
    return float(np.exp(-exponent[labelled]).mean())


def instance_score(keypoint_confidence: np.ndarray, box_score: float = 1.0, rule: str = "mean") -> float:
    """How sure a pose is. "mean": mean confidence of its keypoints (LocLLM, KptLLM++). "mmpose": box score times the
    mean above 0.2.
    """
    if rule == "mean":
        return float(np.mean(keypoint_confidence))
    if rule == "mmpose":
        sure = keypoint_confidence[keypoint_confidence > 0.2]
        return float(box_score * (sure.mean() if len(sure) else 0.0))
    raise ValueError(f"unknown score rule {rule!r}; the choices are 'mean' and 'mmpose'")


@dataclass
class TrueInstance:
    """A ground-truth annotation: keypoints (K, 3), the `area` of the annotation (not of its box), box and category."""

    keypoints: np.ndarray
    area_px: float
    box_xywh: Sequence[float]
    category: int = 1
    is_crowd: bool = False


@dataclass
class FoundInstance:
    keypoints: np.ndarray
    score: float
    category: int = 1


@dataclass
class ImageRow:
    true: list[TrueInstance] = field(default_factory=list)
    found: list[FoundInstance] = field(default_factory=list)


class KeypointAP(Metric[ImageRow]):
    """COCO keypoint AP / AR over images, evaluated by faster-coco-eval.

    pool_categories=True scores all categories as one; otherwise the mean runs over the categories that the ground
    truth has.
    """

    def __init__(self, sigmas: Sequence[float], *, pool_categories: bool = False, boxes: str = "ground truth") -> None:
        super().__init__()
        self.sigmas, self.pool_categories, self.boxes = np.asarray(sigmas, dtype=np.float64), pool_categories, boxes

    def update(self, image_ids: Sequence[str], rows: Sequence[ImageRow]) -> None:
        for row in rows:
            for instance in (*row.true, *row.found):
                if len(instance.keypoints) != len(self.sigmas):
                    raise ValueError(
                        f"{len(instance.keypoints)} keypoints given, the skeleton has {len(self.sigmas)} sigmas"
                    )
        self.add(image_ids, rows)

    def compute(self) -> dict[str, float]:
        return {**self._evaluate(self.rows), "n": float(sum(len(row.true) for row in self.rows.values()))}

    def per_category(self) -> dict[int, float]:
        """AP of each category that has ground truth."""
        categories = sorted({t.category for row in self.rows.values() for t in row.true})
        return {category: self._evaluate(_only(self.rows, category))["ap"] for category in categories}

    def _evaluate(self, rows: Mapping[str, ImageRow]) -> dict[str, float]:
        from faster_coco_eval import COCO, COCOeval_faster

        truth, found = self._as_coco(rows)
        if not truth["annotations"]:
            return dict.fromkeys(AP_NAMES, -1.0)
        with contextlib.redirect_stdout(io.StringIO()):
            coco = COCO(truth)
            # Without any detection the evaluator has nothing to load; every precision is then 0.
            if not found:
                return dict.fromkeys(AP_NAMES, 0.0)
            evaluator = COCOeval_faster(
                coco, coco.loadRes(found), "keypoints", kpt_oks_sigmas=self.sigmas.tolist(), print_function=_quiet
            )
            evaluator.evaluate()
            evaluator.accumulate()
            evaluator.summarize()
        return dict(zip(AP_NAMES, (float(value) for value in evaluator.stats[: len(AP_NAMES)]), strict=True))

    def _as_coco(self, rows: Mapping[str, ImageRow]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        names = {image_id: number for number, image_id in enumerate(sorted(rows), start=1)}
        annotations: list[dict[str, Any]] = []
        found: list[dict[str, Any]] = []
        for image_id, number in names.items():
            for true in rows[image_id].true:
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": number,
                        "category_id": 1 if self.pool_categories else true.category,
                        "keypoints": np.asarray(true.keypoints, dtype=np.float64).reshape(-1).tolist(),
                        "num_keypoints": int((true.keypoints[:, 2] > 0).sum()),
                        "area": float(true.area_px),
                        "bbox": [float(v) for v in true.box_xywh],
                        "iscrowd": int(true.is_crowd),
                    }
                )
            for instance in rows[image_id].found:
                points = np.concatenate([instance.keypoints[:, :2], np.ones((len(instance.keypoints), 1))], axis=1)
                found.append(
                    {
                        "image_id": number,
                        "category_id": 1 if self.pool_categories else instance.category,
                        "keypoints": points.reshape(-1).astype(np.float64).tolist(),
                        "score": float(instance.score),
                    }
                )
        categories = sorted({a["category_id"] for a in annotations})
        # A detection of a category without any ground truth counts nowhere: COCO's mean skips such categories.
        found = [f for f in found if f["category_id"] in set(categories)]
        names_of = [
            {"id": c, "name": str(c), "keypoints": [str(k) for k in range(len(self.sigmas))]} for c in categories
        ]
        images = [{"id": number, "file_name": image_id, "width": 1, "height": 1} for image_id, number in names.items()]
        return {"images": images, "annotations": annotations, "categories": names_of, "info": {}, "licenses": []}, found


def _only(rows: Mapping[str, ImageRow], category: int) -> dict[str, ImageRow]:
    return {
        image_id: ImageRow(
            [t for t in row.true if t.category == category], [f for f in row.found if f.category == category]
        )
        for image_id, row in rows.items()
    }


def _quiet(*_: Any, **__: Any) -> None:
    """The evaluator prints its table through this; the numbers go into our own."""
