"""What a source is: a reader of one dataset's published layout, and what people need to know to get it."""

import difflib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from data.record import PairRecord, Record
from data.rejects import Rejects
from llmpose.body.skeleton import Skeleton
from llmpose.errors import BadUsage, UserError

Items: TypeAlias = Iterator[Record | PairRecord]
Reader: TypeAlias = Callable[..., Items]
"""Called as reader(root, split, rejects, **options); split None means all of them."""


@dataclass(frozen=True)
class Source:
    """One dataset family, as people have it on disk."""

    name: str
    title: str
    gives: str
    """What its records know: "poses", "images, boxes, keypoints" ..."""
    layout: tuple[str, ...]
    """Lines that show what the folder given as --root holds."""
    where: str
    """Where people get it."""
    licence: str
    """In one line; the project redistributes none of it."""
    reader: Reader
    splits: tuple[str, ...] = ("train", "val", "test")
    kind: Literal["records", "pairs"] = "records"
    skeletons: Callable[[Path, Mapping[str, Any]], dict[str, Skeleton]] | None = None
    """Skeletons that the files themselves define (MP-100), from root and options."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Further options of the reader: name -> one line of help."""

    def read(self, root: str | Path, *, split: str | None = None, rejects: Rejects, **options: Any) -> Items:
        """Yield what the dataset holds, in our frames and units. What cannot be read is counted in `rejects`."""
        root = Path(root).expanduser()
        if not root.is_dir():
            raise UserError(f"{root}: no such folder; {self.title} expects it to hold {self.layout[0]}")
        if split is not None and split not in self.splits:
            raise BadUsage(f"{self.name} has no split {split!r}; choose one of {', '.join(self.splits)}")
        unknown = [name for name in options if name not in self.options]
        if unknown:
            close = difflib.get_close_matches(unknown[0], self.options, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            known = ", ".join(self.options) or "none"
            raise BadUsage(f"{self.name} has no option {unknown[0]!r}{hint}; it has: {known}")
        return self.reader(root, split, rejects, **options)

    def own_skeletons(self, root: str | Path, **options: Any) -> dict[str, Skeleton]:
        """Skeletons that come with the files, by the name that their records use."""
        return {} if self.skeletons is None else self.skeletons(Path(root).expanduser(), options)

    def describe(self) -> str:
        """What it needs, where people get it, and under which terms: some lines of text."""
        lines = [
            f"{self.name}: {self.title}",
            f"gives    {self.gives}; splits {', '.join(self.splits)}",
            f"needs    {self.layout[0]}",
            *(f"         {line}" for line in self.layout[1:]),
            f"from     {self.where}",
            f"licence  {self.licence}",
        ]
        return "\n".join(lines + [f"--option {name}=…  {text}" for name, text in self.options.items()])


def not_the_dataset(root: Path, title: str, expected: str) -> UserError:
    """The error for a folder that is not what it should be: says what was looked for and what lies there."""
    there = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in root.iterdir())
    found = ", ".join(there[:6]) + (", …" if len(there) > 6 else "") if there else "nothing"
    return UserError(f"{root}: not {title}: expected {expected}; found {found}")


def read_json(path: Path) -> Any:
    """What a JSON file holds; one line if it is not one."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{path}: not readable as JSON ({error}); it may be cut off, copy it again") from None


def as_text(value: Any) -> str:
    """A text that may come as bytes or as an array of one: b'male' -> 'male'."""
    value = value.item() if isinstance(value, np.ndarray) and value.size == 1 else value
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def choice(text: str, known: Iterable[str], what: str) -> str:
    """An option's value, checked."""
    known = tuple(known)
    if text not in known:
        raise BadUsage(f"{what} {text!r}; choose one of {', '.join(known)}")
    return text


def number(value: Any, what: str, low: float, high: float) -> float:
    """A number given as an option, checked against its range."""
    try:
        parsed = float(value)
    except (TypeError, ValueError):
        raise BadUsage(f"option {what} is a number, got {value!r}") from None
    if not low <= parsed <= high:
        raise BadUsage(f"option {what} lies between {low:g} and {high:g}, got {parsed:g}")
    return parsed
