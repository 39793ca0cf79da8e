"""Files in a typed line: dropped, quoted or with escaped spaces, they become images and poses where they stand.

A keypoint that is shown by example is typed as the picture and the place in it: dog.jpg=120,80.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote, urlparse

from PIL import Image

from llmpose.errors import UserError
from llmpose.talk.chat import POSE_SUFFIXES, part_from_path
from llmpose.talk.conversation import ImagePart, KeypointPart, Part, PosePart, TextPart
from llmpose.talk.images import is_image_file, read_image
from llmpose.talk.vocabulary import IMAGE, KEYPOINT, POSE

_QUOTED = re.compile(r"""("[^"]+"|'[^']+'(?:\\''[^']+')*)(?=[\s.,;:!?)]|$)""")
"""Whole, as terminals drop it: an apostrophe inside single quotes is written '\\''."""
_PLAIN = re.compile(r"(?:\\.|[^\s\\]|\\$)+")
_HEAD, _TAIL = "([", ".,;:!?)]"


def unquoted(word: str) -> Path:
    """A path as people and terminals write it: quoted, with escaped spaces, with ~, or as file://."""
    word = word.strip()
    if len(word) > 1 and word[0] == word[-1] and word[0] in "\"'":
        word = word[1:-1].replace("'\\''", "'")
    else:
        word = re.sub(r"\\(.)", r"\1", word)
    if word.startswith("file://"):
        word = unquote(urlparse(word).path)
    return Path(word).expanduser()


def _is_attachment(path: Path) -> bool:
    return is_image_file(path) or path.suffix.lower() in POSE_SUFFIXES


def read_line(line: str) -> list[Part]:
    """Text with the files in it as parts. A word that ends like a file but is none is an error, not a word."""
    parts: list[Part] = []
    start = 0
    for begin, end in _files(line):
        part = part_from_path(unquoted(line[begin:end]))
        if before := line[start:begin]:
            parts.append(TextPart(before))
        parts.append(part)
        start = end
    if rest := line[start:]:
        parts.append(TextPart(rest))
    return parts


def _files(line: str) -> Iterator[tuple[int, int]]:
    """Where files stand in the line. Quotes hold one only where a word begins: an apostrophe opens nothing."""
    at = 0
    while at < len(line):
        if line[at].isspace() or line[at] in _HEAD:
            at += 1
            continue
        quoted = _QUOTED.match(line, at)
        if quoted is not None and _is_attachment(unquoted(quoted.group(1))):
            yield at, quoted.end()
            at = quoted.end()
            continue
        plain = _PLAIN.match(line, at)
        assert plain is not None
        word = plain.group().rstrip(_TAIL)  # a full stop behind it is not its own
        if word and _is_attachment(unquoted(word)):
            yield at, at + len(word)
        at = plain.end()


def framed(text: str) -> tuple[str, int | None]:
    """The file's name and the frame of "walk.npz frame=3"; None where no frame is named."""
    name, _, frame = text.partition(" frame=")
    return (name, int(frame)) if frame.isdigit() else (text, None)


def file_part(path: Path, kind: type[ImagePart] | type[PosePart], *, frame: int | None = None) -> Part:
    """A file that was named as an image, or as a pose."""
    part = part_from_path(path, frame=frame)
    if not isinstance(part, kind):
        raise UserError(f"{path} is {'a pose' if isinstance(part, PosePart) else 'an image'} file")
    return part


def keypoint_part(text: str) -> KeypointPart:
    """A keypoint shown by example, as people type it: "dog.jpg=120,80", or the same one in several pictures,
    "dog.jpg=120,80; cat.jpg=40,66"; pixels of each picture.
    """
    images: list[Image.Image] = []
    points: list[tuple[float, float]] = []
    for piece in filter(None, (piece.strip() for piece in text.split(";"))):
        name, equals, numbers = piece.rpartition("=")
        try:
            x, y = (float(value) for value in numbers.split(","))
        except ValueError:
            x, y, equals = 0.0, 0.0, ""
        if not equals or not name.strip():
            raise UserError(f"{piece!r}: a keypoint is shown as FILE=x,y, in pixels of that picture")
        part = part_from_path(unquoted(name))
        if not isinstance(part, ImagePart):
            raise UserError(f"{name.strip()} is no picture; a keypoint is shown in one")
        image = read_image(part.image)
        if not (0 <= x <= image.width and 0 <= y <= image.height):
            raise UserError(
                f"{x:g}, {y:g} lies outside {name.strip()} of {image.width}x{image.height} pixels; give a point in it"
            )
        images.append(image)
        points.append((x / image.width, y / image.height))
    if not images:
        raise UserError("which keypoint? Show it as FILE=x,y, in pixels of that picture")
    return KeypointPart(tuple(images), tuple(points))


def place(parts: Sequence[Part], attached: Sequence[Part]) -> list[Part]:
    """Fill `<image>`, `<pose>` and `<keypoint>` in the text with what is attached, in order; the rest goes in front."""
    kinds = {IMAGE: ImagePart, POSE: PosePart, KEYPOINT: KeypointPart}
    given = {mark: [part for part in attached if isinstance(part, kind)] for mark, kind in kinds.items()}
    supply: dict[str, list[Part]] = {mark: list(own) for mark, own in given.items()}
    placed: list[Part] = []
    for part in parts:
        pieces = re.split(f"({'|'.join(kinds)})", part.text) if isinstance(part, TextPart) else []
        for piece in pieces:
            if piece in supply:
                if not supply[piece]:
                    raise UserError(f"the text has more {piece} than the {len(given[piece])} that were given")
                placed.append(supply[piece].pop(0))
            elif piece:
                placed.append(TextPart(piece))
        if not isinstance(part, TextPart):
            placed.append(part)
    front: list[Part] = []
    for part in attached:
        if any(part is left for own in supply.values() for left in own):
            front += [part, TextPart(" ")]
    return front + placed
