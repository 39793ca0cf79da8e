"""Small charts as inline SVG, drawn with the page's colour variables, so that one picture serves light and dark.

Each function takes plain numbers and returns a string. Sizes are in units of the viewBox; the page scales them to its
columns.
"""

import html
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 340, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 10, 10, 30
_SERIES_COLOURS = 4


@dataclass(frozen=True)
class Series:
    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    faint: bool = False
    """Drawn thin and pale: the raw values behind a smoothed line, or a reference."""


def number(value: float) -> str:
    """Short, for axes and labels: 1 200 -> 1.2k, 0.031 -> 0.031."""
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1e6:
        return f"{value / 1e6:.3g}M"
    if size >= 1e4:
        return f"{value / 1e3:.3g}k"
    if size >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}"


def nice_ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round numbers that cover [low, high] in about `count` steps of 1, 2 or 5 times a power of ten."""
    span = high - low
    if not math.isfinite(span) or span <= 0:
        return [low]
    raw = span / max(count, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 12) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def tick_labels(ticks: Sequence[float]) -> list[str]:
    """As short as they can be and still differ: 5.995 and 6 where 6 and 6 would stand otherwise."""
    short = [number(tick) for tick in ticks]
    digits = 0
    while len(set(short)) < len(set(ticks)) and digits < 9:
        digits += 1
        short = [f"{tick:.{digits}f}" for tick in ticks]
    return short


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times the powers of ten inside [low, high]; the powers alone when those are enough."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    full = [factor * 10.0**p for p in powers for factor in (1, 2, 5) if low <= factor * 10.0**p <= high]
    plain = [10.0**p for p in powers if low <= 10.0**p <= high]
    return plain if len(plain) >= 3 else full


def tag(name: str, text: str = "", /, **attributes: object) -> str:
    """<name class="..." x="...">text</name>; a trailing underscore is dropped (class_), the others become dashes."""
    written = (f' {key.rstrip("_").replace("_", "-")}="{_attribute(value)}"' for key, value in attributes.items())
    return f"<{name}{''.join(written)}>{html.escape(text)}</{name}>"


def _attribute(value: object) -> str:
    return f"{value:.1f}" if isinstance(value, float) else html.escape(str(value))


def line_chart(series: Sequence[Series], *, x_label: str = "step", y_label: str = "", log_y: bool = False) -> str:
    """Lines over a common x axis; hovering shows the values (the page's script reads data-points)."""
    series = [s for s in (_finite(s, positive=log_y) for s in series) if s.xs]
    if not series:
        return '<p class="muted">No points were logged.</p>'
    xs = [x for s in series for x in s.xs]
    low_x, high_x = min(xs), max(xs)
    low_y, high_y = _y_range([y for s in series for y in s.ys], log_y)
    transform = math.log10 if log_y else float
    bottom = HEIGHT - _BOTTOM

    def px(x: float) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * ((x - low_x) / (high_x - low_x) if high_x > low_x else 0.5)

    def py(y: float) -> float:
        share = (transform(y) - transform(low_y)) / (transform(high_y) - transform(low_y))
        return bottom - (bottom - _TOP) * share

    parts = [_svg_open(WIDTH, HEIGHT, f"{y_label} over {x_label}")]
    ticks_y, ticks_x = log_ticks(low_y, high_y) if log_y else nice_ticks(low_y, high_y), nice_ticks(low_x, high_x)
    for tick, label in zip(ticks_y, tick_labels(ticks_y), strict=True):
        parts.append(tag("line", class_="grid", x1=_LEFT, x2=WIDTH - _RIGHT, y1=py(tick), y2=py(tick)))
        parts.append(tag("text", label, class_="tick", x=_LEFT - 6, y=py(tick) + 3.5, text_anchor="end"))
    for tick, label in zip(ticks_x, tick_labels(ticks_x), strict=True):
        parts.append(tag("text", label, class_="tick", x=px(tick), y=bottom + 14, text_anchor="middle"))
    middle = (_LEFT + WIDTH - _RIGHT) / 2
    parts.append(tag("text", x_label, class_="tick", x=middle, y=HEIGHT - 3, text_anchor="middle"))
    drawn: list[dict[str, object]] = []
    for s in series:
        points = [(px(x), py(y), x, y) for x, y in zip(s.xs, s.ys, strict=True)]
        colour = 1 if s.faint else len(drawn) % _SERIES_COLOURS + 1
        path = " ".join(f"{u:.1f},{v:.1f}" for u, v, _, _ in points)
        parts.append(tag("polyline", class_=f"line s{colour}{' faint' if s.faint else ''}", points=path))
        if not s.faint:
            few = points if len(points) <= 12 else []
            parts += [tag("circle", class_=f"dot s{colour}", cx=u, cy=v, r=2.6) for u, v, _, _ in few]
            rounded = [[round(u, 1), round(v, 1), x, y] for u, v, x, y in points]
            drawn.append({"name": s.name, "colour": colour, "points": rounded})
    parts.append(tag("line", class_="cursor", y1=_TOP, y2=bottom, x1=-9, x2=-9) + "</svg>")
    legend = _legend([(str(d["name"]), int(str(d["colour"]))) for d in drawn]) if len(drawn) > 1 else ""
    data = html.escape(json.dumps({"x": x_label, "series": drawn}, separators=(",", ":")))
    return f'<div class="chart" data-points="{data}">{"".join(parts)}{legend}</div>'


def _legend(names: Sequence[tuple[str, int]]) -> str:
    keys = (f'<span class="key"><i class="s{colour}"></i>{html.escape(name)}</span>' for name, colour in names)
    return f'<div class="legend">{"".join(keys)}</div>'


@dataclass(frozen=True)
class Bar:
    label: str
    value: float
    shown: str
    strong: bool = True


def bar_chart(bars: Sequence[Bar]) -> str:
    """Horizontal bars from zero, each between its name and its value."""
    longest = max((bar.value for bar in bars), default=0.0) or 1.0
    rows = []
    for bar in bars:
        fill = tag("i", class_="" if bar.strong else "weak", style=f"width:{100 * bar.value / longest:.2f}%")
        rows.append(f'{tag("span", bar.label)}<span class="track">{fill}</span>{tag("b", bar.shown)}')
    return f'<div class="bars">{"".join(rows)}</div>'


def duration(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.2g} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def bullet(value: float, *, full: float, goal: float | None = None, chance: float | None = None) -> str:
    """A value on a scale from 0 to `full`: filled to the value, a tick at the goal, a pale tick at chance."""
    width, height = 120, 14

    def at(x: float) -> float:
        return width * min(max(x / full, 0.0), 1.0) if full else 0.0

    parts = [_svg_open(width, height, "value on its scale", "bullet")]
    parts.append(tag("rect", class_="bar weak", x=0, y=4, width=width, height=6, rx=3))
    parts.append(tag("rect", class_="bar", x=0, y=4, width=at(value), height=6, rx=3))
    for mark, kind in ((chance, "mark faint"), (goal, "mark")):
        if mark is not None and full:
            parts.append(tag("line", class_=kind, x1=at(mark), x2=at(mark), y1=0, y2=height))
    return "".join(parts) + "</svg>"


def mask_picture(seen: Sequence[Sequence[bool]], labels: Sequence[str], blocks: Sequence[int]) -> str:
    """An attention mask: one row per query, one column per key; cells inside a pose block carry its colour."""
    cell, margin = 15, 66
    size = margin + cell * len(labels)
    parts = [_svg_open(size, size, "attention mask: rows ask, columns are seen", "mask")]
    for i, label in enumerate(labels):
        middle = margin + cell * i + cell / 2
        kind = "tick pose" if blocks[i] else "tick"
        parts.append(tag("text", label, class_=kind, x=margin - 5, y=middle + 3.2, text_anchor="end"))
        parts.append(tag("text", label, class_=kind, transform=f"translate({middle + 3:.1f},{margin - 5}) rotate(-90)"))
    for q, row in enumerate(seen):
        for k, visible in enumerate(row):
            inside = blocks[q] > 0 and blocks[q] == blocks[k]
            kind = "off" if not visible else ("both" if k > q else "block") if inside else "on"
            x, y = margin + cell * k + 0.75, margin + cell * q + 0.75
            parts.append(tag("rect", class_=f"cell {kind}", x=x, y=y, width=cell - 1.5, height=cell - 1.5, rx=2))
    return "".join(parts) + "</svg>"


def smoothed(ys: Sequence[float], share: float = 0.06) -> list[float]:
    """Mean over a window of about `share` of the points, centred, so that the line does not lag behind a fall."""
    reach = max(1, round(share * len(ys) / 2))
    sums = [0.0]
    for y in ys:
        sums.append(sums[-1] + y)
    out = []
    for i in range(len(ys)):
        half = min(reach, i, len(ys) - 1 - i)  # symmetric at the ends too
        out.append((sums[i + half + 1] - sums[i - half]) / (2 * half + 1))
    return out


def _finite(series: Series, positive: bool) -> Series:
    kept = [(x, y) for x, y in zip(series.xs, series.ys, strict=True) if math.isfinite(y) and (y > 0 or not positive)]
    return Series(series.name, [x for x, _ in kept], [y for _, y in kept], series.faint)


def _y_range(ys: Sequence[float], log_y: bool) -> tuple[float, float]:
    low, high = min(ys), max(ys)
    if log_y:
        return (low / 1.1, high * 1.1) if high > low else (low / 2, high * 2)
    pad = 0.06 * (high - low) or abs(high) * 0.1 or 1.0
    return (min(0.0, low) if low >= 0 and low < 0.4 * high else low - pad), high + pad


def _svg_open(width: float, height: float, label: str, kind: str = "") -> str:
    return f'<svg class="{kind}" viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{html.escape(label)}">'
