"""The built-in things as a record set, made once."""

from pathlib import Path

import pytest

from data.prepare import prepare
from data.record_set import RecordSet
from data.synth import object_world


@pytest.fixture(scope="session")
def things(tmp_path_factory: pytest.TempPathFactory) -> RecordSet:
    """Three pictures of each thing, 64 px, as MP-100 of split 1."""
    folder = tmp_path_factory.mktemp("things")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(object_world.PRESETS, "micro", 3)
        root: Path = object_world.write_objects(folder / "out", preset="micro", size_px=64, processes=1)
    found = prepare("mp100", root / "mp100", folder / "records")
    assert isinstance(found, RecordSet)
    return found
