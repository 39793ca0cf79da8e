"""Turns, parts, messages and templates."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from llmpose.body.pose import Pose
from llmpose.errors import UserError
from llmpose.talk.conversation import (
    Conversation,
    ImagePart,
    KeypointPart,
    PosePart,
    TextPart,
    Turn,
    as_part,
    fill_template,
)


def test_a_conversation_grows_without_changing() -> None:
    empty = Conversation(task="pose_estimation", record_id="7")
    asked = empty.user("What is the pose of ", Image.new("RGB", (4, 4)), "?")
    answered = asked.assistant(Pose.rest())
    assert empty.turns == ()
    assert [type(part) for part in answered.turns[0].parts] == [TextPart, ImagePart, TextPart]
    assert isinstance(answered.answer.parts[0], PosePart)
    assert answered.question.turns == asked.turns
    assert asked.question is asked
    assert (answered.task, answered.record_id) == ("pose_estimation", "7")


def test_turns_alternate_and_the_user_begins() -> None:
    with pytest.raises(UserError, match="turn 1 is the assistant's"):
        Conversation().assistant("Hello")
    with pytest.raises(UserError, match="turn 2 is the user's"):
        Conversation().user("Hello").user("Hello?")
    with pytest.raises(UserError, match="role is 'system'"):
        Turn("system", ())  # type: ignore[arg-type]
    with pytest.raises(UserError, match="has no answer yet"):
        _ = Conversation().user("Hello").answer


def test_values_become_the_parts_that_they_are(tmp_path: Path) -> None:
    assert as_part("a.jpg") == TextPart("a.jpg")
    assert isinstance(as_part(Pose.rest()), PosePart)
    for image in (Image.new("L", (2, 2)), np.zeros((2, 2, 3), np.uint8), b"bytes", tmp_path / "a.jpg"):
        assert isinstance(as_part(image), ImagePart)
    with pytest.raises(UserError, match="a int is no part"):
        as_part(7)
    with pytest.raises(UserError, match=r"turn 2 \(assistant\), item 3: a int is no part"):
        Conversation().user("a").assistant("b", Pose.rest(), 7)
    with pytest.raises(UserError, match=r"a ndarray is no Pose; make one with Pose\(rotmat"):
        PosePart(pose=np.zeros((22, 3, 3)))  # type: ignore[arg-type]


def test_messages_of_chat_interfaces_are_read(tmp_path: Path) -> None:
    Pose.rest().save(tmp_path / "pose.npz")
    conversation = Conversation.from_messages(
        [
            {"role": "system", "content": "You see people."},
            {
                "role": "user",
                "content": [
                    {"type": "image", "image": "a.jpg"},
                    {"type": "text", "text": "and "},
                    {"type": "pose", "pose": str(tmp_path / "pose.npz")},
                    {"type": "pose", "codes": [1, 2]},
                ],
            },
            {"role": "assistant", "content": "Fine."},
        ],
        task="chat",
    )
    assert conversation.system == "You see people."
    kinds = [type(part) for part in conversation.turns[0].parts]
    assert kinds == [ImagePart, TextPart, PosePart, PosePart]
    assert conversation.turns[0].poses[1].codes == (1, 2)
    assert conversation.answer.text == "Fine."


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([{"type": "text"}], r"message 1 \(user\), item 1: the key 'text' is missing"),
        ([{"type": "text", "text": "a"}, {"type": "video"}], "item 2: the type 'video' is not known"),
        ([{"type": "image"}], "item 1: an image without a picture"),
        ([{"type": "pose"}], "item 1: a pose part holds neither"),
        ([{"type": "pose", "pose": "/nowhere/a.npz"}], "item 1: /nowhere/a.npz: no such file"),
        (None, r"message 1 \(user\) has no content"),
        ([3], r"message 1 \(user\), item 1: a int; expected text, or a dict with a type"),
        ([{"type": "image", "image": 3}], "item 1: a int is no part of a conversation"),
        ([{"type": "image", "image": Pose.rest()}], "item 1: a Pose under 'image'"),
        ([{"type": "pose", "codes": ["a"]}], "item 1: invalid literal for int"),
        ([{"type": "pose", "codes": 5}], "item 1: 'int' object is not iterable"),
        ([{"type": "keypoint", "images": ["a.jpg"], "points_norm": [[0.1, "a"]]}], "item 1: could not convert string"),
        ([{"type": "keypoint", "images": None, "points_norm": [[0.1, 0.2]]}], "item 1: 'NoneType' object"),
        ([{"type": "point", "x": "a", "y": 0}], "item 1: could not convert string"),
    ],
)
def test_wrong_messages_are_named_by_turn_and_item(content: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Conversation.from_messages([{"role": "user", "content": content}])


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ("hello", "messages are a str; expected a list of dicts"),
        ({"role": "user", "content": "hi"}, "messages are a dict; expected a list"),
        (["hello"], "message 1 is a str, not a dict with role and content"),
        ([{"role": "system", "content": [3]}], r"message 1 \(system\), item 1: a int"),
        ([{"role": "system", "content": [{"type": "image", "image": "a.jpg"}]}], "a system message is text alone"),
    ],
)
def test_what_are_no_messages_is_told(messages: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Conversation.from_messages(messages)


def test_a_plain_text_among_the_items_is_a_text() -> None:
    read = Conversation.from_messages([{"role": "user", "content": ["hello ", {"type": "text", "text": "you"}]}])
    assert read.turns[0].text == "hello you"


def test_templates_are_filled_in_the_order_of_their_places() -> None:
    a, b = Pose.rest(), Pose.rest()
    parts = fill_template("From {pose_a}: {text} gives {pose_b}.", {"pose_a": a, "pose_b": b, "text": "raise it"})
    assert parts[0] == TextPart("From ")
    assert parts[2] == TextPart(": raise it gives ")
    assert parts[1].pose is a  # type: ignore[union-attr]
    assert parts[3].pose is b  # type: ignore[union-attr]
    assert parts[4] == TextPart(".")
    assert fill_template("{text}", {"text": "hi"}) == (TextPart("hi"),)


def test_a_template_that_loses_its_image_is_refused() -> None:
    with pytest.raises(UserError, match="no place for image"):
        fill_template("Describe it.", {"image": b""})
    with pytest.raises(UserError, match="wants image, text"):
        fill_template("{image} {text}", {})


def test_a_keypoint_prompt_needs_a_point_for_each_image_and_inside_it() -> None:
    image = np.zeros((2, 2, 3), np.uint8)
    KeypointPart((image, image), ((0.5, 0.5), None))
    with pytest.raises(UserError, match="2 support images and 1 points"):
        KeypointPart((image, image), ((0.5, 0.5),))
    with pytest.raises(UserError, match="lies outside its image"):
        KeypointPart((image,), ((1.5, 0.5),))
