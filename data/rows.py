"""What record sets and pair sets share: rows of a mapped table, all of them or a choice, and counts while writing."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from data.record import PairRecord, Record
from llmpose.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset

_BATCH = 1000
"""Records checked and written at a time."""

Progress = Callable[[int], None]
"""Called with the number of records that were dealt with since the last call."""


class Rows:
    """Rows of a mapped table, all of them or a choice."""

    def __init__(self, dataset: "Dataset", indices: np.ndarray | None = None) -> None:
        self._dataset = dataset.with_format("arrow")
        self._indices = indices

    def __len__(self) -> int:
        return len(self._dataset) if self._indices is None else len(self._indices)

    def _row(self, index: int) -> pa.Table:
        if not -len(self) <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        index = range(len(self))[index]
        return self._dataset[index if self._indices is None else int(self._indices[index])]  # pyright: ignore

    def _table(self) -> pa.Table:
        return self._dataset.data.table

    def _values(self, name: str) -> pa.ChunkedArray:
        if name not in self._table().column_names:
            raise UserError(f"no column {name!r}; there are {', '.join(self._table().column_names)}")
        column = self._table().column(name)
        return column if self._indices is None else column.take(pa.array(self._indices))

    def column(self, name: str) -> list[Any]:
        """All values of one column as Python objects, without building records; `None` where a row has none."""
        return self._values(name).to_pylist()

    def _chosen(self, mask: np.ndarray) -> np.ndarray:
        """Rows of the whole table for a mask over these rows."""
        chosen = np.flatnonzero(mask)
        return chosen if self._indices is None else self._indices[chosen]


class Tally:
    """Counts for the manifest."""

    def __init__(self) -> None:
        self.count = 0
        self._sources: Counter[str] = Counter()
        self._splits: Counter[str] = Counter()
        self._fields: Counter[str] = Counter()
        self._skeletons: Counter[str] = Counter()

    def add(self, record: Record | PairRecord) -> None:
        self.count += 1
        self._sources[record.source] += 1
        self._splits[record.split] += 1
        known = vars(record)
        self._fields.update(name for name, value in known.items() if value is not None and name != "image_root")
        # An empty list of texts or an empty dictionary of attributes knows nothing.
        self._fields.subtract(name for name in ("texts", "attributes") if not known[name])
        if isinstance(record, Record) and record.skeleton is not None:
            self._skeletons[record.skeleton] += 1

    def sources(self) -> str:
        """'coco, mpii': where the records say they come from."""
        return ", ".join(sorted(self._sources))

    def to_json(self) -> dict[str, Any]:
        return {
            "count": self.count,
            "splits": dict(sorted(self._splits.items())),
            "fields": {name: count for name, count in sorted(self._fields.items()) if count},
            "records_by_skeleton": dict(sorted(self._skeletons.items())),
        }


def batches(items: Iterable[Any]) -> Iterator[list[Any]]:
    iterator = iter(items)
    while batch := list(islice(iterator, _BATCH)):
        yield batch
