"""The chat in a browser: pictures and poses go in, words, drawings, poses and meshes come out.

`turn` is the whole logic and knows nothing of gradio: uploads and a text become an answer, and the answer becomes
things to show. `page` lays them out. What a model says is data: it is cleaned, and shown as letters, never as markup.
"""

import html
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from llmpose.errors import MissingExtra, UserError
from llmpose.talk.attach import place
from llmpose.talk.chat import POSE_SUFFIXES, part_from_path
from llmpose.talk.conversation import ImagePart, Part, TextPart
from llmpose.talk.figure import clean

if TYPE_CHECKING:
    from llmpose.talk.chat import ChatAnswer, ChatSession, LlmPose

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
MOST_UPLOADED = "32mb"
NOTES = {
    "length": "(cut off: the answer reached its longest length)",
    "context": "(cut off: the model's memory is full; begin anew)",
    "stopped": "(stopped)",
}


@dataclass
class Shown:
    """One answer as things to show: letters, pictures, and files to take away."""

    text: str
    pictures: list[Path] = field(default_factory=list)
    """The poses rendered; before them the picture that was asked about, with the keypoints of the answer."""
    downloads: list[Path] = field(default_factory=list)
    """For each pose .npz and .glb."""
    mesh: Path | None = None
    """The last pose, for looking at from all sides."""


def turn(session: "ChatSession", text: str, uploads: Sequence[str | Path], folder: Path) -> Shown:
    """Say something to the model; what it answers is written into `folder` and described."""
    parts = question(text, uploads)
    pictures = [part for part in parts if isinstance(part, ImagePart)]
    answer = session.ask(parts)
    return show(answer, pictures[-1] if pictures else None, folder, before=session.num_poses - len(answer.codes))


def question(text: str, uploads: Sequence[str | Path]) -> list[Part]:
    """Uploaded files and words as the parts of a question; `<image>` and `<pose>` in the words say where files go."""
    text = text.strip()
    if not text:
        raise UserError("there is nothing to ask: write a question beside what you uploaded")
    return place([TextPart(text)], [_upload(Path(name)) for name in uploads])


def _upload(path: Path) -> Part:
    if path.suffix.lower() not in (*IMAGE_SUFFIXES, *POSE_SUFFIXES):
        known = ", ".join((*IMAGE_SUFFIXES, *POSE_SUFFIXES))
        raise UserError(f"{path.name}: neither a picture nor a pose; upload one of {known}")
    try:
        return part_from_path(path)
    except UserError as error:  # the folder of an upload means nothing to the person
        raise UserError(str(error).replace(str(path), path.name)) from None


def show(answer: "ChatAnswer", picture: ImagePart | None, folder: Path, *, before: int = 0) -> Shown:
    """Write an answer's drawings, poses and meshes. `before`: poses of the chat so far, which are counted on."""
    from llmpose.talk.images import read_image

    folder.mkdir(parents=True, exist_ok=True)
    lines = [answer.text.strip()]
    shown = Shown("")
    if answer.points and picture is not None:
        path = _free(folder, "keypoints", ".png")
        marked(read_image(picture.image), [(point.x, point.y) for point in answer.points]).save(path)
        shown.pictures.append(path)
    for index, (pose, mesh) in enumerate(zip(answer.poses, answer.meshes, strict=True)):
        number = before + index + 1
        stem = folder / f"pose_{number}"
        pose.save(stem.with_suffix(".npz"))
        answer.render(index, size=384).save(stem.with_suffix(".png"))
        mesh.save(stem.with_suffix(".glb"))
        shown.pictures.append(stem.with_suffix(".png"))
        shown.downloads += [stem.with_suffix(".npz"), stem.with_suffix(".glb")]
        shown.mesh = stem.with_suffix(".glb")
        sure = f", sure to {100 * answer.pose_confidences[index]:.0f} %" if answer.pose_confidences else ""
        lines.append(f"[pose {number}{sure}]")
    if answer.finish_reason in NOTES:
        lines.append(NOTES[answer.finish_reason])
    shown.text = "\n".join(line for line in lines if line) or "(no words)"
    return shown


def letters(text: str) -> str:
    """Text for a place that reads HTML: what looks like markup stands there as it was written, and loads nothing."""
    return html.escape(clean(text))


def marked(image: Image.Image, points_norm: Sequence[tuple[float, float]]) -> Image.Image:
    """The picture with points on it; x and y are shares of its width and height."""
    from llmpose.body.draw import draw_skeleton

    points_px = np.asarray(points_norm, np.float64).reshape(-1, 2) * image.size
    return draw_skeleton(image, points_px, [])


def _free(folder: Path, stem: str, suffix: str) -> Path:
    number = 1
    while (path := folder / f"{stem}_{number}{suffix}").exists():
        number += 1
    return path


def needs_gradio() -> Any:
    """The gradio module, or one line that says how to get it."""
    try:
        import gradio  # pyright: ignore[reportMissingImports]  (an extra that few install)
    except ModuleNotFoundError as error:
        if error.name != "gradio":
            raise  # gradio is there, but something of its own is not
        raise MissingExtra("gradio", "web", "llmpose web") from None
    return gradio


def page(model: "LlmPose", folder: Path, *, title: str) -> Any:
    """The page as gradio Blocks. Every browser tab has a chat, and a folder below `folder`, of its own."""
    gr = needs_gradio()

    def begin() -> dict[str, Any]:
        return {"session": model.session(), "folder": Path(tempfile.mkdtemp(dir=folder))}

    def say(message: dict[str, Any], chat: dict[str, Any] | None, history: list[Any], files: list[str] | None) -> Any:
        chat = chat or begin()
        text, uploads = message.get("text") or "", [_path_of(item) for item in message.get("files") or []]
        try:
            shown = turn(chat["session"], text, uploads, chat["folder"])
        except UserError as error:
            raise gr.Error(letters(" ".join(str(error).split())), print_exception=False) from None
        said = [{"path": str(path)} for path in uploads if path.suffix.lower() in IMAGE_SUFFIXES]
        names = [f"[{path.name}]" for path in uploads if path.suffix.lower() in POSE_SUFFIXES]
        asked = [{"role": "user", "content": item} for item in [*said, letters(" ".join([*names, text]))]]
        pictures = [{"path": str(path)} for path in shown.pictures]
        answered = [{"role": "assistant", "content": item} for item in [letters(shown.text), *pictures]]
        taken = [*(files or []), *map(str, shown.downloads)]
        mesh = gr.skip() if shown.mesh is None else str(shown.mesh)
        return None, chat, [*history, *asked, *answered], taken or None, mesh

    def anew() -> Any:
        return None, None, [], None, None

    with gr.Blocks(title=title, analytics_enabled=False, fill_height=True) as blocks:
        gr.Markdown("Ask about a person or a pose. `<image>` and `<pose>` in the text say where what you attach goes.")
        chat = gr.State(None)
        with gr.Row():
            with gr.Column(scale=3):
                history = gr.Chatbot(
                    label=title,
                    height="70vh",
                    render_markdown=False,
                    sanitize_html=True,
                    feedback_options=None,
                    buttons=["copy"],  # the default has a button that sends the chat to a hub
                )
                box = gr.MultimodalTextbox(
                    placeholder="Generate the pose: The person is kneeling on both knees.",
                    file_count="multiple",
                    file_types=[*IMAGE_SUFFIXES, *POSE_SUFFIXES],
                    sources=["upload"],
                    show_label=False,
                )
                again = gr.Button("Begin anew", size="sm", scale=0)
            with gr.Column(scale=2):
                mesh = gr.Model3D(label="the last pose", interactive=False, height=380, clear_color=(1, 1, 1, 1))
                files = gr.File(label="poses and meshes of this chat", file_count="multiple", interactive=False)
        # One answer at a time: all tabs share one model.
        box.submit(
            say,
            [box, chat, history, files],
            [box, chat, history, files, mesh],
            api_visibility="private",
            concurrency_limit=1,
        )
        history.clear(anew, None, [box, chat, history, files, mesh], api_visibility="private")
        again.click(anew, None, [box, chat, history, files, mesh], api_visibility="private")
    return blocks


def _path_of(item: Any) -> Path:
    return Path(item["path"] if isinstance(item, dict) else getattr(item, "path", item))


def serve(model: "LlmPose", *, title: str, host: str, port: int | None) -> None:
    """Show the page until Ctrl-C. Files of the chats are gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="llmpose_web_") as name:
        folder = Path(name)
        blocks = page(model, folder, title=title)
        try:
            blocks.launch(
                server_name=host,
                server_port=port,
                share=False,
                footer_links=[],
                allowed_paths=[name],
                max_file_size=MOST_UPLOADED,
            )
        except ValueError as error:
            if "localhost" not in str(error):
                raise
            raise UserError(
                "the page cannot reach itself: a proxy is set for this computer's own address; "
                "run it with NO_PROXY=localhost,127.0.0.1"
            ) from None
