"""Example cards for the report: what was asked, what is true, what the model answered, with bodies drawn."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from eval.benchmarks.base import Bench, Result
from eval.benchmarks.taskset import TaskSet
from eval.predict import Prediction
from eval.report import Example, Panel
from eval.report_sections import pick_by_rule
from llmpose.body.model import BodyModel
from llmpose.body.pose import Pose
from llmpose.body.render import render_pose
from llmpose.talk.conversation import ImagePart, Part, PosePart, TextPart

if TYPE_CHECKING:
    from PIL import Image

SIZE = 224


def example_cards(bench: Bench, test: TaskSet, result: Result, answers: dict[str, Prediction]) -> list[Example]:
    """Best, median and worst record of a benchmark's scores."""
    cards = []
    known = {record_id: score for record_id, score in result.scores.items() if record_id in answers}
    for rank, record_id in pick_by_rule(known, higher_is_better=result.higher_is_better):
        conversation = test.conversation(test.ids.index(record_id))
        asked, true = conversation.turns[-2].parts, conversation.turns[-1].parts
        score = known[record_id]
        shown = f"{score:.0f} mm" if result.score_name == "mm" else f"{result.score_name} {score:.2f}"
        body = bench.body
        panels = [panel("Asked", asked, body), panel("True answer", true, body), answer_panel(answers[record_id], body)]
        cards.append(Example(rank, shown, panels, record_id))
    return cards


def panel(label: str, parts: Sequence[Part], body: BodyModel) -> Panel:
    """Words as they are, pictures and drawn poses below them."""
    words, pictures = [], []
    for part in parts:
        if isinstance(part, TextPart):
            words.append(part.text)
        elif isinstance(part, ImagePart):
            pictures.append(_picture(part))
            words.append(f"[image {len(pictures)}]")
        elif isinstance(part, PosePart) and part.pose is not None:
            pictures.append(drawn(part.pose, body))
            words.append(f"[pose {len(pictures)}]")
    text = " ".join("".join(words).split())
    if len(pictures) == 1:
        text = text.replace("[pose 1]", "[pose]").replace("[image 1]", "[image]")
    return Panel(label, "" if text.rstrip(".") == "[pose]" else text, pictures)


def answer_panel(prediction: Prediction, body: BodyModel) -> Panel:
    poses = [drawn(Pose(torch.from_numpy(pose.copy())), body) for pose in prediction.poses]
    text = prediction.text.strip() or ("" if poses else "(nothing)")
    cut = " …" if prediction.finish_reason == "length" else ""
    return Panel("Answer", text + cut if not poses else "", poses)


def drawn(pose: Pose, body: BodyModel, size: int | None = None) -> "Image.Image":
    """The body as the viewer sees it."""
    return render_pose(Pose(pose.rotmat.reshape(22, 3, 3)), body, size=size or SIZE, view="front")


def _picture(part: ImagePart) -> "Image.Image":
    from llmpose.talk.images import read_image

    return read_image(part.image)
