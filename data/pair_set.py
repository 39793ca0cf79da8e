"""The `PairSet`: pairs of poses with texts, and inside it the record set that the pairs name."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data.arrow import PAIR_SCHEMA, TableWriter, open_table, pair_from_row, pairs_to_table
from data.checks import check_pair
from data.folder import read_manifest, verify_folder, write_folder
from data.record import PairRecord, Record
from data.record_set import RecordSet
from data.rejects import Rejects
from data.rows import Progress, Rows, Tally, batches
from llmpose.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset

_FORM = "llmpose.pairs"


class PairSet(Rows):
    """Pairs of poses with the texts that lead from one to the other."""

    def __init__(
        self,
        dataset: "Dataset",
        records: RecordSet,
        *,
        manifest: Mapping[str, Any] | None = None,
        indices: np.ndarray | None = None,
    ) -> None:
        super().__init__(dataset, indices)
        self.records = records
        """Where the ids `a` and `b` of the pairs are found."""
        self.manifest = dict(manifest or {})

    @classmethod
    def load(cls, path: str | Path, *, image_root: str | Path | None = None, verify: bool = False) -> "PairSet":
        """Open a folder that `write` made."""
        path = Path(path)
        manifest = read_manifest(path, _FORM, "a set of pairs")
        if verify:
            verify_folder(path, manifest)
        return cls(
            open_table(path / "pairs.arrow"),
            RecordSet.load(path / "records", image_root=image_root),
            manifest=manifest,
        )

    @classmethod
    def write(
        cls,
        path: str | Path,
        items: Iterable[Record | PairRecord],
        records: Iterable[Record] = (),
        *,
        source: str | None = None,
        rejects: Rejects | None = None,
        overwrite: bool = False,
        options: Mapping[str, Any] | None = None,
        progress: Progress | None = None,
        **of_records: Any,
    ) -> "PairSet":
        """Write pairs and the records that they name: mixed in any order among `items`, or apart in `records`.

        `of_records`: what else `RecordSet.write` takes (image_root, skeletons, images, embed_images).
        """
        path, rejects = Path(path), Rejects() if rejects is None else rejects
        pairs: list[PairRecord] = []

        def sorted_out() -> Iterator[Record]:
            for item in chain(records, items):
                if isinstance(item, Record):
                    yield item
                else:
                    pairs.append(item)

        def fill(folder: Path) -> dict[str, Any]:
            inside = RecordSet.write(
                folder / "records", sorted_out(), source=source, rejects=rejects, progress=progress, **of_records
            )
            known = set(inside.column("id"))
            tally, seen = Tally(), set[str]()

            def accepted() -> Iterator[PairRecord]:
                for pair in pairs:
                    reason = check_pair(pair, known.__contains__) or ("id is there twice" if pair.id in seen else None)
                    if reason is not None:
                        rejects.add(reason, pair.id)
                        continue
                    seen.add(pair.id)
                    rejects.accepted += 1
                    tally.add(pair)
                    yield pair

            with TableWriter(folder / "pairs.arrow", PAIR_SCHEMA) as writer:
                for batch in batches(accepted()):
                    writer.write(pairs_to_table(batch))
            rejects.check(str(path))
            if not tally.count:
                raise UserError(f"{path}: no pairs to write ({rejects.summary()})")
            return {
                "source": source or tally.sources(),
                "options": dict(options or {}),
                "num_records": len(inside),
                **tally.to_json(),
                "rejects": rejects.to_json(),
            }

        write_folder(path, _FORM, fill, overwrite=overwrite)
        return cls.load(path)

    def __getitem__(self, index: int) -> PairRecord:
        return pair_from_row(self._row(index))

    def __iter__(self) -> Iterator[PairRecord]:
        return (self[index] for index in range(len(self)))

    def both(self, index: int) -> tuple[PairRecord, Record, Record]:
        """The pair and its two records."""
        pair = self[index]
        return pair, self.records.by_id(pair.a), self.records.by_id(pair.b)

    def filter(self, *, split: str | None = None, in_sequence: bool | None = None) -> "PairSet":
        """The pairs of a split, or only those (not) of one motion."""
        mask = np.ones(len(self), dtype=bool)
        if split is not None:
            mask &= np.array(self.column("split")) == split
        if in_sequence is not None:
            mask &= np.array(self.column("in_sequence")) == in_sequence
        return self.select(np.flatnonzero(mask))

    def having(self, *names: str) -> "PairSet":
        """The pairs of which both records know all of `names`."""
        known = self.records.filter(has=names).ids() if names else self.records.ids()
        both = [np.isin(np.array(self.column(end), dtype=object), np.array(known, dtype=object)) for end in ("a", "b")]
        return self.select(np.flatnonzero(both[0] & both[1]))

    def select(self, indices: np.ndarray) -> "PairSet":
        """The pairs at these places, in this order."""
        chosen = np.asarray(indices, dtype=np.int64)
        rows = chosen if self._indices is None else self._indices[chosen]
        return PairSet(self._dataset, self.records, manifest=self.manifest, indices=rows)


def load_set(path: str | Path) -> RecordSet | PairSet:
    """A record set or a set of pairs, whichever the folder is."""
    try:
        return RecordSet.load(path)
    except UserError as error:
        if (Path(path) / "pairs.arrow").is_file():
            return PairSet.load(path)
        raise error from None
