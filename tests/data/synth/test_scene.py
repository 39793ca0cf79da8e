"""Pictures and their labels: what is said of a person is what one sees."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from data.synth import shading
from data.synth.angles import STANDING_DEG, angles_of, to_rotmat
from data.synth.clothes import CLOTH_COLORS, Garment, draw_outfit
from data.synth.formats_coco import COCO_NAMES, annotation, as_text, camera_pose
from data.synth.labels import label_people, position_words
from data.synth.people import figure, make_people
from data.synth.picture import paint
from data.synth.poses import draw_poses
from data.synth.scene import Scene, draw_people, make_scene
from data.synth.surroundings import draw_surroundings, furniture
from llmpose.body.camera import Camera
from llmpose.body.rle import decode_rle

K = {name: index for index, name in enumerate(COCO_NAMES)}


def one_person(angles: np.ndarray = STANDING_DEG, yaw_deg: float = 0.0, seed: int = 0):
    rotmat = to_rotmat(angles[None], yaw_deg)
    return make_people(
        rotmat, np.zeros((1, 10), np.float32), [draw_outfit(np.random.default_rng(seed))], ["stand"], ["feet"]
    )[0]


def labelled(person, extra=(), size: int = 160):
    """The person alone before a level camera, with other pieces around."""
    camera = Camera.look_at((0, -4.5, 0.9), (0, 0, 0.9), width=size, fov_deg=30)
    surroundings, _ = draw_surroundings(np.random.default_rng(0), "studio")
    pieces = [*person.pieces, *extra]
    picture = paint(camera, pieces, surroundings)
    return label_people(camera, picture, pieces, [person])[0], picture, camera


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    rng = np.random.default_rng(4)
    sizes = [1, 1, 1, 1, 1, 1, 2, 3, 4, 6]
    people = draw_people(draw_poses(sum(sizes), rng), rng)
    starts = np.cumsum([0, *sizes])
    return [make_scene(people[a:b], rng, width=128 if b - a == 1 else 192, height=128) for a, b in pairwise(starts)]


# ---- pictures --------------------------------------------------------------------------------------------------------


def test_numba_and_numpy_paint_the_same_bytes() -> None:
    poses = draw_poses(4, np.random.default_rng(1))
    for place in ("room", "outdoors", "studio"):
        surroundings, _ = draw_surroundings(np.random.default_rng(2), place)  # pyright: ignore[reportArgumentType]
        for person in draw_people(poses, np.random.default_rng(3))[:2]:
            camera = Camera.look_at((0.4, -3.5, 1.6), (0, 0, 0.8), width=64)
            compiled = paint(camera, person.pieces, surroundings, engine="numba").rgb
            plain = paint(camera, person.pieces, surroundings, engine="numpy").rgb
            np.testing.assert_array_equal(compiled, plain)
            assert compiled.min() >= 0
            assert compiled.max() < 1


def test_a_scene_is_a_function_of_its_seed() -> None:
    def scene(seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        return make_scene(draw_people(draw_poses(2, rng), rng), rng, width=96, height=64).image

    np.testing.assert_array_equal(scene(5), scene(5))
    assert (scene(5) != scene(6)).mean() > 0.5


def test_the_lamp_casts_shadows_on_floor_and_body() -> None:
    """Without the person's shadow the floor beside the feet is brighter; a thing before the lamp darkens the body."""
    person = one_person()
    surroundings, _ = draw_surroundings(np.random.default_rng(0), "studio")
    surroundings[shading.LIGHT : shading.LIGHT + 3] = np.array([-0.7, 0.0, 0.7]) / np.hypot(0.7, 0.7)
    camera = Camera.look_at((0, -4, 3.5), (0.4, 0, 0.2), width=96, fov_deg=40)
    picture = paint(camera, person.pieces, surroundings)
    shaded, _ = camera.project([0.9, 0, 0])  # where a lamp from the left throws the shadow of the trunk
    lit, _ = camera.project([-0.9, 0, 0])
    at = [tuple(np.floor(point[::-1]).astype(int)) for point in (shaded, lit)]
    assert picture.rgb[at[0]].mean() < 0.8 * picture.rgb[at[1]].mean()
    roof = furniture([((0, 0, 2.2), (3.0, 3.0, 0.02))], (0.5, 0.5, 0.5), at_m=(-1.2, 0), yaw_deg=0)
    covered = paint(camera, [*person.pieces, replace(roof, owner=-1)], surroundings)
    body = (picture.owner == 0) & (covered.owner == 0)
    small = body[::2, ::2]
    assert covered.rgb[small].mean() < 0.9 * picture.rgb[small].mean()


def test_the_named_colour_of_a_top_is_the_colour_one_sees() -> None:
    primaries = ("white", "red", "green", "blue", "yellow", "black")
    light = np.ones(3)  # how white looks in this light
    for name in primaries:
        person = one_person(seed=1)
        material = person.outfit.material.copy()
        for part in (shading.TOP, shading.TOP_ACCENT):
            material[part : part + 3] = CLOTH_COLORS[name]
        material[shading.BUTTONS] = 0
        piece = replace(person.pieces[0], material=material)
        _, picture, camera = labelled(replace(person, pieces=(piece,)))
        chest, _ = camera.project(person.joints_m[9])
        x, y = np.floor(chest).astype(int)
        seen = picture.rgb[y - 2 : y + 3, x - 2 : x + 3].mean((0, 1))
        light = seen / CLOTH_COLORS["white"] if name == "white" else light
        distance = {other: np.linalg.norm(seen - light * CLOTH_COLORS[other]) for other in primaries}
        assert min(distance, key=distance.__getitem__) == name


def test_outfits_say_what_they_are_and_top_and_bottom_differ() -> None:
    outfits = [draw_outfit(np.random.default_rng(seed)) for seed in range(200)]
    for outfit in outfits:
        if outfit.bottom is not None:
            assert outfit.top.color != outfit.bottom.color
        assert outfit.has_skirt == (outfit.bottom is None or outfit.bottom.kind == "skirt")
        assert all(phrase and phrase == phrase.strip() for phrase in outfit.phrases)
    assert len({outfit.top.words for outfit in outfits}) > 60
    assert Garment("t-shirt", "red", "striped", "white").words == "red and white striped t-shirt"
    assert {outfit.hair_style for outfit in outfits} == {"bald", "short", "long", "bun", "ponytail"}


# ---- labels ----------------------------------------------------------------------------------------------------------


def test_a_face_is_seen_from_the_front_and_not_from_behind() -> None:
    face = [K[name] for name in ("nose", "left_eye", "right_eye")]
    front, _, _ = labelled(one_person())
    back, _, _ = labelled(one_person(yaw_deg=180))
    assert (front.keypoints[face, 2] == 2).all()
    assert (back.keypoints[face, 2] == 1).all()
    assert (front.facing, back.facing) == ("facing the camera", "facing away")
    assert front.keypoints[K["left_shoulder"], 0] > front.keypoints[K["right_shoulder"], 0]
    assert back.keypoints[K["left_shoulder"], 0] < back.keypoints[K["right_shoulder"], 0]


def test_from_the_side_the_far_arm_and_ear_are_hidden() -> None:
    label, _, _ = labelled(one_person(yaw_deg=90))  # the body's right side is to the camera
    assert label.facing == "facing right"
    assert label.keypoints[K["right_shoulder"], 2] == 2
    assert label.keypoints[K["left_elbow"], 2] == 1
    assert label.keypoints[K["left_shoulder"], 2] == 1


def test_an_own_arm_hides_the_hip_behind_it() -> None:
    bare, _, _ = labelled(one_person())
    before = angles_of({"right_arm.raise": -84, "right_arm.swing": 24, "right_arm.twist": 28, "right_elbow.bend": 20})
    hidden, _, _ = labelled(one_person(before))
    assert bare.keypoints[K["right_hip"], 2] == 2
    gap = np.linalg.norm(hidden.keypoints[K["right_hip"], :2] - hidden.keypoints[K["right_wrist"], :2])
    if gap < 8:  # the wrist is drawn over the hip
        assert hidden.keypoints[K["right_hip"], 2] == 1
    assert gap < 30


def test_things_in_front_hide_what_is_behind_them() -> None:
    person = one_person()
    box = furniture([((0, 0, 0), (1.2, 0.1, 0.75))], (0.5, 0.4, 0.3), at_m=(0, -0.8), yaw_deg=0)
    label, _, camera = labelled(person, [box])
    legs = [K[f"{side}_{part}"] for side in ("left", "right") for part in ("knee", "ankle")]
    assert (label.keypoints[legs, 2] == 1).all()
    assert label.keypoints[K["nose"], 2] == 2
    assert 0.3 < label.visible_share < 0.8
    top_of_box, _ = camera.project([0, -0.85, 0.75])
    assert label.box_xyxy_px[3] <= top_of_box[1] + 1.5


def test_what_lies_outside_the_picture_is_not_labelled() -> None:
    person = one_person().moved([1.1, 0, 0])
    label, _, _ = labelled(person)
    outside = label.keypoints[:, 2] == 0
    assert outside.any()
    assert not outside.all()
    assert (label.keypoints[outside] == 0).all()


def test_masks_boxes_and_pixels_agree(scenes: list[Scene]) -> None:
    for scene in scenes:
        masks = [decode_rle(label.mask_rle) for label in scene.people]
        assert np.sum(masks, axis=0).max() == 1  # nobody shares a pixel
        for mask, label in zip(masks, scene.people, strict=True):
            rows, columns = np.nonzero(mask)
            assert label.box_xyxy_px == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            assert label.area_px == mask.sum() >= 60
            assert label.visible_share >= 0.3
            for x, y, seen in label.keypoints[label.keypoints[:, 2] == 2]:
                near = mask[max(int(y) - 2, 0) : int(y) + 3, max(int(x) - 2, 0) : int(x) + 3]
                assert near.any(), (x, y, seen)


def test_people_fill_their_pictures(scenes: list[Scene]) -> None:
    for scene in scenes:
        boxes = np.array([label.box_xyxy_px for label in scene.people])
        extent = np.array([boxes[:, 2].max() - boxes[:, 0].min(), boxes[:, 3].max() - boxes[:, 1].min()])
        share = extent / [scene.camera.width, scene.camera.height]
        assert share.max() > 0.5


def test_written_parameters_put_the_body_where_the_picture_shows_it(scenes: list[Scene]) -> None:
    """SMPL in the camera's frame, through the body model and the intrinsics alone, gives the written 2D joints."""
    body = figure().body
    for scene in scenes:
        for label in scene.people:
            pose, trans_m = camera_pose(label.person, scene.camera)
            from llmpose.body.pose import Pose

            seen = Pose.from_axis_angle(pose)
            joints = body.joints(seen, torch.from_numpy(label.person.betas)).numpy() + trans_m
            pixels = joints[:, :2] / joints[:, 2:] * scene.camera.focal_px + np.array(scene.camera.centre_px)
            inside = label.keypoints24[:, 2] > 0
            np.testing.assert_allclose(pixels[inside], label.keypoints24[inside, :2], atol=0.02)


def test_annotations_are_plain_json_with_coco_keys(scenes: list[Scene]) -> None:
    import json

    label = scenes[-1].people[0]
    entry = json.loads(as_text(annotation(label, *camera_pose(label.person, scenes[-1].camera), 3, 31)))
    assert {
        "id",
        "image_id",
        "category_id",
        "bbox",
        "area",
        "iscrowd",
        "keypoints",
        "num_keypoints",
        "segmentation",
    } <= set(entry)
    assert len(entry["keypoints"]) == 51
    assert np.shape(entry["llmpose"]["pose"]) == (22, 3)
    assert np.shape(entry["llmpose"]["keypoints24"]) == (24, 3)
    assert entry["llmpose"]["clothes"]["top"]["color"] in CLOTH_COLORS


def test_position_words_by_hand() -> None:
    boxes = [(50.0, 0, 60, 9), (0.0, 0, 10, 9), (100.0, 0, 120, 9)]
    assert position_words(boxes, [3.0, 2.0, 3.1]) == [
        ["second from the left", "second from the right", "in the middle"],
        ["leftmost", "closest to the camera"],
        ["rightmost"],
    ]
    assert position_words(boxes[:1], [3.0]) == [[]]
    assert position_words(boxes[:2], [3.0, 2.9]) == [["rightmost", "on the right"], ["leftmost", "on the left"]]


def test_people_in_groups_do_not_stand_in_each_other(scenes: list[Scene]) -> None:
    for scene in scenes:
        people = [label.person for label in scene.people]
        for i, a in enumerate(people):
            for b in people[:i]:
                gap = np.linalg.norm(a.joints_m[:, None, :2] - b.joints_m[None, :, :2], axis=-1).min()
                assert gap > 0.2


def test_nobody_floats_or_sinks() -> None:
    rng = np.random.default_rng(0)
    for person in draw_people(draw_poses(40, rng), rng):
        assert person.vertices_m[:, 2].min() == pytest.approx(0, abs=1e-9)
