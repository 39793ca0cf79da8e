"""Swap left and right in a text, as flipping a picture or a pose asks for; a right angle stays right."""

import re

_WORD = re.compile(
    r"\b(?:(?P<side>left|right)(?=\b|wards?\b|most\b)|(?P<turn>anti-?clockwise|counter-?clockwise|clockwise)\b)",
    re.IGNORECASE,
)
_ANGLE = re.compile(r"[\s-]angle", re.IGNORECASE)
_PLACE = re.compile(
    r"\s(?:above|below|under|over|behind|beside|next|near|in\s+front|in\s+between|at|on\s+top|now)\b", re.IGNORECASE
)
_DETERMINED = re.compile(r"(?:\b(?:the|their|his|her|your|to|and|or)\s|^)$", re.IGNORECASE)


def mirror_text(text: str) -> str:
    """ "The left knee is bent at a right angle." -> "The right knee is bent at a right angle."."""
    return _WORD.sub(_swap, text)


def _swap(match: re.Match[str]) -> str:
    word = match.group()
    if match["turn"]:
        swapped = "counterclockwise" if word.lower() == "clockwise" else "clockwise"
    elif word.lower() == "left":
        swapped = "right"
    elif _ANGLE.match(match.string, match.end()):
        return word
    elif _PLACE.match(match.string, match.end()) and not _DETERMINED.search(match.string[: match.start()]):
        return word  # "right above the head": an adverb, not a side
    else:
        swapped = "left"
    if word.isupper():
        return swapped.upper()
    return swapped.capitalize() if word[0].isupper() else swapped
