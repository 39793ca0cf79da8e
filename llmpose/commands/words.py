"""`llmpose data describe | compare | build`: words for poses, and the text datasets made of them."""

import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from data.captions.refine import Refiner
    from llmpose.body.pose import Pose

_MOST_DRAWN = 24

_Style = Annotated[str, typer.Option(help="full (everything worth telling) or brief (at most 45 words).")]
_Seed = Annotated[int | None, typer.Option(help="Sample the wording; without it the plain, stable one.", min=0)]
_Num = Annotated[int, typer.Option(help="Texts for each; more than one needs --seed.", min=1)]
_Picture = Annotated[
    Path | None, typer.Option(help="Where to draw the poses with their texts (default: a PNG in this folder).")
]
_NoPicture = Annotated[bool, typer.Option("--no-picture", help="Print only.")]


def register(data_app: typer.Typer) -> None:
    data_app.command()(describe)
    data_app.command()(compare)
    data_app.command()(build)


def describe(
    file: Annotated[Path, typer.Argument(help="A pose file: .npz (ours, AMASS), .npy or .json.")],
    style: _Style = "full",
    seed: _Seed = None,
    num: _Num = 1,
    frame: Annotated[int | None, typer.Option(help="One pose of a sequence, counted from 0.", min=0)] = None,
    step: Annotated[int, typer.Option(help="Of a sequence, every how many frames one is described.", min=1)] = 1,
    picture: _Picture = None,
    no_picture: _NoPicture = False,
) -> None:
    """Say in words what a pose looks like, and draw it beside the words. The heading does not count.

    Example: llmpose data describe walk_poses.npz --style brief --step 30
    """
    from data.captions import describe as run
    from data.captions import facing_viewer, text_joints
    from data.captions.picture import text_cell, text_sheet
    from llmpose.body.pose import Pose

    pose = _read(file, frame)
    rotmat = facing_viewer(pose.rotmat)[::step]
    texts = run(text_joints(rotmat), style=_checked(style), seed=seed, num=num, rotmat=rotmat)
    for number, said in enumerate(texts):
        head = f"frame {number * step}: " if len(texts) > 1 else ""
        typer.echo("\n".join(head + text for text in said))
    if not no_picture:
        cells = [text_cell([Pose(rotmat[n])], "\n".join(said), size=256) for n, said in enumerate(texts[:_MOST_DRAWN])]
        _save(text_sheet(cells, columns=min(3, len(cells))), picture or Path(f"{file.stem}_described.png"))


def compare(
    first: Annotated[Path, typer.Argument(help="Pose file A.")],
    second: Annotated[Path, typer.Argument(help="Pose file B.")],
    style: _Style = "full",
    seed: _Seed = None,
    num: _Num = 1,
    frame_a: Annotated[int | None, typer.Option(help="One pose of sequence A, counted from 0.", min=0)] = None,
    frame_b: Annotated[int | None, typer.Option(help="One pose of sequence B, counted from 0.", min=0)] = None,
    turn: Annotated[bool, typer.Option(help="Say how far the person turns from A to B.")] = True,
    picture: _Picture = None,
    no_picture: _NoPicture = False,
) -> None:
    """Say in words how to get from pose A to pose B, and draw both beside the words.

    Example: llmpose data compare before.json after.json --style brief
    """
    from data.captions import compare as run
    from data.captions import facing_viewer, text_joints, turn_deg_between, turned_with
    from data.captions.picture import text_cell
    from llmpose.body.pose import Pose
    from llmpose.errors import BadUsage

    a, b = _read(first, frame_a), _read(second, frame_b)
    for pose, path, option in ((a, first, "--frame-a"), (b, second, "--frame-b")):
        if len(pose) != 1:
            raise BadUsage(f"{path} holds {len(pose)} poses; choose one with {option}")
    facing_a, facing_b = facing_viewer(a.rotmat), facing_viewer(b.rotmat)
    texts = run(
        text_joints(facing_a),
        text_joints(facing_b),
        turn_deg=turn_deg_between(a.rotmat, b.rotmat) if turn else None,
        style=_checked(style),
        seed=seed,
        num=num,
        rotmat_a=facing_a,
        rotmat_b=facing_b,
    )[0]
    typer.echo("\n".join(texts))
    if not no_picture:
        shown_b = turned_with(a.rotmat, b.rotmat) if turn else facing_b
        cell = text_cell([Pose(facing_a[0]), Pose(shown_b[0])], "\n".join(texts), size=256)
        _save(cell, picture or Path(f"{first.stem}_to_{second.stem}.png"))


def build(
    dataset: Annotated[str, typer.Argument(help="posescript, posefix, imagescript or imagediff.")],
    source: Annotated[Path, typer.Option("--from", help="A record set with poses (and images), from data prepare.")],
    out: Annotated[Path, typer.Option(help="Folder to write; it appears when everything is done.")],
    count: Annotated[
        int | None, typer.Option(help="Poses (or pairs) of the training split (default: the paper's, or all).", min=1)
    ] = None,
    style: Annotated[str, typer.Option(help="Of the automatic texts: full or brief.")] = "full",
    num_texts: Annotated[int, typer.Option(help="Automatic texts for each.", min=1)] = 3,
    refined_share: Annotated[
        float, typer.Option(help="Share of the training split that gets a refined text.", min=0.0, max=1.0)
    ] = 0.125,
    refine: Annotated[
        bool, typer.Option(help="Refine by the language model at LLMPOSE_LLM_URL; else by rules.")
    ] = False,
    refine_cache: Annotated[
        Path | None, typer.Option(help="File that keeps its answers (default: OUT.answers.jsonl beside OUT).")
    ] = None,
    refine_budget: Annotated[int | None, typer.Option(help="Tokens to spend at most.", min=0)] = None,
    images: Annotated[
        str, typer.Option(help="link (into OUT/images), refer (leave them where they are) or none.")
    ] = "link",
    orientation: Annotated[
        str, typer.Option(help="What is taken from the root: heading, or all (the body upright).")
    ] = "heading",
    in_sequence_share: Annotated[
        float, typer.Option(help="posefix: share of pairs from one motion.", min=0.0, max=1.0)
    ] = 0.5,
    retrieval: Annotated[
        Path | None, typer.Option(help="A trained pose-text retrieval model, to find poses that are alike.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same files.", min=0)] = 0,
    overwrite: Annotated[bool, typer.Option(help="Replace what an earlier run built there.")] = False,
) -> None:
    """Choose poses or pairs of a record set, write texts for them, and save all in PoseScript's and PoseFix's layouts.

    Example: llmpose data build imagescript --from records/coco --out data/imagescript --count 5000
    """
    from data.build.builders import Options
    from data.build.builders import build as run
    from data.build.texts import Writing
    from data.records import RecordSet

    _choice("--images", images, ("link", "refer", "none"))
    _choice("--orientation", orientation, ("heading", "all"))
    records = RecordSet.load(source)
    refiner = (
        _refiner(refine_cache or out.absolute().parent / f"{out.name}.answers.jsonl", refine_budget) if refine else None
    )
    writing = Writing(_checked(style), num_texts, seed, refined_share, refiner)
    options = Options(count, writing, images, orientation, in_sequence_share, seed)  # pyright: ignore (checked above)
    features = None if retrieval is None else _features(retrieval, records)
    with _bars() as progress:
        manifest = run(dataset, records, out, options, features=features, overwrite=overwrite, progress=progress)
    what = "pairs" if "num_pairs" in manifest else "poses"
    splits = ", ".join(f"{split} {number:,}" for split, number in manifest["splits"].items())
    typer.echo(f"{out}: {manifest[f'num_{what}']:,} {what} ({splits}), {manifest['num_refined']:,} with a refined text")
    got = manifest["splits"].get("train", manifest[f"num_{what}"])
    if count is not None and got < count:
        typer.echo(f"that is fewer than the {count:,} asked for: {source} gives no more")
    if dataset == "posefix":
        typer.echo(f"{manifest['in_sequence']:,} pairs from one motion, the others from two")
    if refiner is not None:
        typer.echo(refiner.report.summary())


# ---- help of the commands -------------------------------------------------------------------------------------------


def _read(file: Path, frame: int | None) -> "Pose":
    """A pose file as a batch."""
    from llmpose.body.pose import Pose

    pose = Pose.load(file, frame=frame)
    return Pose(pose.rotmat.reshape(-1, 22, 3, 3))


def _checked(style: str) -> Any:
    _choice("--style", style, ("full", "brief"))
    return style


def _choice(option: str, value: str, known: tuple[str, ...]) -> None:
    from llmpose.errors import BadUsage

    if value not in known:
        raise BadUsage(f"{option} {value!r}; choose one of {', '.join(known)}")


def _save(image: Any, path: Path) -> None:
    from llmpose.errors import UserError

    try:
        image.save(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error}); name another file with --picture") from None
    typer.echo(f"picture: {path}")


def _refiner(cache: Path, budget: int | None) -> "Refiner":
    from data.captions.endpoint import Endpoint
    from data.captions.refine import Refiner

    return Refiner(Endpoint.from_environment(), cache, max_tokens_total=budget)


def _features(folder: Path, records: Any) -> Any:
    """(N, F) features of every record's pose; zeros where there is none."""
    import numpy as np
    import torch

    from data.captions.normalize import CHUNK, facing_viewer
    from llmpose.model.retrieval import PoseTextRetrieval

    model = PoseTextRetrieval.from_pretrained(folder).eval()
    there = np.flatnonzero(records.has("pose_rotmat"))
    features: torch.Tensor | None = None
    for start in range(0, len(there), CHUNK):
        rows = there[start : start + CHUNK]
        with torch.no_grad():
            found = model.embed_pose(facing_viewer(records.poses(rows)))
        features = torch.zeros(len(records), found.shape[1]) if features is None else features
        features[torch.from_numpy(rows)] = found
    return features


@contextmanager
def _bars() -> Generator[Any, None, None]:
    """A bar for each step that a builder reports; at the end, how long each took."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    tasks: dict[str, Any] = {}
    seconds: dict[str, float] = {}
    last = time.monotonic()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:

        def progress(step: str, done: int, total: int) -> None:
            nonlocal last
            now = time.monotonic()
            # A step speaks when a part of it is done: the time since somebody last spoke was its own.
            seconds[step], last = seconds.get(step, 0.0) + now - last, now
            if step not in tasks:
                tasks[step] = bar.add_task(step, total=total or None)
            bar.advance(tasks[step], done)

        yield progress
    typer.echo("took " + ", ".join(f"{step} {spent:.1f} s" for step, spent in seconds.items()), err=True)
