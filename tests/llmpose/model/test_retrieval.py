"""The retrieval models: points of length one, the loss by hand, headings, files, and training both kinds."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import roma
import torch
from torch import Tensor

from data.records import PairRecord, PairSet, Record, RecordSet
from llmpose.body.pose import Pose
from llmpose.errors import UserError
from llmpose.model.retrieval import (
    PosePairTextRetrieval,
    PoseTextRetrieval,
    RetrievalConfig,
    pad_words,
    word_tokenizer,
)
from tokenizer_vq import PoseTokenizerConfig

TEXTS = ["The left arm is raised.", "Both knees are bent, the person squats.", "standing"]


def config(**more: object) -> RetrievalConfig:
    encoder = PoseTokenizerConfig(num_pose_tokens=10, codebook_size=16, hidden_size=16, num_layers=1)
    sizes = {"word_width": 8, "text_width": 8, "pose_width": 8, "embed_width": 16}
    return RetrievalConfig(encoder=encoder.to_dict(), **{**sizes, **more})


@pytest.fixture
def poses() -> Tensor:
    bend = 0.4 * torch.randn(6, 22, 3, generator=torch.Generator().manual_seed(0))
    return roma.rotvec_to_rotmat(bend)


@pytest.fixture
def model() -> PoseTextRetrieval:
    torch.manual_seed(0)
    words = word_tokenizer(TEXTS)
    model = PoseTextRetrieval(config(vocab_size=len(words)))
    model.tokenizer = words
    return model.eval()


@pytest.fixture
def pair_model() -> PosePairTextRetrieval:
    torch.manual_seed(0)
    words = word_tokenizer(TEXTS)
    model = PosePairTextRetrieval(config(vocab_size=len(words)))
    model.tokenizer = words
    return model.eval()


def test_points_have_length_one(model: PoseTextRetrieval, poses: Tensor) -> None:
    for points in (model.embed_pose(poses), model.embed_text(TEXTS)):
        assert points.shape[1] == 16
        assert torch.allclose(points.norm(dim=-1), torch.ones(len(points)), atol=1e-6)


def test_a_text_alone_is_the_text_in_a_batch(model: PoseTextRetrieval) -> None:
    together = model.embed_text(TEXTS)
    alone = torch.cat([model.embed_text([text]) for text in TEXTS])
    assert torch.allclose(together, alone, atol=1e-6)


def test_unknown_words_and_empty_texts_have_a_point(model: PoseTextRetrieval) -> None:
    points = model.embed_text(["", "xyzzy", "Both knees are bent, the person squats."])
    assert torch.isfinite(points).all()
    assert torch.allclose(points[0], points[1], atol=1e-6)
    assert not torch.allclose(points[0], points[2], atol=1e-3)


def test_the_heading_of_a_pose_does_not_matter(model: PoseTextRetrieval, poses: Tensor) -> None:
    turned = Pose(poses).turned(torch.tensor(70.0)).rotmat
    assert not torch.allclose(turned, poses, atol=1e-2)
    assert torch.allclose(model.embed_pose(turned), model.embed_pose(poses), atol=1e-5)


def test_the_heading_of_a_pair_does_not_matter_but_a_turn_within_it_does(
    pair_model: PosePairTextRetrieval, poses: Tensor
) -> None:
    a, b = poses[:3], poses[3:]
    both = [Pose(pose).turned(torch.tensor(70.0)).rotmat for pose in (a, b)]
    plain = pair_model.embed_pair(a, b)
    assert torch.allclose(pair_model.embed_pair(*both), plain, atol=1e-5)
    assert not torch.allclose(pair_model.embed_pair(a, both[1]), plain, atol=1e-3)
    assert not torch.allclose(pair_model.embed_pair(b, a), plain, atol=1e-3)


def test_the_loss_by_hand(model: PoseTextRetrieval) -> None:
    """Two orthogonal pairs at temperature 10: both ways -log(e^10 / (e^10 + 1)); a swapped batch costs ten more."""
    points = torch.eye(16)[:2]
    right = model.compare(points, points)
    assert right.loss is not None
    assert right.loss.item() == pytest.approx(math.log1p(math.exp(-10)), abs=1e-5)
    swapped = model.compare(points, points.flip(0))
    assert swapped.loss is not None
    assert swapped.loss.item() == pytest.approx(10 + math.log1p(math.exp(-10)), abs=1e-5)
    assert right.terms is not None
    assert right.terms["pose_to_text"] == 1.0
    share = model.compare(points, points.flip(0), num_items_in_batch=4).loss
    assert share is not None
    assert share.item() == pytest.approx(swapped.loss.item() / 2, rel=1e-5)


def test_the_temperature_learns(model: PoseTextRetrieval) -> None:
    assert model.log_temperature.exp().item() == pytest.approx(10.0)
    points = torch.nn.functional.normalize(torch.randn(4, 16), dim=-1)
    loss = model.compare(points, points.roll(1, 0)).loss
    assert loss is not None
    loss.backward()
    assert model.log_temperature.grad is not None
    assert model.log_temperature.grad.item() > 0


@pytest.mark.parametrize("kind", [PoseTextRetrieval, PosePairTextRetrieval])
def test_saved_and_loaded_it_brings_its_words(kind: type, poses: Tensor, tmp_path: Path) -> None:
    torch.manual_seed(0)
    words = word_tokenizer(TEXTS)
    model = kind(config(vocab_size=len(words))).eval()
    model.tokenizer = words
    model.save_pretrained(tmp_path)
    again = kind.from_pretrained(tmp_path).eval()
    before, after = model.state_dict(), again.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert torch.allclose(again.embed_text(TEXTS), model.embed_text(TEXTS), atol=1e-6)
    sides = (poses,) if kind is PoseTextRetrieval else (poses, poses.flip(0))
    assert torch.allclose(again._point(*sides), model._point(*sides), atol=1e-6)


def test_words_by_hand() -> None:
    words = word_tokenizer(["The arm, the ARM's up.", "Up!"])
    assert words.convert_ids_to_tokens(range(len(words))) == [
        "[PAD]", "[UNK]", "arm", "the", "up", "!", "'", ",", ".", "s",
    ]  # fmt: skip
    assert words(["THE leg"], add_special_tokens=False)["input_ids"] == [[3, 1]]


def test_padding_by_hand() -> None:
    token_ids, lengths = pad_words([[5, 6, 7], [], [8]], unknown=1)
    assert token_ids.tolist() == [[5, 6, 7], [1, 0, 0], [8, 0, 0]]
    assert lengths.tolist() == [3, 1, 1]


# --- training ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Poses whose texts say which of eight joints is bent; pairs whose texts say which one bends next."""
    folder = tmp_path_factory.mktemp("texts")
    names = [f"joint{n}" for n in range(8)]
    rng = np.random.default_rng(0)

    def pose(joint: int) -> np.ndarray:
        bend = 0.05 * torch.from_numpy(rng.standard_normal((22, 3))).float()
        bend[16 + joint % 4 if joint < 4 else joint - 3] += torch.tensor([1.2, 0, 0])
        return roma.rotvec_to_rotmat(bend).numpy()

    bent = rng.integers(0, 8, 256)
    records = [
        Record(
            id=f"r{n}",
            source="t",
            split="train" if n < 192 else "val",
            pose_rotmat=pose(int(joint)),
            texts=[f"{names[joint]} is bent", f"bend of {names[joint]}"],
        )
        for n, joint in enumerate(bent)
    ]
    RecordSet.write(folder / "script", records, source="t")
    pairs = [
        PairRecord(
            id=f"p{n}",
            source="t",
            split="train" if n < 192 else "val",
            a=f"r{n}",
            b=f"r{(n + 1) % 192 if n < 192 else 192 + (n + 1) % 64}",
            texts=[f"now {names[bent[(n + 1) % 192 if n < 192 else 192 + (n + 1) % 64]]}"],
            in_sequence=bool(n % 2),
        )
        for n in range(256)
    ]
    PairSet.write(folder / "fix", pairs, records, source="t")
    return folder


@pytest.mark.parametrize(("of", "records"), [("pose", "script"), ("pair", "fix")])
def test_it_learns_which_text_belongs_to_which(of: str, records: str, root: Path, tmp_path: Path) -> None:
    from train.recipe import load_recipe
    from train.retrieval import RetrievalRecipe
    from train.run import run

    path = tmp_path / "recipe.yaml"
    path.write_text(
        f"""
kind: retrieval
name: retrieval
run_dir: {tmp_path / "run"}
data:
  root: {root}
  train: {{texts: {{records: {records}, split: train}}}}
  eval: {{texts: {{records: {records}, split: val}}}}
model:
  of: {of}
  encoder: {{num_pose_tokens: 14, codebook_size: 16, hidden_size: 32, num_layers: 1}}
  word_width: 16
  text_width: 16
  pose_width: 32
  embed_width: 32
optim: {{lr: 1.0e-2}}
batch: {{size: 32}}
max_steps: 60
log: {{progress: false}}
"""
    )
    recipe = load_recipe([path])
    assert isinstance(recipe, RetrievalRecipe)
    metrics = run(recipe).metrics
    # Eight texts, some 64 records: the best anyone can do is to find one of its eight, so ranks are told by the loss.
    assert metrics["r_p2t_10"] > 60
    kind = PosePairTextRetrieval if of == "pair" else PoseTextRetrieval
    model = kind.from_pretrained(tmp_path / "run" / "model").eval()
    assert model.embed_text(["joint3 is bent"]).shape == (1, 32)

    tuned = replace(recipe, run_dir=str(tmp_path / "tuned"), start_from=str(tmp_path / "run"), max_steps=1)
    tuned = replace(tuned, adapt={"pose_encoder": "frozen", "words": "frozen"})
    run(tuned)
    after = kind.from_pretrained(tmp_path / "tuned" / "model").state_dict()
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, after[name])}
    assert moved
    assert not any(name.startswith(("pose_encoder", "text_encoder.words")) for name in moved)


def test_the_tokenizers_encoder_and_a_pretrained_models_words_are_taken_over(root: Path, tmp_path: Path) -> None:
    from transformers import DistilBertConfig, DistilBertModel

    from tokenizer_vq import PoseTokenizer
    from train.retrieval import RetrievalRecipe, RetrievalSizes, make_model

    tokenizer = PoseTokenizer(PoseTokenizerConfig(num_pose_tokens=10, codebook_size=16, hidden_size=16))
    tokenizer.save_pretrained(tmp_path / "stage1")
    words = word_tokenizer(TEXTS)
    words.save_pretrained(tmp_path / "bert")
    bert = DistilBertModel(DistilBertConfig(vocab_size=len(words), dim=12, n_layers=1, n_heads=2, hidden_dim=12))
    bert.save_pretrained(tmp_path / "bert")
    sizes = RetrievalSizes(tokenizer=str(tmp_path / "stage1"), words=str(tmp_path / "bert"))
    model = make_model(RetrievalRecipe(kind="retrieval", model=sizes), texts=["not looked at"])
    assert torch.equal(model.text_encoder.words.weight, bert.get_input_embeddings().weight)
    for name, value in tokenizer.encoder.state_dict().items():
        assert torch.equal(model.pose_encoder.state_dict()[name], value)
    assert model.tokenizer is not None
    assert model.tokenizer.get_vocab() == words.get_vocab()


def test_no_texts_is_said(root: Path, tmp_path: Path) -> None:
    from train.recipe import Data, Source
    from train.retrieval import RetrievalRecipe, RetrievalSizes, build

    data = Data(root=str(root), train={"script": Source(records="script", split="tset")})
    with pytest.raises(
        UserError, match=r"source script: no record of split 'tset' of .*script has pose_rotmat and texts"
    ):
        build(RetrievalRecipe(kind="retrieval", data=data))
    pairs = Data(root=str(root), train={"fix": Source(records="fix", split="tset")})
    recipe = RetrievalRecipe(kind="retrieval", data=pairs, model=RetrievalSizes(of="pair"))
    with pytest.raises(UserError, match=r"source fix: no pair of split 'tset'"):
        build(recipe)
