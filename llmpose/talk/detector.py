"""Finding objects by their names, so that their keypoints can be asked for: GroundingDINO (KptLLM++ §3.7).

detector = Detector.from_pretrained("grounding-dino-base")
(found,) = detector.find([image], ["person", "dog"])
found[0].box_xyxy_px, found[0].score, found[0].name
"""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from llmpose.errors import UserError
from llmpose.talk.keypoints import Box

THRESHOLD, TEXT_THRESHOLD = 0.3, 0.25


@dataclass(frozen=True)
class Detection:
    """One object in a picture."""

    box_xyxy_px: Box
    score: float
    name: str
    """That of the objects asked for which the detector's words come nearest to."""


class Detector:
    """Weights and preprocessing of one detector."""

    def __init__(self, model: Any, processor: Any) -> None:
        self.model, self.processor = model.eval(), processor

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, device: str | torch.device = "cpu") -> "Detector":
        """From a folder in transformers' form, or a name on the hub."""
        from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor

        try:
            model: Any = AutoModelForZeroShotObjectDetection.from_pretrained(folder)
            processor: Any = AutoProcessor.from_pretrained(folder)
        except (OSError, ValueError, KeyError) as error:
            first = " ".join(str(error).split())[:160]
            raise UserError(
                f"{folder}: not a detector in transformers' form, such as grounding-dino-base ({first})"
            ) from None
        if not hasattr(processor, "post_process_grounded_object_detection"):
            raise UserError(f"{folder}: {type(model).__name__} does not find objects by words; expected GroundingDINO")
        return cls(model.to(device), processor)

    @torch.no_grad()
    def find(
        self, images: Sequence[Image.Image], objects: Sequence[str], *, threshold: float = THRESHOLD
    ) -> list[list[Detection]]:
        """What there is of these objects in each picture, the surest first; an empty list where there is nothing."""
        names = [name.strip().lower().rstrip(".") for name in objects if name.strip()]
        if not names:
            raise UserError('no object to look for; name some, like "person, dog"')
        if not 0 < threshold < 1:
            raise UserError(f"the detector's threshold is {threshold}; it lies between 0 and 1")
        if not images:
            return []
        pictures = [image.convert("RGB") for image in images]
        text = ". ".join(names) + "."  # the form that the detector was trained with
        inputs = self.processor(images=pictures, text=[text] * len(pictures), return_tensors="pt", padding=True)
        outputs = self.model(**inputs.to(self.model.device))
        results = self.processor.post_process_grounded_object_detection(
            outputs,
            inputs["input_ids"],
            threshold=threshold,
            text_threshold=min(TEXT_THRESHOLD, threshold),
            target_sizes=[(image.height, image.width) for image in pictures],
        )
        return [_detections(result, names, image.size) for result, image in zip(results, pictures, strict=True)]


def _detections(result: Any, names: list[str], size: tuple[int, int]) -> list[Detection]:
    found: list[Detection] = []
    words = result.get("text_labels", result.get("labels"))
    for corners, score, said in zip(result["boxes"].tolist(), result["scores"].tolist(), words, strict=True):
        x0, x1 = (min(max(value, 0.0), float(size[0])) for value in (corners[0], corners[2]))
        y0, y1 = (min(max(value, 0.0), float(size[1])) for value in (corners[1], corners[3]))
        if x1 - x0 >= 1 and y1 - y0 >= 1:
            found.append(Detection((x0, y0, x1, y1), float(score), nearest_name(str(said), names)))
    return sorted(found, key=lambda one: -one.score)


def nearest_name(said: str, names: Sequence[str]) -> str:
    """The detector answers with words of the text: "dog", or a piece of it, or words of two objects."""
    inside = [name for name in names if name in said]
    if inside:
        return max(inside, key=len)
    close = get_close_matches(said, names, n=1, cutoff=0.0)
    return close[0] if said and close else names[0]
