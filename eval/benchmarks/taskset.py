"""One task's records of one split, as questions with known answers: what every benchmark of a language model reads.

    DATA/posescript   poses with texts           pose_to_text, text_to_pose, retrieval
    DATA/posefix      pairs of poses with texts  pose_diff, pose_editing, pair_retrieval
    DATA/imagescript  images, poses, texts       image_to_text
    DATA/imagediff    pairs of images, texts     image_diff
    DATA/people       images with poses          pose_estimation (3DPW and H36M: DATA/3dpw, DATA/h36m)

Each is a record set, a set of pairs, or what `data.build` made of one (its refined/ texts are asked where the split has
them, else auto/). Other folders are named by `Bench.sets` (--set posescript=FOLDER). Poses come from `data.tasks`, so
the truth is normalised exactly as in training.
"""

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from data.pair_set import PairSet, load_set
from data.record import Record
from data.record_set import RecordSet
from data.tasks import Item, Task, task_named
from data.tasks.base import whole_picture
from eval.benchmarks.base import Bench, MissingNeed, TemplateChoice
from eval.predict import Question
from llmpose.body.pose import Pose
from llmpose.talk.conversation import Conversation
from llmpose.talk.images import read_image

if TYPE_CHECKING:
    from PIL import Image

SETS = {
    "pose_to_text": "posescript",
    "text_to_pose": "posescript",
    "pose_diff": "posefix",
    "pose_editing": "posefix",
    "image_to_text": "imagescript",
    "image_diff": "imagediff",
    "pose_estimation": "people",
    "text_enhanced_estimation": "imagescript",
    "reasoning_estimation": "people",
    "talk_describe": "imagescript",
    "talk_edit": "imagediff",
    "talk_estimate": "imagescript",
}
_WORLD = "the built-in world has it too: llmpose data synth"
HOW_TO_GET = {
    "posescript": f"PoseScript's captions on poses of AMASS (llmpose data sources posescript); {_WORLD}",
    "posefix": f"PoseFix's texts on pairs of poses of AMASS (llmpose data sources posefix); {_WORLD}",
    "imagescript": f"images with poses, described by our own pipeline (llmpose data build imagescript); {_WORLD}",
    "imagediff": f"pairs of images, compared by our own pipeline (llmpose data build imagediff); {_WORLD}",
    "people": f"any images with poses (llmpose data prepare ...); {_WORLD}",
    "mp100_1": "MP-100, split 1 (llmpose data prepare mp100 --option number=1); or llmpose data objects makes its like",
    "3dpw": "3DPW's images and the 3dpw_test.npz of 4D-Humans: llmpose data prepare hmr --option file=3dpw_test.npz",
    "h36m": "Human3.6M's images and the h36m_val_p2.npz of 4D-Humans: llmpose data prepare hmr --option "
    "file=h36m_val_p2.npz --option called=test",
}


def set_name(task: str, dataset: str = "") -> str:
    return dataset.lower() if dataset else SETS[task]


def describe_need(task: str, dataset: str = "") -> str:
    name = set_name(task, dataset)
    return f"DATA/{name}: {HOW_TO_GET[name]}"


def chosen_rows(count: int, limit: int | None) -> np.ndarray:
    """All rows, or `limit` of them spread evenly, so that a short test sees every part of the set."""
    if limit is None or count <= limit:
        return np.arange(count)
    return np.linspace(0, count - 1, limit).round().astype(np.int64)


class TaskSet:
    """Items (records, or pairs with their two records) of one split; poses and texts of all are read at once."""

    def __init__(self, task: Task, records: RecordSet | PairSet, rows: np.ndarray, bench: Bench, split: str, name: str):
        self.definition, self.records, self.rows, self.split, self.name = task, records, rows, split, name
        self.bench, self.seed = bench, bench.seed
        self.templates: TemplateChoice = bench.templates
        self.data_name = bench.data_name or name
        self.left_out = ""
        """How many records of the split are not asked, and why."""
        everybody = records.column("id")
        self.ids: list[str] = [everybody[row] for row in rows]

    @classmethod
    def load(
        cls,
        task: str,
        bench: Bench,
        split: str,
        *,
        limit: int | None = None,
        dataset: str = "",
        needs: Sequence[str] = (),
    ) -> "TaskSet":
        """The task's set of DATA, of one split; `limit` None means the bench's own for the test split, else all.

        `needs`: fields that records must have filled, where those of the task (with its answer) are not what is meant.
        """
        definition, name = task_named(task), set_name(task, dataset)
        needs = needs or definition.needs
        folder = Path(bench.sets.get(name, bench.data_dir / name))
        if not folder.is_dir():
            raise MissingNeed(f"{folder} is not there; it holds {HOW_TO_GET[name]}")
        kinds = [kind for kind in ("refined", "auto") if (folder / kind).is_dir()]
        found = {kind: load_set(folder / kind).filter(split=split) for kind in kinds}
        kind = next((kind for kind in kinds if len(found[kind])), kinds[0] if kinds else "")
        records = found[kind] if kind else load_set(folder).filter(split=split)
        everybody = len(records)
        if isinstance(records, RecordSet):
            records = records.filter(has=needs)
        wanted = "a set of pairs" if definition.takes == "pair" else "a record set"
        if isinstance(records, PairSet) != (definition.takes == "pair"):
            raise MissingNeed(f"{folder}: {task} needs {wanted}, this is another kind of set")
        if not len(records):
            fields = ", ".join(needs)
            raise MissingNeed(f"{folder}: no records of the split {split!r} with {fields}; {HOW_TO_GET[name]}")
        limit = bench.limit if limit is None and split == "test" else limit
        rows = chosen_rows(len(records), limit)
        items = cls(definition, records, rows, bench, split, f"{name}/{kind}" if kind else name)
        if len(records) < everybody:
            items.left_out = f"{everybody - len(records)} records lack one of {', '.join(needs)} and are left out"
        return items

    def asked_as(self, task: str) -> "TaskSet":
        """The same items, asked as another task."""
        return TaskSet(task_named(task), self.records, self.rows, self.bench, self.split, self.name)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def task(self) -> str:
        return self.definition.name

    @property
    def is_pair(self) -> bool:
        return isinstance(self.records, PairSet)

    @property
    def yaw_free(self) -> bool:
        return self.definition.heading == "removed"

    @property
    def protocol(self) -> str:
        words = "wordings kept from training" if self.templates == "held_out" else "wordings of training"
        heading = "heading removed" if self.yaw_free else "root in the viewer's frame"
        left_out = f" ({self.left_out})" if self.left_out else ""
        return f"{heading}; questions in {words}; set {self.name}, split {self.split}{left_out}"

    @property
    def about(self) -> dict[str, Any]:
        """What makes these questions these questions: a part of the cache's key."""
        files = self.records.manifest.get("files", {})
        inside = self.records.records.manifest.get("files", {}) if isinstance(self.records, PairSet) else {}
        sums = {name: file["sha256"] for name, file in {**inside, **files}.items()}
        return {"set": self.name, "split": self.split, "count": len(self), "seed": self.seed, "files": sums}

    @property
    def input_name(self) -> str:
        """What a nearest neighbour is looked up by."""
        names = {
            "text_to_pose": "text",
            "pose_to_text": "pose",
            "pose_diff": "pair of poses",
            "pose_editing": "pose A with its instruction",
            "image_diff": "pair of images",
        }
        return names.get(self.task, "image")

    # -- items one by one ---------------------------------------------------------------------------------------------

    def item(self, index: int) -> Item:
        row = int(self.rows[index])
        if isinstance(self.records, RecordSet):
            return self.records[row]
        pair = self.records[row]
        return pair, self.records.records.by_id(pair.a), self.records.records.by_id(pair.b)

    def conversation(
        self,
        index: int,
        *,
        wording: str | None = None,
        text: str | None = None,
        whole: bool = False,
        answered: bool = True,
    ) -> Conversation:
        """Question and true answer, with the first text. The wording is drawn from seed and record id, in any order.

        `wording`: a template of one's own; `text`: another text in place of the record's; `whole`: the whole picture in
        place of the person's crop; `answered`: with the true answer, which must then be known.
        """
        item = self.item(index)
        if text is not None:
            target = item if isinstance(item, Record) else item[0]
            target.texts = [text]
        rng = Random(f"{self.seed} {self.ids[index]}")
        picture = whole_picture if whole else None
        return self.definition.conversation(
            item, rng, wording, 0, kind=self.templates, picture=picture, answered=answered
        )

    def question(self, index: int) -> Conversation:
        return self.conversation(index, answered=False)

    def questions(self) -> list[Question]:
        return [Question(record_id, lambda i=i: self.question(i)) for i, record_id in enumerate(self.ids)]

    def images(self, index: int) -> "list[Image.Image]":
        """The pictures of an item as the task shows them: one, or A and B."""
        item = self.item(index)
        records = [item] if isinstance(item, Record) else list(item[1:])
        return [read_image(self.definition.picture(record)) for record in records]

    # -- all at once --------------------------------------------------------------------------------------------------

    @cached_property
    def _texts(self) -> list[list[str]]:
        column = self.records.column("texts")
        return [list(column[row] or []) for row in self.rows]

    def references(self) -> list[list[str]]:
        """All texts of each item."""
        return self._texts

    def first_texts(self) -> list[str]:
        return [texts[0] for texts in self._texts]

    @cached_property
    def _poses(self) -> tuple[Tensor, ...]:
        """As `Task.poses`, for all items at once."""
        if isinstance(self.records, RecordSet):
            pose = Pose(torch.from_numpy(self.records.poses()[self.rows].copy()))
            return (pose.without_yaw().rotmat if self.yaw_free else pose.rotmat,)
        inside = self.records.records
        everybody = inside.poses()
        ends = [self.records.column(end) for end in ("a", "b")]
        a, b = (
            Pose(torch.from_numpy(everybody[[inside.index_of(column[row]) for row in self.rows]].copy()))
            for column in ends
        )
        column = self.records.column("in_sequence")
        together = torch.tensor([bool(column[row]) for row in self.rows])
        if not self.yaw_free:
            return a.rotmat, b.turned(torch.where(together, 0.0, a.yaw_deg - b.yaw_deg)).rotmat
        turn = torch.where(together, -a.yaw_deg, -b.yaw_deg)
        return a.without_yaw().rotmat, b.turned(turn).rotmat

    def poses(self) -> Tensor:
        """(N, 22, 3, 3) of records, as the task speaks of them."""
        assert not self.is_pair
        return self._poses[0]

    def pair_poses(self) -> tuple[Tensor, Tensor]:
        """A and B of pairs, each (N, 22, 3, 3)."""
        assert self.is_pair
        return self._poses[0], self._poses[1]

    def target_poses(self) -> Tensor:
        """The pose that is asked for: a record's own, or B."""
        return self._poses[-1]

    def betas(self) -> Tensor | None:
        """(N, 10) true body shapes, where every record has one."""
        if not isinstance(self.records, RecordSet) or not self.records.has("betas")[self.rows].all():
            return None
        return torch.from_numpy(self.records.betas()[self.rows].copy())

    def column(self, name: str) -> list[Any]:
        values = self.records.column(name)
        return [values[row] for row in self.rows]

    def attributes(self) -> list[dict[str, Any]]:
        return [
            json.loads(value) if isinstance(value, str) else dict(value or {}) for value in self.column("attributes")
        ]
