"""Objects found by words: a tiny detector of random weights, and the command that asks for keypoints in its boxes."""

import json
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from transformers import (
    BertConfig,
    BertTokenizer,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoProcessor,
    SwinConfig,
)
from typer.testing import CliRunner

from llmpose.cli import app
from llmpose.errors import UserError
from llmpose.talk.detector import Detector, nearest_name

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "person", "dog", ".", ",", "?"]


def image_processor() -> object:
    """The one that needs no torchvision, where this version of transformers has it under a name of its own."""
    made = getattr(transformers, "GroundingDinoImageProcessorPil", transformers.GroundingDinoImageProcessor)
    return made(size={"shortest_edge": 64, "longest_edge": 96})


@pytest.fixture(scope="module", name="folder")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dino")
    swin = SwinConfig(
        image_size=64, embed_dim=16, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=4,
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    bert = BertConfig(
        vocab_size=len(WORDS), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    config = GroundingDinoConfig(
        backbone_config=swin, text_config=bert, d_model=64, encoder_layers=2, decoder_layers=2, num_queries=12,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32,
        num_feature_levels=4, max_text_len=16, disable_custom_kernels=True,
    )  # fmt: skip
    torch.manual_seed(0)
    GroundingDinoForObjectDetection(config).save_pretrained(folder)
    tokenizer = BertTokenizer({word: number for number, word in enumerate(WORDS)})
    GroundingDinoProcessor(image_processor(), tokenizer).save_pretrained(folder)
    return folder


def picture(seed: int, width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8))


def test_boxes_lie_in_their_pictures_and_are_named_and_sorted(folder: Path) -> None:
    detector = Detector.from_pretrained(folder)
    pictures = [picture(0, 80, 60), picture(1, 50, 90)]
    found = detector.find(pictures, ["Person", "dog."], threshold=0.01)
    assert all(found)
    for image, own in zip(pictures, found, strict=True):
        assert [one.score for one in own] == sorted((one.score for one in own), reverse=True)
        for one in own:
            x0, y0, x1, y1 = one.box_xyxy_px
            assert 0 <= x0 < x1 <= image.width
            assert 0 <= y0 < y1 <= image.height
            assert one.name in ("person", "dog")
    with pytest.raises(UserError, match="no object to look for"):
        detector.find(pictures, [" "])


def test_words_of_the_detector_are_names_that_were_asked_for() -> None:
    assert nearest_name("person dog", ["dog", "person"]) == "person"
    assert nearest_name("dogg", ["person", "dog"]) == "dog"
    assert nearest_name("", ["cat"]) == "cat"


def test_a_folder_that_is_no_detector_is_told_so(tmp_path: Path, model_folder: Path) -> None:
    for place in (tmp_path, model_folder):
        with pytest.raises(UserError, match="not a detector"):
            Detector.from_pretrained(place)


def test_the_command_asks_in_the_boxes_that_were_found(folder: Path, model_folder: Path, tmp_path: Path) -> None:
    model_folder = copytree(model_folder, tmp_path / "model")
    config = json.loads((model_folder / "config.json").read_text())
    (model_folder / "config.json").write_text(json.dumps(config | {"keypoint_answers": "named"}))
    (tmp_path / "in").mkdir()
    for number in range(3):
        picture(number, 64, 64).save(tmp_path / "in" / f"{number}.png")
    words = ["keypoints", str(tmp_path / "in" / "*.png"), "--model", str(model_folder), "--out", str(tmp_path / "out")]
    words += [
        "--detector",
        str(folder),
        "--objects",
        "dog",
        "--keypoints",
        "nose",
        "--pictures",
        "2",
        "--reading",
        "mean",
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Detector, "find", lambda _, images, *__, **___: [[] for _ in images])
        done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0
    assert "no object was found in 3" in done.output
    assert json.loads((tmp_path / "out" / "keypoints.json").read_text())["annotations"] == []
    words[5] = str(tmp_path / "again")
    done = CliRunner().invoke(app, [*words, "--threshold", "0.01"], catch_exceptions=False)
    written = json.loads((tmp_path / "again" / "keypoints.json").read_text())
    assert len(written["images"]) == 3
    assert written["annotations"]
    assert all(one["object"] == "dog" and 0 < one["box_score"] <= 1 for one in written["annotations"])
    wrong = CliRunner().invoke(app, [*words[:-3], "--box", "1,2,3,4"])
    assert wrong.exit_code != 0
