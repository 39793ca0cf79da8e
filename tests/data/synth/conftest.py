from pathlib import Path

import pytest

from data.synth.presets import WorldRecipe
from data.synth.world import make_world


@pytest.fixture(scope="session")
def nano() -> WorldRecipe:
    """A world of a second."""
    return WorldRecipe(
        persons={"train": 16, "val": 4, "test": 4},
        poses={"train": 58, "val": 29, "test": 29},
        extreme_poses={"train": 24, "val": 24, "test": 0},
        image_px=72,
    )


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory, nano: WorldRecipe) -> Path:
    """That world, finished, seed 0. Read only."""
    out = tmp_path_factory.mktemp("world") / "nano"
    make_world(out, nano, workers=1)
    return out
