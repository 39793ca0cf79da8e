"""`llmpose keypoints`: find keypoints of objects in pictures, asked for in words or by example."""

import json
import math
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from llmpose.commands.options import Device

if TYPE_CHECKING:
    from collections.abc import Iterable

    from PIL import Image

    from llmpose.body.skeleton import Skeleton
    from llmpose.talk.keypoints import Box, Found, Support

_SECONDS_BETWEEN_FILES = 5
"""keypoints.json is written whole, so not after every few of thousands of pictures."""


def register(app: typer.Typer) -> None:
    app.command("keypoints")(keypoints)


def keypoints(
    images: Annotated[
        list[Path], typer.Argument(help='Pictures, folders of them, or "patterns/*.jpg".', show_default=False)
    ],
    model: Annotated[Path, typer.Option(help="Folder of a model trained on keypoints.", show_default=False)],
    out: Annotated[
        Path, typer.Option(help="Folder for drawings and keypoints.json; pictures in it are not asked again.")
    ],
    skeleton: Annotated[
        str | None, typer.Option(help="Name of a skeleton (coco17 …) or the file of your own.", show_default=False)
    ] = None,
    names: Annotated[
        str | None, typer.Option("--keypoints", help='Which keypoints: "left wrist, nose".', show_default=False)
    ] = None,
    box: Annotated[
        list[str] | None,
        typer.Option(help="An object: left,top,right,bottom in pixels; may be given often. Else the whole picture."),
    ] = None,
    boxes: Annotated[
        Path | None, typer.Option(help="JSON: picture's file name -> list of boxes.", show_default=False)
    ] = None,
    detector: Annotated[
        str | None, typer.Option(help="GroundingDINO's folder or name: finds --objects.", show_default=False)
    ] = None,
    objects: Annotated[
        str | None, typer.Option(help='What the detector looks for: "person, dog".', show_default=False)
    ] = None,
    threshold: Annotated[float, typer.Option(help="How sure the detector has to be.", min=0.0, max=1.0)] = 0.3,
    support: Annotated[
        list[Path] | None, typer.Option(help="An example picture; one --points for each.", show_default=False)
    ] = None,
    points: Annotated[
        list[str] | None, typer.Option(help='Keypoints in it: "nose=120,80; tail=40,95".', show_default=False)
    ] = None,
    describe: Annotated[
        bool, typer.Option("--describe", help="Ask by the skeleton's descriptions, not names.")
    ] = False,
    reading: Annotated[
        Literal["said", "mean", "densest"],
        typer.Option(help="Points by the digits as said, or by the mean or the densest place of what they may be."),
    ] = "densest",
    batch_size: Annotated[int, typer.Option(help="Questions answered at a time.", min=1)] = 64,
    pictures: Annotated[int, typer.Option(help="Pictures looked at, and kept, at a time.", min=1)] = 8,
    device: Device = None,
) -> None:
    """Find keypoints of anything: by name, by description, or by an example picture with points in it.

    llmpose keypoints dog.jpg --model DIR --out found --skeleton ap10k --box 10,20,300,280

    llmpose keypoints photos/ --model DIR --out found --support chair.jpg --points "left front leg end=80,200"

    llmpose keypoints "trip/*.jpg" --model DIR --out found --detector DINO --objects "person" --skeleton coco17
    """
    import time

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from llmpose.errors import BadUsage, UserError
    from llmpose.talk.keypoint_files import plain_found, read_found, write_found
    from llmpose.talk.keypoints import check_asked, find_in_pictures

    files = _pictures(images)
    supports = _supports(support or [], points or [])
    asked = _distinct(name.strip() for name in (names or "").split(",") if name.strip())
    kind = _skeleton(skeleton, asked, supports)
    if box and len(files) > 1:
        raise BadUsage(f"--box says where an object is in one picture, {len(files)} were given; use --boxes FILE.json")
    own = {files[0].name: [_box(one) for one in box]} if box else _boxes(boxes)
    if (detector is None) != (objects is None) or (detector and (box or boxes)):
        raise BadUsage("--detector and --objects go together, and stand in for --box and --boxes")
    wanted_objects = [name.strip() for name in (objects or "").split(",") if name.strip()]
    # Where skeleton and examples come from, keypoints that no example shows are left out.
    wanted = asked or sorted(_distinct(name for one in supports for name in one.points_px)) or None
    check_asked(kind, wanted, supports)
    question = {
        "model": str(model.expanduser().absolute()),
        "skeleton": kind.to_dict(),
        "keypoints": wanted,
        "examples": [[str(path), text] for path, text in zip(support or [], points or [], strict=True)],
        "told": "description" if describe else "name",
        "reading": reading,
        "objects": wanted_objects,
    }
    done = read_found(out / "keypoints.json", question)
    waiting = [path for path in files if path.name not in done]
    unread: list[str] = []
    asker: tuple[Any, Any, Any] | None = None
    written = time.monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("pictures", total=len(waiting))
        try:
            for start in range(0, len(waiting), pictures):
                paths, opened = _opened(waiting[start : start + pictures], own, unread)
                if paths:
                    # Not before here: a mistake in the question or in a box is told without waiting for the weights.
                    asker = asker or _asker(model, detector, device)
                    talker, processor, finder = asker
                    seen = finder.find(opened, wanted_objects, threshold=threshold) if finder is not None else None
                    given = [
                        own.get(path.name) if seen is None else [one.box_xyxy_px for one in seen[i]]
                        for i, path in enumerate(paths)
                    ]
                    found = find_in_pictures(
                        talker, processor, list(zip(opened, given, strict=True)), kind, asked=wanted, supports=supports,
                        told="description" if describe else "name", batch_size=batch_size, reading=reading,
                    )  # fmt: skip
                    out.mkdir(parents=True, exist_ok=True)
                    for i, (path, image) in enumerate(zip(paths, opened, strict=True)):
                        for one, detected in zip(found[i], seen[i] if seen is not None else (), strict=False):
                            one.name, one.box_score = detected.name, detected.score
                        _draw(image, found[i], kind).save(out / f"{path.name}.png")
                        done[path.name] = {"width": image.width, "height": image.height, "found": plain_found(found[i])}
                if done and time.monotonic() - written > _SECONDS_BETWEEN_FILES:
                    write_found(out / "keypoints.json", done, kind, question)
                    written = time.monotonic()
                bar.advance(task, len(waiting[start : start + pictures]))
        finally:  # also when it is interrupted: the next call goes on from here
            if any(path.name in done for path in waiting):
                write_found(out / "keypoints.json", done, kind, question)
    if len(unread) == len(files):
        raise UserError(unread[0] if len(files) == 1 else f"none of {len(files)} pictures can be read; {unread[0]}")
    _report(out, files, done, unread, own if boxes else {}, is_detected=detector is not None)


def _opened(
    paths: list[Path], boxes: "dict[str, list[Box]]", unread: list[str]
) -> "tuple[list[Path], list[Image.Image]]":
    """Those of these pictures that can be read; what others suffer from is added to `unread`."""
    from llmpose.errors import UserError
    from llmpose.talk.images import read_image
    from llmpose.talk.keypoints import square_of

    found = []
    for path in paths:
        try:
            image = read_image(path)
        except UserError as error:
            unread.append(str(error))
            continue
        for box in boxes.get(path.name, ()):
            try:
                square_of(box, image.size)
            except UserError as error:
                raise UserError(f"{path}: {error}") from None
        found.append((path, image))
    return [path for path, _ in found], [image for _, image in found]


def _asker(model: Path, detector: str | None, device: str | None) -> tuple[Any, Any, Any]:
    """Model, processor, and the detector if one is wanted; on the GPU where there is one and no device is named."""
    import torch

    from llmpose.errors import UserError
    from llmpose.model.adapters import base_of, is_adapter, load_model
    from llmpose.model.config import LlmPoseConfig
    from llmpose.model.loading import device_named
    from llmpose.talk.processing import LlmPoseProcessor, local_folder

    place = device_named(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    folder = local_folder(model, weights=True)
    whole = base_of(folder) if is_adapter(folder) else folder
    if (whole / "config.json").is_file() and not LlmPoseConfig.from_pretrained(whole).knows_keypoints:
        raise UserError(f"{model}: this model was never trained on keypoints; train one: launch/recipes/kptllm")
    dtype = torch.bfloat16 if place.type == "cuda" else torch.float32
    talker: Any = load_model(folder, dtype=dtype)
    finder = None
    if detector is not None:
        from llmpose.talk.detector import Detector

        finder = Detector.from_pretrained(detector, device=place)  # in float32: it is small, and boxes are exact
    return talker.to(place).eval(), LlmPoseProcessor.from_pretrained(folder), finder


def _report(
    out: Path, files: list[Path], done: dict[str, Any], unread: list[str], boxes: "dict[str, list[Box]]",
    *, is_detected: bool,
) -> None:  # fmt: skip
    """What there is now, and what a reader of it would else not know."""
    count = sum(len(one["found"]) for one in done.values())
    typer.echo(f"{out}: {count} objects in {len(done)} pictures, drawn; keypoints.json as COCO has them")

    def tell(names: list[str], what: str) -> None:
        if names:
            shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
            typer.echo(f"{what.format(len(names))} ({shown})", err=True)

    hint = "; lower --threshold, or give --boxes" if is_detected else ""
    tell([name for name, one in done.items() if not one["found"]], f"no object was found in {{}} of them{hint}")
    names = {path.name for path in files}
    if boxes:
        tell([path.name for path in files if path.name not in boxes], "{} pictures are not in --boxes: taken whole")
        tell([name for name in boxes if name not in names], "{} names in --boxes are none of the pictures")
    tell(unread, "{} pictures cannot be read and were left out")


def _pictures(given: list[Path]) -> list[Path]:
    from llmpose.errors import UserError
    from llmpose.talk.images import is_image_file

    files: list[Path] = []
    for path in given:
        if path.is_dir():
            files += sorted(one for one in path.iterdir() if is_image_file(one))
        elif not path.exists() and any(sign in str(path) for sign in "*?["):
            files += sorted(Path(name) for name in glob(str(path), recursive=True) if is_image_file(Path(name)))
        else:
            files.append(path)
    missing = next((file for file in files if not file.is_file()), None)
    if missing is not None or not files:
        raise UserError(f"{missing or given[0]}: no such picture, and no folder of pictures")
    names = [file.name for file in files]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"two pictures are called {twice}; results go by the name, so rename one")
    return files


def _supports(files: list[Path], points: list[str]) -> "list[Support]":
    from llmpose.body.skeleton import plain_name
    from llmpose.errors import BadUsage
    from llmpose.talk.images import read_image
    from llmpose.talk.keypoints import Support

    if len(files) != len(points):
        raise BadUsage(f"{len(files)} --support and {len(points)} --points; every example needs its own points")
    found = []
    for path, text in zip(files, points, strict=True):
        own: dict[str, tuple[float, float]] = {}
        for one in filter(None, (part.strip() for part in text.split(";"))):
            name, equals, place = one.partition("=")
            numbers = _numbers(place, 2, f"--points {one!r}: expected name=x,y")
            if not equals or not name.strip():
                raise BadUsage(f"--points {one!r}: expected name=x,y")
            if plain_name(name) in map(plain_name, own):
                raise BadUsage(f"--points names {name.strip()!r} twice; an example shows a keypoint once")
            own[name.strip()] = (numbers[0], numbers[1])
        found.append(Support(read_image(path), own))
    return found


def _skeleton(given: str | None, asked: list[str], supports: "list[Support]") -> "Skeleton":
    from llmpose.body.skeleton import load_skeleton
    from llmpose.errors import BadUsage
    from llmpose.talk.keypoints import named_keypoints

    if given is not None:
        return load_skeleton(given)
    names = _distinct([*asked, *(name for one in supports for name in one.points_px)])
    if not names:
        raise BadUsage("which keypoints? give --skeleton, --keypoints, or --support with --points")
    return named_keypoints(names)


def _distinct(names: "Iterable[str]") -> list[str]:
    """Each name once, as it was first written."""
    from llmpose.body.skeleton import plain_name

    found: dict[str, str] = {}
    for name in names:
        found.setdefault(plain_name(name), name)
    return list(found.values())


def _box(text: str) -> "Box":
    left, top, right, bottom = _numbers(text, 4, f"--box {text!r}: expected left,top,right,bottom")
    return left, top, right, bottom


def _numbers(text: str, count: int, problem: str) -> list[float]:
    from llmpose.errors import BadUsage

    try:
        values = [float(value) for value in text.split(",")]
    except ValueError:
        raise BadUsage(problem) from None
    if len(values) != count or not all(map(math.isfinite, values)):
        raise BadUsage(problem)
    return values


def _boxes(path: Path | None) -> "dict[str, list[Box]]":
    from llmpose.errors import UserError

    if path is None:
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {name: [(float(a), float(b), float(c), float(d)) for a, b, c, d in own] for name, own in content.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: expected JSON, file name -> list of [left, top, right, bottom] ({error})") from None


def _draw(image: Any, found: "list[Found]", skeleton: "Skeleton") -> Any:
    import numpy as np

    from llmpose.body.draw import draw_boxes, draw_skeleton

    drawn = draw_boxes(image, np.array([one.box_xyxy_px for one in found]))
    for one in found:
        points = one.keypoints_px.copy()
        points[:, 2] = np.where(points[:, 2] > 0, 2, 0)
        drawn = draw_skeleton(drawn, points, skeleton)
    return drawn
