"""Files of a text dataset in the layouts of PoseScript and PoseFix, so that other people's loaders read them too.

    ids_2_dataset_sequence_and_frame_index_100k.json   "17" -> ["AMASS", "CMU/01/01_01_poses.npz", 230]
    {train,val,test}_ids_100k.json                     [0, 1, 2, ...]
    posescript_auto_100k.json                          "17" -> three texts        (-A)
    posescript_refined_6250.json                       "17" -> one text           (-R)
    ids_2_image_100k.json                              "17" -> {"image": ..., "box_xyxy_px": [...]}    (ours)
    pair_id_2_pose_ids.json                            [[4, 17], ...]
    {train,val,test}_{in,out}_sequence_pair_ids.json   [0, 1, ...]
    posefix_auto_135305.json, posefix_refined_6250.json

Poses that come from a motion file are named by it, as PoseScript does; all others are written into poses/ in the form
that AMASS has.
"""

import json
import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from data.record import Record
from llmpose.body.pose import Pose
from llmpose.errors import UserError

Images = Literal["link", "refer", "none"]
"""link: into images/ (hard links, copies across disks); refer: stay where they are; none: no word of them."""

SPLITS = ("train", "val", "test")


def size_name(count: int) -> str:
    """100000 -> "100k", 6293 -> "6293", as the releases name their files."""
    return f"{count // 1000}k" if count >= 1000 and count % 1000 == 0 else str(count)


def write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")


def write_poses(folder: Path, records: Sequence[Record], splits: Sequence[str]) -> None:
    """Which pose each id (place in `records`) is, and the ids of each split."""
    size = size_name(len(records))
    places: dict[str, list[Any]] = {}
    loose: dict[str, list[int]] = defaultdict(list)
    for number, record in enumerate(records):
        if record.sequence is not None and record.sequence.endswith(".npz") and record.frame is not None:
            places[str(number)] = ["AMASS", record.sequence, record.frame]
        else:
            name = f"{record.source}/{splits[number]}_poses.npz"
            places[str(number)] = [record.source, name, len(loose[name])]
            loose[name].append(number)
    for name, numbers in loose.items():
        _write_motion(folder / "poses" / name, [records[number] for number in numbers])
    write_json(folder / f"ids_2_dataset_sequence_and_frame_index_{size}.json", places)
    for split in sorted({*SPLITS, *splits}):
        write_json(folder / f"{split}_ids_{size}.json", [n for n, found in enumerate(splits) if found == split])


def _write_motion(path: Path, records: Sequence[Record]) -> None:
    """Single poses as an AMASS file: one frame each, hands at rest, no translation, no shape."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rotmat = torch.from_numpy(np.stack([record.pose_rotmat for record in records]))  # pyright: ignore
    poses = np.zeros((len(records), 156), np.float32)
    poses[:, :66] = Pose(rotmat).to_axis_angle().flatten(1).numpy()
    np.savez_compressed(
        path,
        poses=poses,
        trans=np.zeros((len(records), 3), np.float32),
        betas=np.zeros(16, np.float32),
        gender="neutral",
        mocap_framerate=1.0,
    )


def write_texts(folder: Path, release: str, kind: str, texts: Mapping[int, Sequence[str]]) -> None:
    """posescript_auto_100k.json and its like; a single text is a text, several are a list."""
    content = {str(number): list(said) if len(said) != 1 else said[0] for number, said in texts.items()}
    write_json(folder / f"{release}_{kind}_{size_name(len(content))}.json", content)


def write_pairs(
    folder: Path, pairs: Iterable[tuple[int, int]], splits: Sequence[str], in_sequence: Sequence[bool]
) -> None:
    """Which poses each pair id joins, and the ids of each split, in and out of sequence."""
    write_json(folder / "pair_id_2_pose_ids.json", [[int(a), int(b)] for a, b in pairs])
    for split in sorted({*SPLITS, *splits}):
        for where, wanted in (("in", True), ("out", False)):
            ids = [n for n, (s, i) in enumerate(zip(splits, in_sequence, strict=True)) if s == split and i == wanted]
            write_json(folder / f"{split}_{where}_sequence_pair_ids.json", ids)


def place_images(
    folder: Path, records: Sequence[Record], mode: Images, *, progress: Callable[[int], None]
) -> list[Record]:
    """Bring the images of the records to where `mode` says, and write ids_2_image; returns records that point there.

    Links are named relative to `folder`; what is only referred to keeps its absolute path.
    """
    if mode == "none":
        return [_with(record, image=None, image_bytes=None) for record in records]
    placed: list[Record] = []
    linked: dict[str, str] = {}
    facts: dict[str, dict[str, Any]] = {}
    for number, record in enumerate(records):
        name: str | None = None
        if record.image_bytes is not None:
            name = f"images/{record.source}/{number}.{_suffix(record.image_bytes)}"
            _write(folder / name, record.image_bytes)
        elif (path := record.image_path()) is not None:
            path = path.absolute()
            name = str(path) if mode == "refer" else linked.get(str(path))
            if name is None:
                name = f"images/{record.source}/{len(linked):07d}{path.suffix.lower()}"
                _link(path, folder / name)
                linked[str(path)] = name
        if name is None:
            placed.append(record)
        else:
            box = None if record.box_xyxy_px is None else [round(float(value), 2) for value in record.box_xyxy_px]
            facts[str(number)] = {"image": name, "box_xyxy_px": box}
            placed.append(_with(record, image=name, image_bytes=None))
        progress(1)
    if facts:
        write_json(folder / f"ids_2_image_{size_name(len(records))}.json", facts)
    return placed


def _with(record: Record, **changes: Any) -> Record:
    return replace(record, image_root=None, **changes)


def _suffix(image: bytes) -> str:
    return "png" if image.startswith(b"\x89PNG") else "jpg"


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if not source.is_file():
        raise UserError(f"{source}: the image of a record is missing; point the record set to its images again")
    try:
        os.link(source, target)
    except OSError:  # another disk, or a file system without links
        shutil.copyfile(source, target)
