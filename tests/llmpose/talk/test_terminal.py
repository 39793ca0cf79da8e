"""The terminal chat: what is typed, what is shown, and what Ctrl-C does; and the script mode for pipes."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lesson_values import RED, STANDING
from PIL import Image
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput
from rich.console import Console
from typer.testing import CliRunner

from llmpose.body.pose import Pose
from llmpose.cli import app
from llmpose.talk.chat import LlmPose
from llmpose.talk.decoding import Said
from llmpose.talk.terminal import ChatCompleter, Terminal

ROOT = Path(__file__).resolve().parents[3]


class Talk:
    """A terminal that reads from a list and writes into a string."""

    def __init__(self, model: LlmPose) -> None:
        self.lines: list[str | BaseException] = []
        self.out = StringIO()
        console = Console(file=self.out, width=100, highlight=False, color_system=None)
        self.terminal = Terminal(model, console=console, reader=self._next, style="shades")

    def _next(self) -> str:
        if not self.lines:
            raise EOFError
        line = self.lines.pop(0)
        if isinstance(line, BaseException):
            raise line
        return line

    def __call__(self, *lines: str | BaseException) -> str:
        """What is shown for these lines."""
        self.lines = list(lines)
        self.out.seek(0)
        self.out.truncate()
        self.terminal.run()
        return self.out.getvalue()


@pytest.fixture
def talk(taught: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Talk:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(RED).save("red one.png")
    Pose.rest().save("rest.npz")
    return Talk(LlmPose(*taught("mixed")))


def test_a_pose_is_asked_for_shown_changed_saved_and_rendered(talk: Talk, tmp_path: Path) -> None:
    shown = talk("Stand.")
    assert "[pose 1]" in shown
    assert "sure to 9" in shown or "sure to 100" in shown
    assert shown.count("\n") > 8  # the figure
    assert "pose 2" in talk("Now bend the knees.")
    assert "answered" in talk("/poses")
    assert "wrote pose_2.npz" in talk("/save")
    assert "wrote first.json" in talk("/save 1 first.json")
    assert "pose_2-2.npz" in talk("/save")  # nothing is overwritten unasked
    assert Pose.load(tmp_path / "first.json").rotmat.shape == (22, 3, 3)
    assert "wrote pose_2.png and pose_2.glb" in talk("/render left")
    assert "wrote pose_2-2.png and pose_2-2.glb" in talk("/render back")
    assert "wrote side.png and side.glb" in talk("/render 1 side.png")
    assert Image.open("side.png").size == (512, 512)
    assert (tmp_path / "side.glb").read_bytes()[:4] == b"glTF"


def test_pictures_are_attached_or_dropped_into_the_line(talk: Talk) -> None:
    assert "A man is standing." in talk("Describe 'red one.png'")
    shown = talk("/reset", "/image red\\ one.png", "Describe <image>")
    assert "red one.png (30x20) goes with what you say next" in shown
    assert "A man is standing." in shown
    assert talk.terminal.attached == []
    assert "rest.npz goes with" in talk("/pose rest.npz")


def test_undo_takes_back_and_reset_forgets(talk: Talk) -> None:
    talk("Stand.", "Describe 'red one.png'")
    assert "forgotten" in talk("/undo")
    assert "[pose 2]" in talk("Now bend the knees.")
    assert "a new conversation" in talk("/reset")
    assert "there is nothing to forget" in talk("/undo")
    assert "[pose 1]" in talk("Stand.")


def test_a_pose_of_the_chat_can_be_said_again(talk: Talk) -> None:
    talk("Stand.")
    assert "pose 1 goes with" in talk("/pose 1")
    assert len(talk.terminal.attached) == 1
    talk("/reset")
    assert talk.terminal.attached == []


def test_mistakes_are_one_line_and_the_chat_goes_on(talk: Talk) -> None:
    cases = {
        "/rendr": "/rendr is no command; /help lists them",
        "/save": "there is no pose yet",
        "/image": "which file?",
        "/image nowhere.png": "nowhere.png: no such file",
        "/image rest.npz": "rest.npz is a pose file",
        "Describe nowhere.png": "nowhere.png: no such file",
        "/set colour 3": "'colour' is no setting",
        "/set temperature warm": "'warm' is not a number",
        "/set temperature -1": "temperature is -1.0",
        "Compare <image>": "more <image> than the 0",
    }
    for line, message in cases.items():
        shown = talk(line)
        assert message in shown
        assert "Goodbye" in shown


def test_settings_are_shown_and_changed(talk: Talk) -> None:
    assert "temperature = 0.0" in talk("/set")
    assert "max_new_tokens = 2" in talk("/set max_new_tokens 2")
    assert "cut off after 2 words" in talk("Bend the knees.")


def test_beams_are_set_whatever_points_are_read_from(talk: Talk) -> None:
    model = talk.terminal.session.model
    model.settings = replace(model.settings, points="densest")
    assert "num_beams = 2" in talk("/set num_beams 2")
    assert model.settings.points == "said"
    assert "num_beams = 1" in talk("/set num_beams 1")
    assert model.settings.points == "densest"


def test_help_names_every_command(talk: Talk) -> None:
    shown = talk("/help")
    assert all(name in shown for name in talk.terminal.commands)
    assert "Ctrl-C stops an answer" in shown


def test_ctrl_c_stops_an_answer_and_not_the_program(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    session = talk.terminal.session
    ask = session.ask

    def interrupted(*message: object, listener: Callable[[Said], None], **changes: Any) -> Any:
        def listen(said: Said) -> None:
            listener(said)
            if said.codes is not None:
                raise KeyboardInterrupt

        return ask(*message, listener=listen, **changes)

    monkeypatch.setattr(session, "ask", interrupted)
    shown = talk("Bend the knees.", KeyboardInterrupt(), "/poses")
    assert "Both knees are bent: [pose 1]" in shown
    assert "The head" not in shown
    assert "(stopped)" in shown
    assert "(Ctrl-D or /quit leaves)" in shown
    assert "pose 1: answered" in shown

    def stopped_at_once(*message: object, **changes: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(session, "ask", stopped_at_once)
    assert "the question is forgotten" in talk("Stand.")


def test_what_a_model_says_is_never_obeyed(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    def nasty(*message: object, listener: Callable[[Said], None], **changes: Any) -> Any:
        listener(Said(0, text="\x1b[2J[bold]hi[/bold]\x1b]0;evil\x07"))
        raise KeyboardInterrupt

    monkeypatch.setattr(talk.terminal.session, "ask", nasty)
    shown = talk("Hello")
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert "[2J[bold]hi[/bold]]0;evil" in shown  # nor is it read as our own markup


def completions(text: str) -> list[str]:
    completer = ChatCompleter(["/render", "/reset", "/image"])
    return [one.text for one in completer.get_completions(Document(text, len(text)), CompleteEvent())]


def test_tab_completes_commands_and_file_names(talk: Talk) -> None:
    assert completions("/re") == ["/render", "/reset"]
    assert completions("/image red") == ["\\ one.png"]
    assert completions("Describe 're") == ["d one.png", "st.npz"]
    assert completions("Describe red\\ o") == ["ne.png"]
    assert completions("Describe xyz") == []


def test_a_real_prompt_reads_lines_and_keeps_their_history(
    taught: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prompt_toolkit.application import create_app_session

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    out = StringIO()
    with create_pipe_input() as pipe, create_app_session(input=pipe, output=DummyOutput()):
        pipe.send_text("/poses\r")
        pipe.send_text("Stand.\r")
        pipe.send_text("half a line\x03")
        pipe.send_text("\x04")
        console = Console(file=out, width=100, highlight=False, color_system=None)
        Terminal(LlmPose(*taught("mixed")), console=console, style="shades", show_figures=False).run()
    shown = out.getvalue()
    assert "no poses yet" in shown
    assert "[pose 1]" in shown
    assert "(Ctrl-D or /quit leaves)" in shown
    assert shown.rstrip().endswith("Goodbye.")
    history = (tmp_path / "llmpose" / "chat_history").read_text()
    assert "+Stand." in history
    assert "half" not in history


# -- script mode ----------------------------------------------------------------------------------------------------


def script(*arguments: str, stdin: str | None = None) -> Any:
    return CliRunner().invoke(app, ["chat", *arguments], input=stdin, catch_exceptions=True)


def test_a_script_asks_and_reads_json(model_folder: Path, tmp_path: Path) -> None:
    Image.fromarray(RED).save(tmp_path / "red.png")
    image = ["--image", str(tmp_path / "red.png")]
    result = script("--model", str(model_folder), "--ask", "Describe <image>", *image, "--json")
    answer = json.loads(result.stdout)
    assert (answer["text"], answer["finish_reason"], answer["poses"]) == ("A man is standing.", "end", [])

    asked = ["--ask", "Stand.", "--ask", "Now bend the knees.", "--ask", "And?"]
    result = script("-m", str(model_folder), *asked, "--json", "--save", str(tmp_path / "out"))
    first, second, third = (json.loads(line) for line in result.stdout.splitlines())
    assert first["poses"][0]["codes"] == list(STANDING.codes or ())
    assert np.array(first["poses"][0]["axis_angle"]).shape == (22, 3)
    assert third["text"] == "Bent."
    saved = Pose.load(second["poses"][0]["pose"])
    assert np.allclose(saved.to_axis_angle(), second["poses"][0]["axis_angle"], atol=1e-4)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "pose_1.glb", "pose_1.npz", "pose_1.png", "pose_2.glb", "pose_2.npz", "pose_2.png"]  # fmt: skip


def test_a_pipe_is_a_question_and_plain_words_are_the_answer(model_folder: Path) -> None:
    result = script("-m", str(model_folder), stdin="Stand.\n")
    assert result.stdout.startswith("[pose 1] confidence 0.99") or result.stdout.startswith("[pose 1] confidence 0.9")
    result = script("-m", str(model_folder), "--ask", "-", "--max-new-tokens", "2", stdin="Bend the knees.")
    assert result.exit_code == 0
    assert "turn 2 (assistant): the answer was cut off at its longest length; raise --max-new-tokens" in result.stderr


def test_script_mistakes_come_before_the_model_is_loaded(tmp_path: Path) -> None:
    from llmpose.errors import UserError

    Image.fromarray(RED).save(tmp_path / "red.png")
    Pose.rest().save(tmp_path / "one.npz")
    Pose.rest(3).save(tmp_path / "walk.npz")
    for arguments, stdin, message in [
        (["--ask", "x", "--image", str(tmp_path / "no.png")], None, "no such file"),
        (["--ask", "x", "--image", str(tmp_path / "walk.npz")], None, "3 poses"),
        (["--ask", "x", "--image", str(tmp_path / "one.npz")], None, "one.npz is a pose file"),
        (["--ask", "x", "--pose", str(tmp_path / "red.png")], None, "red.png is an image file"),
        (["--ask", "x", "--pose", str(tmp_path / "walk.npz")], None, "3 poses; say which one with frame=0 ... 2"),
        (["--ask", "x", "--pose", f"{tmp_path / 'walk.npz'} frame=3"], None, "no frame 3"),
        (["--ask", "x", "--pose", f"{tmp_path / 'walk.npz'} frame=2"], None, "no such folder"),
        (["--ask", "<image>"], None, "turn 1 (user): the text has more <image> than the 0 that were given"),
        (["--ask", "x", "--ask", "and <pose>"], None, "turn 3 (user): the text has more <pose> than the 0"),
        (["--ask", " "], None, "the question is empty"),
        ([], "", "the question is empty"),
        (["--ask", "x"], None, "no such folder"),
    ]:
        result = script("-m", str(tmp_path / "nowhere"), *arguments, stdin=stdin)
        assert isinstance(result.exception, UserError)
        assert message in str(result.exception)


# -- a real terminal ------------------------------------------------------------------------------------------------


@pytest.fixture
def tmux(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """tmux(command, ...) runs tmux on a server of its own."""
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed, so the chat is not tried in a real terminal")
    socket = ["tmux", "-S", str(tmp_path / "tmux.sock"), "-f", "/dev/null"]

    def run(*arguments: str) -> str:
        return subprocess.run([*socket, *arguments], capture_output=True, text=True, timeout=30, check=True).stdout

    yield run
    subprocess.run([*socket, "kill-server"], capture_output=True, timeout=30, check=False)


def test_a_person_chats_in_a_real_terminal(tmux: Callable[..., str], model_folder: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    Image.fromarray(RED).save(work / "red.png")
    chat = f"{sys.executable} -m llmpose.cli chat --model {model_folder} --device cpu"
    settings = f"env PYTHONPATH={ROOT} XDG_STATE_HOME={tmp_path} OMP_NUM_THREADS=1 COLORTERM=truecolor"
    tmux("new-session", "-d", "-x", "110", "-y", "60", "-c", str(work), f"{settings} {chat}; echo LEFT; sleep 60")

    def wait_for(text: str, seconds: float = 240) -> str:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            screen = tmux("capture-pane", "-p")
            if text in screen:
                return screen
            time.sleep(0.2)
        raise AssertionError(f"{text!r} did not appear:\n{tmux('capture-pane', '-p')}")

    wait_for("you >")
    tmux("send-keys", "Describe red", "Tab")
    wait_for("Describe red.png")
    tmux("send-keys", "Enter")
    wait_for("A man is standing.")
    tmux("send-keys", "/reset", "Enter", "Stand.", "Enter")
    screen = wait_for("sure to")
    assert "[pose 1]" in screen
    wait_for("▀▀▀▀▀▀▀▀")
    tmux("send-keys", "/render 1 me.png", "Enter")
    wait_for("wrote me.png and me.glb")
    assert (work / "me.glb").is_file()
    tmux("send-keys", "half a line", "C-c")
    wait_for("(Ctrl-D or /quit leaves)")
    tmux("send-keys", "C-d")
    wait_for("LEFT")
