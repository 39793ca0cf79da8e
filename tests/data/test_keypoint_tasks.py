"""Questions about keypoints: what is asked is shown, what is answered is where it lies, under every crop and mirror."""

from random import Random

import numpy as np
import pytest
import yaml

from data.keypoints import KeypointObjects, ObjectNoise
from data.record_set import RecordSet
from data.tasks import KEYPOINT_TASKS, keypoint_task
from data.tasks.base import TEMPLATES
from data.tasks.grammar import KEYPOINT_FRAMES_FILE, NUM_CORE, content_words, frames_file, templates
from data.tasks.keypoint_tasks import answer, name_in, phrase
from llmpose.body.skeleton import Skeleton
from llmpose.errors import UserError
from llmpose.talk.conversation import ImagePart, KeypointPart, PointPart
from llmpose.talk.grammar import COORDINATES, NAMED_POINT
from llmpose.talk.patterns import Automaton

STOOL = Skeleton(
    "stool", ("seat", "left foot", "right foot"), ((1, 2),), descriptions={"seat": "The seat: round, on top."}
)


@pytest.fixture(scope="module", name="objects")
def _objects(things: RecordSet) -> KeypointObjects:
    return KeypointObjects(things, size_px=48, keep=True)


def test_crops_keep_keypoints_on_their_pixels(objects: KeypointObjects) -> None:
    for row in range(0, len(objects), 7):
        crop, record = objects.crop(row), objects.records[row]
        assert record.keypoints is not None
        back = crop.square.to_image(crop.points[:, :2] * 48, 48)
        shown = crop.points[:, 2] > 0
        assert shown.any()
        np.testing.assert_allclose(back[shown], record.keypoints[shown, :2], atol=1e-3)
        assert not (shown & (record.keypoints[:, 2] == 0)).any()


def test_a_mirrored_crop_swaps_left_and_right(objects: KeypointObjects) -> None:
    row = next(row for row in range(len(objects)) if objects.skeleton(row).flip_pairs)
    still = ObjectNoise(flip_share=0.0, scale=0.0, shift=0.0, colour=0.0)
    mirror = ObjectNoise(flip_share=1.0, scale=0.0, shift=0.0, colour=0.0)
    plain, turned = (objects.crop(row, noise, Random(0)) for noise in (still, mirror))
    skeleton = objects.skeleton(row)
    for a, b in skeleton.flip_pairs:
        if plain.points[a, 2]:
            np.testing.assert_allclose(turned.points[b, :2], [1 - plain.points[a, 0], plain.points[a, 1]], atol=1e-5)
    assert np.abs(np.asarray(turned.image, float) - np.asarray(plain.image, float)[:, ::-1]).mean() < 2


def test_what_has_a_side_without_its_twin_is_never_mirrored(
    objects: KeypointObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = next(row for row in range(len(objects)) if objects.skeleton(row).flip_pairs)
    count = objects.skeleton(row).num_keypoints
    names = ("left_eye", "right_eye", "left_fin", *(f"spot {k}" for k in range(3, count)))
    monkeypatch.setattr(objects, "skeleton", lambda _: Skeleton("fish", names, ((0, 1),)))
    mirror = ObjectNoise(flip_share=1.0, scale=0.0, shift=0.0, colour=0.0)
    np.testing.assert_allclose(objects.crop(row, mirror, Random(0)).points, objects.crop(row).points, atol=1e-5)


def test_a_noisy_crop_moves_image_and_keypoints_together(objects: KeypointObjects) -> None:
    row = 5
    crop = objects.crop(row, ObjectNoise(flip_share=0.0, colour=0.0), Random(3))
    whole = objects.crop(row)
    both = (crop.points[:, 2] > 0) & (whole.points[:, 2] > 0)
    moved, scale = crop.points[both, :2], whole.points[both, :2]
    # One similarity explains all points: equal ratios of distances.
    a, b = (np.linalg.norm(p - p[0], axis=1)[1:] for p in (moved, scale))
    assert np.ptp(a / b) < 1e-3


@pytest.mark.parametrize("name", KEYPOINT_TASKS)
def test_questions_show_what_the_task_shows(objects: KeypointObjects, name: str) -> None:
    task, query = keypoint_task(name), objects.crop(0)
    supports = tuple(objects.crop(row) for row in objects.others(0)[:2])
    keypoint = next(k for k in query.shown if all(k in support.shown for support in supports))
    skeleton = objects.skeleton(0)
    for kind in ("train", "held_out"):
        asked = task.conversation(query, keypoint, skeleton, supports, wording=task.templates(kind)[0], told="name")
        parts = asked.turns[0].parts
        assert sum(isinstance(part, ImagePart) for part in parts) == task.detects
        prompts = [part for part in parts if isinstance(part, KeypointPart)]
        assert len(prompts) == ("keypoint" in task.shows)
        if task.needs_support:
            assert [id(image) for image in prompts[0].images] == [id(crop.image) for crop in supports]
            assert prompts[0].points_norm == tuple(crop.point(keypoint) for crop in supports)
        assert (skeleton.keypoints[keypoint] in asked.turns[0].text) == ("text" in task.shows)
        assert name_in(asked.answer.text) == skeleton.keypoints[keypoint]


def test_answers_parse_under_their_grammar_and_hold_the_position() -> None:
    patterns = {"named_point": Automaton(NAMED_POINT), "point": Automaton(COORDINATES)}
    for form, grammar in (("described", "named_point"), ("named", "named_point"), ("position", "point")):
        text = answer(STOOL, 0, (0.1234, 1.0), form)
        assert patterns[grammar].matches(text)
        assert text.endswith("0.123, 1.000")
    assert answer(STOOL, 0, (0.5, 0.5), "described") == "seat. The seat; round, on top: 0.500, 0.500"
    assert answer(STOOL, 1, (0.5, 0.5), "described") == "left foot: 0.500, 0.500"
    assert answer(STOOL, 0, None, "described") == "seat. The seat; round, on top."
    assert name_in("seat. The seat; round: 0.500, 0.500") == name_in("seat.") == "seat"


def test_a_regressed_answer_says_the_same_with_a_point_in_place_of_the_digits(objects: KeypointObjects) -> None:
    task, query, skeleton = keypoint_task("keypoint_textual"), objects.crop(0), objects.skeleton(0)
    keypoint = query.shown[0]
    for form in ("described", "named", "position"):
        plain, pointed = (
            task.conversation(query, keypoint, skeleton, wording="{image} {text}?", form=form, positions=positions)
            for positions in ("text", "regression")
        )
        *words, point = pointed.answer.parts
        assert isinstance(point, PointPart)
        assert "".join(part.text for part in words) + point.text == plain.answer.text  # type: ignore[union-attr]
        assert (point.x, point.y) == query.point(keypoint)


def test_phrases_fit_into_sentences() -> None:
    assert phrase(STOOL, 1, "description") == "the left foot"
    assert phrase(STOOL, 0, "description") == "the seat: round, on top"
    assert phrase(STOOL, 0, "both") == "the seat (the seat: round, on top)"


def test_what_is_not_in_the_image_cannot_be_asked_in_training(objects: KeypointObjects) -> None:
    query = objects.crop(0)
    query.points[0, 2] = 0
    with pytest.raises(UserError, match="is not in the image"):
        keypoint_task("keypoint_textual").conversation(query, 0, objects.skeleton(0), wording="{image} {text}?")
    query.points[0, 2] = 1


@pytest.mark.parametrize("task", frames_file(KEYPOINT_FRAMES_FILE))
def test_templates_are_many_distinct_and_begin_with_the_image(task: str) -> None:
    content = yaml.safe_load((TEMPLATES / f"{task}.yaml").read_text(encoding="utf-8"))
    found = templates(task)
    assert content == {"task": task, "num_core": NUM_CORE, **found}
    assert len(found["train"]) >= 50
    assert len(found["held_out"]) >= 10
    everything = [*found["train"], *found["held_out"]]
    assert len({content_words(sentence) for sentence in everything}) == len(everything)
    shows = KEYPOINT_TASKS[task].shows
    for sentence in everything:
        assert all(sentence.count(f"{{{slot}}}") == 1 for slot in shows)
        assert sentence.count("{") == len(shows)
        assert sentence.startswith("{image}") == ("image" in shows)
