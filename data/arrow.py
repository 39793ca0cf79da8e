"""Records as Arrow rows: typed columns, written in batches, read memory-mapped through `datasets`.

Poses are fixed-size lists, so all of them together are one array that is not copied but mapped; what is free in form
(attributes, camera, mask) is JSON text. `datasets` takes a second to load, so only functions that need it load it.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from data.record import PairRecord, Record

if TYPE_CHECKING:
    from datasets import Dataset

_POSE = 22 * 9
_FIXED: dict[str, tuple[int, ...]] = {"box_xyxy_px": (4,), "pose_rotmat": (22, 3, 3), "betas": (10,)}
_POINTS = ("joints_m", "keypoints")
"""(N, 3) arrays of any N."""
_JSON = ("mask_rle", "attributes", "camera")

_TYPES: dict[str, pa.DataType] = {
    "id": pa.string(),
    "source": pa.string(),
    "split": pa.string(),
    "image": pa.string(),
    "image_bytes": pa.binary(),
    "width": pa.int32(),
    "height": pa.int32(),
    "box_xyxy_px": pa.list_(pa.float32(), 4),
    "pose_rotmat": pa.list_(pa.float32(), _POSE),
    "betas": pa.list_(pa.float32(), 10),
    "joints_m": pa.list_(pa.float32()),
    "keypoints": pa.list_(pa.float32()),
    "skeleton": pa.string(),
    "mask_rle": pa.string(),
    "texts": pa.list_(pa.string()),
    "attributes": pa.string(),
    "sequence": pa.string(),
    "frame": pa.int32(),
    "camera": pa.string(),
}
RECORD_SCHEMA = pa.schema(list(_TYPES.items()))
PAIR_SCHEMA = pa.schema(
    {
        "id": pa.string(),
        "source": pa.string(),
        "split": pa.string(),
        "a": pa.string(),
        "b": pa.string(),
        "texts": pa.list_(pa.string()),
        "in_sequence": pa.bool_(),
        "attributes": pa.string(),
    }
)


class TableWriter:
    """Appends tables of one schema to an Arrow file; a context manager, so that the file is closed whatever happens."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        from datasets import Features
        from datasets.arrow_writer import ArrowWriter

        self._writer = ArrowWriter(path=str(path), features=Features.from_arrow_schema(schema))

    def __enter__(self) -> "TableWriter":
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        if kind is None:
            self._writer.finalize()
        else:
            self._writer.close()

    def write(self, table: pa.Table) -> None:
        # In one piece: left to itself, `datasets` cuts tables with a binary column to a hundred rows.
        self._writer.write_table(table, writer_batch_size=max(1, len(table)))


def open_table(path: Path) -> "Dataset":
    """The file as a `Dataset`, mapped into memory."""
    from datasets import Dataset

    return Dataset.from_file(str(path))


def as_dataset(table: pa.Table) -> "Dataset":
    """A table that lives in memory."""
    from datasets import Dataset
    from datasets.table import InMemoryTable

    return Dataset(InMemoryTable(table))


def records_to_table(records: Sequence[Record]) -> pa.Table:
    columns = {name: _column(name, [getattr(record, name) for record in records]) for name in _TYPES}
    return pa.table(columns, schema=RECORD_SCHEMA)


def pairs_to_table(pairs: Sequence[PairRecord]) -> pa.Table:
    rows = [{**vars(pair), "attributes": _dump(pair.attributes)} for pair in pairs]
    return pa.Table.from_pylist(rows, schema=PAIR_SCHEMA)


def record_from_row(row: pa.Table, image_root: Path | None) -> Record:
    """The one row of a table."""
    values: dict[str, Any] = {}
    for name in row.column_names:
        scalar = row.column(name)[0]
        if not scalar.is_valid:
            values[name] = [] if name == "texts" else {} if name == "attributes" else None
        elif name in _FIXED:
            values[name] = np.array(scalar.values, dtype=np.float32).reshape(_FIXED[name])
        elif name in _POINTS:
            values[name] = np.array(scalar.values, dtype=np.float32).reshape(-1, 3)
        elif name in _JSON:
            values[name] = json.loads(scalar.as_py())
        else:
            values[name] = scalar.as_py()
    return Record(**values, image_root=image_root)


def pair_from_row(row: pa.Table) -> PairRecord:
    values = row.to_pylist()[0]
    return PairRecord(**{**values, "attributes": json.loads(values["attributes"] or "{}")})


def fixed_column(table: pa.Table, name: str) -> tuple[np.ndarray, np.ndarray]:
    """All values of a fixed-size column (N, ...), not copied where they are one chunk, and which rows (N,) have one."""
    shape = _FIXED[name]
    width = int(np.prod(shape))
    chunks = table.column(name).chunks
    # `.values` ignores the slice that a chunk is; `.flatten()` would drop the empty rows.
    parts = [
        chunk.values.slice(chunk.offset * width, len(chunk) * width).to_numpy(zero_copy_only=False).reshape(-1, *shape)
        for chunk in chunks
    ]
    present = [chunk.is_valid().to_numpy(zero_copy_only=False) for chunk in chunks]
    if not parts:
        return np.zeros((0, *shape), np.float32), np.zeros(0, bool)
    if len(parts) == 1:
        return parts[0], present[0]
    return np.concatenate(parts), np.concatenate(present)


def _column(name: str, values: list[Any]) -> pa.Array:
    if name in _FIXED:
        width = int(np.prod(_FIXED[name]))
        empty = np.array([value is None for value in values], dtype=bool)
        flat = np.zeros((len(values), width), dtype=np.float32)
        for index, value in enumerate(values):
            if value is not None:
                flat[index] = np.asarray(value, dtype=np.float32).ravel()
        return pa.FixedSizeListArray.from_arrays(pa.array(flat.ravel()), width, mask=pa.array(empty))
    if name in _POINTS:
        values = [None if value is None else np.asarray(value, dtype=np.float32).ravel() for value in values]
    elif name in _JSON:
        values = [None if not value else _dump(value) for value in values]
    return pa.array(values, type=_TYPES[name])


def _dump(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
