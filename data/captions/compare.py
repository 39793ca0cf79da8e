"""Instructions: how to get from pose A to pose B, in words.

    full   paircodes and what B should look like, aggregated and worded as commands (PoseFix; UniPose suppl. §A.2)
    brief  the key changes in at most 45 words (`brief_change.py`)

As in `describe`, `seed=None` leaves nothing to chance, and with a seed a text depends on (seed, key, number) only:
never on the other pairs of the batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from random import Random
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor

from data.captions.aggregate import Clause, aggregate
from data.captions.codes import OTHER_SIDE
from data.captions.describe import SKIP_PROBABILITY, Style
from data.captions.paircodes import NUM_PAIR_CODES, changes, goals, paircodes
from data.captions.posecodes import NUM_CODES, NUM_SUPERS
from data.captions.randomness import fold, uniform
from data.captions.realise import PART_ORDER, clause_key, place, sorted_clause, walk
from data.captions.words import is_plural, join_words, part_phrase, predicates, sentence_case
from llmpose.errors import BadUsage, UserError

GOAL_SKIP_PROBABILITY = 0.33
"""Share of the facts about B that a sampled instruction leaves out."""

TURN_EDGES_DEG = (20, 60, 120, 150)
TURN_TOLERANCE_DEG = 10

FLAVOURS = ((True, False), (True, True), (False, True))
"""(merged, skipping) of a pair's 1st, 2nd, 3rd sampled instruction; then again. The three versions of PoseFix."""

CONNECTORS = (". ", ", then ", " and ", ", while ")
CONNECTOR_WEIGHTS = (45, 20, 20, 15)


@cache
def change_words() -> dict[str, Any]:
    """change.yaml as it is."""
    return yaml.safe_load((files("data.captions") / "change.yaml").read_text())


def turn_deg_between(rotmat_a: Tensor, rotmat_b: Tensor) -> Tensor:
    """(N,) degrees that the root turns about the vertical from A to B, positive to the person's left.

    The twist about z of the rotation between the roots (N, 22, 3, 3), headings kept: tilting does not count as turning.
    """
    between = rotmat_b[:, 0] @ rotmat_a[:, 0].transpose(-1, -2)
    return torch.rad2deg(torch.atan2(between[:, 1, 0] - between[:, 0, 1], between[:, 0, 0] + between[:, 1, 1]))


def compare(
    joints_a: Tensor | np.ndarray,
    joints_b: Tensor | np.ndarray,
    *,
    turn_deg: Tensor | np.ndarray | Sequence[float] | None = None,
    style: Style = "full",
    seed: int | None = None,
    num: int = 1,
    rotmat_a: Tensor | None = None,
    rotmat_b: Tensor | None = None,
    keys: Sequence[int] | np.ndarray | None = None,
) -> list[list[str]]:
    """`num` instructions for each pair of (N, J, 3) joints: z up, metres, headings removed, neutral body.

    turn_deg: how far the person turns to the left from A to B; None or 0 where both headings mean nothing.
    """
    if seed is None and num != 1:
        raise BadUsage(f"without a seed a pair has one instruction, {num} were asked for; pass seed=0")
    a, b = (torch.as_tensor(joints, dtype=torch.float32) for joints in (joints_a, joints_b))
    turn = torch.zeros(len(a)) if turn_deg is None else torch.as_tensor(turn_deg, dtype=torch.float32)
    if turn.shape != (len(a),):
        raise UserError(f"turn_deg has shape {tuple(turn.shape)}; expected one angle for each of {len(a)} pairs")
    where = np.arange(len(a)) if keys is None else np.asarray(keys)
    if style == "brief":
        from data.captions.brief_change import brief_changes

        return brief_changes(a, b, turn, seed=seed, num=num, rotmat_a=rotmat_a, rotmat_b=rotmat_b, keys=where)
    if style != "full":
        raise BadUsage(f"unknown style {style!r}; styles are full, brief")
    result: list[list[str]] = [[] for _ in range(len(a))]
    for number in range(num):
        merged, draws = True, _Draws(turn)
        if seed is not None:
            merged, skipping = FLAVOURS[number % len(FLAVOURS)]
            draws = _draw(turn, seed, number, where, skipping)
        codes = paircodes(a, b, rotmat_a=rotmat_a, rotmat_b=rotmat_b, noise=draws.noise)
        moved = changes(codes, draws.skip)
        wanted = goals(codes, moved, draws.goal_skip)
        if draws.skip is not None:  # skipping must not leave a text empty that had something to say
            moved = [facts or full for facts, full in zip(moved, changes(codes), strict=True)]
        alike = codes.sense.alike.tolist()
        for row, (facts, ends) in enumerate(zip(moved, wanted, strict=True)):
            rng = None if draws.seeds is None else Random(int(draws.seeds[row]))
            clauses = aggregate(facts, rng=rng, pruned=False, merged=merged)
            goal_clauses = aggregate(ends, rng=rng, pruned=False, merged=merged)
            unsaid = "nothing" if alike[row] else "nearly"
            result[row].append(_realise(clauses, goal_clauses, float(draws.turn_deg[row]), unsaid, rng))
    return result


@dataclass(frozen=True)
class _Draws:
    """What chance decides about one instruction of each pair; nothing without a seed."""

    turn_deg: Tensor
    noise: Tensor | None = None
    skip: np.ndarray | None = None
    goal_skip: np.ndarray | None = None
    seeds: np.ndarray | None = None


def _draw(turn_deg: Tensor, seed: int, number: int, keys: np.ndarray, skipping: bool) -> _Draws:
    width = NUM_PAIR_CODES + 2 * NUM_CODES
    drawn = uniform(seed, keys, width + NUM_PAIR_CODES + NUM_CODES + NUM_SUPERS + 1, stream=number)
    wobble = torch.from_numpy(drawn[:, -1] * 2 - 1) * TURN_TOLERANCE_DEG
    return _Draws(
        turn_deg=torch.where(turn_deg == 0, turn_deg, turn_deg + wobble),
        noise=torch.from_numpy(drawn[:, :width] * 2 - 1),
        skip=drawn[:, width : width + NUM_PAIR_CODES] < SKIP_PROBABILITY if skipping else None,
        goal_skip=drawn[:, width + NUM_PAIR_CODES : -1] < GOAL_SKIP_PROBABILITY if skipping else None,
        seeds=fold(seed, number, keys, 3),
    )


def turn_sentence(turn_deg: float, rng: Random | None = None) -> str | None:
    """ "turn to the left by a quarter", or None for less than 20 degrees."""
    size = abs(turn_deg)
    passed = [edge for edge in TURN_EDGES_DEG if size > edge]
    if not passed:
        return None
    ways = change_words()["turn"][passed[-1]]
    return (ways[0] if rng is None else rng.choice(ways)).replace("{s}", "left" if turn_deg > 0 else "right")


def _realise(clauses: list[Clause], ends: list[Clause], turn: float, unsaid: str, rng: Random | None) -> str:
    """unsaid: which words stand for no change worth telling."""
    opening = turn_sentence(turn, rng)
    if not clauses and not ends:
        ways = change_words()[unsaid]
        said = opening or (ways[0] if rng is None else rng.choice(ways))
        return sentence_case(said) + "."
    body = _plain(clauses, ends) if rng is None else _sampled(clauses, ends, rng)
    return body if opening is None else f"{sentence_case(opening)}. {body}"


# ---- without chance -------------------------------------------------------------------------------------------------


def _plain(clauses: list[Clause], ends: list[Clause]) -> str:
    items = [(is_end, sorted_clause(clause)) for is_end, group in ((0, clauses), (1, ends)) for clause in group]
    items.sort(key=lambda item: (PART_ORDER.get(item[1].subjects[0].name, 99), item[0], *clause_key(item[1])))
    return " ".join(_plain_goal(clause) if is_end else _plain_change(clause) for is_end, clause in items)


@lru_cache(maxsize=100_000)
def _plain_change(clause: Clause) -> str:
    name = join_words([part_phrase(part.side, part.name) for part in clause.subjects])
    many = is_plural(clause.subjects)
    said = [
        _command(category, name if number == 0 else "them" if many else "it", clause, None)[0]
        for number, (category, _, _) in enumerate(clause.predicates)
    ]
    return sentence_case(join_words(said)) + "."


@lru_cache(maxsize=100_000)
def _plain_goal(clause: Clause) -> str:
    return sentence_case(_goal(clause, "the", None)) + "."


# ---- with chance ----------------------------------------------------------------------------------------------------


def _sampled(clauses: list[Clause], ends: list[Clause], rng: Random) -> str:
    determiner = rng.choice(("the", "your"))
    rank = {name: order for order, name in enumerate(walk("body", rng))}
    items = [
        (rank[place(clause.subjects[0], rng)], is_end, rng.random(), clause)
        for is_end, group in ((0, clauses), (1, ends))
        for clause in group
    ]
    text, length, was_end = "", 0, False
    for number, (_, is_end, _, clause) in enumerate(sorted(items, key=lambda item: item[:3])):
        connector = ""
        if number:
            free = length < 3 and not is_end and not was_end
            connector = rng.choices(CONNECTORS, CONNECTOR_WEIGHTS)[0] if free else ". "
        said = _goal(clause, determiner, rng) if is_end else _commands(clause, determiner, rng, "while" in connector)
        starts = connector in ("", ". ")
        text += connector + (sentence_case(said) if starts else said)
        # "while lifting ... and lowering": nothing is hung on to a participle
        length = 3 if "while" in connector or len(clause.predicates) > 1 else 1 if starts else length + 1
        was_end = bool(is_end)
    return text + "."


def _commands(clause: Clause, determiner: str, rng: Random, progressive: bool) -> str:
    names = [
        part_phrase(part.side, part.name, determiner, both="both" if rng.random() < 0.5 else determiner)
        for part in clause.subjects
    ]
    name, many = join_words(names), is_plural(clause.subjects)
    said = []
    for number, (category, _, _) in enumerate(clause.predicates):
        forms = _command(category, name if number == 0 else "them" if many else "it", clause, rng)
        said.append(forms[1] if progressive else forms[0])
    return join_words(said)


def _command(category: str, name: str, clause: Clause, rng: Random | None) -> tuple[str, str]:
    """("raise the left hand", "raising the left hand")."""
    ways: list[str] = change_words()["changes"][category]
    way = ways[0] if rng is None else rng.choice(ways)
    verb, rest = way[1 : way.index("}")], way[way.index("}") + 1 :].replace("{p}", name)
    if "{out}" in rest or "{in}" in rest:
        sides = {part.side for part in clause.subjects}
        side = sides.pop() if len(sides) == 1 else "both"
        outwards, inwards = (
            ("outwards", "inwards") if side == "both" else (f"to the {side}", f"to the {OTHER_SIDE[side]}")
        )
        rest = rest.replace("{out}", outwards).replace("{in}", inwards)
    return verb + rest, change_words()["verbs"][verb] + rest


def _goal(clause: Clause, determiner: str, rng: Random | None) -> str:
    names = [part_phrase(part.side, part.name, determiner) for part in clause.subjects]
    many = is_plural(clause.subjects)
    modals = change_words()["goal"]
    modal = (modals[0] if rng is None else rng.choice(modals)).split("|")
    said, first = [], None
    for category, side, other in clause.predicates:
        ways = predicates(category, bool(other), clause.subjects[0].side)
        way = ways[0] if rng is None else rng.choice(ways)
        text = way.tail if first and first.tail is not None and way.tail is not None else way.infinitive
        said.append(text.replace("{other}", part_phrase(side, other, determiner) if other else ""))
        first = first or way
    return f"{join_words(names)} {modal[-1 if many else 0]} {join_words(said)}"
