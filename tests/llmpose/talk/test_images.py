"""Whatever people call an image becomes the pixels that an encoder wants, or a clear error."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from data.record import Record
from llmpose.errors import UserError
from llmpose.talk.images import CLIP_MEAN, CLIP_STD, PixelSpec, pixels, read_image, to_canvas

HALF_RED = np.zeros((8, 12, 3), np.uint8)
HALF_RED[:, :6, 0] = 255


def file_of(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_every_mode_of_a_picture_shows_the_same_colours(tmp_path: Path) -> None:
    rgb = Image.fromarray(HALF_RED)
    rgb.save(tmp_path / "a.png")
    sources: list[Any] = [rgb, HALF_RED, tmp_path / "a.png", str(tmp_path / "a.png"), file_of(rgb, "PNG")]
    sources += [rgb.convert("P"), rgb.convert("RGBA"), rgb.convert("CMYK"), file_of(rgb.convert("CMYK"), "TIFF")]
    sources += [HALF_RED / 255.0, HALF_RED.astype(np.float32), HALF_RED.astype(np.uint16) * 257]
    for source in sources:
        image = read_image(source)
        assert image.mode == "RGB"
        assert np.abs(np.asarray(image).astype(int) - HALF_RED).max() <= 1


def test_deep_and_grey_pictures_keep_their_brightness() -> None:
    ramp = np.tile(np.arange(16, dtype=np.uint16) * 4369, (4, 1))  # 0 ... 65535
    expected = np.tile(np.arange(16) * 17, (4, 1))
    for source in [ramp, Image.fromarray(ramp), file_of(Image.fromarray(ramp), "PNG"), expected.astype(np.uint8)]:
        assert np.array_equal(np.asarray(read_image(source))[:, :, 1], expected)
    bits = Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1")
    assert np.asarray(read_image(bits))[0, :, 0].tolist() == [0, 255]


def test_transparency_stands_on_white() -> None:
    clear = Image.new("RGBA", (3, 3), (255, 0, 0, 0))
    palette = Image.new("P", (3, 3))
    palette.info["transparency"] = 0
    for image in (clear, palette, Image.new("LA", (3, 3), (0, 0))):
        assert np.asarray(read_image(file_of(image, "PNG"))).min() == 255


def test_of_an_animation_the_first_frame_is_seen() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue", "green")]
    animated = file_of(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert np.asarray(read_image(animated))[0, 0].tolist() == [255, 0, 0]


def test_the_cameras_rotation_tag_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    turned = read_image(file_of(Image.fromarray(HALF_RED), "PNG", exif=exif))
    assert turned.size == (8, 12)
    assert np.asarray(turned)[0, 0].tolist() == [255, 0, 0]
    assert np.asarray(turned)[-1, 0].tolist() == [0, 0, 0]


def test_a_record_shows_what_a_chat_shows(tmp_path: Path) -> None:
    ramp = np.tile(np.arange(16, dtype=np.uint16) * 4369, (4, 1))
    pictures = {
        "deep": Image.fromarray(ramp),
        "clear": Image.new("RGBA", (3, 3), (255, 0, 0, 0)),
        "palette": Image.fromarray(HALF_RED).convert("P"),
        "grey": Image.new("LA", (3, 3), (90, 128)),
    }
    for name, picture in pictures.items():
        picture.save(path := tmp_path / f"{name}.png")
        record = Record(id=name, source="made", split="train", image=str(path))
        assert np.array_equal(np.asarray(record.load_image()), np.asarray(read_image(path))), name


def test_a_damaged_rotation_tag_turns_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(HALF_RED).save(path, exif=b"Exif\0\0MM\0*\0")
    record = Record(id="a", source="made", split="train", image=str(path), width=12, height=8)
    for image in (read_image(path), read_image(Image.open(path)), record.load_image()):
        assert np.array_equal(np.asarray(image), HALF_RED)


def test_a_picture_that_pillow_has_opened_but_not_read_is_checked_as_well() -> None:
    whole = file_of(Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)), "JPEG")
    with pytest.raises(UserError, match=r"image: the image is damaged \(image file is truncated"):
        read_image(Image.open(BytesIO(whole[: len(whole) // 2])))
    assert read_image(Image.new("LA", (2, 2), (10, 255)).convert("La")).mode == "RGB"
    with pytest.raises(UserError, match="a int is no image"):
        read_image(3)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [(1, 1), (20000, 10), (10, 20000), (3, 1)])
@pytest.mark.parametrize("fit", ["pad", "stretch", "crop"])
def test_odd_sizes_fill_the_canvas(size: tuple[int, int], fit: Any) -> None:
    specs = [PixelSpec("clip", 28, 28, fit=fit), PixelSpec("pose", 32, 24, fit=fit)]
    out = pixels([Image.new("RGB", size, "red")], specs)
    assert out["clip"].shape == (1, 3, 28, 28)
    assert out["pose"].shape == (1, 3, 32, 24)
    assert all(torch.isfinite(one).all() for one in out.values())


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (b"not an image", "not an image file"),
        (Path("/nowhere/a.jpg"), "no such image file"),
        (Path("/"), "a folder"),
        (np.zeros((0, 4, 3), np.uint8), "is no image"),
        (np.zeros((4, 4, 7), np.uint8), "is no image"),
        (np.full((4, 4, 3), np.nan), "NaN"),
    ],
)
def test_what_is_no_image_is_named(source: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_image(source)


def test_a_file_cut_short_is_damaged_and_not_grey() -> None:
    rng = np.random.default_rng(0)
    whole = file_of(Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)), "JPEG")
    with pytest.raises(UserError, match="damaged"):
        read_image(whole[: len(whole) // 2])


def test_padding_becomes_zero_and_colours_are_normalised() -> None:
    out = pixels([Image.new("RGB", (8, 4), (255, 0, 128))], [PixelSpec("clip", 8, 8)])["clip"][0]
    assert out[:, 0].abs().max() < 0.01  # a strip above: the mean colour
    expected = [(value / 255 - mean) / std for value, mean, std in zip((255, 0, 128), CLIP_MEAN, CLIP_STD, strict=True)]
    torch.testing.assert_close(out[:, 4, 4], torch.tensor(expected), atol=1e-5, rtol=0)


def test_encoders_see_the_same_square_and_the_narrow_one_its_middle() -> None:
    columns = np.zeros((64, 64, 3), np.uint8)
    columns[:, :, 0] = np.arange(64) * 4
    image = Image.fromarray(columns)
    whole = np.asarray(to_canvas(image, PixelSpec("whole", 64, 64)))
    middle = np.asarray(to_canvas(image, PixelSpec("middle", 64, 48)))
    assert np.array_equal(middle, whole[:, 8:56])


def test_specifications_are_checked() -> None:
    with pytest.raises(UserError, match="pad, stretch or crop"):
        PixelSpec("clip", 8, 8, fit="zoom")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="unknown keys colour"):
        PixelSpec.from_dict({"name": "clip", "height": 8, "width": 8, "colour": 1})
    spec = PixelSpec.from_dict({"name": "clip", "height": 8, "width": 8, "mean": [0, 0, 0], "std": [1, 1, 1]})
    assert spec == PixelSpec("clip", 8, 8, (0, 0, 0), (1, 1, 1))
