"""Referring metrics on boxes and masks small enough to count."""

import numpy as np
import pytest

from eval.metrics.referring import (
    IOU_THRESHOLDS,
    HumanRef,
    MaskOverlap,
    box_iou,
    density_f1,
    greedy_matches,
    score_boxes,
)

BOX = np.array([[0.0, 0, 10, 10]])
FAR = BOX + 100


@pytest.mark.parametrize(
    ("precision", "recall", "true", "found", "expected"),
    [(1, 1, 2, 2, 1), (0.5, 1, 2, 4, 1 / 3), (0.25, 1, 2, 8, 0.1), (1, 0.5, 2, 1, 2 / 3), (0, 0, 2, 1, 0)],
)
def test_density_f1_punishes_boxes_thrown_over_everybody(
    precision: float, recall: float, true: int, found: int, expected: float
) -> None:
    assert density_f1(precision, recall, true, found) == pytest.approx(expected)


def test_an_iou_of_exactly_six_tenths_misses_the_threshold_that_carries_float_noise() -> None:
    iou = box_iou(BOX, np.array([[0.0, 0, 10, 6]]))
    assert iou.item() == 0.6
    assert greedy_matches(iou, IOU_THRESHOLDS[2]) == 0
    assert greedy_matches(iou, 0.6) == 1


def test_true_boxes_take_in_file_order_and_that_can_cost_a_match() -> None:
    # The first true box prefers the prediction that is the second one's only chance.
    iou = np.array([[0.6, 0.7], [0.0, 0.65]])
    assert greedy_matches(iou, 0.5) == 1
    assert greedy_matches(iou[::-1], 0.5) == 2


def test_a_perfect_answer_scores_one_and_an_empty_one_zero() -> None:
    both = np.concatenate([BOX, FAR])
    assert score_boxes(both, both).density_f1 == pytest.approx(1.0)
    assert score_boxes(both, np.zeros((0, 4))).recall == 0.0


def test_half_of_four_boxes_right() -> None:
    row = score_boxes(np.concatenate([BOX, FAR]), np.concatenate([BOX, FAR, BOX + 500, BOX + 700]))
    assert (row.recall, row.precision) == (1.0, 0.5)
    assert row.density_f1 == pytest.approx(1 / 3)


def test_rejection_is_counted_apart_and_a_missing_answer_is_an_error() -> None:
    metric = HumanRef()
    nobody = np.zeros((0, 4))
    metric.update(
        ["a", "b", "c"],
        [BOX, nobody, nobody],
        {"a": BOX, "b": nobody, "c": BOX},
        ["position", "rejection", "rejection"],
    )
    result = metric.compute()
    assert result["recall"] == 1.0
    assert result["rejection"] == 0.5
    assert metric.compute_by_group()["rejection"] == {"rejection": 0.5, "n": 2}
    with pytest.raises(ValueError, match="no prediction"):
        metric.update(["d"], [BOX], {})


def test_overall_iou_weighs_large_masks_and_mean_iou_does_not() -> None:
    large, small = np.ones((10, 10), dtype=bool), np.zeros((10, 10), dtype=bool)
    small[0, :2] = True
    half = small.copy()
    half[0, 1] = False
    metric = MaskOverlap()
    metric.update(["a", "b"], [large, half], [large, small])
    result = metric.compute()
    assert result["oiou"] == pytest.approx(101 / 102)
    assert result["miou"] == 0.75
    assert result["p_at_0.5"] == 0.5
