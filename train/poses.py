"""Poses by the batch, out of record sets: what the tokenizer and the retrieval models train on."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data.records import RecordSet
from llmpose.errors import UserError
from train.job import Draw
from train.noise import uniform
from train.recipe import Data, Source

_STREAM_SOURCE = 11


class RecordIds:
    """The ids of some rows, read only when somebody asks: the guard does, when a number is none."""

    def __init__(self, records: RecordSet, rows: Sequence[int]) -> None:
        self.records, self.rows = records, rows

    def __iter__(self) -> Iterator[str]:
        return (self.records[int(row)].id for row in self.rows)


class PoseSource:
    """One source's records that have what is needed, cut to its limit."""

    def __init__(self, name: str, data: Data, source: Source, *, has: Sequence[str], seed: int) -> None:
        self.name, self.weight, self.folder = name, source.weight, data.folder(source)
        records = RecordSet.load(self.folder).filter(split=source.split, has=tuple(has))
        if not len(records):
            which = f"split {source.split!r} of {self.folder}" if source.split else str(self.folder)
            raise UserError(f"source {name}: no record of {which} has {' and '.join(has)}")
        if source.limit is not None and source.limit < len(records):
            records = records.select(np.sort(np.random.default_rng(seed).permutation(len(records))[: source.limit]))
        self.records = records


def pose_sources(data: Data, sources: dict[str, Source], *, has: Sequence[str], seed: int) -> list[PoseSource]:
    """The sources of a recipe that are not weighted out."""
    return [PoseSource(name, data, s, has=has, seed=seed) for name, s in sources.items() if s.weight > 0]


class Mixture:
    """Numbers examples over several sources, by data.mix.

    records   source 0 | source 0 | source 1 …    a weight of 2 lists a source twice, of 0.5 half of it in each epoch
    shares    as long as all sources together; the source of every example is drawn by weight, anew in each epoch
    """

    def __init__(self, sizes: Sequence[int], weights: Sequence[float], mix: str) -> None:
        self.sizes, self.mix = np.asarray(sizes), mix
        self.weights = np.asarray(weights, dtype=np.float64)
        self.starts = np.concatenate([[0], np.cumsum(self.sizes)])
        self.counts = np.maximum(1, np.round(self.sizes * self.weights)).astype(np.int64)
        self.ends = np.cumsum(self.counts)

    def __len__(self) -> int:
        return int(self.sizes.sum() if self.mix == "shares" else self.ends[-1])

    def rows(self, examples: Sequence[int], *, seed: int, epoch: int) -> NDArray[np.int64]:
        """Example numbers -> rows of the sources laid end to end."""
        asked = np.asarray(examples, dtype=np.int64)
        if self.mix == "shares":
            drawn = uniform(seed, epoch, asked, 2, stream=_STREAM_SOURCE).double().numpy()
            source = np.searchsorted(np.cumsum(self.weights / self.weights.sum())[:-1], drawn[:, 0], side="right")
            return self.starts[source] + (drawn[:, 1] * self.sizes[source]).astype(np.int64)
        source = np.searchsorted(self.ends, asked, side="right")
        within = asked - (self.ends[source] - self.counts[source])
        # A weight below 1 walks on through its source from epoch to epoch.
        turned = (within + np.where(self.counts < self.sizes, epoch * self.counts, 0)[source]) % self.sizes[source]
        return self.starts[source] + turned


class PoseData:
    """Poses of several sources, drawn by the micro-batch: {"rotmat": (B, 22, 3, 3), "record_ids": …}."""

    def __init__(self, sources: Sequence[PoseSource], mix: str) -> None:
        if not sources:
            raise UserError("data.train: no source; name one, like data.train.amass.records=FOLDER")
        self.sources = list(sources)
        self.poses = [source.records.poses() for source in sources]
        self.mixture = Mixture([len(p) for p in self.poses], [s.weight for s in sources], mix)

    def __len__(self) -> int:
        return len(self.mixture)

    def __getitem__(self, index: int) -> Tensor:
        return self.gather(self.mixture.rows([index], seed=0, epoch=0))[0]

    def __getitems__(self, draw: Draw) -> dict[str, object]:
        rows = self.mixture.rows(draw, seed=draw.seed, epoch=draw.epoch)
        return {"rotmat": self.gather(rows), "record_ids": self.ids(rows)}

    def gather(self, rows: NDArray[np.int64]) -> Tensor:
        """Rows of all sources end to end -> (B, 22, 3, 3)."""
        if len(self.poses) == 1:
            return torch.from_numpy(self.poses[0][rows])
        out = np.empty((len(rows), 22, 3, 3), dtype=np.float32)
        for poses, start in zip(self.poses, self.mixture.starts, strict=False):
            here = (rows >= start) & (rows < start + len(poses))
            out[here] = poses[rows[here] - start]
        return torch.from_numpy(out)

    def ids(self, rows: NDArray[np.int64]) -> list[RecordIds]:
        """Whose poses these are."""
        found = []
        for source, poses, start in zip(self.sources, self.poses, self.mixture.starts, strict=False):
            here = (rows >= start) & (rows < start + len(poses))
            if here.any():
                found.append(RecordIds(source.records, (rows[here] - start).tolist()))
        return found


def folders(sources: Sequence[PoseSource]) -> list[Path]:
    """Where the data lie, for the run's folder."""
    return list(dict.fromkeys(source.folder for source in sources))
