"""A result table: ours | baselines | the papers' numbers, with the protocol under it. Printed, and written as json
and markdown.

Values are stored in plain units (shares of 1, millimetres, seconds) and scaled when shown, so that json never holds a
percent by mistake. A paper's row stands on the paper's data; where ours does not, the table says so itself.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

RowKind = Literal["ours", "baseline", "paper"]
KINDS: tuple[RowKind, ...] = ("ours", "baseline", "paper")
KIND_TITLES = {"ours": "this run", "baseline": "trivial baselines", "paper": "published"}
MISSING = "–"


@dataclass(frozen=True)
class Column:
    """How one metric is shown."""

    key: str
    label: str
    better: Literal["up", "down"]
    scale: float = 1.0
    digits: int = 1
    joints: str = ""
    """For errors of joints: whose (a protocol's name in eval.metrics.body). Other joints have a column of their own."""

    def show(self, value: float | None) -> str:
        return MISSING if value is None or value != value else f"{value * self.scale:.{self.digits}f}"

    @property
    def title(self) -> str:
        return f"{self.label} {'↑' if self.better == 'up' else '↓'}"


def percent(key: str, label: str) -> Column:
    return Column(key, label, "up", scale=100.0)


def millimetres(key: str, label: str, joints: str = "") -> Column:
    return Column(key, label, "down", joints=joints)


@dataclass
class Row:
    method: str
    kind: RowKind
    values: dict[str, float]
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Bootstrap ranges (95 %) of some of the values."""
    note: str = ""

    @staticmethod
    def from_json(stored: Mapping[str, Any]) -> "Row":
        values = dict(stored)
        values["intervals"] = {key: tuple(ends) for key, ends in stored["intervals"].items()}
        return Row(**values)


@dataclass(frozen=True)
class Headline:
    """The one number of a table that a summary shows: first "ours" row, and the rows that stand for baseline and
    chance.
    """

    task: str
    metric: str
    baseline: str = ""
    chance: str = ""
    shown_as: str = ""
    """What the summary calls the metric; its own name if empty."""


@dataclass
class Table:
    name: str
    title: str
    columns: list[Column]
    rows: list[Row]
    protocol: str
    n: int
    data: str = ""
    """What ours was measured on."""
    paper_data: str = ""
    """What the published rows were measured on."""
    notes: list[str] = field(default_factory=list)
    headlines: list[Headline] = field(default_factory=list)

    def row(self, method: str) -> Row:
        for row in self.rows:
            if row.method == method:
                return row
        raise KeyError(f"table {self.name} has no row {method!r}; it has {[row.method for row in self.rows]}")

    def best_baseline(self, key: str) -> Row | None:
        """The strongest trivial baseline on one metric."""
        column = next(c for c in self.columns if c.key == key)
        rows = [row for row in self.rows if row.kind == "baseline" and key in row.values]
        pick = max if column.better == "up" else min
        return pick(rows, key=lambda row: row.values[key]) if rows else None

    def sections(self) -> list[tuple[str, list[Row]]]:
        """Rows in the order ours, baselines, published, each group with its title."""
        groups: list[tuple[RowKind, list[Row]]] = [(kind, [r for r in self.rows if r.kind == kind]) for kind in KINDS]
        return [(self.section_title(kind), rows) for kind, rows in groups if rows]

    def section_title(self, kind: RowKind) -> str:
        on = self.paper_data if kind == "paper" else self.data
        return f"{KIND_TITLES[kind]}{f', on {on}' if on else ''}"

    def footnotes(self) -> list[str]:
        comparable = not self.paper_data or self.paper_data == self.data
        apart = [] if comparable else ["Published rows stand on other data: they show the range, not a ranking."]
        return [f"Protocol: {self.protocol}", f"n = {self.n}", *apart, *self.notes]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(stored: Mapping[str, Any]) -> "Table":
        values = dict(stored)
        values["columns"] = [Column(**column) for column in stored["columns"]]
        values["rows"] = [Row.from_json(row) for row in stored["rows"]]
        values["headlines"] = [Headline(**head) for head in stored.get("headlines", ())]
        return Table(**values)

    def to_markdown(self) -> str:
        lines = [f"### {self.title}", ""]
        lines.append("| method | " + " | ".join(column.title for column in self.columns) + " |")
        lines.append("| --- |" + " ---: |" * len(self.columns))
        for title, rows in self.sections():
            lines.append(f"| *{title}* |" + " |" * len(self.columns))
            for row in rows:
                note = f" ({row.note})" if row.note else ""
                lines.append(f"| {row.method}{note} | " + " | ".join(self.cells(row)) + " |")
        return "\n".join([*lines, "", *(f"{note}  " for note in self.footnotes())]).rstrip() + "\n"

    def cells(self, row: Row, *, with_intervals: bool = True) -> list[str]:
        shown = []
        for column in self.columns:
            text = column.show(row.values.get(column.key))
            if with_intervals and column.key in row.intervals and text != MISSING:
                low, high = row.intervals[column.key]
                text = f"{text} [{column.show(low)}, {column.show(high)}]"
            shown.append(text)
        return shown

    def to_rich(self, width: int) -> list[Any]:
        """rich.table.Table: one, or as many below each other as the columns need at this width; methods stand in all.

        The first has the title, the last the notes.
        """
        import rich.table

        methods = max(len(row.method + row.note) for row in self.rows)
        room = max(width - min(methods, width // 3, 40) - 4, 1)
        tables = []
        for columns in _that_fit([self._widest(column) + 3 for column in self.columns], room):
            table = rich.table.Table(title_justify="left", caption_justify="left")
            table.add_column("method")
            for index in columns:
                table.add_column(self.columns[index].title, justify="right", no_wrap=len(columns) > 1)
            for title, rows in self.sections():
                table.add_row(f"[dim italic]{title}[/]")
                for row in rows:
                    style = "bold" if row.kind == "ours" else "dim" if row.kind == "paper" else ""
                    note = f" ({row.note})" if row.note else ""
                    cells = self.cells(row, with_intervals=False)
                    table.add_row(row.method + note, *(cells[index] for index in columns), style=style)
            tables.append(table)
        tables[0].title, tables[-1].caption = self.title, "\n".join(self.footnotes())
        return tables

    def _widest(self, column: Column) -> int:
        return max(len(column.title), *(len(column.show(row.values.get(column.key))) for row in self.rows))

    def write(self, folder: Path) -> None:
        """FOLDER/<name>.json and .md."""
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / f"{self.name}.json", json.dumps(self.to_json(), indent=2, ensure_ascii=False) + "\n")
        write_text(folder / f"{self.name}.md", self.to_markdown())


def _that_fit(widths: list[int], room: int) -> list[list[int]]:
    """Indices in their order, in groups that are at most `room` wide together (or of one)."""
    groups: list[list[int]] = []
    left = 0
    for index, width in enumerate(widths):
        if not groups or width > left:
            groups.append([])
            left = room
        groups[-1].append(index)
        left -= width
    return groups


def write_text(path: Path, text: str) -> None:
    """Whole or not at all: a reader never sees half a file."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
