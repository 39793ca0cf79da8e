"""Records: what a source holds, one picture or pose at a time, checked where it enters and memory-mapped afterwards.

A record set is a folder: Arrow files (through `datasets`) and a `manifest.json` that says what it is. It is written under
a temporary name and renamed when whole, so a folder that exists is complete.

Frames: a `pose_rotmat` stands in the world/viewer frame of `llmpose.body.pose` (z up, a person facing the viewer has
heading zero). Boxes are xyxy pixels, keypoints (K,3) are x, y, visibility (0 unlabelled, 1 hidden, 2 visible).
"""

import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from data.folders import MANIFEST, atomic_folder, read_manifest, write_manifest
from llmpose.errors import UserError

if TYPE_CHECKING:
    import datasets
    from PIL import Image

    from llmpose.body.pose import Pose

Array = NDArray[np.float32]


@dataclass
class Record:
    """One thing that a source holds: an image and/or a pose and what is known about it."""

    id: str
    source: str
    split: str
    image: str | None = None
    """Path of the picture, absolute or relative to the record set's `image_root`."""
    image_bytes: bytes | None = None
    width: int | None = None
    height: int | None = None
    box_xyxy_px: Array | None = None
    pose_rotmat: Array | None = None
    """(22,3,3)."""
    betas: Array | None = None
    joints_m: Array | None = None
    """(J,3), root-relative or absolute as the source has it, in the frame of the pose."""
    keypoints: Array | None = None
    """(K,3) pixels and visibility."""
    skeleton: str | None = None
    mask_rle: dict[str, Any] | None = None
    texts: list[str] = field(default_factory=list)
    attributes: dict[str, Any] = field(default_factory=dict)
    sequence: str | None = None
    frame: int | None = None
    camera: dict[str, Any] | None = None
    """`focal_px` and `centre_px` of the picture, where known."""
    image_root: str | None = None

    def image_path(self) -> Path | None:
        """Where the picture lies, if it is a file."""
        if self.image is None:
            return None
        path = Path(self.image)
        return path if path.is_absolute() or self.image_root is None else Path(self.image_root) / path

    def load_image(self) -> "Image.Image":
        """The whole picture, RGB, upright as its EXIF says."""
        from PIL import Image, ImageOps

        path = self.image_path()
        if self.image_bytes is None and path is None:
            raise UserError(f"record {self.id} has no image")
        opened = Image.open(io.BytesIO(self.image_bytes) if self.image_bytes is not None else path)  # type: ignore[arg-type]
        return ImageOps.exif_transpose(opened).convert("RGB")

    def pose(self) -> "Pose":
        """The pose as a `Pose`."""
        import torch

        from llmpose.body.pose import Pose

        if self.pose_rotmat is None:
            raise UserError(f"record {self.id} has no pose")
        betas = None if self.betas is None else torch.as_tensor(self.betas)
        return Pose(torch.as_tensor(self.pose_rotmat), betas=betas)


@dataclass
class PairRecord:
    """Two records and the text that leads from the first to the second."""

    id: str
    source: str
    split: str
    a: str
    b: str
    texts: list[str] = field(default_factory=list)
    in_sequence: bool = False
    attributes: dict[str, Any] = field(default_factory=dict)


_ARRAYS: dict[str, tuple[int, ...]] = {
    "box_xyxy_px": (4,),
    "pose_rotmat": (22, 3, 3),
    "betas": (-1,),
    "joints_m": (-1, 3),
    "keypoints": (-1, 3),
}
_JSON = ("mask_rle", "attributes", "camera")


class Rejects:
    """Records set aside while reading: counted by reason, and too many of them stop the run before it starts."""

    def __init__(self, limit: float = 0.01) -> None:
        self.limit = limit
        self.reasons: dict[str, int] = {}
        self.examples: dict[str, str] = {}
        self.kept = 0

    def keep(self) -> None:
        self.kept += 1

    def add(self, reason: str, where: str) -> None:
        """Set one record aside; the first of each reason is remembered by name."""
        self.reasons[reason] = self.reasons.get(reason, 0) + 1
        self.examples.setdefault(reason, where)

    @property
    def total(self) -> int:
        return sum(self.reasons.values())

    @property
    def share(self) -> float:
        return self.total / max(1, self.kept + self.total)

    def summary(self) -> str:
        """`3 of 200 set aside: 2 image missing (first: 17), 1 pose is not finite (first: 40)`."""
        if not self.reasons:
            return f"{self.kept} records, none set aside"
        parts = [f"{count} {reason} (first: {self.examples[reason]})" for reason, count in sorted(self.reasons.items())]
        return f"{self.total} of {self.kept + self.total} records set aside: " + ", ".join(parts)

    def check(self, what: str) -> None:
        """Stop when more than the allowed share was set aside, or when nothing is left."""
        if self.kept == 0 and self.total:
            raise UserError(f"{what}: no record is usable; {self.summary()}")
        if self.share > self.limit:
            raise UserError(
                f"{what}: {self.summary()}; that is {self.share:.1%}, more than the allowed {self.limit:.1%}; "
                f"mend the files or allow more with --max-rejects {min(1.0, np.ceil(self.share * 100) / 100):.2f}"
            )


def problem_of(record: Record, num_keypoints: Callable[[str], int] | None = None) -> str | None:
    """What is wrong with a record, in a few words fit for counting; None if nothing is."""
    if record.pose_rotmat is not None:
        pose = np.asarray(record.pose_rotmat)
        if pose.shape != (22, 3, 3):
            return f"pose has shape {pose.shape}, not (22, 3, 3)"
        if not np.isfinite(pose).all():
            return "pose is not finite"
        if np.abs(pose @ np.swapaxes(pose, -1, -2) - np.eye(3)).max() > 1e-3 or (np.linalg.det(pose) < 0).any():
            return "pose is not made of rotations"
    if record.betas is not None and not np.isfinite(record.betas).all():
        return "shape is not finite"
    if record.joints_m is not None:
        joints = np.asarray(record.joints_m)
        if not np.isfinite(joints).all():
            return "joints are not finite"
        if np.ptp(joints, axis=0).max() > 20:
            return "joints span more than 20 m (millimetres?)"
    if record.keypoints is not None:
        points = np.asarray(record.keypoints)
        if points.ndim != 2 or points.shape[1] != 3:
            return "keypoint list has the wrong length"
        if record.skeleton is not None and num_keypoints is not None and len(points) != num_keypoints(record.skeleton):
            return "keypoint list has the wrong length"
        if not np.isfinite(points).all():
            return "keypoints are not finite"
    if record.box_xyxy_px is not None:
        x0, y0, x1, y1 = (float(v) for v in record.box_xyxy_px)
        if not np.isfinite([x0, y0, x1, y1]).all():
            return "box is not finite"
        if x1 <= x0 or y1 <= y0:
            return "box has no area"
        outside = (
            record.width is not None
            and record.height is not None
            and (x1 <= 0 or y1 <= 0 or x0 >= record.width or y0 >= record.height)
        )
        if outside:
            return "box lies outside its image"
    if any(not text.strip() for text in record.texts):
        return "caption is empty"
    return None


def verify_image(record: Record) -> str | None:
    """Open the picture; what is wrong with it, or None. Fills in width and height."""
    path = record.image_path()
    if record.image_bytes is None and path is not None and not path.is_file():
        return "image is missing"
    try:
        image = record.load_image()
    except Exception as error:  # PIL raises many kinds; each means that the file is no readable picture
        return f"image cannot be decoded ({type(error).__name__})"
    record.width, record.height = image.size
    return None


class _Set:
    """What record sets and pair sets share: an Arrow folder, indices into it, a manifest."""

    kind: ClassVar[str]

    def __init__(self, root: Path, table: "datasets.Dataset", manifest: dict[str, Any]) -> None:
        self.root = root
        self.table = table
        self.manifest = manifest
        self._by_id: dict[str, int] | None = None

    @classmethod
    def _open(cls, folder: str | Path) -> tuple[Path, "datasets.Dataset", dict[str, Any]]:
        import datasets

        root = Path(folder)
        manifest = read_manifest(root, cls.kind)
        return root, datasets.load_from_disk(str(root / "arrow")), manifest  # type: ignore[return-value]

    def __len__(self) -> int:
        return len(self.table)

    @property
    def columns(self) -> list[str]:
        """Fields that hold something."""
        return list(self.manifest["fields"])

    def ids(self) -> list[str]:
        return list(self.table["id"])

    def position(self, identity: str) -> int:
        """Where the record with this id stands."""
        if self._by_id is None:
            self._by_id = {name: k for k, name in enumerate(self.table["id"])}
        if identity not in self._by_id:
            raise UserError(f"{self.root}: holds no record {identity!r}")
        return self._by_id[identity]


def _pack(record: Record | PairRecord) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for spec in fields(record):
        value = getattr(record, spec.name)
        if spec.name == "image_root":
            continue
        if spec.name in _ARRAYS and value is not None:
            value = np.asarray(value, np.float32).ravel()
        if spec.name in _JSON:
            value = json.dumps(value, sort_keys=True) if value else None
        row[spec.name] = value
    return row


def _features(kind: type) -> "datasets.Features":
    from datasets import Features, List, Value

    types: dict[str, Any] = {}
    for spec in fields(kind):
        if spec.name == "image_root":
            continue
        if spec.name in _ARRAYS:
            types[spec.name] = List(Value("float32"))
        elif spec.name == "texts":
            types[spec.name] = List(Value("string"))
        elif spec.name == "image_bytes":
            types[spec.name] = Value("binary")
        elif spec.name in ("width", "height", "frame"):
            types[spec.name] = Value("int64")
        elif spec.name == "in_sequence":
            types[spec.name] = Value("bool")
        else:
            types[spec.name] = Value("string")
    return Features(types)


def _write(folder: str | Path, kind: type, name: str, rows: Iterable[Any], extra: dict[str, Any]) -> dict[str, Any]:
    """Arrow in a temporary folder, manifest last, then one rename."""
    import datasets

    features = _features(kind)
    filled: set[str] = set()
    count = 0
    with atomic_folder(folder) as partial:
        shards: list[datasets.Dataset] = []
        buffer: list[dict[str, Any]] = []

        def flush() -> None:
            if buffer:
                columns = {key: [row[key] for row in buffer] for key in features}
                shards.append(datasets.Dataset.from_dict(columns, features=features))
                buffer.clear()

        for record in rows:
            row = _pack(record)
            filled |= {key for key, value in row.items() if isinstance(value, np.ndarray) or value not in (None, [])}
            buffer.append(row)
            count += 1
            if len(buffer) == 5000:
                flush()
        flush()
        if not shards:
            shards = [datasets.Dataset.from_dict({key: [] for key in features}, features=features)]
        table = datasets.concatenate_datasets(shards) if len(shards) > 1 else shards[0]
        table.save_to_disk(str(partial / "arrow"))
        order = [key for key in features if key in filled]
        manifest = {"kind": name, "count": count, "fields": order, **extra}
        write_manifest(partial, manifest)
    return manifest


class RecordSet(_Set):
    """Records in a folder, memory-mapped."""

    kind = "llmpose records"

    @classmethod
    def load(cls, folder: str | Path) -> "RecordSet":
        """Open a prepared folder; one line says so when it is not one."""
        return cls(*cls._open(folder))

    @classmethod
    def write(
        cls, folder: str | Path, records: Iterable[Record], *, image_root: str | Path | None = None, **about: Any
    ) -> "RecordSet":
        """Write records to a new folder and open it; `about` goes into the manifest."""
        root = None if image_root is None else str(Path(image_root).resolve())
        _write(folder, Record, cls.kind, records, {"image_root": root, **about})
        return cls.load(folder)

    @property
    def image_root(self) -> str | None:
        return self.manifest.get("image_root")

    def __getitem__(self, index: int) -> Record:
        row: dict[str, Any] = dict(self.table[int(index)])
        for name, shape in _ARRAYS.items():
            if row[name] is not None:
                row[name] = np.asarray(row[name], np.float32).reshape(shape)
        for name in _JSON:
            row[name] = json.loads(row[name]) if row[name] else ({} if name == "attributes" else None)
        row["texts"] = row["texts"] or []
        return Record(**row, image_root=self.image_root)

    def __iter__(self) -> Iterator[Record]:
        return (self[k] for k in range(len(self)))

    def by_id(self, identity: str) -> Record:
        return self[self.position(identity)]

    def poses(self, indices: Sequence[int] | None = None) -> Array:
        """All poses at once, (N,22,3,3) float32, without building records. Every record must have one."""
        table = self.table if indices is None else self.table.select(list(indices))
        column = table.with_format("arrow")[:]["pose_rotmat"].combine_chunks()
        if column.null_count:
            raise UserError(f"{self.root}: {column.null_count} of {len(table)} records have no pose; filter them first")
        return np.asarray(column.flatten(), np.float32).reshape(-1, 22, 3, 3).copy()

    def filter(self, *, split: str | None = None, has: Sequence[str] = ()) -> "RecordSet":
        """The records of one split and/or with all of these fields filled."""
        table = self.table.with_format("arrow")[:]
        keep = np.ones(len(self.table), bool)
        if split is not None:
            keep &= np.asarray(table["split"].to_pylist(), object) == split
        for name in has:
            column = table[name].combine_chunks()
            keep &= (
                np.array([len(v) > 0 for v in column.to_pylist()]) if name == "texts" else ~np.asarray(column.is_null())
            )
        return RecordSet(self.root, self.table.select(np.flatnonzero(keep)), self.manifest)

    def select(self, indices: Sequence[int]) -> "RecordSet":
        return RecordSet(self.root, self.table.select(list(indices)), self.manifest)


class PairSet(_Set):
    """Pairs of records in a folder; `records` is the set their ids refer to (the folder `records` inside)."""

    kind = "llmpose pairs"

    def __init__(self, root: Path, table: "datasets.Dataset", manifest: dict[str, Any]) -> None:
        super().__init__(root, table, manifest)
        self.records = RecordSet.load(root / "records")

    @classmethod
    def load(cls, folder: str | Path) -> "PairSet":
        return cls(*cls._open(folder))

    @classmethod
    def write(
        cls, folder: str | Path, pairs: Iterable[PairRecord], records: Iterable[Record], *,
        image_root: str | Path | None = None, **about: Any,
    ) -> "PairSet":  # fmt: skip
        """Write the pairs and the records they refer to; both appear at once, in one folder."""
        with atomic_folder(folder) as partial:
            RecordSet.write(partial / "records", records, image_root=image_root)
            _write(partial / "pairs", PairRecord, cls.kind, pairs, about)
            for name in ("arrow", MANIFEST):
                (partial / "pairs" / name).rename(partial / name)
            (partial / "pairs").rmdir()
        return cls.load(folder)

    def __getitem__(self, index: int) -> PairRecord:
        row: dict[str, Any] = dict(self.table[int(index)])
        row["attributes"] = json.loads(row["attributes"]) if row["attributes"] else {}
        row["texts"] = row["texts"] or []
        return PairRecord(**row)

    def __iter__(self) -> Iterator[PairRecord]:
        return (self[k] for k in range(len(self)))

    def both(self, index: int) -> tuple[PairRecord, Record, Record]:
        """The pair and its two records."""
        pair = self[index]
        return pair, self.records.by_id(pair.a), self.records.by_id(pair.b)
