"""The `RecordSet`: records on disk as Arrow, memory-mapped; ways to choose among them and to get all poses at once."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pyarrow import compute

from data.arrow import (
    RECORD_SCHEMA,
    TableWriter,
    as_dataset,
    fixed_column,
    open_table,
    record_from_row,
    records_to_table,
)
from data.checks import ImageCheck, check_records, oddity
from data.folder import read_manifest, verify_folder, write_folder
from data.record import Record
from data.rejects import Rejects
from data.rows import Progress, Rows, Tally, batches
from llmpose.body.skeleton import Skeleton, load_skeleton, skeleton_from_dict
from llmpose.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset

_FORM = "llmpose.records"


class RecordSet(Rows):
    """An ordered set of records, or a view of some of them; the views share what is mapped."""

    def __init__(
        self,
        dataset: "Dataset",
        *,
        image_root: Path | None = None,
        skeletons: Mapping[str, Skeleton] | None = None,
        manifest: Mapping[str, Any] | None = None,
        indices: np.ndarray | None = None,
    ) -> None:
        super().__init__(dataset, indices)
        self.image_root = image_root
        self.skeletons = dict(skeletons or {})
        """Skeletons that this set brought along, beside those of the library."""
        self.manifest = dict(manifest or {})
        self._places: dict[str, int] | None = None

    # ---- on disk and in memory --------------------------------------------------------------------------------------

    @classmethod
    def load(cls, path: str | Path, *, image_root: str | Path | None = None, verify: bool = False) -> "RecordSet":
        """Open a folder that `write` made. `image_root`: where its images are now, if they have moved."""
        path = Path(path)
        manifest = read_manifest(path, _FORM, "a record set")
        if verify:
            verify_folder(path, manifest)
        root = image_root if image_root is not None else manifest.get("image_root")
        skeletons = {
            name: skeleton_from_dict(content, f"{path}: skeleton {name}")
            for name, content in manifest.get("skeletons", {}).items()
        }
        return cls(
            open_table(path / "records.arrow"),
            image_root=None if root is None else Path(root),
            skeletons=skeletons,
            manifest=manifest,
        )

    @classmethod
    def from_records(
        cls,
        records: Iterable[Record],
        *,
        image_root: Path | None = None,
        skeletons: Mapping[str, Skeleton] | None = None,
    ) -> "RecordSet":
        """A record set in memory, unchecked: for records that a program made itself."""
        return cls(as_dataset(records_to_table(list(records))), image_root=image_root, skeletons=skeletons)

    @classmethod
    def write(
        cls,
        path: str | Path,
        records: Iterable[Record],
        *,
        source: str | None = None,
        options: Mapping[str, Any] | None = None,
        image_root: str | Path | None = None,
        skeletons: Mapping[str, Skeleton] | None = None,
        rejects: Rejects | None = None,
        images: ImageCheck = "header",
        embed_images: bool = False,
        overwrite: bool = False,
        progress: Progress | None = None,
    ) -> "RecordSet":
        """Check records and write them as one folder, whole or not at all.

        `rejects` counts what is set aside, here and by the reader; too many, and nothing is written. `embed_images`
        stores the image files in the rows, so that the folder can travel alone. `source` and `options` say in the
        manifest where they come from.
        """
        path, rejects = Path(path), Rejects() if rejects is None else rejects
        root = None if image_root is None else Path(image_root).absolute()
        own = dict(skeletons or {})
        tally = Tally()

        def accepted() -> Iterator[Record]:
            seen: set[str] = set()
            for batch in batches(records):
                reasons = check_records(batch, lambda name: _find(own, name), image_root=root, images=images)
                for record, reason in zip(batch, reasons, strict=True):
                    reason = reason or ("id is there twice" if record.id in seen else None)
                    if reason is not None:
                        # of an image it helps to know the file, below the folder that was given
                        rejects.add(reason, record.image if reason.startswith("image ") else record.id)
                        continue
                    seen.add(record.id)
                    rejects.accepted += 1
                    odd = oddity(record)
                    if odd is not None:
                        rejects.kept[odd].append(record.id)
                    tally.add(record)
                    yield _with_image(record, root) if embed_images else record
                if progress is not None:
                    progress(len(batch))

        def fill(folder: Path) -> dict[str, Any]:
            with TableWriter(folder / "records.arrow", RECORD_SCHEMA) as writer:
                for batch in batches(accepted()):
                    writer.write(records_to_table(batch))
            rejects.check(str(path))
            if not tally.count:
                raise UserError(f"{path}: no records to write ({rejects.summary()})")
            return {
                "source": source or tally.sources(),
                "options": dict(options or {}),
                "image_root": None if root is None or embed_images else str(root),
                **tally.to_json(),
                "skeletons": {name: skeleton.to_dict() for name, skeleton in sorted(own.items())},
                "rejects": rejects.to_json(),
            }

        write_folder(path, _FORM, fill, overwrite=overwrite)
        return cls.load(path)

    # ---- one by one -------------------------------------------------------------------------------------------------

    def __getitem__(self, index: int) -> Record:
        return record_from_row(self._row(index), self.image_root)

    def __iter__(self) -> Iterator[Record]:
        return (self[index] for index in range(len(self)))

    def index_of(self, record_id: str) -> int:
        """The place of a record in this set."""
        if self._places is None:
            self._places = {name: place for place, name in enumerate(self.ids())}
        if record_id not in self._places:
            raise UserError(f"no record {record_id!r} among these {len(self)}")
        return self._places[record_id]

    def ids(self) -> list[str]:
        return self.column("id")

    def attributes(self) -> list[dict[str, Any]]:
        """The attributes of every record, without building records."""
        return [json.loads(text or "{}") for text in self.column("attributes")]

    def by_id(self, record_id: str) -> Record:
        return self[self.index_of(record_id)]

    def skeleton(self, name: str) -> Skeleton:
        """A skeleton that records name: one that came along with the set, or the library's."""
        return _find(self.skeletons, name)

    # ---- all at once ------------------------------------------------------------------------------------------------

    @property
    def columns(self) -> tuple[str, ...]:
        """The fields of which at least one record here knows something."""
        return tuple(name for name in self._table().column_names if name in ("id", "source") or self.has(name).any())

    def has(self, name: str) -> np.ndarray:
        """(N,) bool: which records know `name`. "image" is an image by path or in the row."""
        if name == "image":
            return self._valid("image") | self._valid("image_bytes")
        if name == "texts":
            return np.asarray(compute.call_function("list_value_length", [self._values(name)]).fill_null(0)) > 0
        return self._valid(name)

    def _valid(self, name: str) -> np.ndarray:
        return self._values(name).is_valid().to_numpy()

    def poses(self, indices: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
        """(N, 22, 3, 3) float32 of every record here, or of some; mapped, not copied, where the table is one piece."""
        return (self if indices is None else self.select(indices))._fixed("pose_rotmat")

    def betas(self) -> np.ndarray:
        """(N, 10) float32 of every record here."""
        return self._fixed("betas")

    def _fixed(self, name: str) -> np.ndarray:
        values, present = fixed_column(self._table(), name)
        if self._indices is not None:
            values, present = values[self._indices], present[self._indices]
        if not present.all():
            raise UserError(
                f"{int((~present).sum())} of {len(present)} records have no {name}; choose with filter(has=({name!r},))"
            )
        return values

    def select(self, indices: Sequence[int] | np.ndarray) -> "RecordSet":
        """The records at these places, in this order."""
        chosen = np.asarray(indices, dtype=np.int64)
        if len(chosen) and not (-len(self) <= chosen.min() and chosen.max() < len(self)):
            raise IndexError(f"rows {chosen.min()} to {chosen.max()} of {len(self)}")
        chosen = np.where(chosen < 0, chosen + len(self), chosen)
        return self._view(chosen if self._indices is None else self._indices[chosen])

    def filter(
        self,
        *,
        split: str | Sequence[str] | None = None,
        source: str | Sequence[str] | None = None,
        has: str | Sequence[str] = (),
    ) -> "RecordSet":
        """The records of these splits and sources that know all of `has`."""
        mask = np.ones(len(self), dtype=bool)
        for name, wanted in (("split", split), ("source", source)):
            if wanted is not None:
                values = [wanted] if isinstance(wanted, str) else list(wanted)
                mask &= np.isin(np.array(self.column(name), dtype=object), values)
        for name in [has] if isinstance(has, str) else has:
            mask &= self.has(name)
        return self._view(self._chosen(mask))

    def _view(self, indices: np.ndarray) -> "RecordSet":
        return RecordSet(
            self._dataset,
            image_root=self.image_root,
            skeletons=self.skeletons,
            manifest=self.manifest,
            indices=indices,
        )


def _find(own: Mapping[str, Skeleton], name: str) -> Skeleton:
    return own[name] if name in own else load_skeleton(name)


def _with_image(record: Record, root: Path | None) -> Record:
    """The record with its image file in it, and only the name left of the path."""
    if record.image is None:
        return record
    path = Path(record.image) if root is None else root / record.image
    return replace(record, image_bytes=path.read_bytes())
