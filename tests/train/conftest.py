"""Slow tests (several processes, DeepSpeed) run when asked for: `pytest tests/train -m slow`."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from toy import ToyRecipe, use_toy

from train.recipe import Checkpoints, Log, Optim


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "slow" in (config.getoption("-m") or ""):
        return
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="slow: run with -m slow"))


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
