"""Keypoint metrics: worked examples, the traps of each dataset's rule, parity with pycocotools."""

import contextlib
import io

import numpy as np
import pytest

from eval.metrics.keypoints import FoundInstance, ImageRow, KeypointAP, TrueInstance, instance_score, oks
from eval.metrics.pck import (
    Pck,
    SemanticAccuracy,
    clean_box,
    mp100_length,
    mpii_head_size,
    normalised_distances,
    normalised_name,
    pck_averages,
    pckh,
)

COCO = [
    0.026,
    0.025,
    0.025,
    0.035,
    0.035,
    0.079,
    0.079,
    0.072,
    0.072,
    0.062,
    0.062,
    0.107,
    0.107,
    0.087,
    0.087,
    0.089,
    0.089,
]
AP10K = [
    0.025,
    0.025,
    0.026,
    0.035,
    0.035,
    0.079,
    0.072,
    0.062,
    0.079,
    0.072,
    0.062,
    0.107,
    0.087,
    0.089,
    0.107,
    0.087,
    0.089,
]


def person(seed: int, size: float = 100, visible: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    flags = 2.0 * (rng.random((17, 1)) < visible)
    flags[0] = 2
    return np.concatenate([rng.uniform(0, size, (17, 2)), flags], axis=1)


@pytest.mark.parametrize("sigmas", [COCO, AP10K], ids=["coco", "ap10k"])
def test_oks_of_a_shift_by_ten_pixels(sigmas: list[float]) -> None:
    true = person(0)
    assert oks(true + np.array([10, 0, 0]), true, 10_000, sigmas) == pytest.approx(0.646995, abs=1e-6)
    assert oks(true, true, 10_000, sigmas) == 1.0


def test_oks_without_labelled_keypoints_measures_to_the_grown_box() -> None:
    true = np.zeros((17, 3))
    inside = np.tile([150.0, 50.0], (17, 1))  # the box [100, 200] grown by its size reaches from 0 to 300
    box = (100.0, 0.0, 100.0, 100.0)
    assert oks(inside, true, 10_000, COCO, box) == 1.0
    assert oks(inside + np.array([200, 0]), true, 10_000, COCO, box) < 0.5
    with pytest.raises(ValueError, match="box_xywh"):
        oks(inside, true, 10_000, COCO)


def test_ap_equals_pycocotools_on_random_people() -> None:
    from pycocotools.coco import COCO as PyCoco
    from pycocotools.cocoeval import COCOeval

    rng = np.random.default_rng(1)
    metric = KeypointAP(COCO)
    for image in range(12):
        true = [
            TrueInstance(
                person(10 * image + i, visible=0.7), float(rng.uniform(1500, 15_000)), [0, 0, 100, 100], 1 + i % 2
            )
            for i in range(3)
        ]
        found = [
            FoundInstance(
                t.keypoints + rng.normal(scale=rng.uniform(0, 8), size=(17, 3)) * [1, 1, 0],
                float(rng.random()),
                t.category,
            )
            for t in true[: rng.integers(1, 4)]
        ]
        metric.update([f"im{image}"], [ImageRow(true, found)])
    ours = metric.compute()
    truth, found = metric._as_coco(metric.rows)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = PyCoco()
        coco.dataset = truth
        coco.createIndex()
        reference = COCOeval(coco, coco.loadRes(found), "keypoints")
        reference.params.kpt_oks_sigmas = np.array(COCO)
        reference.evaluate()
        reference.accumulate()
        reference.summarize()
    assert list(ours.values())[:10] == pytest.approx(reference.stats.tolist(), abs=1e-9)
    assert 0.05 < ours["ap"] < 0.95


def test_ap_is_the_mean_over_categories_unless_pooled() -> None:
    def filled(pool: bool) -> KeypointAP:
        metric = KeypointAP(COCO, pool_categories=pool)
        for image in range(5):  # four of category 1 found exactly, one of category 2 missed
            true = person(image)
            species = 1 if image < 4 else 2
            found = [FoundInstance(true if species == 1 else true + np.array([500, 0, 0]), 0.9 - 0.1 * image, species)]
            metric.update([str(image)], [ImageRow([TrueInstance(true, 10_000, [0, 0, 100, 100], species)], found)])
        return metric

    assert filled(pool=False).compute()["ap"] == pytest.approx(0.5)
    assert filled(pool=False).per_category() == pytest.approx({1: 1.0, 2: 0.0})
    assert filled(pool=True).compute()["ap"] == pytest.approx(81 / 101, abs=1e-6)  # recall 0.8 on 101 points


def test_a_perfect_set_scores_one_and_an_empty_one_zero() -> None:
    perfect, nothing = KeypointAP(COCO), KeypointAP(COCO)
    true = TrueInstance(person(3), 10_000, [0, 0, 100, 100])
    perfect.update(["a"], [ImageRow([true], [FoundInstance(true.keypoints, 1.0)])])
    nothing.update(["a"], [ImageRow([true], [])])
    assert perfect.compute()["ap"] == pytest.approx(1.0)
    assert nothing.compute()["ap"] == 0.0


def test_a_wrong_number_of_keypoints_is_an_error_that_says_both() -> None:
    with pytest.raises(ValueError, match="5 keypoints given, the skeleton has 17"):
        KeypointAP(COCO).update(["a"], [ImageRow([], [FoundInstance(np.zeros((5, 3)), 1.0)])])


def test_instance_scores_by_both_rules() -> None:
    confidence = np.array([0.1, 0.5, 0.9])
    assert instance_score(confidence) == pytest.approx(0.5)
    assert instance_score(confidence, 0.8, "mmpose") == pytest.approx(0.8 * 0.7)


def test_twenty_of_a_hundred_pixels_is_not_below_a_fifth() -> None:
    true = np.array([[0.0, 0, 2], [0, 0, 2]])
    distances = normalised_distances(np.array([[20.0, 0], [19.99, 0]]), true, 100)
    assert pck_averages([distances], 0.2)["pooled"] == 0.5


def test_the_three_averagings_of_pck_differ() -> None:
    # Type 0: seen in three instances, hit in all; type 1: seen in two, hit in one; type 2: seen once, missed.
    hit, miss, unseen = 0.1, 0.5, np.nan
    rows = [np.array([hit, hit, miss]), np.array([hit, miss, unseen]), np.array([hit, unseen, unseen])]
    result = pck_averages(rows, 0.2)
    assert result["by_type"] == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert result["by_instance"] == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    assert result["pooled"] == pytest.approx(4 / 6)


def test_an_instance_without_a_scored_point_counts_as_zero() -> None:
    metric = Pck()
    true = np.array([[0.0, 0, 2]])
    metric.update(["a", "b"], [true, true], [true, true * [1, 1, 0]], [10, 10])
    assert metric.compute()["pck_0.2_by_instance"] == 0.5
    assert metric.compute()["pck_0.2_pooled"] == 1.0


def test_pck_by_group_and_its_mean_over_thresholds() -> None:
    metric = Pck(thresholds=(0.05, 0.2))
    true = np.array([[0.0, 0, 2]])
    metric.update(
        ["a", "b"], [true + np.array([10, 0, 0]), true], [true, true], [100, 100], groups=["split1", "split2"]
    )
    groups = metric.compute_by_group()
    assert groups["split1"]["pck_0.05_by_instance"] == 0
    assert groups["split1"]["mpck_by_instance"] == 0.5
    assert groups["split2"]["mpck_by_instance"] == 1.0


def test_mp100_cleans_a_box_of_50_by_80_to_49_by_79() -> None:
    assert clean_box((10, 10, 50, 80), 200, 200) == (10, 10, 59, 89)
    assert mp100_length((10, 10, 50, 80), 200, 200) == 79
    assert clean_box((-5, 190, 50, 80), 200, 200) == (0, 190, 49, 199)


def test_pckh_worked_by_hand() -> None:
    head = mpii_head_size((0, 0, 30, 40))
    assert head == pytest.approx(30.0)
    true = np.concatenate([np.zeros((2, 16, 2)), np.ones((2, 16, 1))], axis=2)
    true[1, 10, 2] = 0  # one right wrist is not annotated
    predicted = true[..., :2] - 1  # MATLAB counts from one: exactly right
    predicted[0, 9] += [15.0, 0]  # exactly half a head: still a hit
    predicted[1, 9] += [15.1, 0]  # a miss
    predicted[:, 6] += 100  # the pelvis is left out of the mean
    result = pckh(predicted, true, np.array([head, head]))
    assert result["head"] == 0.5
    assert result["wrist"] == 1.0
    assert result["mean"] == pytest.approx((14 * 2 - 1 - 1) / (14 * 2 - 1))


def test_keypoint_names_match_after_trimming_and_sides_count() -> None:
    metric = SemanticAccuracy()
    metric.update(
        list("abcd"),
        ["The left  Knee.", "right eye", "nose", "a tail base"],
        ["left knee", "left eye", "Nose", "tail_base"],
    )
    assert metric.compute() == {"accuracy": 0.75, "n": 4}
    assert normalised_name(" An  Ear,") == "ear"
