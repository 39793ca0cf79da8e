"""One file per group of commands. Thin: parse, then import what the command needs inside its function.

Each file has `register(app)`, which adds its commands to the root app. Order here is the order in `llmpose --help`.
"""

import importlib.util
from collections.abc import Callable
from importlib import import_module

import typer

_FILES = ("demo", "chat", "web", "body", "data", "train", "eval", "keypoints")

GROUPS: list[Callable[[typer.Typer], None]] = [
    import_module(f"llmpose.commands.{name}").register
    for name in _FILES
    if importlib.util.find_spec(f"llmpose.commands.{name}") is not None
]
