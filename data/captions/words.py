"""Words for facts: subjects, predicates that agree with them, names of second parts; made once from wording.yaml."""

from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

import yaml

from data.captions.codes import OTHER_SIDE, Part


@dataclass(frozen=True)
class Predicate:
    """One way to say a category; `{other}` still stands where the second part goes."""

    singular: str
    plural: str
    infinitive: str
    bare: str
    """After "with" (the verb be left out, others in -ing)."""
    tail: str | None
    """What follows the verb, where the verb is be: such predicates share one verb. None for other verbs."""


@cache
def wording() -> dict[str, Any]:
    """wording.yaml as it is."""
    return yaml.safe_load((files("data.captions") / "wording.yaml").read_text())


@cache
def predicates(category: str, beside: bool, side: str = "") -> tuple[Predicate, ...]:
    """All ways to say a category of a subject on `side`, the plain one first; `beside`: about a second part."""
    if category == "inward" and side == "both":
        category = "inward_both"
    ways = wording()["beside" if beside else "alone"][category]
    return tuple(_conjugate(way.replace("{inner}", OTHER_SIDE.get(side, ""))) for way in ways)


def _conjugate(way: str) -> Predicate:
    verb = way[1 : way.index("}")]
    tail = way[way.index("}") + 2 :]
    singular, plural, bare = wording()["verbs"][verb]
    return Predicate(
        singular=f"{singular} {tail}",
        plural=f"{plural} {tail}",
        infinitive=f"{verb} {tail}",
        bare=f"{bare} {tail}".strip(),
        tail=tail if verb == "be" else None,
    )


@cache
def plural(name: str) -> str:
    """foot -> feet."""
    return wording()["plurals"].get(name, name + "s")


@lru_cache(maxsize=4096)
def part_phrase(side: str, name: str, determiner: str = "the", *, both: str = "both") -> str:
    """ "the left knee", "both knees", "the torso", "the opposite shoulders"."""
    if side == "both":
        return f"{both} {plural(name)}"
    if side == "own":
        return f"{determiner} {plural(name)}"
    if side == "opposite":
        return f"{determiner} opposite {plural(name)}"
    return f"{determiner} {side} {name}" if side else f"{determiner} {name}"


def is_plural(subjects: tuple[Part, ...]) -> bool:
    return len(subjects) > 1 or any(part.side == "both" for part in subjects)


def join_words(words: list[str]) -> str:
    """a -> "a"; a, b, c -> "a, b and c"."""
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


def sentence_case(sentence: str) -> str:
    """First letter up; the rest stays as it is (an L shape keeps its L)."""
    return sentence[:1].upper() + sentence[1:]
