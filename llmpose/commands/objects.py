"""`llmpose data objects`: make the built-in things that are not people."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer


def register(data_app: typer.Typer) -> None:
    data_app.command()(objects)


def objects(
    out: Annotated[Path, typer.Option(help="Folder to write; it appears when everything is done.")],
    preset: Annotated[
        str, typer.Option(help="micro (6 pictures of each thing), tiny (60), small (400), large (2,000).")
    ] = "tiny",
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.", min=0)] = 0,
    workers: Annotated[int | None, typer.Option(help="Processes (default: all cores).", min=1)] = None,
    image_size: Annotated[int, typer.Option(help="Side of the pictures in pixels.", min=32, max=2048)] = 160,
) -> None:
    """Make animals, vehicles, furniture, toys and hands with named keypoints, in the formats of MP-100 and AP-10K.

    Example: llmpose data objects --out things --preset tiny
    then:    llmpose data prepare mp100 --root things/mp100 --out records/things
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from data.synth.object_world import PRESETS, write_objects
    from llmpose.errors import BadUsage

    if preset not in PRESETS:
        raise BadUsage(f"--preset {preset!r}; choose one of {', '.join(PRESETS)}")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:

        def counted(items: Iterable[Any], total: int) -> Iterator[Any]:
            task = bar.add_task("pictures of things", total=total)
            for item in items:
                yield item
                bar.advance(task)

        write_objects(out, preset=preset, seed=seed, size_px=image_size, processes=workers, progress=counted)
    typer.echo(f"{out}: mp100/ and ap10k/ as those sets have them, skeletons/ with names, twins and descriptions")
