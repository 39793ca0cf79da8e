"""A number that was said digit by digit, at the expected value of its digits' distribution.

At every digit the model weighs all ten. The digit that was said goes on; each other one counts as the mean of all
numbers that it would have led to:

    said 0.512    first digit: 5 with 0.6, 4 with 0.4      0.6 · (what follows) + 0.4 · 0.4495
                  second: 1 with 1.0                       (what follows)
                  third: 2 with 0.5, 3 with 0.5            0.5 · 0.512 + 0.5 · 0.513 = 0.5125

So a point may lie between two digits, and off the grid of thousandths. It works for any tokenizer, however many digits
one word of it holds.
"""

import re
from collections.abc import Mapping, Sequence

DECIMALS = 3
_LENGTH = 2 + DECIMALS
_BEGINNING = re.compile(rf"(?:0(?:\.[0-9]{{0,{DECIMALS}}})?|1(?:\.0{{0,{DECIMALS}}})?)?")


def middle(digits: str) -> float:
    """Mean of the numbers from 0 to 1 with three decimals that begin like this: "0.5" -> 0.5495, "1" -> 1.0."""
    if not digits:
        return 0.5
    if digits.startswith("1"):
        return 1.0
    decimals = digits[2 : 2 + DECIMALS]
    return float(f"0.{decimals or 0}") + (10.0 ** -len(decimals) - 10.0**-DECIMALS) / 2


def expected_value(said: Sequence[str], choices: Sequence[Mapping[str, float]], start: int, end: int) -> float:
    """Of the number that stands from character `start` to `end` of what was said.

    `said` are the words, one after the other; `choices` what each of them might have been, with probabilities.
    """
    text, at = "".join(said), 0
    steps: list[tuple[str, Mapping[str, float], str]] = []
    for word, own in zip(said, choices, strict=True):
        if at + len(word) > start and at < end:
            steps.append((word, own, text[:at]))
        at += len(word)
    value = float(text[start:end])
    for word, own, before in reversed(steps):
        total, weighed = 0.0, 0.0
        for other, share in own.items():
            spelt = (before + other)[start : start + _LENGTH]
            if (before + other)[:start] != text[:start] or not _is_beginning(spelt):
                continue
            weighed += share * (value if other == word else middle(spelt))
            total += share
        value = weighed / total if total > 0 else value
    return min(max(value, 0.0), 1.0)


def _is_beginning(digits: str) -> bool:
    """Whether a number from 0 to 1 with three decimals can begin like this."""
    return _BEGINNING.fullmatch(digits) is not None
