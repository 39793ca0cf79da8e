"""Words for whom one means: position and clothes, as a person would say them (UniPose suppl. Fig. 5).

Read from a record's attributes: "position" ("second from the left"), "clothes" ({"shirt": "red", "trousers": "blue"},
garment to colour). What is not there is not said.
"""

from collections.abc import Mapping

from data.record import Record
from llmpose.errors import UserError

_WORN = ("shirt", "jacket", "sweater", "dress", "trousers", "skirt", "shorts")
"""Garments worth naming, the most telling first; two are enough."""


def referring_phrase(record: Record) -> str:
    """`the second person from the left, in a red shirt and blue trousers`."""
    position = record.attributes.get("position")
    clothes = clothes_phrase(record.attributes.get("clothes") or {})
    if not position and not clothes:
        raise UserError(
            f"record {record.id}: knows neither position nor clothes, so nobody can be told apart by words; "
            "prepare the set with attributes (the built-in world has them)"
        )
    who = "the person"
    if position:
        word = str(position).removeprefix("the ").strip()
        who = f"the {word} person" if " " not in word else f"the person who is {word}"
    return f"{who} in {clothes}" if clothes else who


def clothes_phrase(clothes: Mapping[str, str]) -> str:
    """`a red shirt and blue trousers`; empty when nothing is known."""
    said = [_garment(kind, clothes[kind]) for kind in _WORN if clothes.get(kind)]
    return " and ".join(said[:2])


def _garment(kind: str, colour: str) -> str:
    words = f"{colour} {kind}"
    if kind in ("trousers", "shorts"):
        return words
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"
