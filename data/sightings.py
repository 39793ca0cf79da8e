"""Which picture a record shows, known without opening it: what frozen features were made of need not be cut again.

A sighting is a record's image file (its path, size and time) and how a task shows it (the function, the box). A table
says which picture, by its digest, came of each. Whoever changes an image file, or its time, gets a new sighting; that
the code which cuts pictures has not changed is tried on a few of them (data/examples.py).
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from data.record import Record

FILE = "sightings.npy"
BYTES = 16

Sightings = dict[bytes, bytes]
"""Sighting -> digest of the picture (data/branches.py)."""


def sighting(picture: Callable[[Record], Any], record: Record) -> bytes:
    """What `picture(record)` will show, as far as can be known without looking."""
    hashed = hashlib.blake2b(f"{picture.__module__}.{picture.__qualname__}".encode(), digest_size=BYTES)
    path = record.image_path()
    if record.image_bytes is not None:
        hashed.update(record.image_bytes)
    elif path is not None and path.is_file():
        found = os.stat(path)
        hashed.update(f"{path.absolute()} {found.st_size} {found.st_mtime_ns}".encode())
    hashed.update(repr((record.id, record.width, record.height)).encode())
    if record.box_xyxy_px is not None:
        hashed.update(np.ascontiguousarray(record.box_xyxy_px).tobytes())
    return hashed.digest()


def read_sightings(folder: Path) -> Sightings:
    """Those of a folder; none where there is no table, or half of one."""
    try:
        table = np.load(folder / FILE)
    except (OSError, ValueError, EOFError):
        return {}
    if table.dtype != np.uint8 or table.ndim != 2 or table.shape[1] != 2 * BYTES:
        return {}
    return {bytes(row[:BYTES]): bytes(row[BYTES:]) for row in table}


def write_sightings(folder: Path, sightings: Sightings) -> None:
    """Whole or not at all."""
    rows = np.frombuffer(b"".join(key + value for key, value in sightings.items()), np.uint8)
    partial = folder / f"{FILE}.partial"
    with partial.open("wb") as file:
        np.save(file, rows.reshape(-1, 2 * BYTES))
    partial.replace(folder / FILE)
