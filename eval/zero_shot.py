"""What the papers' models were never trained for (UniPose §4.4, suppl. §D): other wordings, extra hints, whole talks.

    zero_shot_wording    tasks and second turns as in training, in held-out wordings, and as people might type them
    zero_shot_hint       does a description beside the image lower the error? (UniPose Fig. 5)
    zero_shot_whom       several people in the picture, one of them meant by position and clothes (suppl. Fig. 5)
    talk                 estimate, then edit what was estimated, then describe what was edited

All are scored by the same metrics as the benchmarks, each beside a control that would show if the effect were not
there. Second turns are zero-shot where the recipe has none of them.
"""

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eval.benchmarks.base import Benchmark


def _from(module: str, name: str) -> "Callable[[], Benchmark]":
    return lambda: getattr(import_module(f"eval.benchmarks.{module}"), name)()


ZERO_SHOT: "dict[str, Callable[[], Benchmark]]" = {
    "zero_shot_wording": _from("wording", "Wording"),
    "zero_shot_hint": _from("hint", "Hint"),
    "zero_shot_whom": _from("whom", "Whom"),
    "talk": _from("talk", "Talk"),
}
