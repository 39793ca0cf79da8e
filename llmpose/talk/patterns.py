"""Patterns over characters, as small automata: what an answer may look like.

    sequence(literal("0."), digit, digit, digit)     0.042

A pattern becomes a nondeterministic automaton; a state of the decoder is the set of places where a text read so far may
stand in it. `Automaton.distance` says how many characters are at least missing to a complete answer, so that a decoder
with little room left can be led to its end.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import reduce

State = frozenset[int]
"""Places of the automaton that a text may have led to; the empty set: no answer begins like this."""

FAR = 1 << 14
"""The distance of a state from which no answer can be completed."""

UNNAMED = "\uffff"
"""Stands for every character that no part of a pattern names."""


@dataclass(frozen=True)
class _Edge:
    """Leads on for one of `characters`, or (`negated`) for any other one."""

    target: int
    characters: frozenset[str]
    negated: bool = False

    def takes(self, character: str) -> bool:
        return (character in self.characters) != self.negated


@dataclass
class _Net:
    edges: list[list[_Edge]] = field(default_factory=list)
    jumps: list[list[int]] = field(default_factory=list)

    def place(self) -> int:
        self.edges.append([])
        self.jumps.append([])
        return len(self.edges) - 1


Pattern = Callable[[_Net, int], int]
"""Adds itself to a net behind a place, and says at which place it ends."""


def one_of(characters: str) -> Pattern:
    """One character of these."""
    return _single(frozenset(characters), negated=False)


def other_than(characters: str) -> Pattern:
    """One character that is none of these."""
    return _single(frozenset(characters), negated=True)


def _single(characters: frozenset[str], *, negated: bool) -> Pattern:
    def add(net: _Net, start: int) -> int:
        end = net.place()
        net.edges[start].append(_Edge(end, characters, negated))
        return end

    return add


def literal(text: str) -> Pattern:
    return sequence(*(one_of(character) for character in text))


def sequence(*patterns: Pattern) -> Pattern:
    return lambda net, start: reduce(lambda place, pattern: pattern(net, place), patterns, start)


def either(*patterns: Pattern) -> Pattern:
    def add(net: _Net, start: int) -> int:
        end = net.place()
        for pattern in patterns:
            first = net.place()
            net.jumps[start].append(first)
            net.jumps[pattern(net, first)].append(end)
        return end

    return add


def repeat(pattern: Pattern, *, at_least: int = 0) -> Pattern:
    """The pattern any number of times, but `at_least` so often."""

    def star(net: _Net, start: int) -> int:
        first, end = net.place(), net.place()
        net.jumps[start] += [first, end]
        net.jumps[pattern(net, first)] += [first, end]
        return end

    return sequence(*[pattern] * at_least, star)


def maybe(pattern: Pattern) -> Pattern:
    return either(pattern, sequence())


class Automaton:
    """A pattern made ready: states are sets of places, reached character by character."""

    def __init__(self, pattern: Pattern) -> None:
        self._net = _Net()
        first = self._net.place()
        self._last = pattern(self._net, first)
        self.named = frozenset(c for edges in self._net.edges for edge in edges for c in edge.characters)
        self._steps: dict[tuple[State, str], State] = {}
        self._distances = self._measure()
        self.start = self._closed({first})

    def _closed(self, places: set[int]) -> State:
        found, waiting = set(places), list(places)
        while waiting:
            for place in self._net.jumps[waiting.pop()]:
                if place not in found:
                    found.add(place)
                    waiting.append(place)
        return frozenset(found)

    def step(self, state: State, character: str) -> State:
        """Where one more character leads."""
        character = character if character in self.named else UNNAMED
        if (state, character) not in self._steps:
            edges = (edge for place in state for edge in self._net.edges[place])
            self._steps[state, character] = self._closed({edge.target for edge in edges if edge.takes(character)})
        return self._steps[state, character]

    def walk(self, state: State, text: str) -> State:
        for character in text:
            state = self.step(state, character)
        return state

    def is_complete(self, state: State) -> bool:
        return self._last in state

    def distance(self, state: State) -> int:
        """Characters missing to the shortest complete answer; FAR if there is none."""
        return min((self._distances[place] for place in state), default=FAR)

    def matches(self, text: str) -> bool:
        return self.is_complete(self.walk(self.start, text))

    def _measure(self) -> list[int]:
        """Distances of all places, by relaxing until nothing changes (patterns are small)."""
        distances = [FAR] * len(self._net.edges)
        distances[self._last] = 0
        changed = True
        while changed:
            changed = False
            for place, edges in enumerate(self._net.edges):
                over_edges = [distances[edge.target] + 1 for edge in edges if edge.negated or edge.characters]
                best = min([distances[place], *over_edges, *(distances[to] for to in self._net.jumps[place])])
                if best < distances[place]:
                    distances[place], changed = best, True
        return distances
