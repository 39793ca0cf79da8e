"""A stage of a few steps for the tests of the engine."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from toy import ToyRecipe, use_toy

from train.recipe import Checkpoints, Log, Optim


@pytest.fixture(autouse=True)
def _toy_kind() -> Iterator[None]:
    with use_toy():
        yield


@pytest.fixture
def toy(tmp_path: Path) -> ToyRecipe:
    """Twelve steps, a checkpoint every four."""
    return ToyRecipe(
        kind="toy",
        name="toy",
        run_dir=str(tmp_path / "run"),
        max_steps=12,
        optim=Optim(lr=0.02, lr_of={"head": 0.05}),
        checkpoints=Checkpoints(every=4, evaluate_every=4, keep=2, best="loss"),
        log=Log(every=2, progress=False),
    )
