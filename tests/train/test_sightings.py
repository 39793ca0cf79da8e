"""A picture whose features are kept is not cut again: a record's file and box say which one it is."""

import os
from pathlib import Path

import pytest
from people import write_people
from PIL import Image

from data.branches import digest
from data.examples import SPOT_CHECKS, Examples
from data.mixture import Mixture, Part
from data.record_set import RecordSet
from data.sightings import FILE, read_sightings, sighting, write_sightings
from data.tasks import task_named
from data.tasks.base import person_crop, whole_picture
from llmpose.errors import UserError

COUNT = SPOT_CHECKS + 5


@pytest.fixture
def people(tmp_path: Path) -> RecordSet:
    return RecordSet.load(write_people(tmp_path, COUNT))


def examples_of(people: RecordSet) -> Examples:
    mixture = Mixture([Part(task_named("pose_estimation"), people, 1.0)], seed=0, size=4)
    return Examples(mixture, processor=None)  # type: ignore[arg-type]  # pictures need none


def test_only_a_few_known_pictures_are_looked_at_again(people: RecordSet, tmp_path: Path):
    first = examples_of(people)
    assert len(list(first.images())) == COUNT
    write_sightings(tmp_path, first.sightings)
    again = examples_of(people)
    again.sightings = read_sightings(tmp_path)
    assert again.sightings == first.sightings
    assert len(list(again.images())) == SPOT_CHECKS
    assert {key: t.tobytes() for key, t in again._tickets.items()} == {
        key: t.tobytes() for key, t in first._tickets.items()
    }


def test_a_file_that_changed_is_another_sighting(people: RecordSet, tmp_path: Path):
    record = people[0]
    before, path = sighting(person_crop, record), tmp_path / "images" / "0.png"
    assert sighting(whole_picture, record) != before
    os.utime(path, ns=(1, 1))
    assert sighting(person_crop, record) != before
    os.utime(path, ns=(2, 2))
    with_time = sighting(person_crop, record)
    Image.new("RGB", (48, 60), "red").save(path)
    assert sighting(person_crop, record) != with_time


def test_pictures_that_look_otherwise_than_they_did_are_an_error(people: RecordSet):
    known = examples_of(people)
    list(known.images())
    again = examples_of(people)
    again.sightings = dict.fromkeys(known.sightings, digest(Image.new("RGB", (2, 2))))
    with pytest.raises(UserError, match="looks otherwise"):
        list(again.images())


def test_half_a_table_is_none(tmp_path: Path):
    write_sightings(tmp_path, {b"a" * 16: b"b" * 16})
    assert read_sightings(tmp_path) == {b"a" * 16: b"b" * 16}
    whole = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(whole[:-5])
    assert read_sightings(tmp_path) == {}
