"""A conversation to tokens, turn by turn: the template's words, people's words, images, poses, answers."""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import torch
from PIL import Image
from torch import Tensor

from llmpose.body.pose import NUM_JOINTS
from llmpose.errors import UserError
from llmpose.model.batch import IGNORE, Example, Prompt
from llmpose.talk.conversation import Conversation, ImagePart, KeypointPart, Part, PointPart, PosePart, Role, TextPart
from llmpose.talk.images import read_image, square_point
from llmpose.talk.row_writer import RowWriter
from llmpose.talk.template import ChatTemplate
from llmpose.talk.text import TextTokens
from llmpose.talk.vocabulary import Vocabulary

if TYPE_CHECKING:
    from llmpose.talk.conversation import ImageSource

Place = tuple[int, int]
"""Which turn, and which part of it, both from 0."""


@dataclass(frozen=True, eq=False)
class Encoding:
    """All that is fixed about how a model's conversations are written."""

    words: Vocabulary
    template: ChatTemplate
    text: TextTokens
    num_image_tokens: int
    num_pose_tokens: int
    causal_poses: bool
    causal_given: bool = field(default=False, kw_only=True)
    context_length: int | None
    prompt_fit: Literal["pad", "stretch", "crop"] | None = None
    """How support images become square; None: the model takes no keypoint prompts."""

    @cached_property
    def template_end_id(self) -> int | None:
        """The mark with which the chat template itself ends an answer."""
        return self.text.end_id(self.template.end_word())

    @cached_property
    def end_id(self) -> int:
        end_id = self.template_end_id
        return self.words.end_id if end_id is None else end_id

    @cached_property
    def lead(self) -> str:
        """The spaces that the template puts before an answer; they belong to the answer's first word."""
        return self.template.frame(("user", "assistant")).leads[1]

    def example(
        self,
        conversation: Conversation,
        codes: Mapping[Place, tuple[int, ...]],
        *,
        train: bool,
        read: Callable[["ImageSource"], Image.Image] = read_image,
    ) -> Example:
        """`train`: the last turn is an answer, all answers are labelled. Else a prompt, to where an answer begins."""
        turns = conversation.turns
        if not turns:
            raise UserError("the conversation is empty; it takes at least one turn of the user's")
        if train != conversation.ends_with_answer:
            wanted = "training needs an answer at the end" if train else "a prompt ends with the user's turn"
            raise UserError(f"the last turn (turn {len(turns)}) is the {turns[-1].role}'s; {wanted}")
        row = _Writing(self, conversation, codes, train, read)
        for index in range(len(turns)):
            row.turn(index)
        if not train:
            row.flush(row.literals[len(turns)])
            row.ends.append(len(row.row))
        self._check_length(row)
        example = row.row.example(
            images=row.images, prompts=row.prompts, task=conversation.task, record_id=conversation.record_id
        )
        labelled = int((example.labels != IGNORE).sum())
        example.points = [(point.x, point.y, labelled) for point in row.points]
        return example

    def _check_length(self, writing: "_Writing") -> None:
        taken, ends = len(writing.row), writing.ends
        if self.context_length is None or taken <= self.context_length:
            return
        sizes = [end - start for start, end in zip([0, *ends], ends, strict=False)]
        longest = max(range(len(sizes)), key=sizes.__getitem__)
        raise UserError(
            f"the conversation takes {taken} tokens, the model reads {self.context_length}; turn {longest + 1} "
            f"alone takes {sizes[longest]}; shorten it, or begin anew with fewer turns, images or poses"
        )


@dataclass
class _Writing:
    """One conversation on its way into one row."""

    rules: Encoding
    conversation: Conversation
    codes: Mapping[Place, tuple[int, ...]]
    train: bool
    read: Callable[["ImageSource"], Image.Image]
    images: list[Any] = field(default_factory=list)
    prompts: list[Prompt] = field(default_factory=list)
    points: list[PointPart] = field(default_factory=list)
    """Those that are to be found."""
    ends: list[int] = field(default_factory=list)
    """Where each turn ends in the row."""
    pending: list[tuple[str, bool]] = field(default_factory=list)
    """Text that is not yet tokenised, since words may span the template and what follows it; True: the template's."""

    def __post_init__(self) -> None:
        rules = self.rules
        self.row = RowWriter(rules.words, causal_poses=rules.causal_poses, causal_given=rules.causal_given)
        turns, system = self.conversation.turns, self.conversation.system
        roles: tuple[Role, ...] = tuple(turn.role for turn in turns)
        frame = self.rules.template.frame(roles if self.train else (*roles, "assistant"), has_system=bool(system))
        self.literals, self.leads = list(frame.literals), list(frame.leads)
        if system:
            self.pending = [(self.literals.pop(0), True), (system, False)]
            self.leads.pop(0)

    def flush(self, literal: str = "") -> None:
        self.row.given(self.rules.text.run([*self.pending, (literal, True)]))
        self.pending = []

    def turn(self, index: int) -> None:
        turn = self.conversation.turns[index]
        if not any(not isinstance(part, TextPart) or part.text for part in turn.parts):
            raise UserError(f"turn {index + 1} ({turn.role}) says nothing; it needs at least one word, image or pose")
        if turn.role == "user":
            self.pending.append((self.literals[index], True))
        else:
            self.flush(self.literals[index])  # what the user said ends here
            self.ends.append(len(self.row))
        for item, part in enumerate(turn.parts):
            try:
                self._part(part, index, item, answer=turn.role == "assistant")
            except UserError as error:
                raise UserError(f"turn {index + 1} ({turn.role}), item {item + 1}: {error}") from error
        if turn.role == "assistant":
            self._end_answer(index)
            self.ends.append(len(self.row))

    def _part(self, part: Part, index: int, item: int, *, answer: bool) -> None:
        if isinstance(part, TextPart):
            self._text(part.text, index, item, answer=answer)
            return
        self.flush()
        if isinstance(part, PosePart):
            codes = self.codes[index, item]
            if answer and self.train:
                turns = self.conversation.turns
                is_last = index == len(turns) - 1 and item == len(turns[index].parts) - 1
                self.row.answered_pose(codes, is_last=is_last)
            else:
                self.row.given_pose(codes)
        elif isinstance(part, KeypointPart):
            self._keypoint(part, answer=answer)
        elif isinstance(part, PointPart):
            self._point(part, answer=answer)
        elif answer:
            raise UserError("an image in an answer; answers hold text and poses")
        else:
            self._image(part)

    def _text(self, text: str, index: int, item: int, *, answer: bool) -> None:
        if not text:
            return
        if not answer:
            self.pending.append((text, False))
            return
        first = item == 0
        lead, context = (self.leads[index], self.literals[index]) if first else ("", "")
        ids = self.rules.text.answer(text, lead=lead, context=context)
        if self.train:
            self.row.answered(ids)
        else:
            self.row.given(ids)

    def _keypoint(self, part: KeypointPart, *, answer: bool) -> None:
        fit = self.rules.prompt_fit
        if fit is None:
            raise UserError("a keypoint prompt, but this model has no encoder for keypoint prompts")
        if answer:
            raise UserError("a keypoint prompt in an answer; answers name points in numbers")
        images = tuple(self.read(image) for image in part.images)
        points = tuple(
            None if point is None else square_point(point, image.size, fit)
            for point, image in zip(part.points_norm, images, strict=True)
        )
        if all(point is None for point in points):
            raise UserError("a keypoint prompt that none of its support images shows; give a point in one of them")
        self.prompts.append(Prompt(images, points))
        self.row.given([self.rules.words.keypoint_id])

    def _point(self, part: PointPart, *, answer: bool) -> None:
        point_id = self.rules.words.point_id
        if not answer:
            raise UserError("a found point in a question; show a keypoint with KeypointPart, or write numbers")
        if point_id is None:
            raise UserError("a found point, but this model writes positions in digits")
        if self.train:
            self.points.append(part)
            self.row.answered([point_id])
        else:
            self.row.given([point_id])

    def _image(self, part: ImagePart) -> None:
        if not self.rules.num_image_tokens:
            raise UserError("an image, but this model has no vision encoder")
        self.images.append(self.read(part.image))
        self.row.given([self.rules.words.image_id] * self.rules.num_image_tokens)

    def _end_answer(self, index: int) -> None:
        """The end is predicted; it is written only where another turn follows (as the template's or as ours)."""
        own_end = self.rules.template_end_id
        if self.train:
            self.row.end(self.rules.end_id)
        if own_end is not None:
            self.literals[index + 1] = self.literals[index + 1].lstrip(" ")
        elif index + 2 < len(self.literals):
            self.row.given([self.rules.words.end_id])


@contextmanager
def naming(conversation: Conversation, number: int, count: int) -> Generator[None, None, None]:
    """An error inside says whose it is: a record's, or that of one of `count` conversations, `number` from 0."""
    name = f"record {conversation.record_id}" if conversation.record_id else f"conversation {number + 1}"
    try:
        yield
    except UserError as error:
        if not conversation.record_id and count == 1:
            raise
        raise UserError(f"{name}: {error}") from error


def check_codes(codes: tuple[int, ...], rules: Encoding) -> tuple[int, ...]:
    """Codes that somebody gives must be those of this model's pose tokenizer."""
    if len(codes) != rules.num_pose_tokens:
        raise UserError(f"a pose of {len(codes)} codes; a pose of this model has {rules.num_pose_tokens}")
    if min(codes) < 0 or max(codes) >= rules.words.codebook_size:
        raise UserError(f"a pose code outside 0 ... {rules.words.codebook_size - 1}; from another pose tokenizer?")
    return codes


def check_rotmat(rotmat: Tensor) -> Tensor:
    """One pose's rotations, (22, 3, 3), finite."""
    shape = tuple(rotmat.shape)
    if len(shape) == 4:
        raise UserError(f"{shape[0]} poses in one part; give one part for each pose")
    if len(shape) != 3 or shape[1:] != (3, 3):
        raise UserError(f"a pose of shape {shape}; expected ({NUM_JOINTS}, 3, 3) rotation matrices")
    if shape[0] != NUM_JOINTS:
        raise UserError(
            f"a pose with {shape[0]} joints; expected {NUM_JOINTS} (the root and 21 body joints, SMPL order); "
            "leave out the hands, as Pose.from_axis_angle does"
        )
    if not bool(torch.isfinite(rotmat).all()):
        raise UserError("a pose with NaN or infinite rotations")
    return rotmat.float()
