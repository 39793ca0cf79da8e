"""One source, two executions: functions that numba compiles for one point, and numpy runs for all points at once.

Choices that differ from point to point go through `select`; choices that are the same for a whole material or picture
are plain `if`. Only + - * / and square roots are used, in one order, so both give the same bits (no sin, exp or powers:
their last digit differs between libraries).
"""

import importlib.util
from typing import Any

import numpy as np

# numba compares the signatures below with those of their implementations, annotations and all; a lambda has none.
# pyright: reportMissingParameterType=false

HAS_NUMBA = importlib.util.find_spec("numba") is not None


def select(condition: Any, yes: Any, no: Any) -> Any:
    """`yes` where the condition holds, else `no`."""
    return np.where(condition, yes, no)


def negate(condition: Any) -> Any:
    """The opposite of a condition."""
    return np.logical_not(condition)


def anywhere(condition: Any) -> Any:
    """Whether what follows is needed at all: for one point its condition, for many whether it holds for any."""
    return np.any(condition)


def cell(value: Any) -> Any:
    """Index 0..255 into a table that repeats."""
    return np.floor(value).astype(np.int64) & 255


def whole(value: Any) -> Any:
    """Rounded down to an index."""
    return np.floor(value).astype(np.int64)


if HAS_NUMBA:
    from numba.extending import overload, register_jitable

    def both_ways(function: Any) -> Any:
        """Callable from Python as it is, and from compiled loops."""
        return register_jitable(function)

    @overload(select)
    def _select(condition, yes, no):
        return lambda condition, yes, no: yes if condition else no

    @overload(negate)
    def _negate(condition):
        return lambda condition: not condition

    @overload(anywhere)
    def _anywhere(condition):
        return lambda condition: condition

    @overload(cell)
    def _cell(value):
        return lambda value: int(np.floor(value)) & 255

    @overload(whole)
    def _whole(value):
        return lambda value: int(np.floor(value))
else:

    def both_ways(function: Any) -> Any:
        return function
