"""Answers of a model to many questions: batched, spread over processes, and kept, so that a killed run goes on where
it was.

    CACHE/<task>/<key>/about.json        what was asked of what: model, decoding, questions; the key is its hash
    CACHE/<task>/<key>/part-<rank>.jsonl one answer a line, appended batch by batch

A line cut by a kill is dropped on reading, so at most one batch is asked again. A part file belongs to one process;
every process reads all of them, so a run may go on with another number of processes. A changed weight, setting or
question is another key.
"""

import base64
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from eval.tables import write_text

if TYPE_CHECKING:
    from accelerate import PartialState

    from llmpose.talk.conversation import Conversation
    from llmpose.talk.decoding import Answer


@dataclass
class Prediction:
    """What the model answered to one question."""

    id: str
    text: str
    poses: np.ndarray = field(default_factory=lambda: np.zeros((0, 22, 3, 3), np.float32))
    """(n, 22, 3, 3): the poses of the answer, in the order they were said."""
    confidence: float = 1.0
    pose_confidences: list[float] = field(default_factory=list)
    finish_reason: str = "end"
    points: list[list[float]] = field(default_factory=list)
    """x, y, confidence of each point in the answer."""
    readings: list[dict[str, list[float]]] = field(default_factory=list)
    """x, y of each point by each reading of its digits (Decoding.points), where more than the digits was looked at."""

    @staticmethod
    def of(record_id: str, answer: "Answer") -> "Prediction":
        poses = [pose.rotmat.reshape(22, 3, 3).cpu().numpy() for pose in answer.poses]
        stacked = np.stack(poses).astype(np.float32) if poses else np.zeros((0, 22, 3, 3), np.float32)
        confidences = [float(c) for c in answer.pose_confidences]
        points = [[float(point.x), float(point.y), float(point.confidence)] for point in answer.points]
        readings = [{name: [*place] for name, place in p.readings.items()} for p in answer.points if p.readings]
        sure = float(answer.confidence)
        return Prediction(record_id, answer.text, stacked, sure, confidences, answer.finish_reason, points, readings)

    def to_line(self) -> str:
        packed = base64.b64encode(np.ascontiguousarray(self.poses, np.float32).tobytes()).decode("ascii")
        return json.dumps({**self.__dict__, "poses": packed}, ensure_ascii=False)

    @staticmethod
    def from_line(line: str) -> "Prediction":
        stored: dict[str, Any] = json.loads(line)
        poses = np.frombuffer(base64.b64decode(stored["poses"]), np.float32).reshape(-1, 22, 3, 3)
        stored["poses"] = poses
        return Prediction(**stored)

    def first_pose(self) -> Tensor | None:
        return torch.from_numpy(self.poses[0].copy()) if len(self.poses) else None


@dataclass(frozen=True)
class Question:
    """A record's id and how to make what is asked (the picture is read only then)."""

    id: str
    make: "Callable[[], Conversation]"


class PredictionCache:
    """One folder of answers; see the module's text for the files."""

    def __init__(self, root: str | Path, task: str, about: Mapping[str, Any]) -> None:
        self.about = json.loads(json.dumps(about, sort_keys=True, default=str))
        text = json.dumps(self.about, sort_keys=True)
        self.folder = Path(root) / task / hashlib.sha256(text.encode()).hexdigest()[:16]
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (self.folder / "about.json").is_file():
            write_text(self.folder / "about.json", json.dumps(self.about, indent=2, sort_keys=True) + "\n")

    def read(self) -> dict[str, Prediction]:
        """All answers so far, of all processes that ever wrote here."""
        found: dict[str, Prediction] = {}
        for part in sorted(self.folder.glob("part-*.jsonl")):
            with part.open(encoding="utf-8") as lines:
                for line in lines:
                    if line.endswith("\n"):
                        prediction = Prediction.from_line(line)
                        found.setdefault(prediction.id, prediction)
        return found

    def append(self, predictions: Sequence[Prediction], rank: int = 0) -> None:
        part = self.folder / f"part-{rank}.jsonl"
        _cut_torn_line(part)
        with part.open("a", encoding="utf-8") as file:
            file.writelines(prediction.to_line() + "\n" for prediction in predictions)
            file.flush()
            os.fsync(file.fileno())


def _cut_torn_line(path: Path) -> None:
    """What a killed process left half written is removed before the next line is put behind it."""
    if not path.is_file() or path.stat().st_size == 0:
        return
    with path.open("rb+") as file:
        content = file.read()
        if not content.endswith(b"\n"):
            file.truncate(content.rfind(b"\n") + 1)


def process_share() -> tuple[int, int]:
    """(rank, number of processes) as accelerate launch set them; starts the process group when there are several."""
    if int(os.environ.get("WORLD_SIZE", "1")) <= 1:
        return 0, 1
    state = _process_group()
    return state.process_index, state.num_processes


def wait_for_everyone() -> None:
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        _process_group().wait_for_everyone()


def _process_group() -> "PartialState":
    from accelerate import PartialState

    # Without cpu=True accelerate starts no group on a machine without accelerator: every process would do all the work.
    state = PartialState(cpu=not torch.accelerator.is_available())
    assert state.num_processes == int(os.environ["WORLD_SIZE"]), f"{state} does not have WORLD_SIZE processes"
    return state


def predict(
    questions: Sequence[Question],
    answer: "Callable[[list[Conversation]], list[Answer]]",
    cache: PredictionCache,
    *,
    batch_size: int = 32,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Prediction]:
    """Answers to all questions, by id: from the cache where they are there, asked in batches where they are not.

    Every process takes its share of what is missing, then all wait and read everything.
    """
    rank, processes = process_share()
    done = cache.read()
    missing = [question for question in questions if question.id not in done]
    wait_for_everyone()  # nobody may write before everybody has counted what is missing
    mine = missing[rank::processes]
    for start in range(0, len(mine), batch_size):
        batch = mine[start : start + batch_size]
        answers = answer([question.make() for question in batch])
        cache.append([Prediction.of(q.id, a) for q, a in zip(batch, answers, strict=True)], rank)
        if progress is not None:
            progress(len(questions) - len(missing) + start + len(batch), len(questions))
    wait_for_everyone()
    found = done if not missing else cache.read()
    return {question.id: found[question.id] for question in questions}


def fingerprint(folder: str | Path) -> str:
    """A hash of a model's folder: its weights (sampled), and every small file that changes what it says."""
    from llmpose.model.adapters import fingerprint as of_weights

    root, digest = Path(folder), hashlib.sha256()
    for path in sorted(p for p in root.rglob("*") if p.suffix in (".json", ".jinja", ".txt", ".model") and p.is_file()):
        digest.update(f"{path.relative_to(root).as_posix()}:".encode() + path.read_bytes())
    for place in sorted({path.parent for path in root.rglob("*.safetensors")}):
        digest.update(f"{place.relative_to(root).as_posix()}:{of_weights(place)}".encode())
    return digest.hexdigest()[:16]


def describe_settings(settings: Any) -> dict[str, Any]:
    """Decoding settings for the cache's key, without what only changes the speed."""
    return {
        key: value for key, value in asdict(settings).items() if key not in ("batch_size", "cache", "share_prefixes")
    }
