"""Pictures as characters, and text that a terminal does not obey."""

import base64
import re
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from llmpose.errors import UserError
from llmpose.talk.figure import clean, draw, terminal_style, trimmed

CHECKER = Image.fromarray(
    np.kron(
        np.array([[0, 1], [1, 0]], np.uint8)[..., None] * np.array([255, 128, 0], np.uint8),
        np.ones((8, 8, 1), np.uint8),
    )
)


def test_half_blocks_hold_two_pixels_each_in_their_own_colours() -> None:
    lines = draw(CHECKER, columns=16, style="blocks").splitlines()
    assert len(lines) == 8
    colour = re.compile(r"\x1b\[38;2;(\d+);(\d+);(\d+);48;2;(\d+);(\d+);(\d+)m")
    for row, line in enumerate(lines):
        assert line.count("▀") == 16
        first = [int(value) for value in colour.search(line).groups()]  # type: ignore[union-attr]
        expected = np.asarray(CHECKER)[2 * row, 0].tolist() + np.asarray(CHECKER)[2 * row + 1, 0].tolist()
        assert first == expected
        assert line.endswith("\x1b[0m")
    assert len(colour.findall(lines[0])) == 2  # a colour is named once for a run


def test_kitty_gets_the_picture_itself_in_pieces() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8))
    out = draw(noise, columns=20, style="kitty")
    pieces = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", out)
    assert pieces[0][0] == "a=T,f=100,c=20,m=1"
    assert [head for head, _ in pieces[1:]] == ["m=1"] * (len(pieces) - 2) + ["m=0"]
    assert all(len(data) <= 4096 for _, data in pieces)
    back = Image.open(BytesIO(base64.b64decode("".join(data for _, data in pieces))))
    assert np.array_equal(np.asarray(back), np.asarray(noise))


def painted(sixel: str) -> np.ndarray:
    """What a sixel terminal would show."""
    head = re.match(r'\x1bPq"1;1;(\d+);(\d+)', sixel)
    assert head is not None
    width, height = map(int, head.groups())
    body = sixel[head.end() : sixel.index("\x1b\\")]
    palette = {int(i): [int(v) for v in rgb] for i, *rgb in re.findall(r"#(\d+);2;(\d+);(\d+);(\d+)", body)}
    body = re.sub(r"#\d+;2;\d+;\d+;\d+", "", body)
    canvas = np.full((height, width, 3), -1)
    for top, band in enumerate(body.split("-")):
        for line in band.split("$"):
            colour, column = int(re.match(r"#(\d+)", line)[1]), 0  # type: ignore[index]
            for count, character in re.findall(r"(?:!(\d+))?([?-~])", re.sub(r"^#\d+", "", line)):
                for _ in range(int(count or 1)):
                    for bit in range(6):
                        if (ord(character) - 63) >> bit & 1:
                            canvas[6 * top + bit, column] = palette[colour]
                    column += 1
            assert column == width
    return canvas


def test_a_sixel_terminal_shows_the_picture() -> None:
    canvas = painted(draw(CHECKER, columns=3, style="sixel"))
    assert canvas.shape == (30, 30, 3)
    assert canvas.min() >= 0  # every pixel was painted
    small = np.asarray(CHECKER.resize((30, 30), Image.Resampling.LANCZOS), float) * 100 / 255
    assert np.abs(canvas - small).mean() < 4


def test_without_colour_dark_is_drawn_and_light_is_not() -> None:
    out = draw(
        Image.fromarray(np.array([[255, 0]], np.uint8)).resize((8, 4), Image.Resampling.NEAREST),
        columns=8,
        style="shades",
    )
    assert "\x1b" not in out
    assert out.startswith("    ")
    assert "@" in out


@pytest.mark.parametrize(
    ("environment", "style"),
    [
        ({"TERM": "xterm-kitty"}, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"}, "kitty"),
        ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "1"}, "kitty"),
        ({"TERM": "xterm-kitty", "TMUX": "/tmp/tmux"}, "blocks"),
        ({"TERM": "foot"}, "sixel"),
        ({"TERM": "xterm-256color"}, "blocks"),
        ({"TERM": "screen"}, "blocks"),
        ({"TERM": "dumb"}, "shades"),
        ({}, "shades"),
        ({"TERM": "xterm-kitty", "NO_COLOR": "1"}, "shades"),
        ({"TERM": "dumb", "LLMPOSE_FIGURE": "sixel"}, "sixel"),
    ],
)
def test_the_environment_says_what_a_terminal_can(environment: dict[str, str], style: Any) -> None:
    assert terminal_style(environment) == style


def test_an_unknown_style_is_refused() -> None:
    with pytest.raises(UserError, match="kitty, sixel, blocks, shades"):
        terminal_style({"LLMPOSE_FIGURE": "vr"})


def test_nothing_that_a_terminal_obeys_is_left_in_a_text() -> None:
    nasty = "a\x1b[2Jb\x1b]0;title\x07c\x00d\x9b31me\rf\x08g\u202eh\u2066i\x7fj\U000e0041k\ufeffl"
    assert clean(nasty) == "a[2Jb]0;titlecd31mefghijkl"
    kept = "Zürich, 東京 🤸\n\tété"
    assert clean(kept) == kept


def test_empty_ground_around_a_figure_is_cut_away() -> None:
    picture = Image.new("RGB", (100, 100), (240, 240, 244))
    picture.paste((10, 20, 30), (40, 10, 60, 90))
    cut = trimmed(picture)
    assert cut.size == (26, 86)
    assert trimmed(Image.new("RGB", (10, 10))).size == (10, 10)
