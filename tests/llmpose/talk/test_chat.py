"""Asking from Python: answers, meshes, and a memory that can be undone."""

import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from lesson_values import BENT, RED, STANDING
from PIL import Image

import llmpose
from llmpose.body.pose import Pose
from llmpose.errors import UserError
from llmpose.talk.attach import place, read_line, unquoted
from llmpose.talk.chat import LlmPose, message_parts
from llmpose.talk.conversation import Conversation, ImagePart, PosePart, TextPart
from llmpose.talk.decoding import Said
from llmpose.talk.processing import LlmPoseProcessor
from llmpose.talk.rows import Row, Spoken, finished_answer
from llmpose.talk.vocabulary import PLAIN_CHAT_TEMPLATE
from tests.eval.little import write_model

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def model(taught: Any) -> LlmPose:
    return LlmPose(*taught("mixed"))


def test_five_lines_from_a_folder_to_an_answer(model_folder: Path, tmp_path: Path) -> None:
    model = llmpose.LlmPose.from_pretrained(model_folder, device="cpu")
    answer = model.chat("Stand.")
    assert answer.codes == [STANDING.codes]
    assert answer.pose_confidences[0] > 0.9
    mesh = answer.meshes[0]
    assert mesh.vertices_m.shape == (6890, 3)
    expected = model.body(answer.poses[0]).vertices_m
    torch.testing.assert_close(mesh.vertices_m, expected)
    mesh.save(tmp_path / "body.glb")
    assert (tmp_path / "body.glb").read_bytes()[:4] == b"glTF"
    assert answer.render(size=64).size == (64, 64)
    with pytest.raises(UserError, match="has 1 poses; there is no pose 1"):
        answer.render(1)


def test_messages_are_text_pictures_poses_and_paths(model: LlmPose, tmp_path: Path) -> None:
    Image.fromarray(RED).save(tmp_path / "red.png")
    asked = [["Describe ", RED], ["Describe ", tmp_path / "red.png"], ("Describe ", Image.fromarray(RED))]
    assert [answer.text for answer in model.chat_many(asked)] == ["A man is standing."] * 3
    assert model.chat(Conversation().user("Describe ", RED)).text == "A man is standing."


def test_a_session_remembers_undoes_and_forgets(model: LlmPose) -> None:
    session = model.session()
    assert session.ask("Stand.").codes == [STANDING.codes]
    assert session.ask("Now bend the knees.").codes == [BENT.codes]
    assert session.ask("And?").text == "Bent."
    assert len(session.poses) == 2
    assert all(isinstance(pose, Pose) for pose in session.poses)
    assert session.undo()
    assert session.undo()
    assert session.ask("Now bend the knees.").codes == [BENT.codes]
    session.reset()
    assert session.conversation.turns == ()
    assert not session.undo()
    assert session.ask("Stand.").codes == [STANDING.codes]


def test_a_question_that_fails_is_not_remembered(model: LlmPose, talker: Any) -> None:
    session = LlmPose(*talker(0, "mixed", "llama", 40)).session()
    with pytest.raises(UserError, match="the model reads 40"):
        session.ask("Both knees " * 30)
    assert session.conversation.turns == ()


def test_an_interrupted_answer_keeps_what_was_heard(model: LlmPose) -> None:
    session = model.session()
    heard: list[Said] = []

    def interrupt_behind_the_pose(said: Said) -> None:
        heard.append(said)
        if said.codes is not None:
            raise KeyboardInterrupt

    answer = session.ask("Bend the knees.", listener=interrupt_behind_the_pose)
    assert answer.finish_reason == "stopped"
    assert answer.is_cut_off
    assert (answer.text, answer.codes) == ("Both knees are bent: ", [BENT.codes])
    assert len(answer.poses) == 1
    assert session.conversation.answer.poses[0].codes == BENT.codes
    assert model.chat("Stand.").codes == [STANDING.codes]  # nothing is left of the interruption

    def interrupt_at_once(said: Said) -> None:
        raise KeyboardInterrupt

    session.reset()
    answer = session.ask("Bend the knees.", listener=interrupt_at_once)
    assert "Both knees are bent: ".startswith(answer.text)


def test_an_answer_cut_off_before_its_first_word_is_no_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some templates put a space before an answer: one that ends behind it has said nothing."""
    model = LlmPose.from_pretrained(write_model(tmp_path), device="cpu")
    model.processor.tokenizer.chat_template = PLAIN_CHAT_TEMPLATE
    processor = LlmPoseProcessor.for_model(model.model.config, model.processor.tokenizer, None)
    space = processor.tokenizer.encode(" ", add_special_tokens=False)
    cut: Any = Row(0, None, None, 0, 0, Random(), said=[Spoken(space, [-1.0])], finish="length")  # type: ignore[arg-type]
    answer = finished_answer(processor, cut)
    assert (processor.encoding.lead, answer.token_ids, answer.text, answer.parts) == (" ", space, "", ())
    session = model.session()
    with monkeypatch.context() as patch:
        patch.setattr(LlmPose, "chat", lambda *_, **__: answer)
        assert session.ask("Stand.").is_cut_off
    assert session.conversation.turns == ()
    assert session.ask("Stand.", max_new_tokens=4).finish_reason in ("end", "length")  # and the chat goes on


def test_settings_change_for_one_answer(model: LlmPose) -> None:
    short = model.chat("Bend the knees.", max_new_tokens=2)
    assert short.is_cut_off
    assert not model.chat("Bend the knees.").is_cut_off
    with pytest.raises(UserError, match="no setting temprature"):
        model.chat("Stand.", temprature=1.0)


@pytest.mark.parametrize("written", ["'{}'", '"{}"', "{}", "file://{}"])
def test_files_in_a_line_become_parts_where_they_stand(tmp_path: Path, written: str) -> None:
    path = tmp_path / "my photo.png"
    Image.fromarray(RED).save(path)
    name = str(path)
    if written == "{}":
        name = name.replace(" ", "\\ ")
    if written.startswith("file"):
        name = name.replace(" ", "%20")
    parts = read_line(f"What is in {written.format(name)}, please?")
    assert [type(part) for part in parts] == [TextPart, ImagePart, TextPart]
    assert (parts[0], parts[2]) == (TextPart("What is in "), TextPart(", please?"))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("What's in a.png? It's a man's pose", ["What's in ", "? It's a man's pose"]),
        ("Compare (a.png) with the dogs' bowl", ["Compare (", ") with the dogs' bowl"]),
        ("the '80s: a.png, the boys' own", ["the '80s: ", ", the boys' own"]),
        (r"See 'it'\''s me.png' please", ["See ", " please"]),
        (r"See it\'s\ me.png.", ["See ", "."]),
        ("See it's.png!", ["See ", "!"]),
    ],
)
def test_an_apostrophe_swallows_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, words: list[str]
) -> None:
    for name in ("a.png", "it's me.png", "it's.png"):
        Image.fromarray(RED).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    parts = read_line(line)
    assert [part.text for part in parts if isinstance(part, TextPart)] == words
    assert sum(isinstance(part, ImagePart) for part in parts) == 1


def test_words_stay_words_and_missing_files_are_errors(tmp_path: Path) -> None:
    line = "Don't \"shout\", it's 5.5 o'clock. See https://example.org/a"
    assert read_line(line) == [TextPart(line)]
    with pytest.raises(UserError, match=r"nowhere/a\.jpg: no such file"):
        read_line("Describe nowhere/a.jpg")
    (tmp_path / "broken.png").write_bytes(b"no")
    with pytest.raises(UserError, match="not an image file"):
        read_line(f"Describe {tmp_path / 'broken.png'}")
    (tmp_path / "notes.txt").write_text("hi")
    with pytest.raises(UserError, match="neither an image"):
        message_parts([tmp_path / "notes.txt"])
    with pytest.raises(UserError, match="item 3: a NoneType is no part"):
        message_parts(["a", ["b", None]])


def test_pose_files_are_parts_and_a_sequence_wants_its_frame(tmp_path: Path) -> None:
    Pose.rest().save(tmp_path / "one.npz")
    Pose.rest(3).save(tmp_path / "three.npz")
    assert isinstance(read_line(str(tmp_path / "one.npz"))[0], PosePart)
    with pytest.raises(UserError, match=r"3 poses; say which one with frame=0 \.\.\. 2"):
        read_line(str(tmp_path / "three.npz"))


def test_attachments_fill_their_places_and_the_rest_goes_in_front() -> None:
    a, b, pose = ImagePart(RED), ImagePart(RED), STANDING
    assert place([TextPart("Compare <image> and <image>.")], [a, b]) == [
        TextPart("Compare "), a, TextPart(" and "), b, TextPart(".")]  # fmt: skip
    assert place([TextPart("Fit <pose>")], [a, pose]) == [a, TextPart(" "), TextPart("Fit "), pose]
    assert place([TextPart("Describe it")], [a]) == [a, TextPart(" "), TextPart("Describe it")]
    with pytest.raises(UserError, match="more <image> than the 1 that were given"):
        place([TextPart("<image> <image>")], [a])


def test_paths_are_read_as_terminals_write_them() -> None:
    assert unquoted("'/a b.jpg'") == unquoted("/a\\ b.jpg") == unquoted("file:///a%20b.jpg") == Path("/a b.jpg")
    assert unquoted("~/x.png") == Path.home() / "x.png"


def test_a_folder_that_is_no_model_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not found; expected the folder of a saved llmpose model"):
        LlmPose.from_pretrained(tmp_path)
    with pytest.raises(UserError, match="no such folder"):
        LlmPose.from_pretrained(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["LlmPoseConfig", "LlmPoseForConditionalGeneration", "LlmPoseProcessor"])
def test_whichever_class_is_imported_the_auto_classes_know_them_all(model_folder: Path, name: str) -> None:
    script = (
        f"from llmpose import {name}\n"
        "from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor\n"
        "for auto in (AutoConfig, AutoModelForImageTextToText, AutoProcessor):\n"
        f"    print(type(auto.from_pretrained({str(model_folder)!r})).__name__)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split()[-3:] == ["LlmPoseConfig", "LlmPoseForConditionalGeneration", "LlmPoseProcessor"]


@pytest.mark.parametrize("name", ["cuda:99", "abacus"])
def test_a_device_that_is_not_there_is_one_line(model_folder: Path, name: str) -> None:
    with pytest.raises(UserError, match=f"device '{name}' is not to be had; this machine has cpu"):
        LlmPose.from_pretrained(model_folder, device=name)


def test_pictures_are_seen_and_not_guessed(model: LlmPose) -> None:
    blue = np.full((9, 9, 3), (30, 30, 200), np.uint8)
    assert model.chat(["Describe ", blue]).text == "The person leans forward."


def test_messages_of_chat_interfaces_are_answered(model: LlmPose) -> None:
    messages = [
        {"role": "user", "content": "Stand."},
        {"role": "assistant", "content": [{"type": "pose", "codes": list(STANDING.codes or ())}]},
        {"role": "user", "content": "Now bend the knees."},
    ]
    assert model.chat(messages).codes == [BENT.codes]


def test_a_model_without_its_pose_tokenizer_still_talks(taught: Any) -> None:
    trained, processor = taught("mixed")
    bare = LlmPoseProcessor(processor.tokenizer, num_pose_tokens=7, num_image_tokens=4, vision=processor.vision)
    session = LlmPose(trained, bare).session()
    answer = session.ask("Stand.")
    assert (answer.codes, answer.poses, session.num_poses) == ([STANDING.codes], [], 1)
    with pytest.raises(UserError, match="no pose tokenizer"):
        _ = session.poses


def test_half_precision_answers_the_same(model_folder: Path) -> None:
    model = LlmPose.from_pretrained(model_folder, device="cpu", dtype=torch.bfloat16)
    assert model.model.dtype == torch.bfloat16
    assert model.chat("Stand.").codes == [STANDING.codes]
    assert model.chat(["Describe ", RED]).text == "A man is standing."
