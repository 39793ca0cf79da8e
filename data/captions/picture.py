"""Texts beside the poses that they speak of, drawn: for the command line, for reports, and for reading many at once."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from llmpose.body.model import BodyModel, load_body_model
from llmpose.body.pose import Pose
from llmpose.body.render import render_pose

VIEWS = ("front", "left")
_MARGIN_PX, _LINE_PX, _FONT_PX = 6, 17, 14
_INK, _PAPER, _FRAME = (25, 25, 30), (255, 255, 255), (190, 190, 200)


def text_cell(poses: Sequence[Pose], text: str, *, body: BodyModel | None = None, size: int = 192) -> Image.Image:
    """Each pose from the front and from its left side, in a row, with the text below."""
    body = load_body_model() if body is None else body
    pictures = [render_pose(pose, body, size=size, view=view) for pose in poses for view in VIEWS]
    width = size * len(pictures) + _MARGIN_PX * (len(poses) - 1)
    font = ImageFont.load_default(_FONT_PX)
    pen = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    lines = [line for paragraph in text.split("\n") for line in _wrapped(pen, paragraph, font, width - 2 * _MARGIN_PX)]
    cell = Image.new("RGB", (width, size + len(lines) * _LINE_PX + 2 * _MARGIN_PX), _PAPER)
    for number, picture in enumerate(pictures):
        cell.paste(picture, (number * size + number // len(VIEWS) * _MARGIN_PX, 0))
    pen = ImageDraw.Draw(cell)
    for number, line in enumerate(lines):
        pen.text((_MARGIN_PX, size + _MARGIN_PX + number * _LINE_PX), line, fill=_INK, font=font)
    return cell


def text_sheet(cells: Sequence[Image.Image], columns: int = 4) -> Image.Image:
    """Cells in rows, each row as high as its highest cell, with lines between."""
    width = max(cell.width for cell in cells)
    rows = [list(cells[start : start + columns]) for start in range(0, len(cells), columns)]
    heights = [max(cell.height for cell in row) for row in rows]
    sheet = Image.new("RGB", (width * min(columns, len(cells)), sum(heights)), _PAPER)
    pen = ImageDraw.Draw(sheet)
    top = 0
    for row, height in zip(rows, heights, strict=True):
        for column, cell in enumerate(row):
            sheet.paste(cell, (column * width, top))
            pen.rectangle([column * width, top, (column + 1) * width - 1, top + height - 1], outline=_FRAME)
        top += height
    return sheet


def _wrapped(
    pen: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int
) -> list[str]:
    lines, line = [], ""
    for word in text.split():
        longer = f"{line} {word}".strip()
        if line and pen.textlength(longer, font=font) > width:
            lines.append(line)
            longer = word
        line = longer
    return [*lines, line]
