"""The terminal chat: type, drop a picture in, watch the answer come, look at the pose, change it, save it.

Ctrl-C stops an answer (what was said so far is kept) and clears a half-typed line; Ctrl-D or /quit leaves.
"""

import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory, History
from rich.console import Console
from rich.markup import escape
from rich.text import Text

from llmpose.body.pose import Pose
from llmpose.errors import UserError
from llmpose.talk.attach import file_part, framed, keypoint_part, place, read_line, unquoted
from llmpose.talk.chat import ChatAnswer, LlmPose
from llmpose.talk.conversation import ImagePart, Part, PosePart
from llmpose.talk.decoding import Point, Said
from llmpose.talk.figure import Style, clean, draw, figure_columns, terminal_style, trimmed
from llmpose.talk.keypoints import draw_found, last_image

PROMPT = "you > "
CHANGEABLE = ("temperature", "top_p", "pose_temperature", "seed", "max_new_tokens", "max_poses", "num_beams")
VIEWS = ("front", "left", "back", "three_quarter")


@dataclass(frozen=True)
class Command:
    usage: str
    help: str
    run: Callable[[str], None]


class Terminal:
    """One chat with one model. `reader` gives a line at each call (and raises EOFError at the end)."""

    def __init__(
        self,
        model: LlmPose,
        *,
        console: Console | None = None,
        reader: Callable[[], str] | None = None,
        style: Style | None = None,
        show_figures: bool = True,
    ) -> None:
        self.session = model.session()
        self.console = console or Console(highlight=False)
        self.style: Style = style or terminal_style()
        self.show_figures = show_figures
        self.attached: list[Part] = []
        self.points: list[Point] = []
        """Of the last answer."""
        self.commands = {
            "/image": Command("/image FILE", "attach a picture to what you say next", self._image),
            "/pose": Command("/pose FILE [frame=N] | NUMBER", "attach a pose: a file, or one of this chat", self._pose),
            "/keypoint": Command(
                "/keypoint FILE=X,Y [; FILE=X,Y]",
                "attach a keypoint: where it lies in example pictures",
                self._keypoint,
            ),
            "/points": Command("/points [FILE]", "draw the points of the last answer into its picture", self._points),
            "/poses": Command("/poses", "list the poses of this chat", self._poses),
            "/render": Command("/render [NUMBER] [VIEW] [FILE]", "show a pose; write PNG and GLB", self._render),
            "/save": Command("/save [NUMBER] [FILE]", "save a pose as .npz, .npy or .json", self._save),
            "/set": Command("/set [NAME VALUE]", "how answers are decoded: temperature, max_new_tokens ...", self._set),
            "/undo": Command("/undo", "forget the last question and its answer", self._undo),
            "/reset": Command("/reset", "begin anew", self._reset),
            "/help": Command("/help", "this list", self._help),
            "/quit": Command("/quit", "leave (as Ctrl-D does)", self._quit),
        }
        self._reader = reader or self._prompt_toolkit_reader()

    # -- the loop ---------------------------------------------------------------------------------------------------

    def run(self) -> None:
        self._say("Ask about a person or a pose. Drop a picture into the line, or /help.", "dim")
        while True:
            try:
                line = self._reader()
                self.handle(line)
            except KeyboardInterrupt:
                self._say("(Ctrl-D or /quit leaves)", "dim")
            except EOFError:
                self._say("Goodbye.", "dim")
                return
            except (UserError, OSError) as error:  # a full disk or a folder that is not ours ends no conversation
                self._say(" ".join(str(error).split()), "red")

    def handle(self, line: str) -> None:
        """One line: a command, or something said to the model."""
        line = line.strip()
        if not line:
            return
        word, _, rest = line.partition(" ")
        if word in self.commands:
            self.commands[word].run(rest.strip())
        elif word.startswith("/") and not unquoted(word).exists() and "/" not in word[1:]:
            raise UserError(f"{word} is no command; /help lists them")
        else:
            self.ask(place(read_line(line), self.attached))

    def ask(self, parts: list[Part]) -> ChatAnswer | None:
        """Say something, and let the answer come out word by word."""
        voice = _Voice(self.console, self.session.num_poses + sum(isinstance(part, PosePart) for part in parts))
        try:
            with voice:
                settings = self.session.model.settings
                answer = self.session.ask(parts, listener=voice.hear if settings.num_beams == 1 else None)
        except KeyboardInterrupt:
            self._say("(stopped before the first word; the question is forgotten)", "dim")
            return None
        self.attached = []
        if not voice.has_spoken:
            self.console.print(Text(clean(answer.text)))
        self._after(answer)
        return answer

    def _after(self, answer: ChatAnswer) -> None:
        settings = self.session.model.settings
        notes = {
            "length": f"(cut off after {settings.max_new_tokens} words; raise it with /set max_new_tokens)",
            "context": "(cut off: the model's memory is full; /undo or /reset)",
            "stopped": "(stopped)",
        }
        if answer.finish_reason in notes:
            self._say(notes[answer.finish_reason], "yellow")
        self.points = answer.points
        image = last_image(self.session.conversation)
        for point in answer.points if image is not None else ():
            assert image is not None
            place = f"{point.x * image.width:.1f}, {point.y * image.height:.1f} px"
            self._say(f"point read as {place}, sure to {100 * point.confidence:.0f} %   /points draws it", "green")
        first = self.session.num_poses - len(answer.codes) + 1
        for index, pose in enumerate(answer.poses):
            sure = f", sure to {100 * answer.pose_confidences[index]:.0f} %" if answer.pose_confidences else ""
            self._say(f"pose {first + index}{sure}   /render {first + index}   /save {first + index}", "green")
            if self.show_figures:
                self._show(pose)

    # -- commands ---------------------------------------------------------------------------------------------------

    def _image(self, rest: str) -> None:
        self._attach(rest, ImagePart)

    def _pose(self, rest: str) -> None:
        if not rest:
            self._poses("")
        elif rest.isdigit():
            self.attached.append(PosePart(pose=self._numbered(int(rest))))
            self._say(f"pose {rest} goes with what you say next", "dim")
        else:
            self._attach(rest, PosePart)

    def _keypoint(self, rest: str) -> None:
        part = keypoint_part(rest)
        self.attached.append(part)
        shots = f" in {len(part.images)} pictures" if len(part.images) > 1 else ""
        self._say(f"the keypoint shown{shots} goes with what you say next; <keypoint> says where", "dim")

    def _points(self, rest: str) -> None:
        image = last_image(self.session.conversation)
        if not self.points or image is None:
            raise UserError("the last answer names no point; ask where something is in a picture")
        path = _free_path(unquoted(rest).with_suffix(".png") if rest else Path("points.png"), bool(rest))
        draw_found(image, self.points).save(path)
        self._say(f"wrote {path}", "green")

    def _attach(self, rest: str, kind: type[ImagePart] | type[PosePart]) -> None:
        if not rest:
            raise UserError("which file? Type its name (Tab completes it), or drop it into the line")
        name, frame = framed(rest)
        part = file_part(unquoted(name), kind, frame=frame)
        self.attached.append(part)
        size = f" ({part.image.width}x{part.image.height})" if isinstance(part, ImagePart) else ""  # type: ignore[union-attr]
        self._say(f"{unquoted(name).name}{size} goes with what you say next", "dim")

    def _poses(self, rest: str) -> None:
        del rest
        places = [turn.role for turn in self.session.conversation.turns for _ in turn.poses]
        for number, role in enumerate(places, start=1):
            self._say(f"pose {number}: {'yours' if role == 'user' else 'answered'}", "green")
        if not places:
            self._say("no poses yet", "dim")

    def _render(self, rest: str) -> None:
        number, words = self._number(rest)
        view = next((word for word in words if word in VIEWS), "front")
        names = [word for word in words if word not in VIEWS]
        pose = self._numbered(number)
        png = _free_path(unquoted(names[0]).with_suffix(".png") if names else Path(f"pose_{number}.png"), bool(names))
        self._picture(pose, view, 512).save(png)
        ChatAnswer((), "", poses=[pose], body=self.session.model.body).meshes[0].save(png.with_suffix(".glb"))
        self._show(pose, view)
        self._say(f"wrote {png} and {png.with_suffix('.glb')}", "green")

    def _save(self, rest: str) -> None:
        number, words = self._number(rest)
        path = _free_path(unquoted(words[0]) if words else Path(f"pose_{number}.npz"), bool(words))
        self._numbered(number).save(path)
        self._say(f"wrote {path}", "green")

    def _set(self, rest: str) -> None:
        model = self.session.model
        changeable = {name: getattr(model.settings, name) for name in CHANGEABLE}
        if not rest:
            for name, value in changeable.items():
                self._say(f"{name} = {value}", "dim")
            return
        name, _, value = rest.partition(" ")
        if name not in changeable:
            raise UserError(f"{name!r} is no setting; there are {', '.join(changeable)}")
        from llmpose.talk.chat import changed_settings

        changes: dict[str, Any] = {name: _number_like(value, changeable[name], name)}
        if name == "num_beams":  # beams know the digits that they say, not what those might have been
            changes["points"] = "densest" if changes[name] == 1 else "said"
        model.settings = changed_settings(model.settings, changes)
        self._say(f"{name} = {getattr(model.settings, name)}", "dim")

    def _undo(self, rest: str) -> None:
        del rest
        self.attached = []
        self._say("forgotten" if self.session.undo() else "there is nothing to forget", "dim")

    def _reset(self, rest: str) -> None:
        del rest
        self.attached = []
        self.session.reset()
        self._say("a new conversation", "dim")

    def _help(self, rest: str) -> None:
        del rest
        for command in self.commands.values():
            self.console.print(f"  [bold]{escape(command.usage):34}[/bold] {command.help}")
        self._say("Files in a line become parts of it; <image>, <pose>, <keypoint> say where attached ones go.", "dim")
        self._say("Ctrl-C stops an answer.", "dim")

    def _quit(self, rest: str) -> None:
        del rest
        raise EOFError

    # -- helpers ----------------------------------------------------------------------------------------------------

    def _say(self, text: str, style: str) -> None:
        self.console.print(Text(clean(text), style=style))

    def _number(self, rest: str) -> tuple[int, list[str]]:
        """A leading number (by default the last pose's), and the words behind it."""
        try:
            words = shlex.split(rest)
        except ValueError as error:
            raise UserError(f"{rest}: {error}") from error
        if words and words[0].isdigit():
            return int(words[0]), words[1:]
        return self.session.num_poses, words

    def _numbered(self, number: int) -> Pose:
        poses = self.session.poses
        if not poses:
            raise UserError("there is no pose yet; ask for one, or attach one with /pose FILE and say something")
        if not 1 <= number <= len(poses):
            raise UserError(f"there is no pose {number}; this chat has 1 to {len(poses)}")
        return poses[number - 1]

    def _picture(self, pose: Pose, view: str, size: int) -> Any:
        return ChatAnswer((), "", poses=[pose], body=self.session.model.body).render(0, size=size, view=view)

    def _show(self, pose: Pose, view: str = "front") -> None:
        columns = figure_columns()
        size = 320 if self.style in ("kitty", "sixel") else max(64, 2 * columns)
        figure = trimmed(self._picture(pose, view, size))
        # Somebody who lies is as wide as the terminal allows; somebody who stands is as high.
        columns = max(8, round(columns * min(1.0, figure.width / figure.height)))
        self.console.file.write(draw(figure, columns=columns, style=self.style))
        self.console.file.flush()

    def _prompt_toolkit_reader(self) -> Callable[[], str]:
        session: PromptSession[str] = PromptSession(
            history=chat_history(), completer=ChatCompleter(self.commands), complete_while_typing=False
        )
        return lambda: session.prompt(self._marked_prompt())

    def _marked_prompt(self) -> str:
        names: dict[type[Part], str] = {ImagePart: "image", PosePart: "pose"}
        kinds = [names.get(type(part), "keypoint") for part in self.attached]
        return "".join(f"[{kind}] " for kind in kinds) + PROMPT


class _Voice:
    """Prints what is heard; a sign of life until the first word."""

    def __init__(self, console: Console, poses_so_far: int) -> None:
        self.console = console
        self.has_spoken = False
        self._poses = poses_so_far
        self._waiting = console.status("reading ...", spinner="dots") if console.is_terminal else None

    def __enter__(self) -> "_Voice":
        if self._waiting is not None:
            self._waiting.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop_waiting()
        if self.has_spoken:
            self.console.print()

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.stop()
            self._waiting = None

    def hear(self, said: Said) -> None:
        self._stop_waiting()
        self.has_spoken = True
        if said.codes is not None:
            self._poses += 1
            self.console.print(Text(f"[pose {self._poses}]", style="bold green"), end="")
        else:
            self.console.print(Text(clean(said.text)), end="", soft_wrap=True)


class ChatCompleter(Completer):
    """Commands at the start of a line, file names everywhere else."""

    def __init__(self, commands: Iterable[str]) -> None:
        self._commands = sorted(commands)
        self._paths = PathCompleter(expanduser=True)

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        text = document.text_before_cursor
        if text.startswith("/") and " " not in text:
            for command in self._commands:
                if command.startswith(text):
                    yield Completion(command, start_position=-len(text))
        start = _path_start(text)
        word = text[start:].lstrip("\"'").replace("\\ ", " ")
        if text[start:] == word and " " in word:
            word = word.replace("\\ ", " ")
        for found in self._paths.get_completions(Document(word, len(word)), complete_event):
            quoted = text[start : start + 1] in ("'", '"')
            new = found.text if quoted else found.text.replace(" ", "\\ ")
            yield Completion(new, start_position=found.start_position, display=found.display)


def _path_start(text: str) -> int:
    """Where the file name begins that somebody is typing: behind the last open quote or the last free space."""
    for quote in "\"'":
        if text.count(quote) % 2:
            return text.rindex(quote)
    index = len(text)
    while index > 0 and not (text[index - 1] == " " and text[index - 2 : index - 1] != "\\"):
        index -= 1
    return index


def _free_path(path: Path, is_chosen: bool) -> Path:
    """The path itself if somebody chose it; else a name that nothing has yet."""
    number, free = 1, path
    while not is_chosen and (free.exists() or free.with_suffix(".glb").exists()):
        number += 1
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
    if not free.parent.is_dir():
        raise UserError(f"{free.parent}: no such folder")
    return free


def _number_like(text: str, old: object, name: str) -> int | float:
    try:
        return float(text) if isinstance(old, float) else int(text)
    except ValueError as error:
        kind = "a number" if isinstance(old, float) else "a whole number"
        raise UserError(f"/set {name}: {text!r} is not {kind}") from error


def chat_history() -> History:
    """What was typed before, in the user's state folder."""
    import os

    home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "llmpose"
    home.mkdir(parents=True, exist_ok=True)
    return FileHistory(str(home / "chat_history"))
