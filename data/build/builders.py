"""Builders of the four text datasets (UniPose suppl. §A): PoseScript, PoseFix, ImageScript, ImageDiff.

    build("imagescript", RecordSet.load("records/coco"), Path("out/imagescript"))

    out/imagescript/
      posescript_auto_50k.json, posescript_refined_6250.json, ids ... (see layout.py)
      images/      the pictures                                   (ImageScript, ImageDiff)
      poses/       poses that stand in no motion file, as AMASS files
      auto/        the same as a record set (or a set of pairs), ready to train on
      refined/     those with a refined text

The two scripts hold single poses, the two diffs pairs; "image" ones only take records with a picture. Everything
appears at once when it is whole; the same records, options and seed give the same files.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from data.build.choose import Progress, choose, groups, normal_joints, quiet
from data.build.layout import Images, place_images, write_pairs, write_poses, write_texts
from data.build.pairs import Kind, Motions, joint_features, mine_pairs
from data.build.texts import Writing, diff_texts, script_texts
from data.captions.compare import turn_deg_between
from data.captions.normalize import Orientation, facing_viewer
from data.captions.posecodes import posecodes
from data.folder import write_folder
from data.pair_set import PairSet
from data.record import PairRecord, Record
from data.record_set import RecordSet
from llmpose.body.model import BodyModel, load_body_model
from llmpose.errors import BadUsage, UserError

Dataset = Literal["posescript", "posefix", "imagescript", "imagediff"]
DATASETS: tuple[Dataset, ...] = ("posescript", "posefix", "imagescript", "imagediff")
FORM = "llmpose.texts"


@dataclass(frozen=True)
class Options:
    """What is built."""

    count: int | None = None
    """Of the training split; by default the paper's numbers, or all there is."""
    writing: Writing = field(default_factory=Writing)
    images: Images = "link"
    orientation: Orientation = "heading"
    """What is taken from the root before choosing and describing."""
    in_sequence_share: float = 0.5
    """PoseFix: share of pairs that come from one motion, as far as there are."""
    seed: int = 0


def build(
    dataset: str,
    records: RecordSet,
    out: Path,
    options: Options | None = None,
    *,
    body: BodyModel | None = None,
    features: torch.Tensor | None = None,
    overwrite: bool = False,
    progress: Progress = quiet,
) -> dict[str, Any]:
    """Build one dataset and return its manifest. features: (N, F) of a retrieval model, for mining pairs."""
    if dataset not in DATASETS:
        raise BadUsage(f"unknown dataset {dataset!r}; choose one of {', '.join(DATASETS)}")
    options = options or Options()
    body = body or load_body_model()
    fill = _fill_script if dataset in ("posescript", "imagescript") else _fill_diff
    out = out.absolute()

    def work(folder: Path) -> dict[str, Any]:
        return {
            "dataset": dataset,
            "from": records.manifest.get("source"),
            "options": _plain(options),
            "body": "stand-in" if body.is_stand_in else body.kind,
            **fill(dataset, records, folder, out, options, body, features, progress),
        }

    return write_folder(out, FORM, work, overwrite=overwrite)


def _plain(options: Options) -> dict[str, Any]:
    writing = {name: value for name, value in vars(options.writing).items() if name != "refiner"}
    refiner = options.writing.refiner
    return {**asdict(replace(options, writing=Writing())), "writing": {**writing, "refiner": refiner and refiner.name}}


def _needs(dataset: str) -> tuple[str, ...]:
    return ("pose_rotmat", "image") if dataset.startswith("image") else ("pose_rotmat",)


# ---- single poses ---------------------------------------------------------------------------------------------------


def _fill_script(
    dataset: str,
    records: RecordSet,
    folder: Path,
    final: Path,
    options: Options,
    body: BodyModel,
    features: torch.Tensor | None,
    progress: Progress,
) -> dict[str, Any]:
    joints = normal_joints(records, body, orientation=options.orientation, progress=progress)
    rows = np.concatenate(
        [choose(joints, group, progress=progress) for group in groups(records, options.count, _needs(dataset))]
    )
    chosen = [records[int(row)] for row in rows]
    splits = [record.split for record in chosen]
    rotmat = facing_viewer(records.poses(rows), orientation=options.orientation)
    auto, refined = script_texts(joints[torch.from_numpy(rows)], rotmat, splits, options.writing, progress=progress)
    chosen = _placed(dataset, folder, chosen, options, progress)
    write_poses(folder, chosen, splits)
    for kind, texts in (("auto", auto), ("refined", refined)):
        write_texts(folder, "posescript", kind, texts)
        if texts:
            renamed = (_renamed(dataset, number, chosen[number], texts[number]) for number in sorted(texts))
            _write_set(RecordSet, folder / kind, renamed, dataset, kind, image_root=final)
    return {"num_poses": len(chosen), "splits": _tally(splits), "num_refined": len(refined)}


def _placed(dataset: str, folder: Path, chosen: list[Record], options: Options, progress: Progress) -> list[Record]:
    mode = options.images if dataset.startswith("image") else "none"
    return place_images(folder, chosen, mode, progress=lambda done: progress("images", done, len(chosen)))


def _renamed(dataset: str, number: int, record: Record, texts: list[str]) -> Record:
    attributes = {**record.attributes, "from": record.id}
    return replace(record, id=f"{dataset}/{number}", texts=list(texts), attributes=attributes)


def _write_set(kind: Any, path: Path, items: Any, dataset: str, variant: str, **more: Any) -> None:
    # what enters was checked when the records were prepared; images may still lie in the folder that is being written
    kind.write(path, items, source=dataset, options={"variant": variant}, images="none", **more)


def _tally(splits: list[str]) -> dict[str, int]:
    return {split: splits.count(split) for split in dict.fromkeys(splits)}


# ---- pairs ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Pairs:
    """Pairs of places in the record set."""

    places: np.ndarray
    """(P, 2) A and B."""
    splits: list[str]
    in_sequence: list[bool]


def _fill_diff(
    dataset: str,
    records: RecordSet,
    folder: Path,
    final: Path,
    options: Options,
    body: BodyModel,
    features: torch.Tensor | None,
    progress: Progress,
) -> dict[str, Any]:
    joints = normal_joints(records, body, orientation=options.orientation, progress=progress)
    found = _mine(dataset, records, joints, options, features, progress)
    rows = np.unique(found.places)
    number_of = {int(row): number for number, row in enumerate(rows)}
    chosen = [records[int(row)] for row in rows]
    poses = torch.from_numpy(np.array(records.poses(found.places.T.reshape(-1))))
    a, b = poses[: len(found.places)], poses[len(found.places) :]
    turn = torch.where(torch.tensor(found.in_sequence), turn_deg_between(a, b), 0.0)
    facing = {
        "a": facing_viewer(a, orientation=options.orientation),
        "b": facing_viewer(b, orientation=options.orientation),
    }
    seen = {side: joints[torch.from_numpy(found.places[:, column])] for column, side in enumerate("ab")}
    auto, refined = diff_texts(seen, facing, turn, found.splits, options.writing, progress=progress)
    chosen = _placed(dataset, folder, chosen, options, progress)
    write_poses(folder, chosen, [record.split for record in chosen])
    write_pairs(
        folder, ((number_of[int(p)], number_of[int(q)]) for p, q in found.places), found.splits, found.in_sequence
    )
    for kind, texts in (("auto", auto), ("refined", refined)):
        write_texts(folder, "posefix", kind, texts)
        if texts:
            named = (_renamed(dataset, number, record, record.texts) for number, record in enumerate(chosen))
            pairs = _pair_records(dataset, found, number_of, turn, texts)
            _write_set(PairSet, folder / kind, pairs, dataset, kind, records=named, image_root=final)
    inside = sum(found.in_sequence)
    return {
        "num_pairs": len(found.splits),
        "num_poses": len(chosen),
        "splits": _tally(found.splits),
        "in_sequence": inside,
        "num_refined": len(refined),
    }


def _mine(
    dataset: str,
    records: RecordSet,
    joints: torch.Tensor,
    options: Options,
    features: torch.Tensor | None,
    progress: Progress,
) -> _Pairs:
    """Pairs within each split (so that no pose stands in two), targets by farthest point sampling in each source."""
    wanted = groups(records, options.count, _needs(dataset))
    motions = _motions(records)
    pairs: list[np.ndarray] = []
    splits: list[str] = []
    for split in dict.fromkeys(group.split for group in wanted):
        mine = [group for group in wanted if group.split == split]
        pool = np.sort(np.concatenate([group.rows for group in mine]))
        place_of = {int(row): place for place, row in enumerate(pool)}
        targets = np.concatenate([choose(joints, group, progress=progress) for group in mine])
        inside = torch.from_numpy(pool)
        near = joint_features(joints[inside]) if features is None else features[inside]
        codes = posecodes(joints[inside]).category
        known = Motions(motions.sequence[pool], motions.time_s[pool])
        found: list[np.ndarray] = []
        for kind, count in _kinds(dataset, len(targets), options):
            mined = mine_pairs(
                near,
                codes,
                motions=known,
                kind=kind,
                count=count if kind != "out" or not found else len(targets) - len(found[0]),
                targets=[place_of[int(row)] for row in targets],
                seed=options.seed,
                progress=lambda done, split=split: progress(f"pairs {split}", done, 0),
            )
            found.append(mined)
        both = np.concatenate(found)
        pairs.append(pool[both])
        splits += [split] * len(both)
    places = np.concatenate(pairs)
    if not len(places):
        raise UserError(
            f"no pair among {len(records)} poses: none has a pose near it that differs in 10 posecodes; give more poses"
        )
    same = motions.sequence[places[:, 0]] == motions.sequence[places[:, 1]]
    return _Pairs(places, splits, same.tolist())


def _kinds(dataset: str, count: int, options: Options) -> Iterator[tuple[Kind, int]]:
    """PoseFix mines pairs within motions first, and fills up with others; images rarely come from one motion."""
    if dataset == "posefix":
        yield "in", round(count * options.in_sequence_share)
        yield "out", count
    else:
        yield "any", count


def _motions(records: RecordSet) -> Motions:
    frames = records.column("frame")
    attributes = [record or "" for record in records.column("attributes")]
    time_s = [None if frame is None else frame / _rate(text) for frame, text in zip(frames, attributes, strict=True)]
    return Motions.of(records.column("sequence"), time_s)


def _rate(attributes: str) -> float:
    """Frames per second; 30 where the source does not say."""
    import json

    return float(json.loads(attributes).get("frames_per_second") or 30.0) if "frames_per_second" in attributes else 30.0


def _pair_records(
    dataset: str, found: _Pairs, number_of: dict[int, int], turn_deg: torch.Tensor, texts: dict[int, list[str]]
) -> Iterator[PairRecord]:
    for number in sorted(texts):
        a, b = (number_of[int(row)] for row in found.places[number])
        turn = {"turn_deg": round(float(turn_deg[number]), 2)} if found.in_sequence[number] else {}
        yield PairRecord(
            id=f"{dataset}/pair/{number}",
            source=dataset,
            split=found.splits[number],
            a=f"{dataset}/{a}",
            b=f"{dataset}/{b}",
            texts=list(texts[number]),
            in_sequence=found.in_sequence[number],
            attributes=turn,
        )
