"""Texts of chosen poses and pairs, in the variants that UniPose trains on (suppl. §A, Tab. 1).

auto      (-A)   three sampled captions each, by the rules of data/captions
refined   (-R)   one short text of some of them: by a language model, or by the rules of `brief`
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from data.build.choose import Progress, quiet
from data.captions.compare import compare
from data.captions.describe import Style, describe
from data.captions.paircodes import paircodes
from data.captions.posecodes import posecodes

if TYPE_CHECKING:
    from data.captions.refine import Refiner

REFINED_SHARE = 0.125
"""Of the training texts, 6,250 of 50,000 are refined; of the other splits all are (suppl. §A.1)."""

_CHUNK = 2048


@dataclass(frozen=True)
class Writing:
    """How texts are written."""

    style: Style = "full"
    """Of the automatic texts; small models learn from "brief" sooner."""
    num_texts: int = 3
    seed: int = 0
    refined_share: float = REFINED_SHARE
    refiner: "Refiner | None" = None
    """A language model that rewrites; without one refined texts are `brief`."""


def refined_places(splits: Sequence[str], writing: Writing) -> list[int]:
    """Which texts are refined: a uniform share of the training split, all of the others."""
    train = [place for place, split in enumerate(splits) if split == "train"]
    rng = np.random.default_rng(writing.seed)
    few = rng.permutation(train)[: round(len(train) * writing.refined_share)].tolist()
    return sorted([*few, *(place for place, split in enumerate(splits) if split != "train")])


def script_texts(
    joints_m: Tensor, rotmat: Tensor, splits: Sequence[str], writing: Writing, *, progress: Progress = quiet
) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    """(automatic, refined) texts of (N, J, 3) normalised poses, by place."""
    auto: dict[int, list[str]] = {}
    for start in range(0, len(joints_m), _CHUNK):
        rows = slice(start, start + _CHUNK)
        keys = np.arange(len(joints_m))[rows]
        said = describe(
            joints_m[rows],
            style=writing.style,
            seed=writing.seed,
            num=writing.num_texts,
            rotmat=rotmat[rows],
            keys=keys,
        )
        auto.update(zip(keys.tolist(), said, strict=True))
        progress("captions", len(said), len(joints_m))
    places = refined_places(splits, writing)
    short = [texts[0] for texts in describe(joints_m[places], style="brief", rotmat=rotmat[places])]
    if writing.refiner is None:
        return auto, {place: [text] for place, text in zip(places, short, strict=True)}
    values = posecodes(joints_m[places], rotmat=rotmat[places]).value
    rewritten = writing.refiner.refine_captions([auto[p][0] for p in places], short, values, progress=progress)
    return auto, {place: [text] for place, text in zip(places, rewritten, strict=True)}


def diff_texts(
    joints_m: Mapping[str, Tensor],
    rotmat: Mapping[str, Tensor],
    turn_deg: Tensor,
    splits: Sequence[str],
    writing: Writing,
    *,
    progress: Progress = quiet,
) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    """(automatic, refined) instructions from poses "a" to poses "b", by place."""
    auto: dict[int, list[str]] = {}
    total = len(turn_deg)

    def between(rows: slice | list[int], **how: object) -> list[list[str]]:
        return compare(
            joints_m["a"][rows],
            joints_m["b"][rows],
            turn_deg=turn_deg[rows],
            rotmat_a=rotmat["a"][rows],
            rotmat_b=rotmat["b"][rows],
            **how,  # pyright: ignore[reportArgumentType]
        )

    for start in range(0, total, _CHUNK):
        rows = slice(start, start + _CHUNK)
        keys = np.arange(total)[rows]
        said = between(rows, style=writing.style, seed=writing.seed, num=writing.num_texts, keys=keys)
        auto.update(zip(keys.tolist(), said, strict=True))
        progress("instructions", len(said), total)
    places = refined_places(splits, writing)
    short = [texts[0] for texts in between(places, style="brief")]
    if writing.refiner is None:
        return auto, {place: [text] for place, text in zip(places, short, strict=True)}
    values = paircodes(joints_m["a"][places], joints_m["b"][places]).value
    rewritten = writing.refiner.refine_instructions([auto[p][0] for p in places], short, values, progress=progress)
    return auto, {place: [text] for place, text in zip(places, rewritten, strict=True)}
