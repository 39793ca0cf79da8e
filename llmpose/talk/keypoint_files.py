"""What `llmpose keypoints` found, as one file in COCO's form that grows from call to call.

    images, annotations (bbox, keypoints, scores, what was said), one category; info.question: what was asked

A picture that stands in the file is not asked again, so one file holds the answers to one question alone.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llmpose.body.skeleton import Skeleton
from llmpose.errors import UserError
from llmpose.talk.keypoints import Box, Found

Pictures = dict[str, dict[str, Any]]
"""File name -> width, height and `found`."""
_FIXED = ("id", "image_id", "category_id", "area", "iscrowd")


def plain_found(found: Sequence[Found]) -> list[dict[str, Any]]:
    """The objects of one picture, as annotations have them."""
    return [
        {
            "bbox": [round(float(v), 2) for v in (one.box_xyxy_px[0], one.box_xyxy_px[1], *_size(one.box_xyxy_px))],
            "keypoints": [round(float(v), 2) for x, y, c in one.keypoints_px for v in (x, y, 2 if c > 0 else 0)],
            "keypoint_scores": [round(float(c), 4) for c in one.keypoints_px[:, 2]],
            "num_keypoints": int((one.keypoints_px[:, 2] > 0).sum()),
            "score": round(one.score, 4),
            "texts": one.texts,
            **({"object": one.name, "box_score": round(one.box_score, 4)} if one.box_score is not None else {}),
        }
        for one in found
    ]


def write_found(path: Path, done: Pictures, skeleton: Skeleton, question: Mapping[str, Any]) -> None:
    """Written whole or not at all."""
    pictures = [
        {"id": number, "file_name": name, "width": one["width"], "height": one["height"]}
        for number, (name, one) in enumerate(done.items(), start=1)
    ]
    annotations: list[dict[str, Any]] = []
    for number, one in enumerate(done.values(), start=1):
        for own in one["found"]:
            area = round(own["bbox"][2] * own["bbox"][3], 2)
            fixed = {"id": len(annotations) + 1, "image_id": number, "category_id": 1, "area": area, "iscrowd": 0}
            annotations.append({**fixed, **own})
    links = [[a + 1, b + 1] for a, b in skeleton.links]
    category = {"id": 1, "name": skeleton.name, "keypoints": list(skeleton.keypoints), "skeleton": links}
    partial = path.with_suffix(".partial")
    content = {
        "info": {"description": "written by llmpose keypoints", "question": dict(question)},
        "images": pictures,
        "annotations": annotations,
        "categories": [category],
    }
    partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)


def read_found(path: Path, question: Mapping[str, Any]) -> Pictures:
    """What an earlier call found, so that it is not asked again; another question's answers are an error."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        asked: dict[str, Any] = content["info"]["question"]
        own: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in content["images"]}
        for one in content["annotations"]:
            own[one["image_id"]].append({key: value for key, value in one.items() if key not in _FIXED})
        done = {
            image["file_name"]: {"width": image["width"], "height": image["height"], "found": own[image["id"]]}
            for image in content["images"]
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not written by this command ({error}); give another --out") from None
    other = next((key for key, value in question.items() if asked.get(key) != value), None)
    if other is not None:
        raise UserError(
            f"{path}: holds answers to another question: {other} was {_short(asked.get(other))}, now it is "
            f"{_short(question[other])}; give another --out"
        )
    return done


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:80]} …"


def _size(box: Box) -> tuple[float, float]:
    return box[2] - box[0], box[3] - box[1]
