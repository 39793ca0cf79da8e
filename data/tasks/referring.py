"""Words for whom one means: posture, position and clothes, as a person would say them (UniPose suppl. Fig. 5).

Read from a record's attributes; what is not there is not said:

    expression  "the man in the red cap": taken as it is (referring datasets)
    position    "second from the left", or a list of such words, the plainest first
    clothes     {"phrases": ["a red t-shirt", "black jeans", ...]}, or garment to colour {"shirt": "red"}
    posture     "sitting"
"""

from collections.abc import Mapping, Sequence
from typing import Any

from data.record import Record
from llmpose.errors import UserError

_WORN = ("shirt", "jacket", "sweater", "dress", "trousers", "skirt", "shorts")
"""Garments worth naming, the most telling first."""
_WITHOUT_ARTICLE = ("trousers", "shorts", "jeans")
_MOST_GARMENTS = 2


def referring_phrase(record: Record) -> str:
    """`the person who is second from the left, in a red t-shirt and black jeans`."""
    known = record.attributes
    if known.get("expression"):
        return str(known["expression"]).strip().rstrip(".")
    position, clothes = _first(known.get("position")), clothes_phrase(known.get("clothes") or {})
    if not position and not clothes:
        raise UserError(
            f"record {record.id}: knows neither position nor clothes, so nobody can be told apart by words; "
            "prepare the set with attributes (the built-in world has them)"
        )
    posture = str(known.get("posture") or "")
    word = position.removeprefix("the ").strip()
    who = f"the {word} person" if word and " " not in word else "the person"
    place = f" who is {word}" if " " in word else ""
    if place and posture:
        place = f" who is {posture}, {word}"
    elif posture and not place:
        place = f" who is {posture}"
    worn = f"{',' if place else ''} in {clothes}" if clothes else ""
    return who + place + worn


def _first(position: str | Sequence[str] | None) -> str:
    if not position:
        return ""
    return position if isinstance(position, str) else str(position[0])


def clothes_phrase(clothes: Mapping[str, Any]) -> str:
    """`a red shirt and blue trousers`; empty when nothing is known."""
    if clothes.get("phrases"):
        said = [str(phrase) for phrase in clothes["phrases"]]
    else:
        said = [_garment(kind, str(clothes[kind])) for kind in _WORN if clothes.get(kind)]
    return " and ".join(said[:_MOST_GARMENTS])


def _garment(kind: str, colour: str) -> str:
    words = f"{colour} {kind}"
    if kind in _WITHOUT_ARTICLE:
        return words
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"
