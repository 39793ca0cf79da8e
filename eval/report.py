"""One self-contained page: sections made of blocks, written as HTML with everything inside (styles, script, pictures).

    write_report(folder, [Section("tasks", "What it can do", [Paragraph("..."), ResultTable(table)])], title="...")

Blocks hold plain data and know their HTML; where the data come from is the affair of `eval/report_sections.py`. The
page asks nothing of the network, so it can be mailed, archived and opened years later.
"""

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from eval.tables import Table, write_text

if TYPE_CHECKING:
    from PIL import Image

ASSETS = Path(__file__).with_name("report_assets")


class Block(Protocol):
    def html(self) -> str: ...


def esc(text: object) -> str:
    return html.escape(str(text))


@dataclass(frozen=True)
class Paragraph:
    text: str
    kind: str = ""
    """"" or "note" (small, muted)."""

    def html(self) -> str:
        return f'<p class="{self.kind}">{esc(self.text)}</p>'


@dataclass(frozen=True)
class Heading:
    text: str

    def html(self) -> str:
        return f"<h3>{esc(self.text)}</h3>"


@dataclass(frozen=True)
class Commands:
    """Lines to type."""

    lines: Sequence[str]

    def html(self) -> str:
        return f"<pre><code>{esc(chr(10).join(self.lines))}</code></pre>"


@dataclass(frozen=True)
class Cell:
    text: str
    kind: str = ""
    """"", "good", "bad", "muted", "words" (left-aligned) or "wide"."""
    small: str = ""
    svg: str = ""

    def html(self, label: str) -> str:
        small = f"<small>{esc(self.small)}</small>" if self.small else ""
        inner = (
            f'<span class="{self.kind}">{esc(self.text)}</span>'
            if self.kind in ("good", "bad", "muted")
            else esc(self.text)
        )
        kind = self.kind if self.kind in ("words", "wide") else ""
        return f'<td class="{kind}" data-label="{esc(label)}"><div>{inner}{self.svg}{small}</div></td>'


@dataclass(frozen=True)
class Grid:
    """A table of cells. `stacked`: on a narrow screen every row becomes a small card."""

    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    stacked: bool = False
    notes: Sequence[str] = ()

    def html(self) -> str:
        head = "".join(f"<th>{esc(title)}</th>" for title in self.header)
        body = "".join(
            "<tr>" + "".join(cell.html(title) for cell, title in zip(row, self.header, strict=True)) + "</tr>"
            for row in self.rows
        )
        kind = ' class="stack"' if self.stacked else ""
        notes = "".join(f'<p class="note">{esc(note)}</p>' for note in self.notes)
        return (
            f'<div class="table"><table{kind}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{notes}'
        )


@dataclass(frozen=True)
class ResultTable:
    """A benchmark's table as it is printed on the terminal."""

    table: Table

    def html(self) -> str:
        table = self.table
        head = "<th></th>" + "".join(f"<th>{esc(column.title)}</th>" for column in table.columns)
        lines = []
        for title, rows in table.sections():
            lines.append(f'<tr class="group"><td colspan="{len(table.columns) + 1}">{esc(title)}</td></tr>')
            for row in rows:
                note = f"<small>{esc(row.note)}</small>" if row.note else ""
                cells = "".join(
                    self._cell(row.intervals.get(c.key), c.show(row.values.get(c.key)), c.show) for c in table.columns
                )
                lines.append(f'<tr class="{row.kind}"><td>{esc(row.method)}{note}</td>{cells}</tr>')
        notes = "".join(f'<p class="note">{esc(note)}</p>' for note in table.footnotes())
        body = f'<div class="table"><table><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'
        return f"<h3>{esc(table.title)}</h3>{body}{notes}"

    @staticmethod
    def _cell(interval: tuple[float, float] | None, shown: str, show) -> str:  # type: ignore[no-untyped-def]
        small = f"<small>{show(interval[0])} to {show(interval[1])}</small>" if interval else ""
        return f"<td>{esc(shown)}{small}</td>"


@dataclass(frozen=True)
class ChartBlock:
    """Inline SVG made by eval.charts, with a caption."""

    svg: str
    title: str
    text: str = ""

    def html(self) -> str:
        text = f" {esc(self.text)}" if self.text else ""
        return f"<figure><figcaption><b>{esc(self.title)}</b>{text}</figcaption>{self.svg}</figure>"


@dataclass(frozen=True)
class Columns:
    """Blocks side by side where there is room."""

    blocks: Sequence[Block]

    def html(self) -> str:
        return f'<div class="grid2">{"".join(block.html() for block in self.blocks)}</div>'


@dataclass(frozen=True)
class Fold:
    """Blocks behind a line that opens them."""

    title: str
    blocks: Sequence[Block]

    def html(self) -> str:
        inner = "".join(block.html() for block in self.blocks)
        return f"<details><summary>{esc(self.title)}</summary>{inner}</details>"


@dataclass(frozen=True)
class Picture:
    image: "Image.Image"
    caption: str = ""
    max_side: int = 320
    """Larger pictures are made smaller for the page."""

    def html(self) -> str:
        caption = f"<figcaption>{esc(self.caption)}</figcaption>" if self.caption else ""
        return f'<figure class="bare">{image_tag(self.image, self.caption, self.max_side)}{caption}</figure>'


@dataclass(frozen=True)
class Pictures:
    pictures: Sequence[Picture]
    width_px: int = 200
    """Narrowest column."""

    def html(self) -> str:
        inner = "".join(picture.html() for picture in self.pictures)
        return f'<div class="pictures" style="--w:{self.width_px}px">{inner}</div>'


@dataclass(frozen=True)
class Panel:
    """One column of an example: words, pictures or both."""

    label: str
    text: str = ""
    images: "Sequence[Image.Image]" = ()

    def html(self) -> str:
        text = f"<p>{esc(self.text)}</p>" if self.text else ""
        pictures = "".join(image_tag(image, self.label, 256) for image in self.images)
        pictures = f'<div class="pics">{pictures}</div>' if len(self.images) > 1 else pictures
        return f'<div class="panel"><h4>{esc(self.label)}</h4>{text}{pictures}</div>'


@dataclass(frozen=True)
class Example:
    """What was asked, what is true, what the model answered; `rank` says by which rule it was picked."""

    rank: str
    score: str
    panels: Sequence[Panel]
    name: str = ""

    def html(self) -> str:
        head = f"<header><b>{esc(self.rank)}</b><span>{esc(self.name)}</span><span>{esc(self.score)}</span></header>"
        return (
            f'<div class="card">{head}<div class="panels">{"".join(panel.html() for panel in self.panels)}</div></div>'
        )


@dataclass(frozen=True)
class Examples:
    examples: Sequence[Example]

    def html(self) -> str:
        return f'<div class="cards">{"".join(example.html() for example in self.examples)}</div>'


@dataclass
class Section:
    id: str
    title: str
    blocks: list[Block] = field(default_factory=list)
    lead: str = ""
    nav: str = ""
    """Short name in the navigation; the title if empty."""

    def html(self) -> str:
        lead = f'<p class="lead">{esc(self.lead)}</p>' if self.lead else ""
        inner = "".join(block.html() for block in self.blocks)
        return f'<section id="{esc(self.id)}"><h2>{esc(self.title)}</h2>{lead}{inner}</section>'


def image_tag(image: "Image.Image", alt: str, max_side: int) -> str:
    """An <img> with the picture inside it as JPEG."""
    image = image.convert("RGB")
    if max(image.size) > max_side:
        image = image.copy()
        image.thumbnail((max_side, max_side))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=86, optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    size = f'width="{image.width}" height="{image.height}"'
    return f'<img src="data:image/jpeg;base64,{data}" alt="{esc(alt)}" {size} loading="lazy">'


def tiles(facts: Sequence[tuple[str, str]]) -> str:
    """A row of (number, what it is)."""
    inner = "".join(f'<div class="tile"><b>{esc(number)}</b><span>{esc(what)}</span></div>' for number, what in facts)
    return f'<div class="tiles">{inner}</div>'


def render_page(
    sections: Sequence[Section], *, title: str, lead: str = "", facts: Sequence[tuple[str, str]] = (), foot: str = ""
) -> str:
    """The page as one string."""
    links = "".join(f'<a href="#{esc(s.id)}">{esc(s.nav or s.title)}</a>' for s in sections)
    style, script = (ASSETS / "report.css").read_text("utf-8"), (ASSETS / "report.js").read_text("utf-8")
    return "\n".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<title>{esc(title)}</title><link rel="icon" href="data:,"><style>{style}</style></head><body>',
            f'<header><h1>{esc(title)}</h1><p class="lead">{esc(lead)}</p>{tiles(facts) if facts else ""}</header>',
            f'<nav><div>{links}<button type="button" title="Light or dark">Dark</button></div></nav><main>',
            *(section.html() for section in sections),
            f"</main><footer>{esc(foot)}</footer><script>{script}</script></body></html>\n",
        ]
    )


def write_report(
    out_dir: str | Path,
    sections: Sequence[Section],
    *,
    title: str = "llmpose: report",
    lead: str = "",
    facts: Sequence[tuple[str, str]] = (),
    foot: str = "",
) -> Path:
    """Write OUT_DIR/index.html, whole or not at all, and return its path; call it again as more is known."""
    folder = Path(out_dir)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "index.html"
    write_text(path, render_page(sections, title=title, lead=lead, facts=facts, foot=foot))
    return path
