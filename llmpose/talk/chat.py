"""Talking to a model from Python.

    from llmpose import LlmPose

    model = LlmPose.from_pretrained("runs/demo/model")
    answer = model.chat(["Estimate the pose of the person in ", image, "."])
    answer.text, answer.poses, answer.pose_confidences, answer.meshes

`session()` remembers what was said: estimate a pose, then change it, then have it described.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from PIL import Image
from torch import Tensor

from llmpose.body.pose import Pose
from llmpose.errors import UserError
from llmpose.talk.conversation import Conversation, ImagePart, Part, PosePart, TextPart, as_part
from llmpose.talk.decoding import Answer, Decoding, Listener, Said
from llmpose.talk.images import is_image_file

if TYPE_CHECKING:
    from llmpose.body.model import BodyModel
    from llmpose.model.modeling import LlmPoseForConditionalGeneration
    from llmpose.talk.processing import LlmPoseProcessor

POSE_SUFFIXES = (".npz", ".npy", ".json")


@dataclass
class Mesh:
    """A body's surface in the frame of its pose (z up, metres)."""

    vertices_m: Tensor
    """(V, 3)"""
    faces: Tensor
    """(F, 3)"""

    def save(self, path: str | Path) -> None:
        """As .glb, .obj or .ply."""
        from llmpose.body.pose import export_mesh

        export_mesh(path, self.vertices_m, self.faces)


@dataclass
class ChatAnswer(Answer):
    """An answer that can also be looked at."""

    body: "BodyModel | None" = field(default=None, repr=False)

    @property
    def meshes(self) -> list[Mesh]:
        """One for each pose."""
        body = self._body()
        with torch.no_grad():
            return [Mesh(body(pose).vertices_m, body.faces) for pose in self.poses]

    def render(self, index: int = 0, *, size: int = 512, view: str = "front") -> Image.Image:
        """A picture of pose `index` of this answer."""
        from llmpose.body.render import render_pose

        if not -len(self.poses) <= index < len(self.poses):
            raise UserError(f"the answer has {len(self.poses)} poses; there is no pose {index}")
        return render_pose(self.poses[index], self._body(), size, view)  # type: ignore[arg-type]

    def _body(self) -> "BodyModel":
        if self.body is None:
            from llmpose.body.model import load_body_model

            self.body = load_body_model()
        return self.body


class LlmPose:
    """A model and its processor, ready to be asked."""

    def __init__(
        self,
        model: "LlmPoseForConditionalGeneration",
        processor: "LlmPoseProcessor",
        *,
        body: "BodyModel | None" = None,
        settings: Decoding | None = None,
    ) -> None:
        self.model = model.eval()
        self.processor = processor
        self.settings = settings or Decoding()
        self.loaded_body = body

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        base: str | Path | None = None,
        device: str | torch.device | None = None,
        dtype: torch.dtype | str | None = None,
        body_model: str | Path | None = None,
        settings: Decoding | None = None,
        **options: Any,
    ) -> "LlmPose":
        """From a model's folder, or an adapter's (`base`: where its base lies now), or a name on the hub.

        By default on the GPU in bfloat16 where there is one, else on the CPU in float32. `body_model` is the file or
        folder of SMPL for meshes and pictures; without it, LLMPOSE_BODY_MODELS or the built-in body.
        """
        from llmpose.model.adapters import load_model
        from llmpose.model.loading import device_named
        from llmpose.talk.processing import LlmPoseProcessor, local_folder

        device = device_named(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        dtype = dtype or (torch.bfloat16 if device.type == "cuda" else torch.float32)
        place = local_folder(folder, weights=True)
        processor = LlmPoseProcessor.from_pretrained(place)
        model: Any = load_model(place, base=base, dtype=dtype, **options)
        body = None
        if body_model is not None:
            from llmpose.body.model import load_body_model

            body = load_body_model(body_model)
        return cls(model.to(device), processor, body=body, settings=settings)

    def chat(
        self,
        message: "Conversation | Sequence[object] | str | object",
        *,
        settings: Decoding | None = None,
        listener: Listener | None = None,
        **changes: Any,
    ) -> ChatAnswer:
        """One answer. The message is text, or a list of text, images, poses and paths, or a whole conversation (a
        `Conversation`, or messages with role and content).

        `changes` are settings of `Decoding` for this answer: `model.chat("Stand.", temperature=0.8, seed=1)`.
        """
        return self.chat_many([message], settings=settings, listener=listener, **changes)[0]

    def chat_many(
        self,
        messages: Sequence[object],
        *,
        settings: Decoding | None = None,
        listener: Listener | None = None,
        **changes: Any,
    ) -> list[ChatAnswer]:
        """Many answers at once, in batches."""
        from llmpose.talk.generation import generate

        settings = changed_settings(settings or self.settings, changes)
        conversations = [as_conversation(message) for message in messages]
        answers = generate(self.model, self.processor, conversations, settings, listener=listener)
        return [self._with_body(answer) for answer in answers]

    def session(self, *, system: str = "") -> "ChatSession":
        """A conversation with a memory."""
        return ChatSession(self, Conversation(system=system))

    @property
    def body(self) -> "BodyModel":
        if self.loaded_body is None:
            from llmpose.body.model import load_body_model

            self.loaded_body = load_body_model()
        return self.loaded_body

    def _with_body(self, answer: Answer) -> ChatAnswer:
        values = {item.name: getattr(answer, item.name) for item in fields(Answer)}
        return ChatAnswer(**values, body=self.loaded_body)


@dataclass
class ChatSession:
    """What was said so far. A question that fails leaves it as it was."""

    model: LlmPose
    conversation: Conversation = field(default_factory=Conversation)

    def ask(self, *message: object, listener: Listener | None = None, **changes: Any) -> ChatAnswer:
        """Say something, get the answer, remember both.

        Where listening is interrupted (Ctrl-C), what was heard so far is the answer, with the reason "stopped".
        """
        asked = self.conversation.user(*message_parts(message))
        heard: list[Said] = []

        def listen(said: Said) -> None:
            heard.append(said)
            if listener is not None:
                listener(said)

        settings = changed_settings(self.model.settings, changes)
        try:
            answer = self.model.chat(asked, settings=settings, listener=listen if settings.num_beams == 1 else None)
        except KeyboardInterrupt:
            if not heard:
                raise
            answer = self._stopped(heard)
        if answer.parts:
            self.conversation = asked.assistant(*answer.parts)
        return answer

    def _stopped(self, heard: list[Said]) -> ChatAnswer:
        parts: list[Part] = []
        for said in heard:
            if said.codes is not None:
                parts.append(PosePart(codes=said.codes))
            elif parts and isinstance(parts[-1], TextPart):
                parts[-1] = TextPart(parts[-1].text + said.text)
            elif said.text:
                parts.append(TextPart(said.text))
        codes = [part.codes for part in parts if isinstance(part, PosePart) and part.codes is not None]
        processor = self.model.processor
        poses = processor.decode_poses(torch.tensor(codes)) if codes and processor.has_pose_tokenizer else []
        text = "".join(part.text for part in parts if isinstance(part, TextPart))
        return ChatAnswer(
            tuple(parts), text, poses=poses, codes=codes, finish_reason="stopped", body=self.model.loaded_body
        )

    def undo(self) -> bool:
        """Forget the last question and its answer; False where there is none."""
        turns = self.conversation.turns
        self.conversation = replace(self.conversation, turns=turns[:-2])
        return bool(turns)

    def reset(self) -> None:
        """Forget everything but the system text."""
        self.conversation = replace(self.conversation, turns=())

    @property
    def num_poses(self) -> int:
        return sum(len(turn.poses) for turn in self.conversation.turns)

    @property
    def poses(self) -> list[Pose]:
        """All poses of the conversation, given and answered, in order."""
        parts = [part for turn in self.conversation.turns for part in turn.poses]
        missing = [part.codes for part in parts if part.pose is None and part.codes is not None]
        decoded = iter(self.model.processor.decode_poses(torch.tensor(missing)) if missing else [])
        return [part.pose if part.pose is not None else next(decoded) for part in parts]


def changed_settings(settings: Decoding, changes: dict[str, Any]) -> Decoding:
    known = {item.name for item in fields(Decoding)}
    if unknown := sorted(set(changes) - known):
        raise UserError(f"decoding has no setting {', '.join(unknown)}; known are {', '.join(sorted(known))}")
    return replace(settings, **changes)


def as_conversation(message: object) -> Conversation:
    """A conversation as it is, messages of a chat interface, or what the user says first."""
    if isinstance(message, Conversation):
        return message
    if isinstance(message, list) and message and all(isinstance(one, dict) and "role" in one for one in message):
        return Conversation.from_messages(message)
    return Conversation().user(*message_parts([message]))


def message_parts(items: Sequence[object]) -> tuple[Part, ...]:
    """Text, images, poses and paths, in lists or not; a path is an image or a pose by its suffix."""
    parts: list[Part] = []
    for number, item in enumerate(_flat(items), start=1):
        try:
            parts.append(part_from_path(item) if isinstance(item, Path) else as_part(item))
        except UserError as error:
            raise UserError(f"item {number}: {error}") from error
    return tuple(parts)


def _flat(items: Iterable[object]) -> Iterator[object]:
    for item in items:
        if isinstance(item, list | tuple):
            yield from _flat(cast(Iterable[object], item))
        else:
            yield item


def part_from_path(path: Path, *, frame: int | None = None) -> Part:
    """An image or pose file as a part; both are read (or at least looked at) now, so that errors come at once."""
    if path.suffix.lower() in POSE_SUFFIXES:
        pose = Pose.load(path, frame=frame)
        if tuple(pose.batch_shape) == (1,):
            pose = pose[0]
        if pose.batch_shape:
            raise UserError(f"{path}: {len(pose)} poses; say which one with frame=0 ... {len(pose) - 1}")
        return PosePart(pose=pose)
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    if not is_image_file(path):
        raise UserError(f"{path}: neither an image (.jpg, .png, .webp ...) nor a pose ({', '.join(POSE_SUFFIXES)})")
    from llmpose.talk.images import read_image

    return ImagePart(read_image(path))
