"""A picture inside a terminal, as well as the terminal can show it, and answers made safe to print.

    kitty    the picture itself, by kitty's graphics protocol (kitty, ghostty, WezTerm, konsole)
    sixel    the picture in at most 64 colours (foot, mlterm, contour, xterm with sixel)
    blocks   two pixels a character: an upper half block with its own colour before the lower one's, 24 bits each
    shades   ten characters from dark to light, where there is no colour

What a model says is data: `clean` takes out everything that a terminal would obey.
"""

import base64
import os
import re
import sys
from collections.abc import Mapping
from io import BytesIO
from typing import Literal, get_args

import numpy as np
from PIL import Image

from llmpose.errors import UserError

Style = Literal["kitty", "sixel", "blocks", "shades"]

_KITTY_PROGRAMS = ("kitty", "ghostty", "wezterm", "konsole")
_SIXEL_PROGRAMS = ("foot", "mlterm", "contour", "sixel")
_SHADES = " .:-=+*#%@"
_CHUNK = 4096  # kitty's limit for one piece of base64

# C0 and C1 controls but newline and tab, the delete character, marks that reorder text, and invisible "tag" letters.
_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\U000e0000-\U000e007f]")


def clean(text: str) -> str:
    """Text that does nothing but stand there: no escape sequences, no control characters, no reordering."""
    return _OBEYED.sub("", text)


def terminal_style(environment: Mapping[str, str] | None = None) -> Style:
    """What this terminal shows, by its environment. LLMPOSE_FIGURE overrules the guess."""
    env = os.environ if environment is None else environment
    wanted = env.get("LLMPOSE_FIGURE", "")
    if wanted in get_args(Style):
        return wanted  # type: ignore[return-value]
    if wanted:
        raise UserError(f"LLMPOSE_FIGURE is {wanted!r}; it must be one of {', '.join(get_args(Style))}")
    term, program = env.get("TERM", "").lower(), env.get("TERM_PROGRAM", "").lower()
    if "NO_COLOR" in env or term in ("", "dumb"):
        return "shades"
    if "TMUX" in env or term.startswith(("screen", "tmux")):
        return "blocks"  # multiplexers swallow graphics
    names = (term, program, "kitty" if "KITTY_WINDOW_ID" in env else "", "konsole" if "KONSOLE_VERSION" in env else "")
    if any(known in name for known in _KITTY_PROGRAMS for name in names):
        return "kitty"
    if any(known in name for known in _SIXEL_PROGRAMS for name in names):
        return "sixel"
    return "blocks"


def draw(image: Image.Image, *, columns: int = 48, style: Style | None = None) -> str:
    """The picture as a string to print, about `columns` characters wide, ending in a new line."""
    style = terminal_style() if style is None else style
    image = image.convert("RGB")
    if style == "kitty":
        return _kitty(image, columns)
    if style == "sixel":
        return _sixel(_scaled(image, 10 * columns, multiple=6))
    if style == "shades":
        return _shades(image, columns)
    return _blocks(_scaled(image, columns, multiple=2))


def trimmed(image: Image.Image, margin: float = 0.03) -> Image.Image:
    """The picture without the empty ground around what stands on it; ground is whatever looks like its corner."""
    pixels = np.asarray(image.convert("RGB"), np.int16)
    differs = np.abs(pixels - pixels[0, 0]).max(-1) > 24
    rows, columns = np.flatnonzero(differs.any(1)), np.flatnonzero(differs.any(0))
    if not len(rows):
        return image
    pad = round(margin * max(image.size))
    left, top = max(columns[0] - pad, 0), max(rows[0] - pad, 0)
    return image.crop((left, top, min(columns[-1] + 1 + pad, image.width), min(rows[-1] + 1 + pad, image.height)))


def figure_columns(most: int = 56) -> int:
    """A figure's width that leaves the prompt in sight."""
    try:
        size = os.get_terminal_size(sys.stdout.fileno())
    except (OSError, ValueError):
        return min(most, 48)
    return max(8, min(most, size.columns - 2, 2 * (size.lines - 4)))


def _scaled(image: Image.Image, width: int, multiple: int) -> np.ndarray:
    """(height, width, 3), the height a multiple of what one line of output takes."""
    height = max(multiple, round(width * image.height / image.width / multiple) * multiple)
    return np.asarray(image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0))


def _blocks(pixels: np.ndarray) -> str:
    lines: list[str] = []
    for upper, lower in zip(pixels[0::2].tolist(), pixels[1::2].tolist(), strict=True):
        line, last = "", None
        for above, below in zip(upper, lower, strict=True):
            if (above, below) != last:
                line += "\x1b[38;2;{};{};{};48;2;{};{};{}m".format(*above, *below)
                last = (above, below)
            line += "▀"
        lines.append(line + "\x1b[0m")
    return "\n".join(lines) + "\n"


def _shades(image: Image.Image, columns: int) -> str:
    rows = max(1, round(columns * image.height / image.width / 2))  # a character is twice as high as wide
    grey = np.asarray(image.convert("L").resize((columns, rows), Image.Resampling.LANCZOS), np.int64)
    # Figures stand on a light ground, terminals without colour are dark as often as light: dark is drawn, light is not.
    index = (255 - grey) * len(_SHADES) // 256
    return "\n".join("".join(_SHADES[i] for i in line).rstrip() for line in index.tolist()) + "\n"


def _kitty(image: Image.Image, columns: int) -> str:
    buffer = BytesIO()
    image.save(buffer, "PNG")
    data = base64.standard_b64encode(buffer.getvalue()).decode("ascii")
    chunks = [data[start : start + _CHUNK] for start in range(0, len(data), _CHUNK)]
    out = ""
    for number, chunk in enumerate(chunks):
        first = f"a=T,f=100,c={columns}," if number == 0 else ""
        out += f"\x1b_G{first}m={int(number + 1 < len(chunks))};{chunk}\x1b\\"
    return out + "\n"


def _sixel(pixels: np.ndarray) -> str:
    """Six rows of pixels at a time; for each colour in them, which of the six it paints in every column."""
    palette_image = Image.fromarray(pixels).quantize(64)
    index = np.asarray(palette_image)
    palette = np.asarray(palette_image.getpalette() or []).reshape(-1, 3) * 100 // 255
    colours = "".join(f"#{i};2;{r};{g};{b}" for i, (r, g, b) in enumerate(palette[: int(index.max()) + 1].tolist()))
    bands: list[str] = []
    for top in range(0, len(index), 6):
        band = index[top : top + 6]
        weights = 1 << np.arange(len(band))[:, None]
        lines = []
        for colour in np.unique(band).tolist():
            bits = ((band == colour) * weights).sum(0) + 63
            lines.append(f"#{colour}" + _run_lengths(bits))
        bands.append("$".join(lines))
    return f'\x1bPq"1;1;{pixels.shape[1]};{pixels.shape[0]}{colours}' + "-".join(bands) + "\x1b\\\n"


def _run_lengths(values: np.ndarray) -> str:
    starts = np.flatnonzero(np.diff(values, prepend=-1))
    counts = np.diff(starts, append=len(values))
    runs = zip(values[starts].tolist(), counts.tolist(), strict=True)
    return "".join(f"!{count}{chr(value)}" if count > 3 else chr(value) * count for value, count in runs)
