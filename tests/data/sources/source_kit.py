"""Types of the fixtures in conftest.py, for the tests of readers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

Read = Callable[..., list[Any]]
MakeImage = Callable[..., Path]
WriteJson = Callable[[Path, Any], Path]
