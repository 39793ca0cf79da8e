"""`llmpose demo`: from nothing to a trained model, a report with pictures and a chat."""

from pathlib import Path
from typing import Annotated, Literal

import typer

HELP = """Train all four stages on the built-in world, measure the seven tasks, and write a report with pictures.

Needs no data, no download and no GPU: the world is made here. Takes 20 to 30 minutes on two cores (micro: a few
minutes, without promising quality). Killed anywhere, the same command goes on where it stopped.

Examples:

  llmpose demo

  llmpose demo --preset micro --out runs/micro

  llmpose demo --until world            stop after a step; --list shows the steps
"""


def register(app: typer.Typer) -> None:
    app.command("demo", help=HELP)(demo)


def demo(
    preset: Annotated[
        Literal["tiny", "micro"], typer.Option(help="How large a world, how long the training.")
    ] = "tiny",
    out: Annotated[Path, typer.Option(help="The run's folder.")] = Path("runs/demo"),
    seed: Annotated[int, typer.Option(help="Of the world and of all training.")] = 0,
    until: Annotated[str | None, typer.Option(help="Stop after this step.", show_default=False)] = None,
    list_: Annotated[bool, typer.Option("--list", help="Show the steps and what is done, and stop.")] = False,
) -> None:
    from llmpose.commands.demo_run import Demo

    demo = Demo(out, preset=preset, seed=seed)
    if list_:
        demo.show()
        return
    demo.run(until=until)
