"""`llmpose data …`: prepare record sets from datasets, look into them, list the sources."""

import importlib.util
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

data_app = typer.Typer(no_args_is_help=True, help="Prepare, inspect and build data.")


def register(app: typer.Typer) -> None:
    app.add_typer(data_app, name="data")


@data_app.command()
def prepare(
    source: Annotated[str, typer.Argument(help="Name of the source; `llmpose data sources` lists them.")],
    root: Annotated[Path, typer.Option(help="The dataset's folder, as it was unpacked.")],
    out: Annotated[Path, typer.Option(help="Folder to write; it appears when everything is done.")],
    split: Annotated[str | None, typer.Option(help="Only this split (default: all).")] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first so many records.", min=1)] = None,
    max_rejects: Annotated[
        float, typer.Option(help="Largest share of records that may be set aside.", min=0.0, max=1.0)
    ] = 0.01,
    images: Annotated[
        str, typer.Option(help="How images are looked at: none, exists, header, decode (every pixel; slow).")
    ] = "header",
    embed_images: Annotated[bool, typer.Option(help="Store the image files in the record set.")] = False,
    option: Annotated[
        list[str] | None, typer.Option(help="name=value for the source's reader; may be given often.")
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace a record set that is already there.")] = False,
) -> None:
    """Read a dataset in its published layout, check every record, and write a record set.

    Example: llmpose data prepare amass --root ~/AMASS --out records/amass --split train --option subsets=CMU,KIT
    """
    from data.prepare import prepare as run
    from data.rejects import Rejects
    from llmpose.errors import BadUsage

    checks = ("none", "exists", "header", "decode")
    if images not in checks:
        raise BadUsage(f"--images {images!r}; choose one of {', '.join(checks)}")
    rejects = Rejects(max_rejects)
    with _counter(f"reading {source}", limit) as count:
        written = run(
            source,
            root,
            out,
            split=split,
            limit=limit,
            images=images,  # pyright: ignore[reportArgumentType]  (checked above)
            embed_images=embed_images,
            overwrite=overwrite,
            options=_options(option or []),
            rejects=rejects,
            progress=count,
        )
    splits = ", ".join(f"{name} {number:,}" for name, number in written.manifest["splits"].items())
    typer.echo(f"{out}: {len(written):,} {'pairs' if hasattr(written, 'records') else 'records'} ({splits})")
    typer.echo(rejects.summary())


@data_app.command()
def inspect(
    folder: Annotated[Path, typer.Argument(help="A record set or a set of pairs.")],
    sheet: Annotated[
        Path | None, typer.Option(help="Where to draw the contact sheet (default: FOLDER.png beside the folder).")
    ] = None,
    count: Annotated[int, typer.Option(help="Records on the sheet; 0 draws none.", min=0, max=400)] = 24,
    split: Annotated[str | None, typer.Option(help="Only this split.")] = None,
    seed: Annotated[int, typer.Option(help="Which records are drawn.")] = 0,
    verify: Annotated[bool, typer.Option(help="Compare every file with its sha256 in the manifest.")] = False,
) -> None:
    """Counts, fields and ranges of a record set, and a contact sheet with skeletons, boxes, masks and poses drawn.

    Example: llmpose data inspect records/coco --count 48 --sheet coco.png
    """
    from data.inspect import draw_sheet, open_set, tables

    opened = open_set(folder, split=split, verify=verify)
    _show(tables(opened))
    if count:
        path = sheet or folder.absolute().parent / f"{folder.absolute().name}.png"
        draw_sheet(opened, path, count=count, seed=seed)
        typer.echo(f"contact sheet: {path}")


@data_app.command()
def merge(
    sets: Annotated[list[str], typer.Argument(metavar="NAME=FOLDER...", help="Record sets, and what to call each.")],
    out: Annotated[Path, typer.Option(help="Folder to write; it appears when everything is done.")],
    overwrite: Annotated[bool, typer.Option(help="Replace a record set that is already there.")] = False,
) -> None:
    """Make one record set of several. Their names become the records' source; images stay where they are.

    Example: llmpose data merge h36m=records/h36m mpii=records/mpii_fits --out records/poseest
    """
    from data.merge import merge as run
    from data.rejects import Rejects
    from llmpose.errors import BadUsage

    folders: dict[str, Path] = {}
    for word in sets:
        name, equals, folder = word.partition("=")
        if not equals or not name or not folder or name in folders:
            raise BadUsage(f"{word!r}: expected NAME=FOLDER, each name once, like h36m=records/h36m")
        folders[name] = Path(folder)
    rejects = Rejects()
    with _counter("merging") as count:
        written = run(folders, out, rejects=rejects, overwrite=overwrite, progress=count)
    splits = ", ".join(f"{name} {number:,}" for name, number in written.manifest["splits"].items())
    typer.echo(f"{out}: {len(written):,} records ({splits})")
    typer.echo(rejects.summary())


@data_app.command()
def sources(
    name: Annotated[str | None, typer.Argument(help="One source, to see what its folder must hold.")] = None,
) -> None:
    """The datasets that can be read: what each gives, its terms, and where people get it.

    Example: llmpose data sources amass
    """
    from data.sources import SOURCES, find_source

    if name is not None:
        typer.echo(find_source(name).describe())
        return
    rows = [(source.name, source.gives, source.where, source.licence) for source in SOURCES.values()]
    _show([("sources", ("name", "gives", "where people get it", "licence"), rows)])


@data_app.command()
def leaks(
    train: Annotated[list[Path], typer.Option(help="Record sets to train on; may be given often.")],
    test: Annotated[list[Path], typer.Option(help="Record sets to test on; may be given often.")],
    train_split: Annotated[str, typer.Option(help="Split of the training sets; empty for all.")] = "train",
    test_split: Annotated[str, typer.Option(help="Split of the test sets; empty for all.")] = "",
    content: Annotated[bool, typer.Option(help="Compare image contents too, not only names.")] = True,
) -> None:
    """Find images that stand in both training and test data, by name and by content. Exit code 1 if there are any.

    Example: llmpose data leaks --train records/coco --train records/mp100 --test records/humanart --test-split val
    """
    from data.leaks import find_leaks

    with _counter("hashing images") as progress:
        report = find_leaks(
            train,
            test,
            train_split=train_split or None,
            test_split=test_split or None,
            content=content,
            progress=progress,
        )
    typer.echo(report.summary())
    if report.leaks:
        raise typer.Exit(1)


def _options(given: list[str]) -> dict[str, Any]:
    from llmpose.errors import BadUsage

    options = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise BadUsage(f"--option {text!r}: expected name=value")
        options[name.strip().replace("-", "_")] = value
    return options


def _counter(what: str, total: int | None = None) -> Any:
    """A context manager that gives a function to call with the number of records done; a bar counts them.

    A reader does not know how much it will find, so the bar only fills where a limit says how far it goes.
    """
    from contextlib import contextmanager

    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    @contextmanager
    def running() -> Any:
        columns = (TextColumn("{task.description}: {task.completed:,.0f}"), BarColumn(), TimeElapsedColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(what, total=total)
            yield lambda count: bar.advance(task, count)

    return running()


def _show(tables: list[tuple[str, tuple[str, ...], list[tuple[str, ...]]]]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    for title, header, rows in tables:
        table = Table(title=title, title_justify="left")
        for column in header:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*row)
        console.print(table)


# Commands that make data rather than read it have files of their own: the built-in world, its things, words for poses.
for _name in ("synth", "objects", "words"):
    if importlib.util.find_spec(f"llmpose.commands.{_name}") is not None:
        import_module(f"llmpose.commands.{_name}").register(data_app)
