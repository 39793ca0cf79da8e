"""Clauses become sentences: one plain way without chance, and many sampled ones.

Sampled texts walk over the body from part to part, join clauses with connectors, drop verbs after "with", and name a
subject once when several things are said of it.
"""

from collections.abc import Iterator
from functools import lru_cache
from random import Random
from typing import Any

from data.captions.aggregate import Clause
from data.captions.codes import Part
from data.captions.words import is_plural, join_words, part_phrase, predicates, sentence_case, wording

BODY_TREE: dict[str, tuple[str, ...]] = {
    "body": ("head", "torso"),
    "torso": ("left arm", "right arm", "left leg", "right leg"),
    **{
        f"{side} {whole}": tuple(f"{side} {name}" for name in names)
        for side in ("left", "right")
        for whole, names in (
            ("arm", ("shoulder", "upper arm", "elbow", "forearm", "hand")),
            ("leg", ("hip", "thigh", "knee", "shin", "foot")),
        )
    },
}
_PARTS = "body,torso,head,shoulder,arm,upper arm,elbow,forearm,hand,hip,leg,thigh,knee,shin,foot,ankle"
PART_ORDER = {name: order for order, name in enumerate(_PARTS.split(","))}
CATEGORY_ORDER = {name: f"{order:03}" for order, name in enumerate((*wording()["alone"], *wording()["beside"]))}

CONNECTORS = (". ", ", and ", ", while ", ", with ", "; ", " and ")
CONNECTOR_WEIGHTS = (50, 14, 12, 12, 6, 6)
LONGEST_SENTENCE = 3
"""Clauses in one sentence, at most."""


# ---- without chance -------------------------------------------------------------------------------------------------


def plain_caption(clauses: list[Clause]) -> str:
    """One sentence per clause, in the order of the body; says the mirrored words of a mirrored pose."""
    return " ".join(_plain_sentence(clause) for clause in sorted(map(sorted_clause, clauses), key=clause_key))


@lru_cache(maxsize=100_000)
def _predicate_key(side: str, predicate: tuple[str, str, str]) -> tuple[str, int, str]:
    """Never asks whether a side is left or right, only whether it is the subject's own."""
    category, other_side, other = predicate
    relation = "own" if other_side == side else "opposite" if other_side in ("left", "right") else other_side
    return CATEGORY_ORDER.get(category, category), PART_ORDER.get(other, 99), relation


@lru_cache(maxsize=100_000)
def sorted_clause(clause: Clause) -> Clause:
    subjects = tuple(sorted(clause.subjects, key=lambda part: (PART_ORDER.get(part.name, 99), part.side != "both")))
    side = subjects[0].side
    return Clause(subjects, tuple(sorted(clause.predicates, key=lambda predicate: _predicate_key(side, predicate))))


@lru_cache(maxsize=100_000)
def clause_key(clause: Clause) -> tuple[Any, ...]:
    subject = clause.subjects[0]
    return (
        PART_ORDER.get(subject.name, 99),
        subject.side != "both",
        -len(clause.predicates),
        *(_predicate_key(subject.side, predicate) for predicate in clause.predicates),
        *(PART_ORDER.get(part.name, 99) for part in clause.subjects),
    )


@lru_cache(maxsize=100_000)
def _plain_sentence(clause: Clause) -> str:
    if clause.subjects[0].name == "body":
        names = ["the person"]
    else:
        names = [part_phrase(part.side, part.name) for part in clause.subjects]
    many = is_plural(clause.subjects)
    side = clause.subjects[0].side
    ways = [predicates(category, bool(other), side)[0] for category, _, other in clause.predicates]
    said = []
    for way, (_, other_side, other) in zip(ways, clause.predicates, strict=True):
        text = way.plural if many else way.singular
        if said and way.tail is not None and ways[0].tail is not None:
            text = way.tail  # the first "is" serves all
        said.append(text.replace("{other}", part_phrase(other_side, other)))
    return sentence_case(f"{join_words(names)} {join_words(said)}.")


# ---- with chance ----------------------------------------------------------------------------------------------------


def sampled_caption(clauses: list[Clause], rng: Random) -> str:
    """One of very many wordings."""
    determiner = rng.choices(("the", "their", "his", "her"), (50, 30, 10, 10))[0]
    rank = {name: order for order, name in enumerate(walk("body", rng))}
    placed = [(rank[place(clause.subjects[0], rng)], rng.random(), clause) for clause in clauses]
    text, length, dropped = "", 0, False
    for number, (_, _, clause) in enumerate(sorted(placed, key=lambda item: item[:2])):
        connector = ""
        if number:
            connector = rng.choices(CONNECTORS, CONNECTOR_WEIGHTS)[0] if length < LONGEST_SENTENCE else ". "
        # after "with" the verb goes, and stays away as long as "and" carries on
        dropped = "with" in connector or (dropped and "and" in connector)
        said, closed = _say(clause, rng, determiner, dropped)
        length = 0 if closed else 1 if connector in ("", ". ") else length + 1
        text += connector + (sentence_case(said) if connector in ("", ". ") else said)
        if closed:
            length = LONGEST_SENTENCE
    return text + "."


def walk(name: str, rng: Random) -> Iterator[str]:
    """Depth first over the body, children in random order."""
    yield name
    children = list(BODY_TREE.get(name, ()))
    rng.shuffle(children)
    for child in children:
        yield from walk(child, rng)


def place(part: Part, rng: Random) -> str:
    side = rng.choice(("left", "right")) if part.side == "both" else part.side
    return f"{side} {part.name}" if side else part.name


def _say(clause: Clause, rng: Random, determiner: str, dropped: bool) -> tuple[str, bool]:
    """A clause in words, and whether it closed a sentence inside (so that nothing is hung on to it)."""
    subject = clause.subjects[0]
    many = is_plural(clause.subjects)
    if subject.name == "body":
        name = rng.choice(wording()["subjects"][determiner])
    else:
        name = join_words([_subject(part, rng, determiner) for part in clause.subjects])
    ways = [rng.choice(predicates(category, bool(other), subject.side)) for category, _, other in clause.predicates]
    others = [_other(subject, side, other, rng, determiner) for _, side, other in clause.predicates]

    def fill(texts: list[str]) -> list[str]:
        return [text.replace("{other}", other) for text, other in zip(texts, others, strict=True)]

    if dropped:
        return f"{name} {join_words(fill([way.bare for way in ways]))}", False
    finite = fill([way.plural if many else way.singular for way in ways])
    if len(ways) > 1 and rng.random() < 0.3:
        pronoun = "They" if many else "It"
        if subject.name == "body":
            pronoun, finite[1:] = _person(determiner, [way.plural for way in ways][1:], finite[1:])
        return f"{name} {finite[0]}. {pronoun} {join_words(finite[1:])}", True
    tails = [way.tail for way in ways]
    if all(tail is not None for tail in tails[1:]) and tails[0] is not None:
        finite[1:] = fill([tail or "" for tail in tails])[1:]
    return f"{name} {join_words(finite)}", False


def _person(determiner: str, plural_forms: list[str], singular_forms: list[str]) -> tuple[str, list[str]]:
    if determiner == "his":
        return "He", singular_forms
    if determiner == "her":
        return "She", singular_forms
    return "They", plural_forms


def _subject(part: Part, rng: Random, determiner: str) -> str:
    return part_phrase(part.side, part.name, determiner, both="both" if rng.random() < 0.5 else determiner)


def _other(subject: Part, side: str, name: str, rng: Random, determiner: str) -> str:
    if not name:
        return ""
    if name == subject.name and {side, subject.side} == {"left", "right"}:
        full = part_phrase(side, name, determiner)
        return rng.choice((full, "the other", f"the {side} one", f"{determiner} other {name}"))
    return part_phrase(side, name, determiner)
