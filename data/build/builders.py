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

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from data.build.choose import Progress, choose, groups, normal_joints, quiet
from data.build.layout import Images, place_images, write_pairs, write_poses, write_texts
from data.build.mine import Found, find_pairs
from data.build.texts import Writing, diff_texts, script_texts
from data.captions.compare import turn_deg_between
from data.captions.normalize import Orientation, facing_viewer
from data.folder import write_folder
from data.pair_set import PairSet
from data.record import PairRecord, Record
from data.record_set import RecordSet
from llmpose.body.model import BodyModel, load_body_model
from llmpose.errors import BadUsage

Dataset = Literal["posescript", "posefix", "imagescript", "imagediff"]
DATASETS: tuple[Dataset, ...] = ("posescript", "posefix", "imagescript", "imagediff")
FORM = "llmpose.texts"


@dataclass(frozen=True)
class Options:
    """What is built."""

    count: int | None = None
    """Poses (or poses B of pairs) of the training split; by default the paper's numbers, or all there is."""
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
    features: Tensor | None = None,
    overwrite: bool = False,
    progress: Progress = quiet,
) -> dict[str, Any]:
    """Build one dataset and return its manifest. features: (N, F) of a retrieval model, for mining pairs."""
    if dataset not in DATASETS:
        raise BadUsage(f"unknown dataset {dataset!r}; choose one of {', '.join(DATASETS)}")
    options, body, out = options or Options(), body or load_body_model(), out.absolute()

    def fill(folder: Path) -> dict[str, Any]:
        work = _Work(dataset, records, folder, out, options, body, features, progress)
        return {
            "dataset": dataset,
            "from": records.manifest.get("source"),
            "options": _plain(options),
            "body": "stand-in" if body.is_stand_in else body.kind,
            **(_script(work) if dataset.endswith("script") else _diff(work)),
        }

    return write_folder(out, FORM, fill, overwrite=overwrite)


@dataclass(frozen=True)
class _Work:
    """One run of a builder."""

    dataset: str
    records: RecordSet
    folder: Path
    """Where files are written now."""
    final: Path
    """Where the folder will stand when it is whole."""
    options: Options
    body: BodyModel
    features: Tensor | None
    progress: Progress

    @property
    def needs(self) -> tuple[str, ...]:
        return ("pose_rotmat", "image") if self.dataset.startswith("image") else ("pose_rotmat",)

    def joints(self) -> Tensor:
        return normal_joints(self.records, self.body, orientation=self.options.orientation, progress=self.progress)

    def facing(self, rotmat: Tensor | np.ndarray) -> Tensor:
        return facing_viewer(rotmat, orientation=self.options.orientation)

    def with_images(self, chosen: list[Record]) -> list[Record]:
        mode = self.options.images if self.dataset.startswith("image") else "none"
        return place_images(self.folder, chosen, mode, progress=lambda done: self.progress("images", done, len(chosen)))

    def named(self, number: int, record: Record, texts: list[str]) -> Record:
        """The record under its number in this dataset; where it came from stays known."""
        attributes = {**record.attributes, "from": record.id}
        return replace(record, id=f"{self.dataset}/{number}", texts=list(texts), attributes=attributes)

    def write_set(self, kind: type[RecordSet] | type[PairSet], variant: str, items: Any, **more: Any) -> None:
        # what enters was checked when the records were prepared; the images still lie in the folder being written
        how = {"source": self.dataset, "options": {"variant": variant}, "images": "none", "image_root": self.final}
        kind.write(self.folder / variant, items, **how, **more)


def _script(work: _Work) -> dict[str, Any]:
    joints = work.joints()
    wanted = groups(work.records, work.options.count, work.needs)
    rows = np.concatenate([choose(joints, group, progress=work.progress) for group in wanted])
    chosen = [work.records[int(row)] for row in rows]
    splits = [record.split for record in chosen]
    rotmat = work.facing(work.records.poses(rows))
    texts = script_texts(joints[torch.from_numpy(rows)], rotmat, splits, work.options.writing, progress=work.progress)
    chosen = work.with_images(chosen)
    write_poses(work.folder, chosen, splits)
    for variant, said in zip(("auto", "refined"), texts, strict=True):
        write_texts(work.folder, "posescript", variant, said)
        if said:
            work.write_set(RecordSet, variant, (work.named(n, chosen[n], said[n]) for n in sorted(said)))
    return {"num_poses": len(chosen), "splits": _tally(splits), "num_refined": len(texts[1])}


def _diff(work: _Work) -> dict[str, Any]:
    joints = work.joints()
    found = find_pairs(
        work.records,
        joints,
        groups(work.records, work.options.count, work.needs),
        features=work.features,
        in_sequence_share=work.options.in_sequence_share if work.dataset == "posefix" else None,
        seed=work.options.seed,
        progress=work.progress,
    )
    rows, numbers = np.unique(found.places, return_inverse=True)
    numbers = numbers.reshape(found.places.shape)
    a, b = (torch.from_numpy(np.array(work.records.poses(column))) for column in found.places.T)
    turn_deg = torch.where(torch.tensor(found.in_sequence), turn_deg_between(a, b), 0.0)
    texts = diff_texts(
        {side: joints[torch.from_numpy(column)] for side, column in zip("ab", found.places.T, strict=True)},
        {"a": work.facing(a), "b": work.facing(b)},
        turn_deg,
        found.splits,
        work.options.writing,
        progress=work.progress,
    )
    chosen = work.with_images([work.records[int(row)] for row in rows])
    write_poses(work.folder, chosen, [record.split for record in chosen])
    write_pairs(work.folder, [(int(first), int(second)) for first, second in numbers], found.splits, found.in_sequence)
    for variant, said in zip(("auto", "refined"), texts, strict=True):
        write_texts(work.folder, "posefix", variant, said)
        if said:
            pairs = (_pair(work.dataset, n, numbers[n], found, turn_deg, said[n]) for n in sorted(said))
            used = {int(pose) for n in said for pose in numbers[n]}
            poses = (work.named(n, chosen[n], chosen[n].texts) for n in sorted(used))
            work.write_set(PairSet, variant, pairs, records=poses)
    return {
        "num_pairs": len(found.splits),
        "num_poses": len(chosen),
        "splits": _tally(found.splits),
        "in_sequence": sum(found.in_sequence),
        "num_refined": len(texts[1]),
    }


def _pair(dataset: str, number: int, poses: np.ndarray, found: Found, turn_deg: Tensor, texts: list[str]) -> PairRecord:
    inside = found.in_sequence[number]
    return PairRecord(
        id=f"{dataset}/pair/{number}",
        source=dataset,
        split=found.splits[number],
        a=f"{dataset}/{poses[0]}",
        b=f"{dataset}/{poses[1]}",
        texts=list(texts),
        in_sequence=inside,
        attributes={"turn_deg": round(float(turn_deg[number]), 2)} if inside else {},
    )


def _plain(options: Options) -> dict[str, Any]:
    """The options as JSON; a language model by its name."""
    writing = {name: value for name, value in vars(options.writing).items() if name != "refiner"}
    refiner = options.writing.refiner
    rest = asdict(replace(options, writing=Writing()))
    return {**rest, "writing": {**writing, "refiner": refiner.name if refiner else None}}


def _tally(splits: list[str]) -> dict[str, int]:
    return {split: splits.count(split) for split in dict.fromkeys(splits)}
