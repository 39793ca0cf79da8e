"""UniPose suppl. Tab. 5: what a pose loses on its way through tokens, on poses like those of training and on others.

Held-out poses (AMASS's test split), extreme ones (MOYO's role), and held-out ones turned about all axes: a tokenizer
that only saw people upright is found out there. Given a folder of several runs, every tokenizer in it is a row: with
runs of 20, 40, 80 and 160 tokens, that is the curve of tokens against error.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import roma
import torch
from torch import Tensor

from data.records import RecordSet
from eval import papers
from eval.benchmarks.base import Bench, Benchmark, MissingNeed, Result
from eval.benchmarks.poses import error_columns
from eval.benchmarks.taskset import chosen_rows
from eval.metrics.body import PROTOCOLS, BodyError, pve_mm
from eval.tables import Column, Headline, Row, Table, millimetres, percent
from llmpose.model.loading import load_pose_tokenizer
from tokenizer_vq import PoseTokenizer
from tokenizer_vq.quantizer import codebook_usage

_BATCH, _VERTEX_POSES = 512, 128
_NEED = (
    "DATA/amass: held-out poses (llmpose data prepare amass; the built-in world has its own), DATA/moyo: extreme ones"
)
_COLUMNS = [
    Column("num_pose_tokens", "tokens", "down", digits=0),
    Column("codebook_size", "codes", "down", digits=0),
    *error_columns("smpl22"),
    millimetres("pve_mm", "PVE"),
    millimetres("body_mpjpe_mm", "body only", "tokenizer21"),
    millimetres("extreme_mpjpe_mm", "extreme MPJPE", "smpl22"),
    millimetres("extreme_pa_mpjpe_mm", "extreme PA", "smpl22"),
    millimetres("extreme_pve_mm", "extreme PVE"),
    millimetres("turned_mpjpe_mm", "turned MPJPE", "smpl22"),
    percent("codebook_usage", "codes used"),
    Column("perplexity", "perplexity", "up", digits=0),
]


@dataclass
class _Set:
    ids: list[str]
    poses: Tensor


class Tokenizer(Benchmark):
    """Reconstruction by a pose tokenizer."""

    name = "tokenizer"
    title = "Pose tokenizer: error of poses that went through tokens (UniPose suppl. Tab. 5)"
    needs = _NEED

    def measure(self, bench: Bench) -> Result | None:
        if not bench.is_main:
            return None
        if bench.tokenizer_dir is None:
            raise MissingNeed("pass --tokenizer DIR, a trained tokenizer, its run, or a folder of several runs")
        held_out = _poses(bench, "amass", ("test",))
        notes = [f"Codes used and perplexity over the {len(held_out.ids)} held-out poses."]
        extreme = None
        try:
            extreme = _poses(bench, "moyo", ("val",))
        except MissingNeed as error:
            notes.append(f"No extreme poses: {error}")
        turned = _Set(held_out.ids, turn_anyhow(held_out.poses, bench.seed))
        rows, scores = [], {}
        for name, folder in tokenizers(bench.tokenizer_dir).items():
            tokenizer = load_pose_tokenizer(folder)
            row, errors = self._row(bench, name, tokenizer, held_out, extreme, turned)
            rows.append(row)
            scores = scores or dict(zip(errors.ids, errors.values("mpjpe_mm").tolist(), strict=True))
        mean = _mean_pose(held_out.poses)
        rows.append(self._baseline(bench, mean, held_out, extreme))
        return Result(
            Table(
                name=self.name,
                title=self.title,
                columns=_COLUMNS,
                rows=[*rows, *papers.TOKENIZER],
                protocol=f"{PROTOCOLS['smpl22'].about}; body only: {PROTOCOLS['tokenizer21'].about}; turned: root "
                f"rotations drawn evenly from all, seed {bench.seed}; every pose weighs the same",
                n=len(held_out.ids),
                data=bench.data_name or "AMASS's place: the test split of DATA/amass; MOYO's: DATA/moyo",
                paper_data="AMASS test and MOYO validation",
                notes=notes,
                headlines=[Headline("pose_tokenizer", "mpjpe_mm", baseline="the mean pose")],
            ),
            scores=scores,
            score_name="mpjpe_mm",
            higher_is_better=False,
        )

    def _row(
        self, bench: Bench, name: str, tokenizer: PoseTokenizer, held_out: _Set, extreme: _Set | None, turned: _Set
    ) -> tuple[Row, BodyError]:
        codes, rebuilt = through(tokenizer, held_out.poses)
        errors = _errors(bench, held_out, rebuilt)
        usage, perplexity = codebook_usage(codes, tokenizer.config.codebook_size)
        values: dict[str, float] = {key: value for key, value in errors.compute().items() if key != "n"}
        # Meshes of some poses only: they cost a hundred times more than joints.
        few = chosen_rows(len(held_out.ids), _VERTEX_POSES)
        values["pve_mm"] = _vertex_errors(bench, rebuilt[few], held_out.poses[few]).mean().item()
        bodies = [torch.cat([torch.eye(3).expand(len(p), 1, 3, 3), p[:, 1:]], dim=1) for p in (rebuilt, held_out.poses)]
        body = PROTOCOLS["tokenizer21"].mpjpe_mm(bench.joints(bodies[0]), bench.joints(bodies[1]))
        values["body_mpjpe_mm"] = body.mean().item()
        values["turned_mpjpe_mm"] = _errors(bench, turned, through(tokenizer, turned.poses)[1]).compute()["mpjpe_mm"]
        if extreme is not None:
            strange = through(tokenizer, extreme.poses)[1]
            found = _errors(bench, extreme, strange).compute()
            values.update({f"extreme_{key}": found[key] for key in ("mpjpe_mm", "pa_mpjpe_mm")})
            few = chosen_rows(len(extreme.ids), _VERTEX_POSES)
            values["extreme_pve_mm"] = _vertex_errors(bench, strange[few], extreme.poses[few]).mean().item()
        values |= {
            "parameters": sum(parameter.numel() for parameter in tokenizer.parameters()),
            "num_pose_tokens": tokenizer.config.num_pose_tokens,
            "codebook_size": tokenizer.config.codebook_size,
            "codebook_usage": usage,
            "perplexity": perplexity,
        }
        intervals = {key: (found.low, found.high) for key, found in errors.intervals().items()}
        note = f"{tokenizer.config.design}, {tokenizer.config.quantizer}"
        return Row(name, "ours", values, intervals=intervals, note=note), errors

    def _baseline(self, bench: Bench, mean: Tensor, held_out: _Set, extreme: _Set | None) -> Row:
        values = {
            k: v for k, v in _errors(bench, held_out, mean.expand_as(held_out.poses)).compute().items() if k != "n"
        }
        if extreme is not None:
            found = _errors(bench, extreme, mean.expand_as(extreme.poses)).compute()
            values.update({f"extreme_{key}": found[key] for key in ("mpjpe_mm", "pa_mpjpe_mm")})
        return Row("the mean pose", "baseline", values)


def _errors(bench: Bench, chosen: _Set, rebuilt: Tensor) -> BodyError:
    errors = BodyError("smpl22")
    errors.update(chosen.ids, bench.joints(rebuilt), bench.joints(chosen.poses))
    return errors


def tokenizers(folder: Path) -> dict[str, Path]:
    """Name -> model folder: a tokenizer's own folder, a run's, or every run in a folder."""

    def inside(path: Path) -> Path | None:
        places = [path, path / "best", path / "model"]
        return next((place for place in places if (place / "config.json").is_file()), None)

    own = inside(folder)
    if own is not None:
        return {"this tokenizer": own}
    found = {path.name: place for path in sorted(folder.glob("*")) if (place := inside(path)) is not None}
    if not found:
        raise MissingNeed(f"{folder}: no tokenizer in it; expected a model folder, a finished run, or a folder of runs")
    return found


@torch.no_grad()
def through(tokenizer: PoseTokenizer, poses: Tensor) -> tuple[Tensor, Tensor]:
    """(codes, rebuilt poses) of (N, 22, 3, 3)."""
    codes = torch.cat([tokenizer.encode(part) for part in poses.split(_BATCH)])
    return codes, torch.cat([tokenizer.decode(part) for part in codes.split(_BATCH)])


def turn_anyhow(poses: Tensor, seed: int) -> Tensor:
    """Every pose with a root rotation drawn evenly from all rotations."""
    quaternion = torch.randn(len(poses), 4, generator=torch.Generator().manual_seed(seed))
    root = roma.unitquat_to_rotmat(torch.nn.functional.normalize(quaternion, dim=-1))
    return torch.cat([root[:, None], poses[:, 1:]], dim=1)


def _poses(bench: Bench, name: str, splits: tuple[str, ...]) -> "_Set":
    folder = Path(bench.sets.get(name, bench.data_dir / name))
    if not folder.is_dir():
        raise MissingNeed(f"{folder} is not there; it holds {_NEED.partition(': ')[2]}")
    records = RecordSet.load(folder).filter(split=splits, has=("pose_rotmat",))
    if not len(records):
        raise MissingNeed(f"{folder}: no poses of split {' or '.join(splits)}")
    rows = chosen_rows(len(records), bench.limit)
    ids = records.column("id")
    return _Set([ids[row] for row in rows], torch.from_numpy(np.array(records.poses()[rows])))


def _mean_pose(poses: Tensor) -> Tensor:
    """The rotation nearest to each joint's mean matrix."""
    mean: Any = roma.special_procrustes(poses.mean(0))
    return mean


def _vertex_errors(bench: Bench, rebuilt: Tensor, true: Tensor) -> Tensor:
    values = []
    with torch.no_grad():
        for a, b in zip(rebuilt.split(64), true.split(64), strict=True):
            found, wanted = bench.body(a), bench.body(b)
            values.append(pve_mm(found.vertices_m, wanted.vertices_m, found.joints_m[:, 0], wanted.joints_m[:, 0]))
    return torch.cat(values)
