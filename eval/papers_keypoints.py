"""KptLLM++'s numbers as printed (Tab. 1 to 16), shares of 1; AP and PCK alike. Boxes are the true ones throughout."""

from eval.tables import Row

Numbers = tuple[float | None, ...]


def _rows(keys: tuple[str, ...], rows: dict[str, Numbers]) -> list[Row]:
    return [
        Row(name, "paper", {key: round(v / 100, 6) for key, v in zip(keys, numbers, strict=True) if v is not None})
        for name, numbers in rows.items()
    ]


def _column(rows: list[Row], key: str) -> list[Row]:
    """One column of a table: its numbers are PCK."""
    return [Row(row.method, "paper", {PCK: row.values[key]}) for row in rows]


PCK = "pck_0.2_by_instance"
_WHOLE_MODEL = (91.66,)
"""KptLLM on MP-100, split 1, 1-shot (Tab. 2): the row that every ablation's table repeats."""

SEMANTICS = _rows(("accuracy",), {"LLaVA": (3.0,), "LLaVA, fine-tuned": (72.0,), "KptLLM": (83.0,)})
"""Tab. 1."""

_SPLITS = ("split1", "split2", "split3", "split4", "split5", "mean")
MP100_MEANS: dict[int, list[Row]] = {
    1: _rows(
        _SPLITS,
        {
            "ProtoNet": (46.05, 40.84, 49.13, 43.34, 44.54, 44.78),
            "MAML": (68.14, 54.72, 64.19, 63.24, 57.20, 61.50),
            "Finetune": (70.60, 57.04, 66.06, 65.00, 59.20, 63.58),
            "POMNet": (84.23, 78.25, 78.17, 78.68, 79.17, 79.70),
            "CapeFormer": (89.45, 84.88, 83.59, 83.53, 85.09, 85.31),
            "KptLLM": (91.66, 86.58, 86.19, 84.76, 86.32, 87.10),
        },
    ),
    5: _rows(
        _SPLITS,
        {
            "ProtoNet": (60.31, 53.51, 61.92, 58.44, 58.61, 58.56),
            "MAML": (70.03, 55.98, 63.21, 64.79, 58.47, 62.50),
            "Finetune": (71.67, 57.84, 66.76, 66.53, 60.24, 64.61),
            "POMNet": (84.72, 79.61, 78.00, 80.38, 80.85, 80.71),
            "CapeFormer": (91.94, 88.92, 89.40, 88.01, 88.25, 89.30),
            "KptLLM": (93.17, 89.45, 90.08, 88.74, 89.52, 90.19),
        },
    ),
}
"""Tab. 2, by shots."""


def mp100(shots: int, split: int) -> list[Row]:
    """Tab. 2, one split."""
    return _column(MP100_MEANS[shots], f"split{split}")


_GROUPS = ("human_body", "human_face", "vehicle", "furniture")
_CROSS = _rows(
    _GROUPS,
    {
        "ProtoNet": (37.61, 57.80, 28.35, 42.64),
        "MAML": (51.93, 25.72, 17.68, 20.09),
        "Fine-tune": (52.11, 25.53, 17.46, 20.76),
        "POMNet": (73.82, 79.63, 34.92, 47.27),
        "CapeFormer": (83.44, 80.96, 45.40, 52.49),
        "KptLLM": (83.91, 83.37, 46.23, 54.05),
    },
)
CROSS: dict[str, list[Row]] = {group: _column(_CROSS, group) for group in _GROUPS}
"""Tab. 3: trained without the group, tested on it, 1-shot."""

_AP = ("ap", "ap50", "ap75", "ap_medium", "ap_large", "ar")
CROSS_FAMILY: dict[str, list[Row]] = {
    "ap10k_canidae": _rows(
        _AP,
        {
            "SimpleBaseline": (41.3, 79.4, 36.4, 26.8, 41.3, 49.1),
            "CLAMP": (46.9, 84.4, 45.6, 30.3, 46.9, 53.8),
            "KptLLM": (62.2, 94.5, 68.7, 26.0, 62.3, 65.8),
        },
    ),
    "ap10k_felidae": _rows(
        _AP,
        {
            "SimpleBaseline": (39.6, 74.1, 34.5, 9.5, 40.2, 46.6),
            "CLAMP": (48.4, 85.7, 44.0, 13.6, 48.9, 55.1),
            "KptLLM": (70.2, 97.8, 82.2, 49.2, 70.6, 74.7),
        },
    ),
}
"""Tab. 4: Bovidae to Canidae, Canidae to Felidae."""

COCO = _rows(
    _AP,
    {
        "SimplePose": (74.4, 92.6, 82.5, 71.5, 79.2, 77.6),
        "HRNet": (76.8, 93.6, 83.6, 74.0, 81.5, 79.6),
        "SimCC": (76.5, 93.2, 83.1, 73.6, 81.5, 79.7),
        "ViTPose": (77.4, 93.6, 84.8, 74.7, 81.9, 80.2),
        "X-Pose": (76.8, 91.9, 83.8, 71.6, 84.8, None),
        "VisionLLM v2": (74.2, None, None, None, None, None),
        "LocLLM": (77.4, 94.4, 85.2, 74.5, 81.8, 80.6),
        "KptLLM": (76.2, None, None, None, None, None),
        "KptLLM++": (78.1, 94.3, 85.3, 75.0, 83.1, 81.3),
    },
)
"""Tab. 6; KptLLM from Tab. 5."""

AP10K = _rows(
    _AP[:5],
    {
        "SimplePose": (68.1, 92.2, 74.2, 53.4, 68.8),
        "HRNet": (73.1, 93.7, 80.4, 57.4, 73.8),
        "ViTPose": (80.1, 97.5, 88.0, 62.3, 80.3),
        "X-Pose": (79.2, 95.7, 87.2, 58.3, 79.8),
        "VisionLLM v2": (77.8, None, None, None, None),
        "KptLLM++": (81.2, 98.1, 88.6, 60.9, 81.9),
    },
)
"""Tab. 7."""

HUMANART = _rows(
    _AP,
    {
        "SimplePose": (48.4, 73.0, 50.7, 27.2, 50.7, 52.8),
        "HRNet": (51.7, 75.2, 54.8, 26.2, 54.3, 57.0),
        "SimCC": (53.4, 76.3, 56.5, 30.4, 55.9, 57.5),
        "ViTPose": (53.8, 77.9, 57.4, 31.4, 56.6, 58.7),
        "X-Pose": (75.9, 89.6, 81.7, 42.6, 80.1, None),
        "LocLLM": (64.8, 87.4, 70.4, 40.9, 67.4, 69.3),
        "VisionLLM v2": (72.6, None, None, None, None, None),
        "KptLLM++": (77.3, 92.2, 83.1, 54.7, 80.1, 80.6),
    },
)
"""Tab. 8."""

ANIMALPOSE = _rows(("pck_0.2_by_type",), {"X-Pose": (73.4,), "KptLLM": (55.9,), "KptLLM++": (79.2,)})
"""Tab. 9, never trained on; KptLLM from Tab. 5."""

MACAQUE = _rows(("ap",), {"ViTPose": (15.5,), "X-Pose": (79.4,), "VisionLLM v2": (83.1,), "KptLLM++": (83.9,)})
"""Tab. 10."""

ANIMAL_KINGDOM = _rows(
    ("pck_0.05_by_type", "pck_0.2_by_type"),
    {"HRNet": (63.23, None), "X-Pose": (None, 96.1), "VisionLLM v2": (None, 95.5), "KptLLM++": (69.64, 96.1)},
)
"""Tab. 11."""

CARFUSION = _rows(
    ("ap", "pck_0.2_by_type"), {"ED-Pose": (64.7, None), "X-Pose": (None, 88.7), "KptLLM++": (79.8, 99.4)}
)
"""Tab. 12."""

IDENTIFY = _rows((PCK,), {"without identifying first": (87.68,), "identify, then detect": _WHOLE_MODEL})
"""Tab. 13."""
EXTRACTOR = _rows((PCK,), {"average pooling": (89.78,), "prompt feature extractor": _WHOLE_MODEL})
"""Tab. 14."""
COMBINED = _rows((PCK,), {"visual": _WHOLE_MODEL, "visual and textual": (92.18,)})
"""Tab. 15."""
SIZE = _rows((PCK,), {"7B": _WHOLE_MODEL, "13B": (91.98,)})
"""Tab. 16."""
