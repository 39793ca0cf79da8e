"""Captions: what a pose looks like, in words.

    full   every posecode worth telling, aggregated; sampled captions differ in choice, order and wording
    brief  the key features in at most 45 words (`brief.py`), in place of the language model of UniPose suppl. §A.1

`seed=None` leaves nothing to chance: the same pose always gives the same words, and a mirrored pose the mirrored words.
With a seed, a caption depends on (seed, key of the pose, number of the caption) only, not on its neighbours.
"""

from collections.abc import Callable, Sequence
from functools import cache
from random import Random
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from data.captions.aggregate import Clause, Fact, aggregate, fact_table
from data.captions.codes import CODES, Code, Part
from data.captions.geometry import angle_deg
from data.captions.posecodes import NUM_CODES, NUM_SUPERS, posecodes
from data.captions.randomness import fold, uniform
from data.captions.realise import plain_caption, sampled_caption
from llmpose.body.pose import JOINT_NAMES
from llmpose.errors import BadUsage

Style = Literal["full", "brief"]

SKIP_PROBABILITY = 0.15
"""Share of the told facts that a sampled caption leaves out; rare ones always stay."""

FLAVOURS = ((True, True), (True, False), (False, False))
"""(merged, pruned) of a pose's 1st, 2nd, 3rd sampled caption; then again. The three versions of PoseScript v2."""

LIES_TILT_DEG = 60
"""A trunk farther from upright lies: "in front of the torso" then means another thing to every reader."""
LIES_LOW_M = 0.35
"""Of somebody who lies, a pelvis lower than this is on the ground: there "above the neck" reads as beyond the head."""
STRAIGHT_HIPS_DEG = 140
"""Trunk and thighs in one line: a plank or a cobra does not bend forward, however its trunk is inclined."""

NEUTRAL = Clause((Part("", "body"),), (("neutral", "", ""),))
"""Said of a pose without any telling feature."""


def describe(
    joints_m: Tensor | np.ndarray,
    *,
    style: Style = "full",
    seed: int | None = None,
    num: int = 1,
    rotmat: Tensor | None = None,
    keys: Sequence[int] | np.ndarray | None = None,
) -> list[list[str]]:
    """`num` captions for each of (N, 22|24|52, 3) joints: z up, metres, heading removed, neutral body.

    rotmat: (N, 22, 3, 3), the same poses as rotations; with them captions speak of the head as well.
    keys: an integer per pose that its random choices depend on; its place in the batch by default.
    """
    if seed is None and num != 1:
        raise BadUsage(f"without a seed a pose has one caption, {num} were asked for; pass seed=0")
    if style == "brief":
        from data.captions.brief import brief_captions

        return brief_captions(joints_m, seed=seed, num=num, rotmat=rotmat, keys=keys)
    if style != "full":
        raise BadUsage(f"unknown style {style!r}; styles are full, brief")
    joints = torch.as_tensor(joints_m, dtype=torch.float32)
    if seed is None:
        return [[plain_caption(_clauses(facts, None, 0))] for facts in _facts(joints, rotmat, None, None)]
    keys = np.arange(len(joints)) if keys is None else np.asarray(keys)
    captions: list[list[str]] = [[] for _ in range(len(joints))]
    for number in range(num):
        drawn = uniform(seed, keys, 2 * NUM_CODES + NUM_SUPERS, stream=number)
        seeds = fold(seed, number, keys, 1)
        noise = torch.from_numpy(drawn[:, :NUM_CODES] * 2 - 1)
        skip = drawn[:, NUM_CODES:] < SKIP_PROBABILITY
        for index, facts in enumerate(_facts(joints, rotmat, noise, skip)):
            rng = Random(int(seeds[index]))
            captions[index].append(sampled_caption(_clauses(facts, rng, number), rng))
    return captions


def _facts(joints: Tensor, rotmat: Tensor | None, noise: Tensor | None, skip: np.ndarray | None) -> list[list[Fact]]:
    """What may be told of each pose; if skipping leaves nothing, all of it."""
    codes = posecodes(joints, noise=noise, rotmat=rotmat)
    table = fact_table()
    told, category = codes.told.cpu().numpy(), codes.category.cpu().numpy()
    told = np.where(_misleading(joints).numpy(), 0, told)
    keep = told > 0 if skip is None else (told == 2) | ((told == 1) & ~skip)
    empty = ~keep.any(1)
    keep[empty] = told[empty] > 0
    rows, columns = np.nonzero(keep)
    facts: list[list[Fact]] = [[] for _ in range(len(told))]
    for row, column, index in zip(rows.tolist(), columns.tolist(), category[rows, columns].tolist(), strict=True):
        fact = table[column][index]
        assert fact is not None
        facts[row].append(fact)
    return facts


def _misleading(joints: Tensor) -> Tensor:
    """(N, columns) bool: what holds in numbers, but not as a reader understands it of somebody who lies."""
    at = {name: joints[:, index].cpu() for index, name in enumerate(JOINT_NAMES)}
    trunk, thighs = at["neck"] - at["pelvis"], (at["left_knee"] + at["right_knee"]) / 2 - at["pelvis"]
    lies = angle_deg(trunk, torch.tensor([0.0, 0.0, 1.0])) > LIES_TILT_DEG
    low = lies & (at["pelvis"][:, 2] - joints[..., 2].cpu().amin(1) < LIES_LOW_M)
    in_line = lies & (angle_deg(trunk, thighs) > STRAIGHT_HIPS_DEG)
    beside_torso, above_head, incline = _columns_that_mislead()
    rows = torch.zeros(len(joints), NUM_CODES + NUM_SUPERS, dtype=torch.bool)
    rows[:, beside_torso], rows[:, above_head], rows[:, incline] = lies[:, None], low[:, None], in_line[:, None]
    return rows


_UPPER_POINTS = ("neck", "left_shoulder", "right_shoulder")


@cache
def _columns_that_mislead() -> tuple[list[int], list[int], list[int]]:
    def columns(holds: Callable[[Code], bool]) -> list[int]:
        return [column for column, code in enumerate(CODES) if holds(code)]

    return (
        columns(lambda code: code.kind == "z" and "torso" in code.points),
        columns(lambda code: code.kind == "y" and code.subject.name == "hand" and code.points[1] in _UPPER_POINTS),
        columns(lambda code: code.kind == "incline"),
    )


def _clauses(facts: list[Fact], rng: Random | None, number: int) -> list[Clause]:
    if not facts:
        return [NEUTRAL]
    merged, pruned = FLAVOURS[number % len(FLAVOURS)]
    return aggregate(facts, rng=rng, pruned=pruned, merged=merged)
