"""Several record sets as one: PoseEst, from which UniPose builds ImageScript and ImageDiff, is five (suppl. §A.1).

    merge({"h36m": Path("records/h36m"), "coco": Path("records/coco_fits")}, Path("records/poseest"))

Every record is checked again on the way. Images stay where they are and are named by their whole path.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from data.record import Record
from data.record_set import RecordSet
from data.rejects import Rejects
from data.rows import Progress
from llmpose.body.skeleton import Skeleton
from llmpose.errors import UserError


def merge(
    folders: Mapping[str, Path],
    out: Path,
    *,
    rejects: Rejects | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> RecordSet:
    """Write the records of all folders as one set.

    The names become the records' source, so that counts per source (`data.build.choose.PAPER_COUNTS`) know them; ids
    begin with them, so that two sets may use the same ids.
    """
    sets = {name: RecordSet.load(folder) for name, folder in folders.items()}
    skeletons: dict[str, Skeleton] = {}
    for name, records in sets.items():
        for label, skeleton in records.skeletons.items():
            if skeletons.setdefault(label, skeleton).to_dict() != skeleton.to_dict():
                raise UserError(f"{folders[name]}: its skeleton {label!r} is not that of an earlier set; rename one")

    def everything() -> Iterator[Record]:
        for name, records in sets.items():
            for record in records:
                yield _renamed(record, name)

    return RecordSet.write(
        out,
        everything(),
        source="+".join(sets),
        options={name: str(folder) for name, folder in folders.items()},
        skeletons=skeletons,
        rejects=rejects,
        overwrite=overwrite,
        progress=progress,
    )


def _renamed(record: Record, name: str) -> Record:
    path = record.image_path()
    image = record.image if record.image_bytes is not None or path is None else str(path.absolute())
    ident = record.id if record.id.startswith(f"{name}/") else f"{name}/{record.id}"
    return replace(record, id=ident, source=name, image=image, image_root=None)
