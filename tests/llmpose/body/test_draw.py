"""Drawings on pictures, and masks as run lengths."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as reference

from llmpose.body.draw import contact_sheet, draw_boxes, draw_masks, draw_skeleton
from llmpose.body.rle import decode_rle, encode_rle
from llmpose.errors import UserError

GREY = np.full((60, 80, 3), 100, np.uint8)


def changed(picture: Image.Image) -> np.ndarray:
    return (np.asarray(picture) != 100).any(-1)


def test_masks_pack_to_the_very_strings_of_pycocotools_and_back() -> None:
    rng = np.random.default_rng(0)
    shapes = [(1, 1), (1, 40), (40, 1), (33, 57), (240, 320)]
    for shape in shapes:
        for share in (0.0, 0.02, 0.5, 0.98, 1.0):
            mask = rng.random(shape) < share
            mask[shape[0] // 3 : shape[0] // 2, shape[1] // 4 :] = share < 0.5
            packed = encode_rle(mask)
            theirs: Any = reference.encode(np.asfortranarray(mask.astype(np.uint8)))
            assert packed == {"size": list(shape), "counts": theirs["counts"].decode()}
            np.testing.assert_array_equal(decode_rle(packed), mask)
            np.testing.assert_array_equal(decode_rle({"size": shape, "counts": theirs["counts"]}), mask)


def test_run_lengths_may_come_as_a_list_and_must_fill_the_image() -> None:
    np.testing.assert_array_equal(decode_rle({"size": [2, 2], "counts": [1, 2, 1]}), [[False, True], [True, False]])
    with pytest.raises(UserError, match="add up to 3"):
        decode_rle({"size": [2, 2], "counts": [1, 2]})
    with pytest.raises(UserError, match="size"):
        decode_rle({"counts": "abc"})


def test_a_skeleton_draws_links_between_labelled_points_only() -> None:
    skeleton = SimpleNamespace(keypoints=("left_hip", "left_knee", "nose"), links=[(0, 1), (1, 2)])
    points = [[10, 10, 2], [40, 10, 1], [70, 50, 0]]
    picture = draw_skeleton(GREY, points, skeleton)  # pyright: ignore[reportArgumentType]
    pixels = np.asarray(picture)
    assert tuple(pixels[10, 25]) == (255, 140, 40)  # a left link
    assert tuple(pixels[10, 10]) == (70, 235, 90)  # visible
    assert tuple(pixels[10, 40]) == (235, 60, 60)  # hidden
    assert not changed(picture)[30:].any()  # the absent point and its link
    assert (GREY == 100).all()  # nothing is drawn in place
    with pytest.raises(UserError, match="2 keypoints"):
        draw_skeleton(GREY, points[:2], skeleton)  # pyright: ignore[reportArgumentType]


def test_boxes_frame_their_area_and_carry_labels() -> None:
    picture = draw_boxes(GREY, [[20, 10, 60, 50]], width=1)
    rows, columns = np.nonzero(changed(picture))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (10, 49, 20, 59)
    assert not changed(picture)[11:49, 21:59].any()
    assert changed(draw_boxes(GREY, [[20, 10, 60, 50]], ["anna"], width=1))[11:49, 21:59].any()


def test_masks_tint_their_pixels_from_arrays_and_run_lengths() -> None:
    mask = np.zeros((60, 80), bool)
    mask[5:9, 70:] = True
    for given in (mask, encode_rle(mask)):
        np.testing.assert_array_equal(changed(draw_masks(GREY, [given])), mask)
    with pytest.raises(UserError, match="does not fit"):
        draw_masks(GREY, [mask.T])


def test_a_sheet_holds_every_picture_in_its_cell() -> None:
    pictures = [np.full((10, 20, 3), shade, np.uint8) for shade in (10, 60, 110, 160)]
    sheet = contact_sheet(pictures, ["a", "b", "c", "a very long name that cannot fit"], columns=3, cell=(40, 30))
    assert sheet.size == (3 * 44 + 4, 2 * 48 + 4)
    pixels = np.asarray(sheet)
    for index, shade in enumerate((10, 60, 110, 160)):
        left, top = 4 + index % 3 * 44, 4 + index // 3 * 48
        assert (pixels[top + 15, left + 20] == shade).all()
    with pytest.raises(UserError, match="at least one"):
        contact_sheet([])
    with pytest.raises(UserError, match="3 labels for 4"):
        contact_sheet(pictures, ["a", "b", "c"])


def test_pictures_that_are_none_are_refused() -> None:
    with pytest.raises(UserError, match="uint8"):
        draw_boxes(np.zeros((4, 4)), [[0, 0, 1, 1]])  # pyright: ignore[reportArgumentType]
