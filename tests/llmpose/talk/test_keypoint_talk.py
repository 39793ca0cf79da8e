"""Keypoints shown by example in a talk: encoded to one token, decoded alike alone and together, refused where wrong."""

import json
import re
from collections.abc import Callable
from copy import deepcopy
from io import StringIO
from pathlib import Path
from shutil import rmtree
from typing import Any

import pytest
import torch
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from llmpose.cli import app
from llmpose.commands.chat import to_dict
from llmpose.errors import UserError
from llmpose.model.config import LlmPoseConfig
from llmpose.model.modeling import LlmPoseForConditionalGeneration
from llmpose.talk.chat import ChatAnswer, LlmPose
from llmpose.talk.conversation import Conversation, ImagePart, KeypointPart
from llmpose.talk.decoding import Decoding, Point
from llmpose.talk.generation import generate
from llmpose.talk.keypoints import WORDINGS, Support, find_in_pictures, named_keypoints
from llmpose.talk.processing import LlmPoseProcessor
from llmpose.talk.terminal import Terminal

Talker = tuple[LlmPoseForConditionalGeneration, LlmPoseProcessor]


def picture(seed: int, width: int = 24, height: int = 24) -> Image.Image:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randint(0, 255, (height, width, 3), generator=generator)
    return Image.fromarray(noise.to(torch.uint8).numpy())


QUERY, SUPPORT, WIDE = picture(0), picture(1), picture(2, 40, 20)


@pytest.fixture(scope="module", name="prompted")
def _prompted(talker: Callable[..., Talker]) -> Talker:
    model, processor = talker(1)
    config = LlmPoseConfig(**{**deepcopy(model.config).to_dict(), "keypoint_prompts": "extractor"})
    torch.manual_seed(3)
    made = LlmPoseForConditionalGeneration(config).eval()
    with torch.no_grad():
        for weight in made.parameters():
            if weight.ndim > 1:
                weight.mul_(4.0)
    return made, LlmPoseProcessor.for_model(config, processor.tokenizer)


def ask(point: tuple[float, float], support: Any = SUPPORT) -> Conversation:
    return Conversation().user(ImagePart(QUERY), " Where is ", KeypointPart((support,), (point,)), "?")


def test_a_keypoint_takes_one_token_and_keeps_its_place(prompted: Talker) -> None:
    example = prompted[1].encode(ask((0.25, 0.5)), train=False)
    assert int((example.token_ids == prompted[1].vocabulary.keypoint_id).sum()) == 1
    assert len(example.images) == 1
    assert example.prompts[0].points_square == ((0.25, 0.5),)


def test_points_of_a_wide_picture_move_with_it_into_the_square(prompted: Talker) -> None:
    (prompt,) = prompted[1].encode(ask((0.25, 0.0), WIDE), train=False).prompts
    assert prompt.points_square[0] == pytest.approx((0.25, 0.25))  # 20 of 40 rows are the picture, 10 above it


@pytest.mark.parametrize("share", [True, False])
def test_many_keypoints_of_one_picture_are_answered_as_one_by_one(prompted: Talker, share: bool) -> None:
    model, processor = prompted
    points = [(0.1, 0.9), (0.5, 0.5), (0.9, 0.2), (0.3, 0.4)]
    settings = Decoding(grammar="named_point", max_new_tokens=40, share_prefixes=share)
    alone = [generate(model, processor, [ask(point)], settings)[0] for point in points]
    together = generate(model, processor, [ask(point) for point in points], settings)
    assert [answer.text for answer in together] == [answer.text for answer in alone]
    for one, other in zip(together, alone, strict=True):
        assert one.confidence == pytest.approx(other.confidence, rel=1e-4)
        assert len(one.points) == 1
        assert re.fullmatch(r"[^:]+: [01]\.\d{3}, [01]\.\d{3}", one.text, re.DOTALL)


def test_the_answer_depends_on_the_keypoint_that_is_shown(prompted: Talker) -> None:
    model, processor = prompted
    batch = processor.pad(processor.encode_batch([ask((0.1, 0.1)), ask((0.9, 0.9))], train=False))
    with torch.no_grad():
        logits = model(**batch, return_logits=True).logits[:, -1]
    assert (logits[0] - logits[1]).abs().max() > 1e-3


def test_a_keypoint_of_several_pictures_may_be_missing_in_some(prompted: Talker) -> None:
    model, processor = prompted
    part = KeypointPart((SUPPORT, WIDE), ((0.5, 0.5), None))
    told = generate(model, processor, [Conversation().user(part, " What is this?")], Decoding(max_new_tokens=5))
    assert told[0].text is not None
    nowhere = Conversation().user(KeypointPart((SUPPORT,), (None,)), " What is this?")
    with pytest.raises(UserError, match="none of its support images shows"):
        processor.encode(nowhere, train=False)


def test_saved_processors_know_that_their_model_takes_prompts(prompted: Talker, tmp_path: Path) -> None:
    prompted[1].save_pretrained(tmp_path)
    assert LlmPoseProcessor.from_pretrained(tmp_path).encoding.prompt_fit == "pad"


# --- pictures with objects --------------------------------------------------------------------------------------------


def test_an_object_is_found_where_its_box_lies(prompted: Talker) -> None:
    skeleton = named_keypoints(["nose", "left ear", "right ear"])
    assert skeleton.flip_pairs == ((1, 2),)
    picture_px = picture(5, 80, 60)
    boxes = [(10, 10, 30, 40), (40, 5, 70, 25)]
    (found,) = find_in_pictures(*prompted, [(picture_px, boxes)], skeleton, asked=["nose", "left ear"])
    for one, (left, top, side) in zip(found, ((1.25, 6.25, 37.5), (36.25, -3.75, 37.5)), strict=True):
        asked = one.keypoints_px[:2]
        assert ((asked[:, :2] >= [left, top]) & (asked[:, :2] <= [left + side, top + side])).all()
        assert (one.keypoints_px[2] == 0).all()
        assert len(one.texts) == 2
        assert 0 < one.score <= 1


def test_wordings_of_the_command_are_wordings_of_training() -> None:
    from data.tasks import keypoint_task

    for name, by in (("keypoint_textual", "text"), ("keypoint_visual", "example"), ("keypoint_combined", "both")):
        assert "{image}" + WORDINGS[by] in keypoint_task(name).templates("train")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"boxes": [(10, 10, 10, 40)]}, "has no area"),
        ({"boxes": [(100, 10, 120, 40)]}, "outside its picture"),
        ({"asked": ["nsoe"]}, "did you mean 'nose'"),
        ({"supports": [Support(SUPPORT, {"nose": (30, 5)})]}, "outside its support image"),
        ({"supports": [Support(SUPPORT, {"nose": (3, 5)})], "asked": ["tail"]}, "no support image shows 'tail'"),
        ({"by": "example"}, "need a support image"),
    ],
)
def test_what_cannot_be_asked_is_said_in_one_line(prompted: Talker, fields: dict[str, Any], message: str) -> None:
    given = {"boxes": None, **fields}
    with pytest.raises(UserError, match=message):
        find_in_pictures(
            *prompted, [(picture(5, 80, 60), given.pop("boxes"))], named_keypoints(["nose", "tail"]), **given
        )


def test_the_command_draws_writes_and_goes_on(prompted: Talker, tmp_path: Path) -> None:
    model, processor = prompted
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    (tmp_path / "pictures").mkdir()
    for number in range(2):
        picture(number, 50, 40).save(tmp_path / "pictures" / f"{number}.png")
    SUPPORT.save(tmp_path / "example.png")
    out = tmp_path / "out"
    words = ["keypoints", str(tmp_path / "pictures"), "--model", str(tmp_path / "model"), "--out", str(out)]
    words += ["--support", str(tmp_path / "example.png"), "--points", "nose=4,5; tail=20,10"]
    assert CliRunner().invoke(app, words, catch_exceptions=False).exit_code == 0
    written = json.loads((out / "keypoints.json").read_text())
    assert [image["file_name"] for image in written["images"]] == ["0.png", "1.png"]
    assert written["categories"][0]["keypoints"] == ["nose", "tail"]
    for one in written["annotations"]:
        assert one["bbox"] == [0, 0, 50, 40]
        assert len(one["keypoints"]) == 6
        assert len(one["keypoint_scores"]) == one["num_keypoints"] == 2
    assert Image.open(out / "1.png.png").size == (50, 40)
    (tmp_path / "model" / "config.json").unlink()  # nothing is asked again, so no model is read
    assert CliRunner().invoke(app, words, catch_exceptions=False).exit_code == 0
    assert json.loads((out / "keypoints.json").read_text()) == written


@pytest.fixture(name="saved")
def _saved(prompted: Talker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with model/, one.png to three.png and example.png, in which commands run."""
    prompted[0].save_pretrained(tmp_path / "model")
    prompted[1].save_pretrained(tmp_path / "model")
    for number, name in enumerate(("one", "two", "three")):
        picture(number, 50, 40).save(tmp_path / f"{name}.png")
    SUPPORT.save(tmp_path / "example.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words: str) -> Any:
    return CliRunner().invoke(app, ["keypoints", *words, "--model", "model", "--out", "out"])


def test_a_folder_of_answers_takes_no_answers_to_another_question(saved: Path) -> None:
    assert run("one.png", "--keypoints", "nose, nose").exit_code == 0
    before = (saved / "out/keypoints.json").read_text()
    assert len(json.loads(before)["annotations"][0]["texts"]) == 1
    assert run("one.png", "--keypoints", "nose, Nose").exit_code == 0
    for words in (["--keypoints", "tail"], ["--keypoints", "nose", "--reading", "mean"], ["--skeleton", "coco17"]):
        done = run("two.png", *words)
        assert isinstance(done.exception, UserError)
        assert "holds answers to another question" in str(done.exception)
    assert (saved / "out/keypoints.json").read_text() == before


def test_a_damaged_picture_is_left_out_and_told(saved: Path) -> None:
    (saved / "two.png").write_text("no picture")
    done = run("one.png", "two.png", "three.png", "--keypoints", "nose")
    assert done.exit_code == 0, done.output
    assert "1 pictures cannot be read and were left out (two.png" in done.stderr
    names = [image["file_name"] for image in json.loads((saved / "out/keypoints.json").read_text())["images"]]
    assert names == ["one.png", "three.png"]
    alone = CliRunner().invoke(app, ["keypoints", "two.png", "--model", "model", "--out", "b", "--keypoints", "nose"])
    assert isinstance(alone.exception, UserError)


def test_boxes_that_name_no_picture_and_pictures_without_boxes_are_told(saved: Path) -> None:
    (saved / "boxes.json").write_text(json.dumps({"one.png": [[1, 2, 30, 30]], "gone.png": [[1, 2, 3, 4]]}))
    done = run("one.png", "two.png", "--keypoints", "nose", "--boxes", "boxes.json")
    assert "1 pictures are not in --boxes: taken whole (two.png)" in done.stderr
    assert "1 names in --boxes are none of the pictures (gone.png)" in done.stderr


def test_what_was_found_is_kept_when_a_later_picture_stops_the_command(saved: Path) -> None:
    (saved / "boxes.json").write_text(json.dumps({"two.png": [[5, 5, 5, 30]]}))
    done = run("one.png", "two.png", "--keypoints", "nose", "--boxes", "boxes.json", "--pictures", "1")
    assert str(done.exception).startswith("two.png: box (5.0, 5.0, 5.0, 30.0) has no area")
    assert [image["file_name"] for image in json.loads((saved / "out/keypoints.json").read_text())["images"]] == [
        "one.png"
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--support", "example.png", "--points", "nose=99,5"], "lies outside its support image"),
        (["--support", "example.png", "--points", "nose=1,5; nose=2,5"], "names 'nose' twice"),
        (["--support", "example.png", "--points", "left_eye=1,5; Left eye=2,5"], "names 'Left eye' twice"),
        (["--keypoints", "nose, _"], "keypoint 2 of 2 has no name: '_'"),
        (["--support", "example.png", "--points", "nose=1,5", "--keypoints", "nsoe"], "did you mean 'nose'"),
        (["--skeleton", "coco17", "--keypoints", "left wirst"], "did you mean 'left wrist'"),
        (["--keypoints", "nose", "--box", "5,5,5,30"], "has no area"),
        (["--keypoints", "nose", "--box", "5,5,inf,30"], "expected left,top,right,bottom"),
        (["--keypoints", "nose", "--box", "90,5,99,30"], "one.png: box (90.0, 5.0, 99.0, 30.0) lies outside"),
    ],
)
def test_a_mistake_is_told_before_any_weights_are_read(saved: Path, words: list[str], message: str) -> None:
    (saved / "model/config.json").unlink()
    assert message in str(run("one.png", *words).exception)


def test_a_model_of_poses_alone_is_told_so_before_its_weights_are_read(saved: Path) -> None:
    config = json.loads((saved / "model/config.json").read_text())
    (saved / "model/model.safetensors").unlink()
    (saved / "model/config.json").write_text(json.dumps(config | {"keypoint_prompts": None, "keypoint_answers": None}))
    done = run("one.png", "--keypoints", "nose")
    assert isinstance(done.exception, UserError)
    assert str(done.exception).startswith("model: this model was never trained on keypoints")
    assert not (saved / "out").exists()


def test_a_model_that_learnt_keypoints_in_words_alone_is_asked(talker: Callable[..., Talker], saved: Path) -> None:
    model, processor = deepcopy(talker(1))
    model.config.keypoint_answers = "named"
    model.save_pretrained(saved / "model")
    processor.save_pretrained(saved / "model")
    assert run("one.png", "--keypoints", "nose").exit_code == 0
    rmtree(saved / "out")
    shown = run("one.png", "--support", "example.png", "--points", "nose=1,2")
    assert "takes no keypoints by example" in str(shown.exception)


def test_the_device_reaches_model_and_detector(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[torch.device] = []
    to = LlmPoseForConditionalGeneration.to

    def noted(model: Any, place: Any) -> Any:
        moved.append(place)
        return to(model, place)

    class Blind:
        def find(self, images: list[Any], *_: Any, **__: Any) -> list[list[Any]]:
            return [[] for _ in images]

    def detector(_: str, *, device: torch.device) -> Blind:
        moved.append(device)
        return Blind()

    monkeypatch.setattr(LlmPoseForConditionalGeneration, "to", noted)
    monkeypatch.setattr("llmpose.talk.detector.Detector.from_pretrained", detector)
    words = ["--keypoints", "nose", "--detector", "dino", "--objects", "dog"]
    assert run("one.png", *words, "--device", "cpu").exit_code == 0
    assert moved == [torch.device("cpu")] * 2


def test_a_device_that_is_not_there_is_one_line(saved: Path) -> None:
    (saved / "model/model.safetensors").unlink()
    done = run("one.png", "--keypoints", "nose", "--device", "abacus")
    assert isinstance(done.exception, UserError)
    assert "device 'abacus' is not to be had" in str(done.exception)


# --- in the chat ------------------------------------------------------------------------------------------------------


@pytest.fixture(name="files")
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    SUPPORT.save("example.png")
    WIDE.save("wide picture.png")
    picture(7, 60, 40).save("query.png")
    return tmp_path


def chat(prompted: Talker, *lines: str) -> tuple[str, Terminal]:
    """What is shown for these lines, by a model whose answers always end in a point."""
    model = LlmPose(*prompted, settings=Decoding(grammar="named_point", max_new_tokens=40))
    waiting, out = iter(lines), StringIO()

    def read() -> str:
        line = next(waiting, None)
        if line is None:
            raise EOFError
        return line

    console = Console(file=out, width=120, highlight=False, color_system=None)
    terminal = Terminal(model, console=console, reader=read, style="shades")
    terminal.run()
    return out.getvalue(), terminal


def test_a_keypoint_is_shown_found_and_drawn_in_the_chat(prompted: Talker, files: Path) -> None:
    shown, terminal = chat(
        prompted,
        "/keypoint example.png=6,12; 'wide picture.png'=10,5",
        "query.png Find the keypoint <keypoint>.",
        "/points",
    )
    (part,) = [part for part in terminal.session.conversation.turns[0].parts if isinstance(part, KeypointPart)]
    assert part.points_norm == ((0.25, 0.5), (0.25, 0.25))
    found = re.search(r"point read as ([\d.]+), ([\d.]+) px, sure to", shown)
    assert found is not None
    assert 0 <= float(found[1]) <= 60
    assert 0 <= float(found[2]) <= 40
    assert Image.open(files / "points.png").size == (60, 40)


def test_a_keypoint_in_words_and_the_name_of_one_are_asked_in_the_chat(prompted: Talker, files: Path) -> None:
    shown, terminal = chat(prompted, "query.png Where is the nose?", "/reset", "/keypoint query.png=3,4", "Name it.")
    assert shown.count("sure to") == 1  # a point with no picture to lie in is not told
    kinds = [type(part).__name__ for part in terminal.session.conversation.turns[0].parts]
    assert kinds[0] == "KeypointPart"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("/keypoint example.png=99,2", "lies outside example.png of 24x24 pixels"),
        ("/keypoint example.png", "FILE=x,y"),
        ("/keypoint", "which keypoint?"),
        ("/keypoint gone.png=1,2", "no such file"),
        ("/points", "names no point"),
        ("Find <keypoint>.", "more <keypoint> than the 0"),
    ],
)
def test_mistakes_with_keypoints_are_one_line(prompted: Talker, files: Path, line: str, message: str) -> None:
    assert message in chat(prompted, line)[0]


def test_a_script_asks_with_a_keypoint(prompted: Talker, files: Path) -> None:
    prompted[0].save_pretrained(files / "model")
    prompted[1].save_pretrained(files / "model")
    words = ["chat", "--model", "model", "--ask", "<image> Find <keypoint>.", "--image", "query.png", "--json"]
    done = CliRunner().invoke(app, [*words, "--keypoint", "example.png=6,12", "--max-new-tokens", "5"])
    assert done.exit_code == 0, done.output
    assert "points" in json.loads(done.output.splitlines()[-1])
    assert CliRunner().invoke(app, [*words, "--keypoint", "example.png=60,12"]).exit_code != 0


def test_points_as_json_are_short_and_say_what_was_said() -> None:
    readings = {"said": (0.471, 0.25), "densest": (0.47100000000000003, 0.3)}
    points = [Point(0.47100000000000003, 0.3, 0.5, readings), Point(0.12345678, 1.0, 0.123456789)]
    assert to_dict(ChatAnswer((), "nose", points=points))["points"] == [
        {"x": 0.471, "y": 0.3, "confidence": 0.5, "said": [0.471, 0.25]},
        {"x": 0.1235, "y": 1.0, "confidence": 0.123457},
    ]


def test_many_pictures_are_answered_as_one_by_one(prompted: Talker) -> None:
    pictures = [(picture(seed, 50, 40), [(5, 5, 30, 30)]) for seed in range(3)]
    skeleton = named_keypoints(["nose", "tail"])
    together = find_in_pictures(*prompted, [*pictures, (picture(9, 30, 30), [])], skeleton)
    assert together[3] == []
    for (image, boxes), found in zip(pictures, together, strict=False):
        ((alone,),) = find_in_pictures(*prompted, [(image, boxes)], skeleton)
        assert alone.texts == found[0].texts


def test_names_asked_on_the_spot_have_their_twins_however_they_are_written() -> None:
    assert named_keypoints(["Left_eye", "tail", " right eye "]).flip_pairs == ((0, 2),)
    assert named_keypoints(["left eye", "tail"]).flip_pairs == ()


def test_the_nearest_keypoint_of_the_examples_is_suggested(prompted: Talker) -> None:
    skeleton = named_keypoints(["nsoe", "nose"])
    with pytest.raises(UserError, match="did you mean 'nose'"):
        find_in_pictures(
            *prompted, [(QUERY, None)], skeleton, asked=["nsoe"], supports=[Support(SUPPORT, {"nose": (3, 5)})]
        )
