"""Tables are readable however narrow the terminal is."""

import io

import pytest
from rich.console import Console

from eval.tables import Row, Table, percent

METHODS = ("this run with a name of its own", "chance")


def wide_table() -> Table:
    columns = [percent(f"m{k}", f"metric {k}") for k in range(9)]
    rows = [
        Row(METHODS[0], "ours", {c.key: k / 10 for k, c in enumerate(columns)}),
        Row(METHODS[1], "baseline", {"m8": 0.01}),
    ]
    return Table("wide", "A wide table", columns, rows, protocol="how it was measured", n=3)


def printed(width: int) -> str:
    console = Console(width=width, file=io.StringIO())
    console.print(*wide_table().to_rich(console.width))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [50, 80, 200])
def test_no_column_title_and_no_value_is_cut_at_any_width(width: int) -> None:
    text = printed(width)
    assert all(f"metric {k} ↑" in text for k in range(9))
    assert all(f" {10.0 * k:.1f} │" in text for k in range(9))
    assert "…" not in text
    assert text.count("A wide table") == text.count("Protocol: how it was measured") == 1


def test_columns_that_do_not_fit_stand_below_with_their_methods() -> None:
    assert printed(200).count(METHODS[0]) == 1
    assert printed(80).count("chance") > 1
