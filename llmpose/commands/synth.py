"""`llmpose data synth`: make the built-in world."""

from pathlib import Path
from typing import Annotated

import typer


def register(data_app: typer.Typer) -> None:
    data_app.command()(synth)


def synth(
    out: Annotated[Path, typer.Option(help="Folder of the world; an unfinished one goes on.")],
    preset: Annotated[
        str, typer.Option(help="micro (seconds), tiny (about a minute on two cores), small, large (hours).")
    ] = "tiny",
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.", min=0)] = 0,
    workers: Annotated[int | None, typer.Option(help="Processes (default: all cores).", min=1)] = None,
    image_size: Annotated[
        int | None, typer.Option(help="Height of the pictures in pixels (default: the preset's).")
    ] = None,
) -> None:
    """Make the built-in world: people in scenes, motions, annotations, in the formats of COCO, AMASS, MOYO and HMR 2.0.

    Example: llmpose data synth --out world --preset tiny --seed 0
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from data.synth.presets import world_recipe
    from data.synth.world import make_world

    console = Console()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("pictures and motions", total=None)
        manifest = make_world(
            out,
            world_recipe(preset, image_px=image_size),
            seed=seed,
            workers=workers,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    counts = ", ".join(
        f"{split} {n['persons']:,} people in {n['images']:,} pictures" for split, n in manifest["counts"].items()
    )
    typer.echo(
        f"{out}: {counts}; {len(manifest['motions']):,} motions; {len(manifest['files']):,} files in manifest.json"
    )
