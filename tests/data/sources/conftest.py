"""Files in the datasets' true layouts, made small: images, COCO json, and a short way to read a source."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from source_kit import MakeImage, Read, WriteJson

from data.records import PairRecord, Record, Rejects
from data.sources import SOURCES


@pytest.fixture
def rejects() -> Rejects:
    return Rejects(max_share=1)


@pytest.fixture
def read(rejects: Rejects) -> Read:
    """read("amass", root, split="train", step=5) -> its records."""

    def run(source: str, root: Path, split: str | None = None, **options: Any) -> list[Record | PairRecord]:
        return list(SOURCES[source].read(root, split=split, rejects=rejects, **options))

    return run


@pytest.fixture
def make_image() -> MakeImage:
    """A JPEG with something in it, folders made on the way."""

    def make(path: Path, width: int = 64, height: int = 48, seed: int = 0) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(seed).integers(0, 255, (height // 8, width // 8, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((width, height)).save(path)
        return path

    return make


@pytest.fixture
def write_json() -> WriteJson:
    def write(path: Path, content: Any) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
        return path

    return write
