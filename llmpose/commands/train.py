"""`llmpose train RECIPE.yaml … [key=value …]`: train one stage, go on with it, or look at what a recipe says."""

from typing import Annotated

import typer

_HELP = """
Train one stage from its recipe.

[bold]llmpose train launch/recipes/unipose/1_tokenizer.tiny.yaml[/]

A recipe is YAML; several are laid over one another, and key=value words win over all of them:

[bold]llmpose train base.yaml mine.yaml optim.lr=1e-4 data.train.amass.limit=500 run_dir=runs/try[/]

The same command goes on where an earlier run stopped, also after a crash. Everything is in the run's folder: recipe,
versions, metrics.jsonl, checkpoints, and best/ and model/, which later stages load. The saved recipe is a valid recipe.

On several GPUs (or processes), the same words after a launcher:

[bold]accelerate launch --config_file launch/accelerate/zero2.yaml --num_processes 8 -m train.run RECIPE.yaml[/]

Look before you train: every key with its meaning, and the whole recipe as it would run:

[bold]llmpose train --fields language[/]

[bold]llmpose train launch/recipes/unipose/2_align.tiny.yaml optim.lr=1e-3 --show[/]
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help=_HELP, no_args_is_help=True)(train)


def train(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RECIPE.yaml... [KEY=VALUE...]", help="Recipe files, then single fields.", show_default=False
        ),
    ] = None,
    show: Annotated[bool, typer.Option("--show", help="Print the recipe that these words make, and stop.")] = False,
    fields: Annotated[
        str | None,
        typer.Option(
            "--fields", metavar="KIND", help="Print every field of a kind's recipe, and stop.", show_default=False
        ),
    ] = None,
) -> None:
    if fields is not None:
        _print_fields(fields)
        return
    from llmpose.errors import BadUsage

    if not words:
        raise BadUsage("llmpose train needs a recipe, like launch/recipes/unipose/1_tokenizer.tiny.yaml; see --help")
    if show:
        from omegaconf import OmegaConf

        from train.recipe import load_words

        typer.echo(OmegaConf.to_yaml(OmegaConf.structured(load_words(words))), nl=False)
        return
    from train.run import run_words

    run_words(words)


def _print_fields(kind: str) -> None:
    from rich.console import Console
    from rich.markup import escape

    from train.layers import describe_fields
    from train.recipe import recipe_class

    console = Console(highlight=False)
    for key, type_, default, meaning in describe_fields(recipe_class(kind)):
        # A line for the key and its words below: a table would cut the keys off on a narrow terminal.
        console.print(
            f"[bold]{escape(key)}[/] = {escape(default) or repr('')}  [dim]{escape(type_)}[/]", soft_wrap=True
        )
        console.print(f"    {escape(meaning)}", soft_wrap=True)
