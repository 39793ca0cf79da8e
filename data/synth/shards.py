"""A world is made in shards: some pictures or some motions, each from its own seed, each whole or not there.

A shard's files are written first, then its note (a json file with sizes, sums and annotations). Whoever finds the note
finds the files; whoever does not makes the shard again. So an interrupted world goes on where it stopped, and what
comes out does not depend on how many processes made it.
"""

import errno
import hashlib
import io
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from PIL import Image

from data.synth.presets import SPLITS, Split, WorldRecipe
from llmpose.errors import UserError

if TYPE_CHECKING:
    from data.synth.labels import PersonLabel
    from llmpose.body.camera import Camera

Kind: TypeAlias = Literal["images", "motions", "extremes"]
_KINDS: tuple[Kind, ...] = ("images", "motions", "extremes")

NOTES = ".unfinished"
"""Folder of the notes inside a world that is not finished."""

_IMAGES_PER_SHARD = 40
_MOTIONS_PER_SHARD = 12
_MEAN_GROUP = 2.85
_GROUP_SIZES = {2: 0.48, 3: 0.30, 4: 0.13, 5: 0.06, 6: 0.03}
_FRAMES: dict[Kind, int] = {"motions": 480, "extremes": 150}
_KEPT: dict[Kind, tuple[float, int]] = {"motions": (0.6, 10), "extremes": (0.8, 5)}
"""What readers keep of a motion: share in the middle, and every how many frames."""
_SUBSETS: dict[Split, str] = {"train": "CMU", "val": "HumanEva", "test": "SSM_synced"}
"""Folders named after subsets of AMASS, so that the usual split by subset holds."""
_MOTIONS_PER_SUBJECT = 6


@dataclass(frozen=True)
class Shard:
    kind: Kind
    split: Split
    number: int
    first: int
    """Number of its first picture or motion within the split."""
    count: int

    @property
    def name(self) -> str:
        return f"{self.kind}_{self.split}_{self.number:05d}"

    def generator(self, seed: int, *more: int) -> np.random.Generator:
        """Its own stream: no two shards, kinds or splits share any."""
        key = (_KINDS.index(self.kind), SPLITS.index(self.split), *(more or (0, self.number)))
        return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def plan(recipe: WorldRecipe) -> list[Shard]:
    """All shards of a world, the slow ones (pictures) first."""
    shards: list[Shard] = []
    alone = _single_image_share(recipe)
    for kind in _KINDS:
        for split in SPLITS:
            if kind == "images":
                total = round(recipe.persons[split] / (alone + (1 - alone) * _MEAN_GROUP))
                size = _IMAGES_PER_SHARD
            else:
                poses = recipe.poses if kind == "motions" else recipe.extreme_poses
                share, step = _KEPT[kind]
                total = max(round(poses[split] / (_FRAMES[kind] * share / step)), int(poses[split] > 0))
                size = _MOTIONS_PER_SHARD
            shards += [
                Shard(kind, split, number, first, min(size, total - first))
                for number, first in enumerate(range(0, total, size))
            ]
    return shards


def _single_image_share(recipe: WorldRecipe) -> float:
    """Share of pictures with one person that makes `single_share` of the people alone."""
    single = recipe.single_share
    return single * _MEAN_GROUP / (1 - single + single * _MEAN_GROUP) if single < 1 else 1.0


# ---- making one ------------------------------------------------------------------------------------------------------


def make_shard(out: Path, shard: Shard, recipe: WorldRecipe, seed: int) -> None:
    """Write its files, then its note."""
    note = _make_images(out, shard, recipe, seed) if shard.kind == "images" else _make_motions(out, shard, seed)
    write_file(note_path(out, shard), json.dumps(note, separators=(",", ":")).encode())


def compile_loops() -> None:
    """Paint a stamp of somebody, so that the loops of the pictures are compiled and kept on disk."""
    from data.synth.poses import draw_poses
    from data.synth.scene import draw_people, make_scene

    rng = np.random.default_rng(0)
    make_scene(draw_people(draw_poses(1, rng), rng), rng, width=32, height=32)


def note_path(out: Path, shard: Shard) -> Path:
    return out / NOTES / f"{shard.name}.json"


def read_note(out: Path, shard: Shard) -> dict[str, Any] | None:
    """The note of a finished shard; None if it has to be made (again)."""
    try:
        note = json.loads(note_path(out, shard).read_bytes())
        whole = all((out / name).stat().st_size == entry["bytes"] for name, entry in note["files"].items())
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return note if whole else None


def _make_images(out: Path, shard: Shard, recipe: WorldRecipe, seed: int) -> dict[str, Any]:
    from data.synth.formats_coco import annotation, as_text, camera_poses, image_entry
    from data.synth.formats_hmr import hmr_row
    from data.synth.poses import draw_poses
    from data.synth.scene import draw_people, make_scene

    rng = shard.generator(seed)
    alone = rng.random(shard.count) < _single_image_share(recipe)
    groups = rng.choice(list(_GROUP_SIZES), size=shard.count, p=list(_GROUP_SIZES.values()))
    sizes = np.where(alone, 1, groups)
    people = draw_people(draw_poses(int(sizes.sum()), rng), rng)
    starts = np.cumsum([0, *sizes])
    files: dict[str, Any] = {}
    images: list[str] = []
    seen: list[tuple[Camera, PersonLabel, str, int, int]] = []
    for k, size in enumerate(sizes.tolist()):
        width = recipe.image_px if size == 1 else recipe.image_px * 3 // 2
        scene = make_scene(people[starts[k] : starts[k + 1]], rng, width=width, height=recipe.image_px)
        image_id = SPLITS.index(shard.split) * 10_000_000 + shard.first + k + 1
        name = f"{image_id:012d}.jpg"
        content = _jpeg(scene.image, int(rng.integers(85, 96)))
        files |= write_in(out, f"images/{shard.split}/{name}", content)
        images.append(as_text(image_entry(scene, image_id, name)))
        seen += [
            (scene.camera, label, f"{shard.split}/{name}", image_id, image_id * 10 + place)
            for place, label in enumerate(scene.people)
        ]
    poses, trans = camera_poses([label.person for _, label, *_ in seen], [camera for camera, *_ in seen])
    annotations: list[str] = []
    rows: list[dict[str, Any]] = []
    for (camera, label, name, image_id, number), pose, trans_m in zip(seen, poses, trans, strict=True):
        annotations.append(as_text(annotation(label, pose, trans_m, image_id, number)))
        rows.append(hmr_row(camera, label, pose, name))
    return {"files": files, "images": images, "annotations": annotations, "hmr": rows}


def _jpeg(image: np.ndarray, quality: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality, subsampling=0)
    return file.getvalue()


def _make_motions(out: Path, shard: Shard, seed: int) -> dict[str, Any]:
    from data.synth.formats_amass import amass_bytes
    from data.synth.sequences import make_motion

    rng = shard.generator(seed)
    files: dict[str, Any] = {}
    motions = []
    for number in range(shard.first, shard.first + shard.count):
        subject, place = divmod(number, _MOTIONS_PER_SUBJECT)
        betas = np.clip(shard.generator(seed, 1, subject).standard_normal(10), -2, 2).astype(np.float32)
        frames = int(_FRAMES[shard.kind] * rng.uniform(0.75, 1.25))
        motion = make_motion(
            rng,
            frames=frames,
            frames_per_second=float(rng.choice([30, 60])),
            betas=betas,
            theme="extreme" if shard.kind == "extremes" else None,
        )
        subject_name = f"{subject + 1:02d}"
        if shard.kind == "motions":
            name = f"poses/{_SUBSETS[shard.split]}/{subject_name}/{subject_name}_{place + 1:02d}_poses.npz"
        else:
            name = f"moyo/{shard.split}/yoga_{number + 1:04d}.npz"
        files |= write_in(out, name, amass_bytes(motion, betas))
        motions.append({"file": name, "theme": motion.theme, "poses": motion.names, "frames": frames})
    return {"files": files, "motions": motions}


# ---- files -----------------------------------------------------------------------------------------------------------


def write_in(out: Path, name: str, content: bytes) -> dict[str, dict[str, Any]]:
    """Write a file of the world; what the manifest says of it."""
    write_file(out / name, content)
    return {name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}}


def write_file(path: Path, content: bytes) -> None:
    """Under another name first, then renamed: no half file is ever taken for a whole one."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "wb") as file:
            file.write(content)
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                f"{path}: the disk is full; free some space and start again: what is finished is kept"
            ) from None
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise UserError(f"{path}: may not be written here ({error.strerror}); choose another --out") from None
        raise
