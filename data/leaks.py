"""Images that stand both in what a model learns from and in what it is tested on, found by name and by content.

Keypoint datasets are made of each other: MP-100 of COCO, AP-10K and others, RefCOCO of COCO. A name is compared without
folder and ending; the content by the hash of the file's bytes, and where that differs by 256 bits that say where a
small grey version gets brighter, so that a re-saved or resized copy, or the next frame of a film, is found too.
"""

import hashlib
import io
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from data.records import PairSet, RecordSet, load_set
from llmpose.errors import UserError

Progress = Callable[[int], None]

_SHOWN = 20

_BRIGHTER = 3
"""Grey levels that are a step to something brighter: less is the noise of a plain background saved again."""
_SAME_SHARE = 0.3
"""Two pictures differ in at most this share of the bits that either has set if one is a copy of the other. A share, for
plain pictures have few bits, and two of them differ in few. Measured with copies at 30 to 100 % of the size and JPEG
quality 50 to 75: all copies of 62 photographs lie below it and 91 of 100 of the built-in things on plain ground;
strangers differ in 0.48 or more of theirs (photographs) and 0.35 (1,400 things), but for one pair in a million."""
_FEWEST_BITS = 16
"""A picture with fewer gradients than this is blank, and all blank pictures are alike."""


@dataclass(frozen=True)
class Leak:
    """One image on both sides."""

    train: str
    """Record set and image."""
    test: str
    how: str
    """"same name", "same bytes" or "same picture"."""


@dataclass
class LeakReport:
    """What was compared and what was found."""

    num_train: int
    num_test: int
    leaks: list[Leak] = field(default_factory=list)
    namesakes: int = 0
    """Images of one name whose contents differ: counted, no leaks."""

    def summary(self) -> str:
        lines = [
            f"{self.num_train:,} images to train on, {self.num_test:,} to test on: "
            + (f"{len(self.leaks):,} stand in both" if self.leaks else "none stands in both")
            + (f"; {self.namesakes:,} share a name but not their content" if self.namesakes else "")
        ]
        lines += [f"  {leak.how}: {leak.train} = {leak.test}" for leak in self.leaks[:_SHOWN]]
        if len(self.leaks) > _SHOWN:
            lines.append(f"  … and {len(self.leaks) - _SHOWN:,} more")
        return "\n".join(lines)


def find_leaks(
    train: Iterable[str | Path | RecordSet],
    test: Iterable[str | Path | RecordSet],
    *,
    train_split: str | None = "train",
    test_split: str | None = None,
    content: bool = True,
    progress: Progress | None = None,
) -> LeakReport:
    """Compare the images of these record sets. `content` reads every image once; without it, names decide."""
    sides = [_images(sets, split) for sets, split in ((train, train_split), (test, test_split))]
    report = LeakReport(num_train=len(sides[0]), num_test=len(sides[1]))
    if content:
        return _by_content(report, sides[0], sides[1], progress)
    names = _grouped(sides[0], lambda image: image.stem)
    for image in sides[1]:
        report.leaks += [Leak(other.label, image.label, "same name") for other in names.get(image.stem, ())[:1]]
    return report


@dataclass(frozen=True)
class _Image:
    label: str
    stem: str
    path: Path | None
    data: bytes | None

    def read(self) -> bytes:
        if self.data is not None:
            return self.data
        assert self.path is not None
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise UserError(
                f"{self.path}: cannot be read ({error.strerror}); pass --no-content to compare names only"
            ) from None


def _by_content(report: LeakReport, train: list[_Image], test: list[_Image], progress: Progress | None) -> LeakReport:
    by_bytes: dict[str, _Image] = {}
    bits = np.zeros((len(train), 4), dtype=np.uint64)
    names = _grouped(train, lambda image: image.stem)
    for row, image in enumerate(train):
        exact, bits[row] = _hashes(image)
        by_bytes.setdefault(exact, image)
        if progress is not None:
            progress(1)
    for image in test:
        exact, picture = _hashes(image)
        nearest = _nearest(bits, picture)
        if exact in by_bytes:
            report.leaks.append(Leak(by_bytes[exact].label, image.label, "same bytes"))
        elif nearest is not None:
            report.leaks.append(Leak(train[nearest].label, image.label, "same picture"))
        elif image.stem in names:
            report.namesakes += 1
        if progress is not None:
            progress(1)
    return report


def _nearest(bits: np.ndarray, picture: np.ndarray) -> int | None:
    """The row of (N, 4) that is a copy of this picture; 150,000 rows take a millisecond or two."""
    if not len(bits) or int(np.bitwise_count(picture).sum()) < _FEWEST_BITS:
        return None
    either = np.bitwise_count(bits | picture).sum(axis=1)
    share = np.bitwise_count(bits ^ picture).sum(axis=1) / np.maximum(either, 1)
    nearest = int(share.argmin())
    return nearest if share[nearest] <= _SAME_SHARE else None


def _hashes(image: _Image) -> tuple[str, np.ndarray]:
    """Of the bytes; and the picture's difference hash: (4,) uint64, a bit for each step to the right at 17 x 16."""
    data = image.read()
    try:
        with Image.open(io.BytesIO(data)) as opened:
            small = np.asarray(opened.convert("L").resize((17, 16), Image.Resampling.BOX), dtype=np.int16)
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{image.label}: not a readable image ({error})") from None
    return hashlib.sha256(data).hexdigest(), np.packbits(np.diff(small, axis=1) > _BRIGHTER).view(np.uint64)


def _images(sets: Iterable[str | Path | RecordSet], split: str | None) -> list[_Image]:
    """Every image of these sets once."""
    found: dict[str, _Image] = {}
    for given in sets:
        opened = given if isinstance(given, RecordSet) else load_set(given)
        name = str(opened.manifest.get("source", "records")) if isinstance(given, RecordSet) else str(given)
        records = opened.records if isinstance(opened, PairSet) else opened
        chosen = records if split is None else records.filter(split=split)
        chosen = chosen.filter(has="image")
        paths, embedded = chosen.column("image"), chosen.has("image_bytes")
        for index, path in enumerate(paths):
            label = f"{name}: {path or chosen.column('id')[index]}"
            if label in found:
                continue
            data = chosen[index].image_bytes if embedded[index] else None
            full = None if data is not None or path is None else (chosen.image_root or Path()) / path
            found[label] = _Image(label, Path(path).stem if path else "", full, data)
    return list(found.values())


def _grouped(images: Sequence[_Image], key: Callable[[_Image], str]) -> dict[str, list[_Image]]:
    groups: dict[str, list[_Image]] = defaultdict(list)
    for image in images:
        groups[key(image)].append(image)
    return groups
