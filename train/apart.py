"""Images that a model will be tested on stay out of its training, whichever data set they came by (data/leaks.py)."""

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from accelerate import PartialState

from data.leaks import find_leaks
from data.record_set import RecordSet
from train.recipe import Data, Source

logger = logging.getLogger(__name__)
REPORT = "leaks.txt"


@dataclass(kw_only=True)
class Apart:
    """What training must share no image with."""

    check: Literal["off", "names", "content"] = "off"
    """names: by file name alone, in seconds; content: by bytes and by look, which reads every image once."""
    sets: dict[str, Source] = field(default_factory=dict)
    """Name -> record set (and split) that the model will be tested on, besides those of data.eval."""


def keep_apart(name: str, records: RecordSet, apart: Apart, data: Data, run_dir: Path) -> RecordSet:
    """The records of one training source without those whose image is in a test; told and counted in RUN/leaks.txt."""
    held_out = [source for source in data.eval.values() if source.weight > 0]
    if apart.check == "off":
        if len([source for source in data.train.values() if source.weight > 0]) > 1:
            logger.info("leaks source=%s unchecked; apart.check=content compares its images with those of tests", name)
        return records
    tests: list[RecordSet] = []
    for source in (*apart.sets.values(), *held_out):
        found = RecordSet.load(data.folder(source))
        tests.append(found if source.split is None else found.filter(split=source.split))
    while True:  # one image of the test may have several copies in training, of which a report names one
        report = find_leaks([records], tests, train_split=None, content=apart.check == "content")
        if not report.leaks:
            return records
        leaked = {leak.train.partition(": ")[2] for leak in report.leaks}
        names, images = records.ids(), records.column("image")
        kept = [row for row, image in enumerate(images) if (image or names[row]) not in leaked]
        logger.info("leaks source=%s images=%d records_left_out=%d", name, len(leaked), len(records) - len(kept))
        if PartialState().is_main_process:
            run_dir.mkdir(parents=True, exist_ok=True)
            with (run_dir / REPORT).open("a", encoding="utf-8") as file:
                file.write(f"{name}: {len(records) - len(kept)} records left out\n{report.summary()}\n")
        records = records.select(kept)
