"""`llmpose body …`: which body model is in use, pictures and meshes of poses, pose files from one format to another."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from llmpose.body.model import BodyModel
    from llmpose.body.pose import Pose

body_app = typer.Typer(no_args_is_help=True, help="Body models and pose files: look, draw, export, convert.")

_Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="Body model: a file, a folder of models, or stand-in. Without it: the folder in LLMPOSE_BODY_MODELS, "
        "else the stand-in.",
    ),
]
_Kind = Annotated[str, typer.Option(help="smpl, smplh or smplx.")]
_Gender = Annotated[str, typer.Option(help="neutral, male or female.")]
_Frame = Annotated[int | None, typer.Option(help="One pose of a sequence, counted from 0.")]
_Axes = Annotated[str, typer.Option(help="The frame the file's root is in: world (z up, as AMASS), camera, or y-up.")]

_VIEWS = ("front", "left", "back", "right")


def register(app: typer.Typer) -> None:
    app.add_typer(body_app, name="body")


@body_app.command()
def info(model: _Model = None, kind: _Kind = "smpl", gender: _Gender = "neutral") -> None:
    """Say which body model file is used, and what is in it.

    Example: llmpose body info --kind smplh
    """
    from rich.console import Console
    from rich.table import Table

    body = _load(model, kind, gender)
    vertices = body.vertices_rest
    height = float(vertices[:, 1].max() - vertices[:, 1].min())
    table = Table(show_header=False, box=None)
    for name, value in (
        ("file", f"{body.source} (built in)" if body.is_stand_in else body.source),
        ("kind", body.kind),
        ("vertices", str(body.num_vertices)),
        ("faces", str(len(body.faces))),
        ("height", f"{height:.2f} m"),
        ("pose correctives", "yes" if body.has_pose_directions else "no"),
        ("joints", f"{body.num_joints}: {' '.join(body.joint_names)}"),
    ):
        table.add_row(name, value)
    Console(soft_wrap=True).print(table)


@body_app.command()
def convert(
    source: Annotated[Path, typer.Argument(help="A pose file: .npz (ours, AMASS, SMPL-X style), .npy or .json.")],
    out: Annotated[Path, typer.Argument(help="The file to write; its ending says the format: .npz, .npy, .json.")],
    frame: _Frame = None,
    axes: _Axes = "world",
    mirror: Annotated[bool, typer.Option("--mirror", help="Swap left and right.")] = False,
    face_viewer: Annotated[bool, typer.Option("--face-viewer", help="Remove the heading.")] = False,
) -> None:
    """Read a pose file and write it in another format, checked on the way.

    Example: llmpose body convert walk_poses.npz walk_12.json --frame 12
    """
    pose = _pose(source, frame, axes)
    pose = pose.mirrored() if mirror else pose
    pose = pose.without_yaw() if face_viewer else pose
    pose.save(out)
    known = [name for name in ("betas", "trans_m") if getattr(pose, name) is not None]
    said = ""
    if known and out.suffix == ".npy":
        pose = replace(pose, **dict.fromkeys(known))
        said = f"; {' and '.join(known)} left out, an .npy holds rotations only"
    typer.echo(f"wrote {out}: {pose!r}{said}")


@body_app.command()
def render(
    source: Annotated[Path, typer.Argument(help="A pose file.")],
    out: Annotated[Path, typer.Argument(help="The picture to write, .png or .jpg.")],
    frame: _Frame = None,
    axes: _Axes = "world",
    view: Annotated[str, typer.Option(help="front, left, back, right, three_quarter, or all.")] = "front",
    size: Annotated[int, typer.Option(help="Width and height in pixels.", min=16)] = 512,
    model: _Model = None,
    gender: _Gender = "neutral",
    count: Annotated[int, typer.Option(help="At most so many poses of a sequence, evenly spread.", min=1)] = 8,
) -> None:
    """Draw a pose, or a few poses of a sequence side by side.

    Example: llmpose body render walk_poses.npz walk.png --view three_quarter --count 6
    """
    from llmpose.body.draw import contact_sheet
    from llmpose.body.render import render_pose
    from llmpose.errors import BadUsage

    if view not in (*_VIEWS, "three_quarter", "all"):
        raise BadUsage(f"--view {view!r}; choose one of {', '.join(_VIEWS)}, three_quarter or all")
    views = _VIEWS if view == "all" else (view,)
    if out.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise BadUsage(f"{out}: a picture is written as .png or .jpg")
    body = _load(model, "smpl", gender)
    chosen = _spread(_pose(source, frame, axes), count)
    pictures = [render_pose(pose, body, size, one) for pose in chosen for one in views]  # pyright: ignore[reportArgumentType]
    columns = len(views) if len(views) > 1 else min(len(pictures), 4)
    picture = pictures[0] if len(pictures) == 1 else contact_sheet(pictures, columns=columns, cell=size)
    out.parent.mkdir(parents=True, exist_ok=True)
    picture.save(out)
    typer.echo(f"wrote {out}: {len(chosen)} pose{'s' * (len(chosen) > 1)}, {picture.width} x {picture.height}")


@body_app.command()
def export(
    source: Annotated[Path, typer.Argument(help="A pose file.")],
    out: Annotated[Path, typer.Argument(help="The mesh to write: .glb, .obj or .ply (y up, as viewers expect).")],
    frame: _Frame = None,
    axes: _Axes = "world",
    model: _Model = None,
    kind: _Kind = "smpl",
    gender: _Gender = "neutral",
    count: Annotated[int, typer.Option(help="At most so many poses of a sequence, evenly spread.", min=1)] = 8,
    gap_m: Annotated[float, typer.Option(help="Distance between neighbours in metres.")] = 1.2,
) -> None:
    """Write the posed mesh for other programs; several poses stand in a row.

    Example: llmpose body export pose.json pose.glb
    """
    import torch

    from llmpose.body.mesh import export_mesh

    body = _load(model, kind, gender)
    chosen = _spread(_pose(source, frame, axes), count)
    with torch.no_grad():
        vertices = torch.stack([body(pose, trans_m=torch.zeros(3)).vertices_m for pose in chosen])
    vertices[..., 0] += torch.arange(len(chosen))[:, None] * gap_m
    export_mesh(out, vertices, body.faces)
    typer.echo(f"wrote {out}: {len(chosen)} pose{'s' * (len(chosen) > 1)}, {vertices.shape[1] * len(chosen)} vertices")


def _load(model: str | None, kind: str, gender: str) -> "BodyModel":
    from llmpose.body.model import load_body_model
    from llmpose.errors import BadUsage

    for name, given, choices in (
        ("--kind", kind, ("smpl", "smplh", "smplx")),
        ("--gender", gender, ("neutral", "male", "female")),
    ):
        if given not in choices:
            raise BadUsage(f"{name} {given!r}; choose one of {', '.join(choices)}")
    return load_body_model(model, kind=kind, gender=gender)  # pyright: ignore[reportArgumentType]  (it checks)


def _pose(source: Path, frame: int | None, axes: str) -> "Pose":
    from llmpose.body.pose import Pose
    from llmpose.errors import BadUsage

    if axes not in ("world", "camera", "y-up"):
        raise BadUsage(f"--axes {axes!r}; choose world, camera or y-up")
    pose = Pose.load(source, frame=frame)
    if axes == "world":
        return pose
    pelvis = None if pose.trans_m is None else _load(None, "smpl", "neutral").rest_joints(pose.betas)[..., 0, :]
    return pose.from_frame(axes, pelvis_m=pelvis)


def _spread(pose: "Pose", count: int) -> list["Pose"]:
    """At most `count` single poses out of a pose or a batch."""
    if not pose.batch_shape:
        return [pose]
    pose = pose.flat()
    last = len(pose) - 1
    steps = min(count, len(pose))
    return [pose[round(index * last / max(steps - 1, 1))] for index in range(steps)]
