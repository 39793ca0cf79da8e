"""From told posecodes to what is worth saying: redundant facts go, symmetric ones merge, the rest is grouped.

    fact    (side, part, category, other side, other part), e.g. ("left", "knee", "right_angle", "", "")
    clause  subjects that share predicates: ("left", "knee") + ("left", "elbow") are both "right_angle"

Steps as in PoseScript (Delmas et al. 2024, §3.2): transitivity and redundancy, entities, symmetry, same subject or same
predicate. Unlike there, two facts merge by symmetry only if their subjects are on different sides, and the merged fact
keeps whether each side has to do with its own or with the opposite part.
"""

from collections import defaultdict
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from random import Random
from typing import Any, NamedTuple

import yaml

from data.captions.codes import CODES, NOT_TOLD, OTHER_SIDE, SUPER_CODES, Part
from data.captions.posecodes import CATEGORY_NAMES, NUM_CODES

MERGE_PROBABILITY = 0.95


class Fact(NamedTuple):
    """One thing that holds. `other_side` is "own" or "opposite" where both sides hold the same of their parts."""

    side: str
    part: str
    category: str
    other_side: str = ""
    other: str = ""


@dataclass(frozen=True)
class Clause:
    """One or more subjects, and what all of them do: (category, other side, other part) each."""

    subjects: tuple[Part, ...]
    predicates: tuple[tuple[str, str, str], ...]

    @property
    def facts(self) -> list[Fact]:
        return [Fact(*subject, *predicate) for subject in self.subjects for predicate in self.predicates]


INVERSE = {
    "above": "below",
    "below": "above",
    "in_front": "behind",
    "behind": "in_front",
    "at_right": "at_left",
    "at_left": "at_right",
}
FAVOURED = ("above", "in_front")
"""Of two ways to say one thing (left above right, right below left) the plain style uses these."""

MUTUAL = ("close", "spread", "wide", "shoulder_width", "crossed")
"""Said of both sides of a part at once."""

TO_EACH_OTHER = frozenset((*MUTUAL, "apart", "slightly_apart", "together", "slightly_together"))
"""Without a second part, what the two sides are to each other: "hands and feet are close" would be read otherwise."""

ENTITIES: dict[frozenset[str], str] = {
    frozenset(("upper arm", "forearm")): "arm",
    frozenset(("hand", "elbow")): "arm",
    frozenset(("thigh", "shin")): "leg",
    frozenset(("foot", "knee")): "leg",
}


def mirror_fact(fact: Fact) -> Fact:
    """The same fact about the mirrored body."""
    category = fact.category
    if category.endswith("_left"):
        category = category.removesuffix("_left") + "_right"
    elif category.endswith("_right"):
        category = category.removesuffix("_right") + "_left"
    flipped = Fact(
        OTHER_SIDE[fact.side], fact.part, category, OTHER_SIDE.get(fact.other_side, fact.other_side), fact.other
    )
    return _left_first(flipped)


def _left_first(fact: Fact) -> Fact:
    """Relations between the two sides of one part are kept with the left one first."""
    if fact.part == fact.other and fact.side == "right" and fact.other_side == "left":
        return Fact("left", fact.part, INVERSE.get(fact.category, fact.category), "right", fact.other)
    return fact


@cache
def fact_table() -> tuple[tuple[Fact | None, ...], ...]:
    """fact_table()[column][category index]: the fact a posecode stands for, None between categories."""
    rows = []
    for column, code in enumerate((*CODES, *SUPER_CODES)):
        other = code.other or Part("", "")
        row: list[Fact | None] = []
        for name in CATEGORY_NAMES[column]:
            fact = None
            if name != NOT_TOLD:
                fact = _left_first(
                    Fact(code.subject.side, code.subject.name, _plain(name, code.subject, other), *other)
                )
            row.append(fact)
        rows.append(tuple(row))
    assert len(rows) == NUM_CODES + len(SUPER_CODES)
    return tuple(rows)


def _plain(category: str, subject: Part, other: Part) -> str:
    """Sideways relations that only occur when a limb crosses over get a name that is the same for both sides."""
    if category in ("at_right", "at_left") and other.name:
        return "crossed" if subject.name == other.name else "inward"
    return category


@cache
def _redundancy() -> dict[Fact, list[tuple[tuple[Fact, ...], Fact]]]:
    """First given fact -> (the other given facts, the fact to drop)."""
    rules: dict[Fact, list[tuple[tuple[Fact, ...], Fact]]] = defaultdict(list)
    for rule in yaml.safe_load((files("data.captions") / "redundant.yaml").read_text()):
        for sides in ({"S": "left", "O": "right"}, {"S": "right", "O": "left"}):
            first, *rest = (_read_fact(words, sides) for words in rule["given"])
            for words in rule["drop"]:
                rules[first].append((tuple(rest), _read_fact(words, sides)))
    return dict(rules)


def _read_fact(words: str, sides: dict[str, str]) -> Fact:
    """ "S hand above O hand" -> Fact."""
    categories = {fact.category for row in fact_table() for fact in row if fact}
    tokens = words.split()
    at = next(i for i, token in enumerate(tokens) if token in categories)

    def read(part: list[str]) -> tuple[str, str]:
        return (sides[part[0]], " ".join(part[1:])) if part and part[0] in sides else ("", " ".join(part))

    return _left_first(Fact(*read(tokens[:at]), tokens[at], *read(tokens[at + 1 :])))


def prune(facts: list[Fact]) -> list[Fact]:
    """Drop what follows from the rest: by transitivity along an axis, and by the rules of redundant.yaml."""
    have = set(facts)
    rules = _redundancy()
    gone = {
        dropped
        for fact in facts
        for rest, dropped in rules.get(fact, ())
        if dropped in have and all(other in have for other in rest)
    }
    for low, high in (("below", "above"), ("behind", "in_front")):
        edges: dict[tuple[str, str], dict[tuple[str, str], Fact]] = defaultdict(dict)
        for fact in facts:
            if fact.category == low:
                edges[fact[:2]][fact[3:]] = fact
            elif fact.category == high:
                edges[fact[3:]][fact[:2]] = fact
        for over in edges.values():
            gone.update(over[top] for middle in over for top in edges.get(middle, ()) if top in over)
    return [fact for fact in facts if fact not in gone] if gone else facts


def _strength(category: str) -> int:
    return 2 * category.endswith("_much") - category.startswith("slightly_")


def _base(category: str) -> str:
    """Changes of different size may merge where one part is in the other: the larger one is told."""
    return category.removeprefix("slightly_").removesuffix("_much")


@lru_cache(maxsize=200_000)
def _merged(a: Fact, b: Fact, step: str) -> Fact | None:
    """The one fact that says a and b (same category up to its size), if `step` knows one."""
    if step == "entity":
        if a.side != b.side or a.other_side != b.other_side:
            return None
        if (a.part == a.other) != (
            b.part == b.other
        ):  # "hands close" is about both hands, and not part of "near the arm"
            return None
        part = a.part if a.part == b.part else ENTITIES.get(frozenset((a.part, b.part)))
        other = a.other if a.other == b.other else ENTITIES.get(frozenset((a.other, b.other)))
        if not part or other is None:
            return None
        return a._replace(part=part, other=other, category=max(a.category, b.category, key=_strength))
    if a.category != b.category or a.part != b.part or a.other != b.other or a.part == a.other:
        return None
    if step == "mirror" and {a.side, b.side} == {"left", "right"}:
        if a.other_side == b.other_side:
            return a._replace(side="both")
        if {a.other_side, b.other_side} == {"left", "right"}:
            return a._replace(side="both", other_side="own" if a.other_side == a.side else "opposite")
    if (
        step == "objects"
        and a.side == b.side
        and a.side != "both"
        and {a.other_side, b.other_side} == {"left", "right"}
    ):
        return a._replace(other_side="both")
    if step == "objects" and a.side == b.side == "both" and {a.other_side, b.other_side} == {"own", "opposite"}:
        return a._replace(other_side="both")
    return None


def merge(facts: list[Fact], rng: Random | None) -> list[Fact]:
    """Merge entities (forearm + upper arm = arm), then both sides, then both objects; each with probability 0.95."""
    by_category: dict[str, list[Fact]] = defaultdict(list)
    for fact in facts:
        by_category[_base(fact.category)].append(fact)
    result = []
    for group in by_category.values():
        if len(group) > 1:
            for step in ("entity", "mirror_crosswise", "mirror", "objects"):
                group = _merge_step(group, step, rng)
                if len(group) == 1:
                    break
        result += group
    return result


def _merge_step(group: list[Fact], step: str, rng: Random | None) -> list[Fact]:
    crosswise = step == "mirror_crosswise"
    name = "mirror" if crosswise else step
    done: list[Fact] = []
    left = list(group)
    while left:
        fact = left.pop(0)
        for place, other in enumerate(left):
            # own + own and opposite + opposite go before left + right with one common object
            if crosswise and fact.other and fact.other_side == other.other_side != "":
                continue
            one = _merged(fact, other, name)
            if one is not None and (rng is None or rng.random() < MERGE_PROBABILITY):
                left.pop(place)
                fact = one
                break
        done.append(fact)
    return list(dict.fromkeys(done))


def reverse_sides(facts: list[Fact], rng: Random | None) -> list[Fact]:
    """ "Left above right" may become "right below left"; what is mutual may become one statement about both."""
    result = []
    for fact in facts:
        if fact.part == fact.other and {fact.side, fact.other_side} == {"left", "right"}:
            if fact.category in MUTUAL:
                if rng is None or rng.random() < 0.5:
                    fact = Fact("both", fact.part, fact.category)
                elif rng.random() < 0.5:
                    fact = Fact(fact.other_side, fact.part, fact.category, fact.side, fact.other)
            elif fact.category not in FAVOURED if rng is None else rng.random() < 0.5:
                fact = Fact(fact.other_side, fact.part, INVERSE[fact.category], fact.side, fact.other)
        result.append(fact)
    return result


def _group_key(candidate: tuple[bool, list[int]], facts: list[Fact]) -> tuple[Any, ...]:
    """Orders groups without asking which side is left."""
    same_subject, members = candidate

    def blind(fact: Fact) -> tuple[str, bool, str, str, str]:
        relation = "own" if fact.other_side == fact.side else fact.other_side
        relation = "opposite" if relation in ("left", "right") else relation
        return fact.part, fact.side == "both", fact.category, relation, fact.other

    return not same_subject, *sorted(blind(facts[index]) for index in members)


def group(facts: list[Fact], rng: Random | None) -> list[Clause]:
    """Join facts that share their predicate (many subjects) or their subject (many predicates)."""
    by_subject: dict[tuple[str, str], list[int]] = defaultdict(list)
    by_predicate: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for index, fact in enumerate(facts):
        by_subject[fact[:2]].append(index)
        if fact.other or fact.category not in TO_EACH_OTHER:
            by_predicate[fact[2:]].append(index)
    candidates = [(True, members) for members in by_subject.values() if len(members) > 1]
    candidates += [(False, members) for members in by_predicate.values() if len(members) > 1]
    if rng is None:  # largest first; a mirrored pair of groups ties, and shares no member
        candidates.sort(key=lambda candidate: (-len(candidate[1]), *_group_key(candidate, facts)))
    else:
        rng.shuffle(candidates)
    free = set(range(len(facts)))
    clauses = []
    for same_subject, members in candidates:
        members = [index for index in members if index in free]
        if len(members) < 2 or (rng is not None and rng.random() > MERGE_PROBABILITY):
            continue
        free.difference_update(members)
        if same_subject:
            predicates = tuple(facts[index][2:] for index in members)
            clauses.append(Clause((Part(*facts[members[0]][:2]),), predicates))  # type: ignore[arg-type]
        else:
            subjects = tuple(Part(*facts[index][:2]) for index in members)  # type: ignore[arg-type]
            clauses.append(Clause(subjects, (facts[members[0]][2:],)))
    for index in sorted(free):
        clauses.append(Clause((Part(*facts[index][:2]),), (facts[index][2:],)))  # type: ignore[arg-type]
    return clauses


def aggregate(facts: list[Fact], *, rng: Random | None, pruned: bool = True, merged: bool = True) -> list[Clause]:
    """Facts of one pose -> clauses. Without a generator every choice is made the same way, left and right alike."""
    if pruned:
        facts = prune(facts)
    if merged:
        facts = merge(facts, rng)
    facts = reverse_sides(facts, rng)
    if not merged:
        return [Clause((Part(*fact[:2]),), (fact[2:],)) for fact in facts]  # type: ignore[arg-type]
    return group(facts, rng)
