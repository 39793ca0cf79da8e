"""The data sets of generic keypoint detection and what is measured on each (KptLLM++ Tab. 4, 6–12)."""

from dataclasses import dataclass

from eval import papers_keypoints as papers
from eval.tables import Row


@dataclass(frozen=True)
class DataSet:
    """One set and its protocol."""

    name: str
    title: str
    how: str
    """How to get it: words for `llmpose data prepare`."""
    published: list[Row]
    split: str | None = "val"
    """None: all records."""
    has_ap: bool = True
    thresholds: tuple[float, ...] = ()
    """Of PCK."""
    by_category: bool = False
    """AP is the mean over categories (AP-10K: species); else all are one."""
    notes: tuple[str, ...] = ()


_FAMILY = "llmpose data prepare ap10k --option families={} --out DATA/{}"
_FAMILY_NOTE = "The papers' lists of images are not published: a family is all of its images, of all splits."
SETS: dict[str, DataSet] = {
    one.name: one
    for one in (
        DataSet("coco", "COCO val (KptLLM++ Tab. 6)", "llmpose data prepare coco --split val", papers.COCO),
        DataSet("ap10k", "AP-10K val (KptLLM++ Tab. 7)", "llmpose data prepare ap10k", papers.AP10K, by_category=True),
        DataSet(
            "ap10k_canidae",
            "AP-10K, Bovidae to Canidae (KptLLM++ Tab. 4)",
            _FAMILY.format("Canidae", "ap10k_canidae"),
            papers.CROSS_FAMILY["ap10k_canidae"],
            split=None,
            by_category=True,
            notes=(_FAMILY_NOTE,),
        ),
        DataSet(
            "ap10k_felidae",
            "AP-10K, Canidae to Felidae (KptLLM++ Tab. 4)",
            _FAMILY.format("Felidae", "ap10k_felidae"),
            papers.CROSS_FAMILY["ap10k_felidae"],
            split=None,
            by_category=True,
            notes=(_FAMILY_NOTE,),
        ),
        DataSet(
            "humanart",
            "Human-Art val (KptLLM++ Tab. 8)",
            "llmpose data prepare humanart --split val",
            papers.HUMANART,
            notes=("The paper does not say whose boxes it takes here; true ones are likely.",),
        ),
        DataSet(
            "macaque",
            "MacaquePose test (KptLLM++ Tab. 10)",
            "llmpose data prepare macaque",
            papers.MACAQUE,
            split="test",
            notes=("The split is mmpose's; the paper names none.",),
        ),
        DataSet(
            "animal_kingdom",
            "Animal Kingdom P1 test (KptLLM++ Tab. 11)",
            "llmpose data prepare animal_kingdom",
            papers.ANIMAL_KINGDOM,
            split="test",
            has_ap=False,
            thresholds=(0.05, 0.2),
        ),
        DataSet(
            "carfusion",
            "CarFusion test (KptLLM++ Tab. 12)",
            "llmpose data prepare carfusion",
            papers.CARFUSION,
            split="test",
            thresholds=(0.2,),
            notes=("No sigmas are published for these points; ours are 0.025 each.",),
        ),
        DataSet(
            "animalpose",
            "AnimalPose, never trained on (KptLLM++ Tab. 9)",
            "llmpose data prepare animalpose",
            papers.ANIMALPOSE,
            split=None,
            has_ap=False,
            thresholds=(0.2,),
            notes=("The paper names no split: all records.",),
        ),
    )
}
