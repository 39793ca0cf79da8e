"""What a number that was said digit by digit may have been, and which single number stands best for all of that.

At every digit the model weighs all ten. The digit that was said goes on; each other one leads to a stretch of numbers:

    said 0.512    first digit: 5 with 0.6, 4 with 0.4      0.4 lies somewhere in 0.400 … 0.499
                  second: 1 with 1.0
                  third: 2 with 0.5, 3 with 0.5            0.3 at 0.513, 0.3 at 0.512

From these stretches come two readings. The mean (0.4 · 0.4495 + 0.3 · 0.513 + 0.3 · 0.512) has the smallest distance to
expect, but between two likely places it lies at neither. The densest place has the most probability around it, under a
bell of width `SPREAD`: it is near the truth most often, which is what PCK and OKS count. Where the model is sure, both
are the digits. They work for any tokenizer, however many digits one word holds.
"""

import re
from collections.abc import Mapping, Sequence

import numpy as np

DECIMALS = 3
SPREAD = 0.1
"""Shares of the crop: how far around a place probability counts for it. Chosen on validation categories of the built-in
things, where everything from 0.04 to 0.15 did better than the digits, at PCK@0.05, 0.1 and 0.2 alike."""
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


Stretch = tuple[float, float, float]
"""From, to, and the probability that the number lies there."""
_COARSE, _FINE = np.linspace(0, 1, 101), np.linspace(-0.01, 0.01, 21)
_INSIDE = np.array([0.1, 0.3, 0.5, 0.7, 0.9])
"""Where a stretch is looked at, in shares of its length."""


def stretches(said: Sequence[str], choices: Sequence[Mapping[str, float]], start: int, end: int) -> list[Stretch]:
    """Where the number may lie that stands from character `start` to `end` of what was said.

    `said` are the words, one after the other; `choices` what each of them might have been, with probabilities.
    """
    text, at, left = "".join(said), 0, 1.0
    found: list[Stretch] = []
    for word, own in zip(said, choices, strict=True):
        before, at = text[:at], at + len(word)
        if at <= start or len(before) >= end:
            continue
        # What would not have gone on as a number here counts for nothing.
        spelt = {
            other: (before + other)[start : start + _LENGTH]
            for other in own
            if (before + other)[:start] == text[:start]
        }
        likely = {other: own[other] for other, digits in spelt.items() if _is_beginning(digits)}
        total = sum(likely.values())
        if total <= 0:
            continue
        for other, share in likely.items():
            if other != word:
                centre, half = middle(spelt[other]), _width(spelt[other]) / 2
                found.append((centre - half, centre + half, left * share / total))
        left *= likely.get(word, 0.0) / total
    number = float(text[start:end])
    return [*found, (number, number, left)]


def mean_of(found: Sequence[Stretch]) -> float:
    """The expected value."""
    return min(max(sum(share * (low + high) / 2 for low, high, share in found), 0.0), 1.0)


def densest_of(found: Sequence[Stretch], spread: float = SPREAD) -> float:
    """The place with the most probability under a bell around it, to a thousandth."""
    first = float(_COARSE[_near(found, _COARSE, spread).argmax()])
    fine = np.clip(first + _FINE, 0, 1)
    return float(fine[_near(found, fine, spread).argmax()])


def share_near(found: Sequence[Stretch], place: float, spread: float = SPREAD) -> float:
    """How much of what the number may be lies around a place: 1 if all of it lies there, 0 if all is far away."""
    return min(float(_near(found, np.array([place]), spread)[0]), 1.0)


def _near(found: Sequence[Stretch], places: np.ndarray, spread: float) -> np.ndarray:
    """The probability under a bell around each of the places."""
    low, high, share = np.array(found, dtype=np.float64).T
    points = (low[:, None] + (high - low)[:, None] * _INSIDE).ravel()
    weights = np.repeat(share / len(_INSIDE), len(_INSIDE))
    return np.exp(-((places[:, None] - points) ** 2) / (2 * spread**2)) @ weights


def _width(digits: str) -> float:
    """Of the stretch of numbers that begin like this: "0.5" -> 0.099."""
    if digits.startswith("1"):
        return 0.0
    return 10.0 ** -len(digits[2 : 2 + DECIMALS]) - 10.0**-DECIMALS


def _is_beginning(digits: str) -> bool:
    """Whether a number from 0 to 1 with three decimals can begin like this."""
    return _BEGINNING.fullmatch(digits) is not None
