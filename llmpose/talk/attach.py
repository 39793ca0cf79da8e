"""Files in a typed line: dropped, quoted or with escaped spaces, they become images and poses where they stand."""

import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlparse

from llmpose.errors import UserError
from llmpose.talk.chat import POSE_SUFFIXES, part_from_path
from llmpose.talk.conversation import ImagePart, Part, PosePart, TextPart
from llmpose.talk.images import is_image_file
from llmpose.talk.vocabulary import IMAGE, POSE

_WORD = re.compile(r""""([^"]+)"|'([^']+)'|((?:\\.|[^\s"'\\])+)""")
_TAIL = ".,;:!?)"


def unquoted(word: str) -> Path:
    """A path as people and terminals write it: quoted, with escaped spaces, with ~, or as file://."""
    word = word.strip()
    if len(word) > 1 and word[0] == word[-1] and word[0] in "\"'":
        word = word[1:-1]
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
    for match in _WORD.finditer(line):
        word, tail = match.group(0), ""
        if match.group(3) is not None:  # unquoted: a full stop behind it is not its own
            kept = word.rstrip(_TAIL)
            word, tail = kept, word[len(kept) :]
        path = unquoted(word)
        if not word or not _is_attachment(path):
            continue
        part = part_from_path(path)
        if before := line[start : match.start()]:
            parts.append(TextPart(before))
        parts.append(part)
        start = match.end() - len(tail)
    if rest := line[start:]:
        parts.append(TextPart(rest))
    return parts


def place(parts: Sequence[Part], attached: Sequence[Part]) -> list[Part]:
    """Fill `<image>` and `<pose>` in the text with what is attached, in order; what is left over goes in front."""
    images = [part for part in attached if isinstance(part, ImagePart)]
    poses = [part for part in attached if isinstance(part, PosePart)]
    supply: dict[str, list[Part]] = {IMAGE: list(images), POSE: list(poses)}
    placed: list[Part] = []
    for part in parts:
        pieces = re.split(f"({IMAGE}|{POSE})", part.text) if isinstance(part, TextPart) else []
        for piece in pieces:
            if piece in supply:
                if not supply[piece]:
                    given = len(images if piece == IMAGE else poses)
                    raise UserError(f"the text has more {piece} than the {given} that were given")
                placed.append(supply[piece].pop(0))
            elif piece:
                placed.append(TextPart(piece))
        if not isinstance(part, TextPart):
            placed.append(part)
    front: list[Part] = []
    for part in attached:
        if any(part is left for left in [*supply[IMAGE], *supply[POSE]]):
            front += [part, TextPart(" ")]
    return front + placed
