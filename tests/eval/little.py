"""A world of a few random poses with texts and pictures, a random model, a retrieval model that knows every text."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import CLIPVisionConfig, LlamaConfig

from data.pair_set import PairSet
from data.record import PairRecord, Record
from data.record_set import RecordSet
from eval import papers
from eval.benchmarks.base import Bench
from eval.metrics.body import PROTOCOLS
from eval.predict import Prediction, Question
from eval.tables import Table
from llmpose.body.pose import Pose
from llmpose.model.config import LlmPoseConfig, VisionEncoderSpec
from llmpose.model.modeling import LlmPoseForConditionalGeneration
from llmpose.talk.conversation import PosePart
from llmpose.talk.processing import LlmPoseProcessor
from llmpose.talk.vocabulary import Vocabulary, add_pose_words, train_tokenizer
from tokenizer_vq import PoseTokenizer, PoseTokenizerConfig

PARTS = ("left arm", "right arm", "left knee", "right knee", "torso", "head", "left foot", "right hand")
STATES = ("raised", "bent", "straight", "lowered", "turned left", "turned right", "tilted", "at rest")
COUNTS = {"train": 14, "test": 9}


def text_of(number: int) -> str:
    words = [
        f"the {PARTS[number % 8]} is {STATES[number // 8 % 8]}",
        f"the {PARTS[(number + 3) % 8]} is {STATES[number % 8]}",
    ]
    return f"A person: {words[0]} and {words[1]}."


def pose_of(number: int) -> np.ndarray:
    turns = torch.randn(22, 3, generator=torch.Generator().manual_seed(number)) * 0.4
    rotmat = Pose.from_axis_angle(turns).rotmat
    rotmat[0] = rotmat[0] @ Pose.rest().rotmat[0]
    return rotmat.numpy()


def record_of(number: int, split: str, folder: Path, picture: int) -> Record:
    name = f"{picture}.png"
    pixels = np.random.default_rng(picture).integers(0, 255, (48, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / name)
    return Record(
        id=f"little/{number}",
        source="little",
        split=split,
        image=name,
        width=40,
        height=48,
        box_xyxy_px=np.array([4, 4, 36, 44], np.float32),
        pose_rotmat=pose_of(number),
        betas=np.full(10, 0.3, np.float32),
        texts=[text_of(number), f"Someone whose {PARTS[number % 8]} is {STATES[number // 8 % 8]}."],
        attributes={"position": "on the left" if number % 2 else "on the right", "clothes": {"shirt": "red"}},
    )


def write_world(root: Path, people_in_a_picture: int = 1) -> Path:
    """The five sets under their usual names."""
    images = root / "images"
    images.mkdir(parents=True)
    records, pairs, number = [], [], 0
    for split, count in COUNTS.items():
        start = number
        for number in range(start, start + count):
            together = start + (number - start) // people_in_a_picture * people_in_a_picture
            records.append(record_of(number, split, images, together))
        for k in range(count):
            a, b = start + k, start + (k + 1) % count
            change = [f"Move from {a} to {b}: {text_of(7 * a + b)}"]
            pairs.append(PairRecord(f"pair/{a}", "little", split, f"little/{a}", f"little/{b}", change, bool(k % 2)))
        number += 1
    for name in ("posescript", "imagescript", "people"):
        RecordSet.write(root / name, records, source="little", image_root=images)
    for name in ("posefix", "imagediff"):
        PairSet.write(root / name, [*records, *pairs], source="little", image_root=images)
    return root


def write_model(folder: Path) -> Path:
    """An untrained model that says <p> readily."""
    tokenizer = train_tokenizer([text_of(n) for n in range(64)] * 2, 300)
    torch.manual_seed(0)
    vq = PoseTokenizerConfig(num_pose_tokens=7, codebook_size=60, hidden_size=16, num_layers=1, fsq_levels=[5, 4, 3])
    add_pose_words(tokenizer, 60)
    words = Vocabulary.of(tokenizer)
    clip = CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=16, patch_size=8
    )
    text = LlamaConfig(
        vocab_size=words.size,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=1024,
    )
    config = LlmPoseConfig(
        text_config=text,
        vision=[VisionEncoderSpec.of("clip", clip)],
        num_pose_tokens=7,
        codebook_size=60,
        first_pose_id=words.first_pose_id,
        pose_open_id=words.pose_open_id,
        pose_close_id=words.pose_close_id,
        pose_query_id=words.pose_query_id,
        image_id=words.image_id,
        keypoint_id=words.keypoint_id,
        pad_token_id=words.pad_id,
    )
    model = LlmPoseForConditionalGeneration(config).eval()
    model.save_pretrained(folder)
    LlmPoseProcessor.for_model(config, tokenizer, PoseTokenizer(vq).eval()).save_pretrained(folder)
    return folder


def check_joints(table: Table, *, says_protocol: bool = True) -> None:
    """A column of joint errors says whose joints; published rows in it are of these, and ours by the protocol too."""
    for column in table.columns:
        key = column.key.rpartition(".")[2]
        assert ("mpjpe" in key) == bool(column.joints), f"{table.name}: {column.key} is over {column.joints!r}"
        kinds = {row.kind for row in table.rows if column.key in row.values}
        if column.joints and "paper" in kinds:
            assert papers.JOINTS[key] == column.joints, f"{table.name}: published {key} are not {column.joints}"
        if column.joints and kinds - {"paper"} and says_protocol:
            assert PROTOCOLS[column.joints].about in table.protocol, f"{table.name}: {key} is not {column.joints}"
    published = {key.rpartition(".")[2] for row in table.rows if row.kind == "paper" for key in row.values}
    assert {key for key in published if "mpjpe" in key} <= set(papers.JOINTS)


class KnowsAll(torch.nn.Module):
    """A retrieval model for which a text lies exactly where its own pose (or pair) lies."""

    def __init__(self, poses_of_text: Mapping[str, torch.Tensor]) -> None:
        super().__init__()
        inputs = next(iter(poses_of_text.values())).numel() if poses_of_text else 198
        weight = torch.randn(inputs, 32, generator=torch.Generator().manual_seed(0))
        self.weight = torch.nn.Parameter(weight, requires_grad=False)
        self.poses_of_text = poses_of_text

    def _features(self, poses: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize(poses.flatten(1) @ self.weight, dim=-1)

    def embed_pose(self, rotmat: torch.Tensor) -> torch.Tensor:
        return self._features(rotmat)

    def embed_pair(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return self._features(torch.cat([a.flatten(1), b.flatten(1)], dim=1))

    def embed_text(self, texts: Sequence[str]) -> torch.Tensor:
        nothing = torch.full((self.weight.shape[0],), 0.1)
        return self._features(torch.stack([self.poses_of_text.get(t, nothing).flatten() for t in texts]))


class OracleBench(Bench):
    """Answers every question with its true answer; `spoil` changes the poses it says."""

    spoil = staticmethod(lambda rotmat: rotmat)

    def answers(
        self, task: str, questions: Sequence[Question], *, grammar: str, about: Mapping[str, Any]
    ) -> dict[str, Prediction]:
        truths: Any = self.truths  # type: ignore[attr-defined]
        found = {}
        for question in questions:
            turn = truths(task, question.id)
            poses = [
                self.spoil(p.pose.rotmat.numpy()) for p in turn.parts if isinstance(p, PosePart) and p.pose is not None
            ]
            stacked = np.stack(poses) if poses else np.zeros((0, 22, 3, 3), np.float32)
            found[question.id] = Prediction(question.id, turn.text, stacked)
        return found
