"""Vision encoders of one's own: crops that fit their keypoints, recipes that run, folders that language stages load."""

from pathlib import Path

import numpy as np
import pytest
import torch
from people import write_people
from PIL import Image
from transformers import AutoTokenizer, CLIPModel, CLIPVisionModel, VitPoseBackbone

from data.crops import Square, person_square
from llmpose.body.pose import Pose
from llmpose.body.skeleton import load_skeleton
from llmpose.errors import UserError
from llmpose.model.config import VisionEncoderSpec
from llmpose.model.pose_vit import PoseVit, expected_points, heatmap_loss
from llmpose.model.vision import Vision
from llmpose.model.weights.pose_vit import import_pose_vit
from train.crops import CropNoise, CropReader, Crops, disturb
from train.pose_vit import build_pose_vit
from train.poses import PoseSource
from train.recipe import Data, Source, load_recipe
from train.run import run
from train.vision import build

SKELETON = load_skeleton("coco17")


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_people(tmp_path_factory.mktemp("people"))


def reader(size: int = 32, width: int | None = None) -> CropReader:
    spec = VisionEncoderSpec("x", {"model_type": "clip_vision_model"}, size, width or size, (4, 4), 8)
    return CropReader(spec, SKELETON, margin=1.2)


def crops_of(people: Path, **kwargs) -> Crops:
    source = PoseSource("people", Data(root=""), Source(records=str(people)), has=("image",), seed=0)
    return Crops([source], reader(**kwargs), noise=CropNoise(), keep=True)


def test_points_go_into_a_crop_and_back():
    square = person_square(np.array([10, 20, 30, 80]), margin=1.5)
    assert square == Square(20.0, 50.0, 90.0)
    points = np.array([[20, 50], [10, 20]], np.float32)
    assert square.to_crop(points, 45).tolist() == [[22.5, 22.5], [17.5, 7.5]]
    np.testing.assert_allclose(square.to_image(square.to_crop(points, 45), 45), points)
    assert person_square(np.array([0, 0, 60, 60]), margin=1.0, window=0.75).side == 80


def test_what_lies_outside_the_picture_is_filled():
    image = Image.new("RGB", (20, 20), (255, 0, 0))
    crop = np.asarray(Square(0, 0, 20).cut(image, 20, fill=(0, 0, 9)))
    assert (crop[10:, 10:] == (255, 0, 0)).all()
    assert (crop[:10] == (0, 0, 9)).all()
    assert (np.asarray(Square(100, 100, 10).cut(image, 4, fill=(1, 2, 3))) == (1, 2, 3)).all()


def bright_at(pixels: torch.Tensor, keypoints: torch.Tensor) -> float:
    """Share of keypoints whose surroundings hold the brightest thing there is."""
    size = pixels.shape[-1]
    hits = []
    for picture, points in zip(pixels.mean(1), keypoints, strict=True):
        for x, y, _ in points.tolist():
            row, column = int(y * size), int(x * size)
            patch = picture[max(row - 2, 0) : row + 3, max(column - 2, 0) : column + 3]
            hits.append(bool(patch.numel()) and float(patch.max()) > float(picture.median()) + 0.1)
    return sum(hits) / len(hits)


@pytest.mark.parametrize("width", [32, 24])
def test_keypoints_stay_on_their_pixels_through_crops_and_noise(people: Path, width: int):
    crops = crops_of(people, width=width)
    batch = crops.batch(range(12))
    assert bright_at(batch["pixels"], batch["keypoints"]) > 0.9
    noise = CropNoise(flip_share=0.5, scale=0.2, shift=0.1, colour=0.0)
    noisy = disturb(batch, torch.rand(12, 8, generator=torch.Generator().manual_seed(0)), noise, crops.reader)
    assert not torch.allclose(noisy["pixels"], batch["pixels"])
    inside = ((noisy["keypoints"][..., :2] > 0.05) & (noisy["keypoints"][..., :2] < 0.95)).all(-1)
    shown = [noisy["keypoints"][i][inside[i]] for i in range(12)]
    hits = [bright_at(noisy["pixels"][i : i + 1], shown[i][None]) for i in range(12) if len(shown[i])]
    assert sum(hits) / len(hits) > 0.85


def test_a_mirrored_crop_has_the_mirrored_pose_and_keypoints(people: Path):
    crops = crops_of(people)
    batch = crops.batch(range(4))
    chance = torch.full((4, 8), 0.5)
    chance[:, 0] = 0
    flipped = disturb(batch, chance, CropNoise(flip_share=0.5, scale=0, shift=0, colour=0), crops.reader)
    torch.testing.assert_close(flipped["pixels"], batch["pixels"].flip(-1))
    torch.testing.assert_close(flipped["rotmat"], Pose(batch["rotmat"]).mirrored().rotmat)
    left, right = SKELETON.index("left_wrist"), SKELETON.index("right_wrist")
    torch.testing.assert_close(flipped["keypoints"][:, left, 0], 1 - batch["keypoints"][:, right, 0])


def test_heatmaps_peak_where_the_keypoint_is():
    keypoints = torch.tensor([[[0.30, 0.60, 2.0], [0.9, 0.1, 1.0], [2.0, 0.5, 2.0]]])
    logits = torch.zeros(1, 3, 16, 16, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.3)
    for _ in range(200):
        optimizer.zero_grad()
        heatmap_loss(logits, keypoints).sum().backward()
        optimizer.step()
    found = expected_points(logits.detach())[0]
    torch.testing.assert_close(found[:2, :2], keypoints[0, :2, :2], atol=0.02, rtol=0)
    assert (logits.detach()[0, 2] == 0).all()  # outside of the crop: nothing is learned


TINY = [
    "batch.size=4",
    "log.progress=false",
    "encoder.patch=8",
    "encoder.hidden_size=16",
    "encoder.num_layers=2",
    "encoder.num_heads=2",
    "optim.lr=3e-3",
    "checkpoints.every=null",
]


def recipe_words(kind: str, people: Path, run_dir: Path, steps: int) -> list[str]:
    image = "[32,24]" if kind == "vision_pose" else "[32,32]"
    return [
        *TINY,
        f"kind={kind}",
        f"stage={kind}",
        f"name={kind}",
        f"run_dir={run_dir}",
        f"max_steps={steps}",
        f"encoder.image={image}",
        f"data.train.people.records={people}",
        "data.train.people.split=train",
        f"data.eval.people.records={people}",
        "data.eval.people.split=val",
    ]


def test_a_pose_vit_trains_and_becomes_an_encoder(people: Path, tmp_path: Path):
    result = run(load_recipe([], recipe_words("vision_pose", people, tmp_path, 4)))
    assert {"mpjpe_mm", "pa_mpjpe_mm", "root_deg", "pck"} <= set(result.metrics)
    assert isinstance(VitPoseBackbone.from_pretrained(result.model), VitPoseBackbone)
    spec, weights = import_pose_vit(result.model)
    vision = Vision([spec]).eval()
    vision.encoders["pose"].model.load_state_dict(weights)
    whole = PoseVit.from_pretrained(result.model / "with_heads").eval()
    pixels = torch.randn(1, 3, 32, 24)
    seen = vision({"pose": pixels}).unflatten(1, (4, 4))[:, :, :3]
    torch.testing.assert_close(seen, whole(pixels).features.unflatten(1, (4, 3)))
    rotmat = whole(pixels).rotmat
    torch.testing.assert_close(rotmat @ rotmat.transpose(-1, -2), torch.eye(3).expand_as(rotmat), atol=1e-5, rtol=0)


def test_a_pose_vit_goes_on_from_a_run_and_refuses_one_of_another_shape(people: Path, tmp_path: Path):
    first = run(load_recipe([], recipe_words("vision_pose", people, tmp_path / "first", 2)))
    words = [*recipe_words("vision_pose", people, tmp_path / "second", 2), f"start_from={tmp_path / 'first'}"]
    model = build_pose_vit(load_recipe([], words)).model.get_submodule("vit")
    stored = PoseVit.from_pretrained(first.model / "with_heads").state_dict()
    assert all(torch.equal(value, stored[name]) for name, value in model.state_dict().items())
    with pytest.raises(UserError, match=r"start_from: .*another shape: decoder_layers \d, here 0"):
        build_pose_vit(load_recipe([], [*words, "decoder_layers=0"]))
    with pytest.raises(UserError, match="goes on from a run of this kind"):
        build_pose_vit(load_recipe([], [*words, f"start_from={tmp_path / 'first/model/with_heads'}"]))


def test_sentences_that_the_text_encoder_cannot_hold_are_counted(
    people: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    words = [*recipe_words("vision_clip", people, tmp_path, 3), "noise.flip_share=0", "vocab_size=300"]
    for length, told in ((64, False), (6, True)):
        caplog.clear()
        with caplog.at_level("INFO", logger="train.clip"):
            build(load_recipe([], [*words, f"text_tokens={length}"]))
        assert any("texts cut=" in line for line in caplog.messages) == told


def test_a_clip_trains_and_becomes_an_encoder(people: Path, tmp_path: Path):
    words = [*recipe_words("vision_clip", people, tmp_path, 3), "noise.flip_share=0", "vocab_size=300"]
    result = run(load_recipe([], words))
    assert isinstance(CLIPVisionModel.from_pretrained(result.model), CLIPVisionModel)
    clip, tokenizer = (kind.from_pretrained(result.model / "with_text") for kind in (CLIPModel, AutoTokenizer))
    high, *others = (len(tokenizer) - 2, 40, 41)
    sentences = (torch.tensor([[tokenizer.bos_token_id, high, word, tokenizer.eos_token_id]]) for word in others)
    one, other = (clip.get_text_features(ids).pooler_output for ids in sentences)
    assert not torch.allclose(one, other, atol=1e-6), "the summary knows the last word, whatever came before"
    with pytest.raises(UserError, match="start_from: a CLIP is trained from nothing"):
        run(load_recipe([], [*words, f"start_from={tmp_path}", f"run_dir={tmp_path / 'again'}"]))
    with pytest.raises(UserError, match="CLIP sees squares"):
        run(load_recipe([], [*words, "encoder.image=[32,24]", f"run_dir={tmp_path / 'other'}"]))
