"""What a benchmark is, what it may ask for, and what it leaves behind.

    bench = Bench(model_dir=..., data_dir=..., out_dir=...)
    result = BENCHMARKS["text_to_pose"].run(bench)      # a table, and one score per record
    result.write(bench.out_dir)

OUT/tables/<name>.json, .md     the table
OUT/scores/<name>.json          one score per record, for choosing examples by rule
OUT/predictions/<task>/...      the answers (eval.predict)
"""

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from eval.predict import (
    Prediction,
    PredictionCache,
    Question,
    describe_settings,
    fingerprint,
    predict,
    process_share,
    wait_for_everyone,
)
from eval.tables import Table, write_text
from llmpose.errors import UserError
from llmpose.model.loading import device_named

if TYPE_CHECKING:
    from llmpose.body.model import BodyModel
    from llmpose.model.modeling import LlmPoseForConditionalGeneration
    from llmpose.talk.decoding import Decoding, PointReading
    from llmpose.talk.processing import LlmPoseProcessor

TemplateChoice = Literal["train", "held_out"]
Progress = Callable[[str, int, int], None]
"""(what, done, of how many)."""


def run_model(folder: str | Path) -> Path:
    """The model in a training run's folder (best/, else model/), or the folder itself."""
    folder = Path(folder)
    if (folder / "config.json").is_file():
        return folder
    return next((place for place in (folder / "best", folder / "model") if place.is_dir()), folder)


class MissingNeed(UserError):
    """A benchmark cannot run: what it needs is not there. The message says how to get it."""


@dataclass
class Bench:
    """Where everything lies, how much to ask, and the models, loaded when first used."""

    data_dir: Path
    out_dir: Path
    model_dir: Path | None = None
    retrieval_dir: Path | None = None
    """Pose-text retrieval model (UniPose suppl. §B.2); without it R-precision, recalls and FID are left out."""
    pair_retrieval_dir: Path | None = None
    tokenizer_dir: Path | None = None
    limit: int | None = None
    """At most so many records of each test set, spread evenly."""
    batch_size: int = 32
    seed: int = 0
    refine_poses: bool = False
    """Poses are decoded from the mean of their codes (Decoding.refine_poses), not from the likeliest ones."""
    templates: TemplateChoice = "train"
    """Whether questions are worded as in training, or as the model never saw them."""
    max_new_tokens: int = 160
    device: str = "auto"
    progress: Progress | None = None
    data_name: str = ""
    """What the tables call the data; the set's name if empty."""
    sets: dict[str, str] = field(default_factory=dict)
    """Set name -> folder, for sets that do not lie in data_dir under their name."""
    method: str = "this model"

    @property
    def is_main(self) -> bool:
        return process_share()[0] == 0

    @cached_property
    def torch_device(self) -> torch.device:
        if self.device != "auto":
            return device_named(self.device)
        if torch.cuda.is_available():
            rank, _ = process_share()
            return torch.device("cuda", rank % torch.cuda.device_count())
        return torch.device("cpu")

    @cached_property
    def model_folder(self) -> Path:
        """A whole model's folder or an adapter's; a name of the hub is fetched."""
        from llmpose.talk.processing import local_folder

        if self.model_dir is None:
            raise MissingNeed("no model was given; pass --model DIR, the folder of a trained model")
        return local_folder(run_model(self.model_dir), weights=True)

    @cached_property
    def model(self) -> "LlmPoseForConditionalGeneration":
        from llmpose.model.adapters import load_model

        dtype = torch.bfloat16 if self.torch_device.type == "cuda" else torch.float32
        return load_model(self.model_folder, dtype=dtype).to(self.torch_device).eval()  # type: ignore[arg-type, return-value]

    @cached_property
    def processor(self) -> "LlmPoseProcessor":
        from llmpose.talk.processing import LlmPoseProcessor

        return LlmPoseProcessor.from_pretrained(self.model_folder)

    @cached_property
    def model_hash(self) -> str:
        return fingerprint(self.model_folder)

    @cached_property
    def body(self) -> "BodyModel":
        from llmpose.body.model import load_body_model

        return load_body_model()

    @cached_property
    def retrieval(self) -> Any:
        """PoseTextRetrieval or None."""
        if self.retrieval_dir is None:
            return None
        from llmpose.model.retrieval import PoseTextRetrieval

        return PoseTextRetrieval.from_pretrained(run_model(self.retrieval_dir)).to(self.torch_device).eval()  # type: ignore[arg-type]

    @cached_property
    def pair_retrieval(self) -> Any:
        """PosePairTextRetrieval or None."""
        if self.pair_retrieval_dir is None:
            return None
        from llmpose.model.retrieval import PosePairTextRetrieval

        return PosePairTextRetrieval.from_pretrained(run_model(self.pair_retrieval_dir)).to(self.torch_device).eval()  # type: ignore[arg-type]

    def decoding(self, grammar: str, *, points: "PointReading" = "said") -> "Decoding":
        """Greedy, as the papers decode; `grammar` "pose" makes every answer of a pose task hold exactly one pose."""
        from llmpose.talk.decoding import Decoding

        return Decoding(
            max_new_tokens=self.max_new_tokens,
            grammar=grammar,
            batch_size=self.batch_size,
            seed=self.seed,
            refine_poses=self.refine_poses and grammar == "pose",
            points=points,
        )

    @property
    def pose_protocol(self) -> str:
        """How a table says which pose is measured."""
        return "poses from the mean of their codes" if self.refine_poses else "poses from their likeliest codes"

    def answers(
        self,
        task: str,
        questions: Sequence[Question],
        *,
        grammar: str,
        about: Mapping[str, Any],
        points: "PointReading" = "said",
    ) -> dict[str, Prediction]:
        """The model's answers by record id, from the cache where they are there."""
        from llmpose.talk.generation import generate

        settings = self.decoding(grammar, points=points)
        cache = self._cache(task, settings, about)

        def tell(done: int, total: int) -> None:
            if self.progress is not None and self.is_main:
                self.progress(task, done, total)

        return predict(
            questions,
            lambda batch: generate(self.model, self.processor, batch, settings),
            cache,
            batch_size=4 * self.batch_size,  # generate sorts these into batches of like lengths
            progress=tell,
        )

    def kept_answers(self, task: str, *, grammar: str, about: Mapping[str, Any]) -> dict[str, Prediction]:
        """Answers of an earlier run to the same questions, without asking anything."""
        return self._cache(task, self.decoding(grammar), about).read()

    def _cache(self, task: str, settings: "Decoding", about: Mapping[str, Any]) -> PredictionCache:
        decoding = describe_settings(settings)
        key = {"model": self.model_hash, "decoding": decoding, "templates": self.templates, **about}
        return PredictionCache(self.out_dir / "predictions", task, key)

    def joints(self, rotmat: Tensor, betas: Tensor | None = None, chunk: int = 1024) -> Tensor:
        """(N, 22, 3, 3) to (N, 24, 3) SMPL joints, in pieces that fit anywhere."""
        parts = []
        with torch.no_grad():
            for start in range(0, len(rotmat), chunk):
                shape = None if betas is None else betas[start : start + chunk]
                parts.append(self.body.joints(rotmat[start : start + chunk], shape)[:, :24].cpu())
        return torch.cat(parts) if parts else torch.zeros(0, 24, 3)


@dataclass
class Result:
    """A benchmark's table and, per record, the score that examples are chosen by."""

    table: Table
    scores: dict[str, float] = field(default_factory=dict)
    score_name: str = ""
    higher_is_better: bool = True
    seconds: float = 0.0

    def write(self, out_dir: Path) -> None:
        self.table.write(out_dir / "tables")
        if self.scores:
            content = {k: v for k, v in asdict(self).items() if k != "table"}
            (out_dir / "scores").mkdir(parents=True, exist_ok=True)
            write_text(out_dir / "scores" / f"{self.table.name}.json", json.dumps(content) + "\n")

    @staticmethod
    def read(out_dir: Path, name: str) -> "Result | None":
        """What an earlier run left, or None."""
        path, scores = out_dir / "tables" / f"{name}.json", out_dir / "scores" / f"{name}.json"
        if not path.is_file():
            return None
        table = Table.from_json(json.loads(path.read_text("utf-8")))
        return Result(table, **(json.loads(scores.read_text("utf-8")) if scores.is_file() else {}))


class Benchmark(ABC):
    """One table of a paper."""

    name: str
    title: str
    needs: str
    """What it runs on, and how to get that: shown by `llmpose eval list` and when it is missing."""

    @abstractmethod
    def measure(self, bench: Bench) -> Result | None:
        """None on every process but the first."""

    def run(self, bench: Bench) -> Result | None:
        """Measure and write; what is missing is named with the way to get it."""
        start = time.perf_counter()
        try:
            result = self.measure(bench)
        except MissingNeed as error:
            raise MissingNeed(f"{self.name}: {error}") from error
        if result is not None:
            result.seconds = round(time.perf_counter() - start, 2)
            result.write(bench.out_dir)
        wait_for_everyone()
        return result
