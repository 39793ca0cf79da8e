"""The papers' numbers, as printed, for the tables: shares of 1 where the paper prints percent, millimetres, seconds.

Sources: UniPose (main text Tab. 2 to 7, supplementary Tab. 4 to 7), KptLLM++ (eval/papers_keypoints.py). A dagger marks
UniPose trained on that one task alone.
"""

from eval.tables import Row

SINGLE = "UniPose † (single task)"


def _percent_rows(keys: tuple[str, ...], *rows: tuple[str, tuple[float | None, ...]]) -> list[Row]:
    """FID and millimetres are given as they are; every other number is percent."""

    def value(key: str, number: float) -> float:
        return number if key.endswith("_mm") or key in ("fid", "latency_s") else round(number / 100, 6)

    return [
        Row(name, "paper", {k: value(k, v) for k, v in zip(keys, numbers, strict=True) if v is not None})
        for name, numbers in rows
    ]


_TEXT = ("r_precision_top1", "r_precision_top2", "r_precision_top3", "bleu4", "rouge_l", "meteor")

# UniPose Tab. 2. Published METEOR is with WordNet.
COMPREHENSION: dict[str, tuple[str, list[Row]]] = {
    "pose_to_text": (
        "PoseScript",
        _percent_rows(
            _TEXT,
            ("PoseScript", (91.6, 95.6, 97.0, 12.9, 33.9, 34.2)),
            (SINGLE, (18.1, 30.0, 39.1, 10.8, 30.1, 29.5)),
            ("UniPose", (85.6, 95.2, 97.6, 12.1, 33.3, 30.8)),
        ),
    ),
    "pose_diff": (
        "PoseFix",
        _percent_rows(
            _TEXT,
            ("PoseFix", (64.6, 77.1, 83.0, 12.0, 33.5, 36.7)),
            (SINGLE, (8.4, 14.6, 19.2, 8.5, 28.2, 27.3)),
            ("UniPose", (67.9, 81.8, 88.6, 13.8, 33.7, 31.2)),
        ),
    ),
    "image_to_text": (
        "ImageScript",
        _percent_rows(
            _TEXT,
            ("LLaVA", (5.7, 12.0, 18.9, 3.2, 21.8, 32.9)),
            ("Qwen-VL", (8.9, 15.6, 19.8, 1.4, 15.9, 21.6)),
            ("GPT4V", (17.7, 24.0, 32.3, 7.1, 29.1, 34.2)),
            (SINGLE, (22.4, 32.8, 41.2, 18.2, 42.4, 45.2)),
            ("UniPose", (24.5, 35.4, 43.2, 18.2, 42.5, 44.7)),
        ),
    ),
    "image_diff": (
        "ImageDiff",
        _percent_rows(
            _TEXT,
            ("GPT4V", (7.3, 13.5, 18.8, 1.3, 16.1, 21.8)),
            (SINGLE, (13.0, 18.8, 26.4, 14.0, 34.1, 40.1)),
            ("UniPose", (13.5, 25.0, 33.8, 15.9, 36.5, 39.6)),
        ),
    ),
}

# UniPose Tab. 3. Its features come from PoseScript's retrieval model.
TEXT_TO_POSE = _percent_rows(
    ("r_t2p_5", "r_t2p_10", "r_t2p_20", "r_p2t_5", "r_p2t_10", "r_p2t_20", "mpjpe_mm", "pa_mpjpe_mm", "fid"),
    ("PoseScript", (73.3, 82.5, 89.4, 70.0, 82.5, 87.4, 318.0, 161.3, 0.075)),
    ("ChatPose", (17.6, 25.3, 35.8, 28.0, 39.0, 54.4, None, None, None)),
    ("ChatHuman", (41.8, 52.6, 65.1, 42.1, 52.3, 66.5, None, None, None)),
    (SINGLE, (67.5, 77.6, 85.5, 62.8, 74.8, 83.6, 342.7, 190.0, 0.046)),
    ("UniPose", (73.7, 82.4, 89.6, 70.9, 80.5, 89.6, 308.6, 171.1, 0.038)),
)

_ERROR = ("mpjpe_mm", "pa_mpjpe_mm")
_ERROR_14 = ("mpjpe_14_mm", "pa_mpjpe_14_mm")
JOINTS = {
    **dict.fromkeys((*_ERROR, "extreme_mpjpe_mm", "extreme_pa_mpjpe_mm"), "smpl22"),
    **dict.fromkeys(_ERROR_14, "hmr2_14"),
}
"""Protocol (eval.metrics.body) of every published error of joints, as far as the papers tell: docs/metrics.md."""

# UniPose Tab. 4.
POSE_ESTIMATION: dict[str, list[Row]] = {
    "3DPW": _percent_rows(
        _ERROR_14,
        ("HMR", (130.0, 76.7)),
        ("PyMAF", (92.8, 58.9)),
        ("SMPLer", (73.7, 43.4)),
        ("HMR2.0", (70.0, 44.5)),
        ("Zolly", (76.2, 47.9)),
        ("MEGA", (67.5, 41.0)),
        ("TokenHMR", (71.0, 44.3)),
        ("ChatPose", (163.6, 81.9)),
        (SINGLE, (97.4, 61.2)),
        ("UniPose", (94.7, 59.1)),
    ),
    "H36M": _percent_rows(
        _ERROR_14,
        ("HMR", (88.0, 56.8)),
        ("PyMAF", (57.7, 40.5)),
        ("SMPLer", (45.2, 32.4)),
        ("HMR2.0", (44.8, 33.6)),
        ("Zolly", (49.4, 32.3)),
        ("ChatPose", (126.0, 82.4)),
        (SINGLE, (65.8, 39.4)),
        ("UniPose", (69.2, 41.8)),
    ),
}

# UniPose Tab. 5.
POSE_EDITING = _percent_rows(
    (*_ERROR, "fid"),
    ("PoseFix", (300.2, 144.1, 0.019)),
    (SINGLE, (310.8, 157.0, 0.019)),
    ("UniPose", (270.3, 138.9, 0.015)),
)

# UniPose Tab. 6: trained on pose estimation and image-to-text only, 2 epochs.
VISUAL_PROCESSOR = _percent_rows(
    (*_ERROR_14, "bleu4", "rouge_l", "meteor"),
    ("CLIP-ViT", (193.4, 86.1, 11.1, 30.2, 33.9)),
    ("Pose-ViT", (96.3, 59.1, 12.5, 31.0, 34.8)),
    ("CLIP-ViT + Pose-ViT", (96.1, 58.9, 13.3, 31.7, 35.2)),
)

# UniPose Tab. 7: trained on text-to-pose and pose-to-text only, 6 epochs. Two of its three text columns carry numbers
# in our copy of the paper (26.9 and 39.5 for causal, 25.0 and 39.1 for mixed attention) and it cannot be told which
# two, so they are left out; both fall from causal to mixed attention.
ATTENTION = _percent_rows(
    ("r_t2p_5", "r_t2p_10", "r_t2p_20", "r_p2t_5", "r_p2t_10", "r_p2t_20", "latency_s"),
    ("causal attention", (9.0, 14.2, 20.8, 9.3, 14.7, 22.3, 2.5)),
    ("mixed attention", (13.8, 20.3, 28.8, 15.9, 23.0, 32.0, 0.2)),
)

# UniPose suppl. Tab. 4. The printed mRecall of UniPose is 55.5; its six recalls average to 55.35.
_RECALL = ("r_p2t_1", "r_p2t_5", "r_p2t_10", "r_t2p_1", "r_t2p_5", "r_t2p_10", "mrecall")
RETRIEVAL: dict[str, list[Row]] = {
    "pose": _percent_rows(
        _RECALL,
        ("PoseScript", (22.3, 50.1, 62.9, 22.1, 51.4, 63.1, 45.3)),
        ("UniPose", (31.3, 60.1, 73.0, 31.4, 62.5, 73.8, 55.5)),
    ),
    "pair": _percent_rows(
        _RECALL,
        ("PoseFix", (13.9, 33.2, 45.2, 14.1, 30.1, 42.5, 30.0)),
        ("UniPose", (15.7, 34.0, 44.7, 15.2, 34.0, 44.6, 31.3)),
    ),
}

# UniPose suppl. Tab. 5: AMASS test, MOYO validation.
TOKENIZER = _percent_rows(
    ("mpjpe_mm", "pa_mpjpe_mm", "extreme_mpjpe_mm", "extreme_pa_mpjpe_mm"),
    ("without orientation noise", (6.7, 3.8, 32.6, 11.7)),
    ("with orientation noise", (6.2, 3.7, 23.1, 11.3)),
)

# UniPose suppl. Tab. 6 and 7: (mean, variance) over three runs, in the units printed there (percent, millimetres).
_TEXT_RUNS = ("r_precision_top3", "bleu4", "rouge_l", "meteor")
_POSE_RUNS = ("mpjpe_mm", "pa_mpjpe_mm", "fid")
OVER_THREE_RUNS: dict[str, dict[str, tuple[float, float]]] = {
    "pose_to_text": dict(zip(_TEXT_RUNS, ((97.3, 0.26), (12.1, 0.03), (33.1, 0.12), (30.8, 0.09)), strict=True)),
    "pose_diff": dict(zip(_TEXT_RUNS, ((88.0, 0.97), (13.7, 0.07), (33.6, 0.11), (31.2, 0.03)), strict=True)),
    "image_to_text": dict(zip(_TEXT_RUNS, ((42.3, 0.62), (19.2, 0.68), (42.7, 0.17), (44.9, 0.16)), strict=True)),
    "image_diff": dict(zip(_TEXT_RUNS, ((35.0, 0.89), (15.7, 0.12), (36.2, 0.21), (39.5, 0.05)), strict=True)),
    "text_to_pose": dict(zip(_POSE_RUNS, ((306.4, 1.64), (170.1, 0.79), (0.037, 0.00)), strict=True)),
    "pose_editing": dict(zip(_POSE_RUNS, ((271.1, 0.61), (138.5, 0.26), (0.014, 0.00)), strict=True)),
    "pose_estimation": dict(zip(_ERROR_14, ((94.6, 0.05), (59.1, 0.03)), strict=True)),
}
