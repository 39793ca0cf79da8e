"""Record sets: records on disk as Arrow, memory-mapped, in a folder that says itself what it is.

    with records on hand                             and back
    RecordSet.write(out, records, source="coco")     records = RecordSet.load(out)
                                                     len(records), records[3], records.by_id("coco/785/442619")
                                                     records.filter(split="train", has=("image", "pose_rotmat"))
                                                     records.poses()   (N, 22, 3, 3), mapped where it can be

A `PairSet` holds pairs of poses and, inside, the record set that its pairs name. This file is the door; the rooms are
record.py (what a record is), checks.py (what may enter), arrow.py (rows), folder.py (whole or not at all).
"""

from data.pair_set import PairSet, load_set
from data.record import PairRecord, Record
from data.record_set import RecordSet
from data.rejects import Rejects

__all__ = ["PairRecord", "PairSet", "Record", "RecordSet", "Rejects", "load_set"]
