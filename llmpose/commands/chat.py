"""`llmpose chat`: a conversation in the terminal, or one question from a script."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmpose.commands.options import (
    MAX_NEW_TOKENS,
    Base,
    BodyModel,
    Device,
    MaxNewTokens,
    Model,
    Temperature,
    load_to_talk,
)
from llmpose.errors import BadUsage, UserError

if TYPE_CHECKING:
    from llmpose.talk.chat import ChatAnswer, LlmPose
    from llmpose.talk.conversation import Conversation, Part


_CUT_OFF = {
    "length": "the answer was cut off at its longest length; raise --max-new-tokens",
    "context": "the answer was cut off, the model's memory is full; ask less in one conversation",
    "stopped": "the answer was stopped",
}

HELP = """Talk to a model about people, poses and pictures.

A chat in the terminal; with --ask, or with words from a pipe, a single answer for a script.

Examples:

  llmpose chat --model runs/demo/4_instruct/model

  llmpose chat --model DIR --ask "Estimate the pose in <image>." --image a.jpg --json

  llmpose chat --model DIR --ask "<image> Find the keypoint <keypoint>." --image a.jpg --keypoint "b.jpg=120,80"

  echo "A man raises both arms." | llmpose chat --model DIR --save poses
"""


def register(app: typer.Typer) -> None:
    app.command("chat", help=HELP)(chat)


def chat(
    model: Model,
    ask: Annotated[
        list[str] | None, typer.Option("--ask", help="Ask this and print the answer; again for more turns; - is stdin.")
    ] = None,
    image: Annotated[list[Path] | None, typer.Option("--image", help="A picture for the first question.")] = None,
    pose: Annotated[
        list[str] | None,
        typer.Option("--pose", help='A pose file for the first question; of a sequence "FILE frame=N".'),
    ] = None,
    keypoint: Annotated[
        list[str] | None,
        typer.Option(help='A keypoint for the first question: "FILE=x,y", in several pictures with ";" between.'),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Answers as JSON, one line each.")] = False,
    save: Annotated[
        Path | None, typer.Option(help="Write poses of the answers here (.npz, .png, .glb), points drawn (.png).")
    ] = None,
    base: Base = None,
    body_model: BodyModel = None,
    device: Device = None,
    temperature: Temperature = 0.0,
    max_new_tokens: MaxNewTokens = MAX_NEW_TOKENS,
    seed: Annotated[int | None, typer.Option(help="For drawing words.")] = None,
    figures: Annotated[bool, typer.Option("--figures/--no-figures", help="Show poses in the terminal.")] = True,
) -> None:
    if not ask and not sys.stdin.isatty():
        ask = ["-"]
    if not ask and (image or pose or keypoint or as_json or save):
        raise BadUsage(
            "--image, --pose, --keypoint, --json and --save go with --ask; without it, this is a chat: use /image, "
            "/pose and /keypoint"
        )
    questions = _questions(ask or [])
    turns = _turns(questions, _attached(image or [], pose or [], keypoint or [])) if questions else []
    _quiet()
    loaded = load_to_talk(
        model,
        base=base,
        body_model=body_model,
        device=device,
        temperature=temperature,
        max_new_tokens=max_new_tokens,
        seed=seed,
    )
    if turns:
        _answer_all(loaded, turns, as_json=as_json, folder=save)
        return
    from llmpose.talk.terminal import Terminal

    Terminal(loaded, show_figures=figures).run()


def _questions(asked: list[str]) -> list[str]:
    texts = [sys.stdin.read() if text == "-" else text for text in asked]
    texts = [text.encode("utf-8", "replace").decode("utf-8").strip() for text in texts]  # no halves of characters
    if any(not text for text in texts):
        raise UserError("there is nothing to ask: the question is empty")
    return texts


def _attached(images: list[Path], poses: list[str], keypoints: list[str]) -> "list[Part]":
    """Read before the model is loaded, so that a wrong name is told at once."""
    if not images and not poses and not keypoints:
        return []
    from llmpose.talk.attach import file_part, framed, keypoint_part
    from llmpose.talk.conversation import ImagePart, PosePart

    shown = [file_part(path, ImagePart) for path in images]
    for name, frame in map(framed, poses):
        shown.append(file_part(Path(name), PosePart, frame=frame))
    return [*shown, *(keypoint_part(text) for text in keypoints)]


def _turns(questions: list[str], attached: "list[Part]") -> "list[list[Part]]":
    """What the user says, turn by turn, with everything in its place."""
    from llmpose.talk.attach import place
    from llmpose.talk.conversation import TextPart

    turns: list[list[Part]] = []
    for number, question in enumerate(questions):
        try:
            turns.append(place([TextPart(question)], [] if number else attached))
        except UserError as error:
            raise UserError(f"turn {2 * number + 1} (user): {error}") from error
    return turns


def _answer_all(model: "LlmPose", turns: "list[list[Part]]", *, as_json: bool, folder: Path | None) -> None:
    from llmpose.talk.figure import clean

    session = model.session()
    saved = 0
    for number, parts in enumerate(turns):
        answer = session.ask(parts)
        files = _save(answer, folder, saved) if folder is not None else []
        if folder is not None and answer.points:
            _draw_points(session.conversation, answer, folder / f"points_{number + 1}.png")
        saved += len(answer.poses)
        if as_json:
            typer.echo(json.dumps(to_dict(answer, files), ensure_ascii=False))
            continue
        typer.echo(clean(answer.text) if answer.text else "", nl=bool(answer.text))
        for index, confidence in enumerate(answer.pose_confidences):
            where = f" {files[index]['pose']}" if files else ""
            typer.echo(f"[pose {saved - len(answer.poses) + index + 1}] confidence {confidence:.3f}{where}")
        for point in answer.points:
            place = f"{point.x:.3f}, {point.y:.3f} of the picture"
            typer.echo(f"[point] read as {place}, confidence {point.confidence:.3f}")
        if answer.is_cut_off:
            typer.echo(f"llmpose: turn {2 * number + 2} (assistant): {_CUT_OFF[answer.finish_reason]}", err=True)


def _save(answer: "ChatAnswer", folder: Path, before: int) -> list[dict[str, str]]:
    folder.mkdir(parents=True, exist_ok=True)
    files: list[dict[str, str]] = []
    for index, (pose, mesh) in enumerate(zip(answer.poses, answer.meshes, strict=True)):
        stem = folder / f"pose_{before + index + 1}"
        paths = {
            "pose": stem.with_suffix(".npz"),
            "picture": stem.with_suffix(".png"),
            "mesh": stem.with_suffix(".glb"),
        }
        pose.save(paths["pose"])
        answer.render(index).save(paths["picture"])
        mesh.save(paths["mesh"])
        files.append({kind: str(path) for kind, path in paths.items()})
    return files


def _draw_points(conversation: "Conversation", answer: "ChatAnswer", path: Path) -> None:
    from llmpose.talk.keypoints import draw_found, last_image

    image = last_image(conversation)
    if image is not None:
        draw_found(image, answer.points).save(path)


def to_dict(answer: "ChatAnswer", files: list[dict[str, str]] | None = None) -> dict[str, Any]:
    """An answer as plain values; rotations as axis-angle, (22, 3), viewer frame (z up). A point that is read from its
    digits stands where it is read, with the digits under "said"."""
    poses: list[dict[str, Any]] = []
    for index, codes in enumerate(answer.codes):
        one: dict[str, Any] = {"codes": list(codes), "confidence": round(answer.pose_confidences[index], 6)}
        if answer.poses:
            one["axis_angle"] = [[round(v, 6) for v in joint] for joint in answer.poses[index].to_axis_angle().tolist()]
        poses.append({**one, **(files[index] if files else {})})
    points: list[dict[str, Any]] = []
    for point in answer.points:
        place = {"x": round(point.x, 4), "y": round(point.y, 4), "confidence": round(point.confidence, 6)}
        said = point.readings.get("said")
        points.append({**place, "said": [round(value, 4) for value in said]} if said is not None else place)
    return {
        "text": answer.text,
        "confidence": round(answer.confidence, 6),
        "poses": poses,
        "points": points,
        "finish_reason": answer.finish_reason,
    }


def _quiet() -> None:
    """No progress bars of transformers between a question and its answer."""
    from transformers.utils import logging

    logging.disable_progress_bar()
