"""How answers are decoded, what an answer is, and what a listener hears while it is being said."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, get_args

from llmpose.errors import UserError
from llmpose.talk.conversation import Part
from llmpose.talk.patterns import Pattern

if TYPE_CHECKING:
    from torch import Tensor

    from llmpose.body.pose import Pose

FinishReason = Literal["end", "length", "context", "stopped"]
"""end: the model ended it. length: max_new_tokens cut it off. context: the model's context was full. stopped: somebody
interrupted it."""


PointReading = Literal["said", "mean", "densest"]


@dataclass(frozen=True)
class Decoding:
    """Settings of `generate`."""

    max_new_tokens: int = 256
    """Words (text tokens) of one answer; a pose counts as one."""
    max_poses: int = 4
    """Poses of one answer."""
    grammar: str | Pattern = "free"
    """What answers may look like: free, text, pose (exactly one), point, named_point (regressed, named_regressed for
    models with a point head), or a pattern of llmpose.talk.grammar."""
    points: PointReading = "said"
    """Where points stand that are written in digits: at the likeliest digits, at the mean of the digits' distribution,
    or at its densest place (llmpose/talk/refine.py). The words stay as they were said."""
    temperature: float = 0.0
    """Of words. 0 takes the likeliest one (greedy)."""
    top_p: float = 1.0
    """Draw among the likeliest words that make up this share of probability."""
    num_beams: int = 1
    """Beams of words; poses inside a beam are decoded as always."""
    length_penalty: float = 1.0
    """A beam's log-probability is divided by its number of words to this power."""
    pose_temperature: float = 0.0
    """Of pose tokens. 0 takes the likeliest pose."""
    refine_poses: bool = False
    """Poses that come out in one step are decoded from the mean of what each place's codes stand for, weighted by their
    probabilities: smaller errors where the model is unsure, nothing else changes. The codes stay as they were said."""
    seed: int | None = None
    """For drawing. A row's draws depend on the seed and on its own prompt, not on its neighbours."""
    batch_size: int = 32
    cache: Literal["dynamic", "static"] = "dynamic"
    """static: of one length from the start, for compiled graphs."""
    share_prefixes: bool = True
    """Questions about the same images read them once (design: branches over one shared prefix)."""
    pose_ahead: bool = False
    """Ask for a pose while still reading the prompt: saves one step where answers begin with a pose, costs as many
    tokens as a pose where they do not. The answers are the same."""

    def __post_init__(self) -> None:
        checks = {
            "max_new_tokens": (self.max_new_tokens >= 1, "at least 1"),
            "max_poses": (self.max_poses >= 0, "at least 0"),
            "temperature": (self.temperature >= 0, "at least 0"),
            "pose_temperature": (self.pose_temperature >= 0, "at least 0"),
            "top_p": (0 < self.top_p <= 1, "above 0 and at most 1"),
            "num_beams": (self.num_beams >= 1, "at least 1"),
            "batch_size": (self.batch_size >= 1, "at least 1"),
            "points": (self.points in get_args(PointReading), f"one of {', '.join(get_args(PointReading))}"),
            "cache": (self.cache in ("dynamic", "static"), "dynamic or static"),
        }
        for name, (is_right, wanted) in checks.items():
            if not is_right:
                raise UserError(f"decoding: {name} is {getattr(self, name)!r}; it must be {wanted}")
        if self.num_beams > 1 and self.points != "said":
            raise UserError(
                f"decoding: points={self.points} reads the digits' distribution of one answer; use num_beams=1"
            )
        if self.num_beams > 1 and self.temperature > 0:
            raise UserError("decoding: beams look for the likeliest answer; use num_beams=1 with a temperature")
        if self.refine_poses and self.pose_temperature > 0:
            raise UserError("decoding: a refined pose is the mean of all, a drawn one is one of them; choose either")


@dataclass(frozen=True)
class Point:
    """A point that an answer names in numbers."""

    x: float
    y: float
    """Shares of the image's width and height."""
    confidence: float
    """How much of what its digits may be lies around it (refine.share_near), x times y; where only the digits as said
    are known, their probability among all that the grammar allowed; where a head says it, geometric mean of the
    probabilities of the words before it."""
    readings: Mapping[PointReading, tuple[float, float]] = field(default_factory=dict)
    """Where it stands by each reading, where the digits' distribution was looked at."""


@dataclass
class Answer:
    """What the model said."""

    parts: tuple[Part, ...]
    """In the order in which they were said; pose parts hold codes, and a pose where the processor can decode it."""
    text: str
    """The words alone."""
    poses: "list[Pose]" = field(default_factory=list)
    codes: list[tuple[int, ...]] = field(default_factory=list)
    code_vectors: "list[Tensor]" = field(default_factory=list)
    """For each pose (N, C), where poses are refined."""
    confidence: float = 1.0
    """Geometric mean of the probabilities of all words."""
    pose_confidences: list[float] = field(default_factory=list)
    """For each pose: geometric mean of the probabilities of its tokens."""
    points: list[Point] = field(default_factory=list)
    finish_reason: FinishReason = "end"
    token_ids: list[int] = field(default_factory=list)
    """Ids of the words, <p> included, without the end and without pose tokens."""
    logprobs: list[float] = field(default_factory=list)
    """Of `token_ids`."""

    @property
    def is_cut_off(self) -> bool:
        return self.finish_reason != "end"


@dataclass(frozen=True)
class Said:
    """One thing that a listener hears: a piece of text, or a whole pose as codes."""

    number: int
    """Whose answer: index of the conversation."""
    text: str = ""
    codes: tuple[int, ...] | None = None


Listener = Callable[[Said], None]
