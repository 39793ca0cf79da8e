"""The chat in a browser: what goes in, what comes out, and who may see it."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lesson_values import BENT
from PIL import Image
from typer.testing import CliRunner

from llmpose.body.pose import Pose
from llmpose.cli import app
from llmpose.errors import MissingExtra, UserError
from llmpose.talk.chat import ChatAnswer, LlmPose
from llmpose.talk.conversation import ImagePart, PosePart, TextPart
from llmpose.talk.decoding import Point
from llmpose.talk.web import letters, marked, page, question, show, turn


@pytest.fixture(scope="module")
def model(taught: Callable[[str], tuple]) -> LlmPose:
    return LlmPose(*taught("mixed"))


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    picture, pose = tmp_path / "a.png", tmp_path / "b.npz"
    Image.new("RGB", (40, 20), "white").save(picture)
    Pose.rest().save(pose)
    return {"picture": picture, "pose": pose}


def test_uploads_go_where_the_words_say(files: dict[str, Path]) -> None:
    parts = question("Change <pose> into that of <image>.", [files["picture"], files["pose"]])
    assert [type(part) for part in parts] == [TextPart, PosePart, TextPart, ImagePart, TextPart]


def test_an_upload_without_words_is_no_question(files: dict[str, Path]) -> None:
    with pytest.raises(UserError, match="nothing to ask"):
        question("  ", [files["pose"]])


@pytest.mark.parametrize("name", ["a.svg", "a.html", "a"])
def test_other_files_are_refused_by_name(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("<script>")
    with pytest.raises(UserError, match="neither a picture nor a pose") as caught:
        question("Describe <image>.", [tmp_path / name])
    assert str(tmp_path) not in str(caught.value)


def test_a_turn_gives_words_a_picture_a_pose_and_a_mesh(model: LlmPose, tmp_path: Path) -> None:
    session = model.session()
    first = turn(session, "Stand.", [], tmp_path)
    second = turn(session, "Now bend the knees.", [], tmp_path)
    assert "[pose 1, sure to" in first.text
    assert "[pose 2, sure to" in second.text
    assert [path.name for path in second.downloads] == ["pose_2.npz", "pose_2.glb"]
    assert Image.open(second.pictures[0]).size == (384, 384)
    wanted = model.processor.decode_poses(torch.tensor([BENT.codes]))[0]
    assert torch.allclose(Pose.load(second.downloads[0]).rotmat.squeeze(), wanted.rotmat, atol=1e-4)
    assert second.mesh is not None
    assert second.mesh.read_bytes().startswith(b"glTF")


def test_a_turn_that_fails_leaves_the_chat_as_it_was(model: LlmPose, tmp_path: Path) -> None:
    session = model.session()
    with pytest.raises(UserError):
        turn(session, "Describe <image>.", [], tmp_path)
    assert session.conversation.turns == ()


def test_what_looks_like_markup_is_shown_as_letters() -> None:
    said = letters("<img src=//x onerror=alert(1)> \x1b[31mred\u202e")
    assert said == "&lt;img src=//x onerror=alert(1)&gt; [31mred"


def test_a_cut_answer_says_so(tmp_path: Path) -> None:
    shown = show(ChatAnswer((), "The person", finish_reason="length"), None, tmp_path)
    assert shown.text == "The person\n(cut off: the answer reached its longest length)"


def test_keypoints_are_drawn_where_the_answer_says(tmp_path: Path) -> None:
    blank = Image.new("RGB", (200, 100), "white")
    assert marked(blank, [(0.75, 0.5)]).getpixel((150, 50)) != (255, 255, 255)
    answer = ChatAnswer((), "there", points=[Point(0.75, 0.5, 0.9)])
    shown = show(answer, ImagePart(blank), tmp_path)
    assert Image.open(shown.pictures[0]).getpixel((150, 50)) != (255, 255, 255)


def test_without_gradio_the_command_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    done = CliRunner().invoke(app, ["web", "--model", "nowhere"])
    assert isinstance(done.exception, MissingExtra)
    assert "pip install 'llmpose[web]'" in str(done.exception)


def test_the_page_is_for_this_computer_only() -> None:
    from inspect import signature

    from llmpose.commands.web import web

    assert signature(web).parameters["host"].default == "127.0.0.1"


def test_the_page_shows_letters_not_markup(model: LlmPose, tmp_path: Path) -> None:
    pytest.importorskip("gradio", reason="needs the extra: pip install 'llmpose[web]'")
    blocks = page(model, tmp_path, title="t")
    chatbot = next(part for part in blocks.config["components"] if part["type"] == "chatbot")
    assert chatbot["props"]["render_markdown"] is False
    assert chatbot["props"]["sanitize_html"] is True
    assert all(entry["api_visibility"] == "private" for entry in blocks.config["dependencies"])
