"""The `llmpose` command: parses, then imports what it needs.

Each group of commands has a file in `llmpose/commands/` that imports nothing heavy at its top, so `--help` is quick.
Exit codes: 0 done, 1 failed, 2 bad usage. Errors for people are one line on stderr, also where the parser found them;
`--debug` shows the traceback.
"""

import os
import sys
from typing import Annotated, Any

import typer

from llmpose import __version__
from llmpose.commands import GROUPS, workshop
from llmpose.errors import BadUsage, UserError

app = typer.Typer(
    name="llmpose",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Train, evaluate and chat with multimodal language models that understand the human body and keypoints.",
    epilog="Start with: [bold]llmpose demo[/bold]",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"llmpose {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and stop.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the whole traceback when something fails.")] = False,
) -> None:
    if debug:
        os.environ["LLMPOSE_DEBUG"] = "1"


for _register in GROUPS:
    _register(app)

# Typer names only this class's child, and newer versions bring a click of their own.
_Misuse: type[Exception] = next(base for base in typer.BadParameter.__mro__ if base.__name__ == "UsageError")


def _run() -> int:
    """Parse and run; the exit code. What the parser does not understand becomes one line, like every other error."""
    try:
        code = app(prog_name="llmpose", standalone_mode=False)
    except _Misuse as error:
        context: Any = getattr(error, "ctx", None)
        message: str = error.format_message()  # pyright: ignore[reportAttributeAccessIssue]
        if type(error).__name__ == "NoArgsIsHelpError":  # a group without a command: its help, shown, is the answer
            typer.echo(message, nl=False, err=True)
            return 2
        raise BadUsage(f"{message} (see {context.command_path if context else 'llmpose'} --help)") from error
    except typer.Abort:
        code = 130
    if code == 130:
        typer.echo("llmpose: interrupted", err=True)
    return code if isinstance(code, int) else 0


def main() -> None:
    """Run the command line; turn errors meant for people into one line and an exit code."""
    debug = "--debug" in sys.argv
    if debug:  # accepted anywhere on the line, as people write it
        sys.argv = [sys.argv[0], "--debug", *[word for word in sys.argv[1:] if word != "--debug"]]
    try:
        sys.exit(_run())
    except UserError as error:
        if debug:
            raise
        typer.echo(f"llmpose: {' '.join(str(error).split())}", err=True)
        sys.exit(2 if isinstance(error, BadUsage) else 1)
    except OSError as error:
        if debug or not error.filename:
            raise
        # A folder that may not be written, a name that is taken, a disk that is full: what the system says is enough.
        typer.echo(f"llmpose: {error.filename}: {error.strerror}", err=True)
        sys.exit(1)
    except ModuleNotFoundError as error:
        if debug or (error.name or "").split(".")[0] not in workshop.PACKAGES:
            raise
        typer.echo(workshop.NEEDS_CHECKOUT, err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
