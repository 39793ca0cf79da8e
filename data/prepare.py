"""From a dataset as people have it to a record set: read, check, write. What `llmpose data prepare` does."""

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from data.checks import ImageCheck
from data.records import PairSet, RecordSet, Rejects
from data.rows import Progress
from data.sources import find_source


def prepare(
    source: str,
    root: str | Path,
    out: str | Path,
    *,
    split: str | None = None,
    max_rejects: float = 0.01,
    limit: int | None = None,
    images: ImageCheck = "header",
    embed_images: bool = False,
    overwrite: bool = False,
    options: Mapping[str, Any] | None = None,
    rejects: Rejects | None = None,
    progress: Progress | None = None,
) -> RecordSet | PairSet:
    """Write the record set (or set of pairs) of a source: the first `limit`, with `options` for its reader."""
    reader = find_source(source)
    root, chosen = Path(root).expanduser().absolute(), dict(options or {})
    rejects = Rejects(max_rejects) if rejects is None else rejects
    if reader.kind == "pairs" and limit is not None:
        # A pair needs its records read before it, so only the reader itself can stop early.
        items = reader.read(root, split=split, rejects=rejects, limit=limit, **chosen)
    else:
        items = islice(reader.read(root, split=split, rejects=rejects, **chosen), limit)
    arguments: dict[str, Any] = {
        "source": source,
        "options": {**chosen, "root": str(root), "split": split, "limit": limit},
        "image_root": root,
        "skeletons": reader.own_skeletons(root, **chosen),
        "rejects": rejects,
        "images": images,
        "embed_images": embed_images,
        "overwrite": overwrite,
        "progress": progress,
    }
    if reader.kind == "pairs":
        return PairSet.write(out, items, **arguments)
    return RecordSet.write(out, items, **arguments)  # pyright: ignore[reportArgumentType]  (its reader yields records)
