"""The retrieval models of the metrics: poses, or pairs of poses, and texts in one space (UniPose suppl. §B.2)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoModel, PreTrainedTokenizerFast

from data.pair_set import PairSet
from llmpose.body.pose import Pose
from llmpose.errors import UserError
from llmpose.model.retrieval import PosePairTextRetrieval, PoseTextRetrieval, RetrievalConfig, pad_words, word_tokenizer
from tokenizer_vq import PoseTokenizerConfig
from train.job import Draw, Job
from train.noise import uniform
from train.poses import Mixture, RecordIds, pose_sources
from train.recipe import Data, Recipe, Source
from train.runfolder import find_model
from train.stages import freeze, plan
from train.tokenizer import TokenizerModel, load_tokenizer, tokenizer_config

_STREAM_TEXT = 21

COMPONENTS: dict[str, tuple[str, ...]] = {
    "pose_encoder": ("pose_encoder",),
    "pose_head": ("pose_head", "log_temperature"),
    "text_encoder": ("text_encoder",),
    "words": ("text_encoder.words",),
}


@dataclass(kw_only=True)
class RetrievalSizes:
    """The model."""

    of: Literal["pose", "pair"] = "pose"
    """Descriptions of poses, or of what changes from one pose to another."""
    tokenizer: str | None = None
    """Run folder of stage 1: its encoder starts the poses' side; null starts from scratch with `encoder`."""
    encoder: TokenizerModel = field(default_factory=TokenizerModel)
    """Sizes of the encoder when there is no tokenizer."""
    words: str | None = None
    """A DistilBERT (folder or hub name) that gives its tokenizer and word embeddings; null learns the texts' words."""
    word_width: int = 300
    """Of learned words."""
    text_width: int = 256
    """Of the GRU, each way."""
    pose_width: int = 256
    """Of the convolutions."""
    embed_width: int = 512
    """Of the space."""
    temperature: float = 10.0
    """Where the learnable temperature starts."""


@dataclass(kw_only=True)
class RetrievalRecipe(Recipe):
    """Recipe of kind `retrieval`; `start_from` continues another retrieval model, as from automatic to human texts."""

    stage: str = "retrieval"
    """Its line in train/stages.py."""
    model: RetrievalSizes = field(default_factory=RetrievalSizes)
    """The model."""
    eval_records: int = 1024
    """At most so many held-out records are measured while training."""


RECIPES: dict[str, type[Recipe]] = {"retrieval": RetrievalRecipe}


@dataclass
class Texts:
    """Poses (or pairs: two tensors) and the texts of each, from one source."""

    poses: tuple[Tensor, ...]
    texts: list[list[str]]
    ids: Callable[[Sequence[int]], Any]
    weight: float
    folder: Path


class TextData:
    """Draws a text of each record by seed, epoch and record; words are looked up once, before training."""

    def __init__(self, parts: Sequence[Texts], mix: str, words: Callable[[Sequence[str]], list[list[int]]]) -> None:
        self.parts = list(parts)
        self.poses = tuple(torch.cat(side) for side in zip(*(part.poses for part in parts), strict=True))
        self.rows = [words(texts) for part in parts for texts in part.texts]
        self.mixture = Mixture([len(part.texts) for part in parts], [part.weight for part in parts], mix)

    def __len__(self) -> int:
        return len(self.mixture)

    def __getitem__(self, index: int) -> Any:
        return self.__getitems__(Draw([index], epoch=0, step=0, seed=0))

    def __getitems__(self, draw: Draw) -> dict[str, Any]:
        rows = self.mixture.rows(draw, seed=draw.seed, epoch=draw.epoch)
        chance = uniform(draw.seed, draw.epoch, draw, 1, stream=_STREAM_TEXT)[:, 0].tolist()
        words = [self.rows[row][int(c * len(self.rows[row]))] for row, c in zip(rows, chance, strict=True)]
        token_ids, lengths = pad_words(words, unknown=1)
        names = ("rotmat", "rotmat_b")[: len(self.poses)]
        poses = {name: side[rows] for name, side in zip(names, self.poses, strict=True)}
        return {**poses, "token_ids": token_ids, "lengths": lengths, "record_ids": self._ids(rows)}

    def _ids(self, rows: NDArray[np.int64]) -> list[Any]:
        found = []
        for part, start in zip(self.parts, self.mixture.starts, strict=False):
            here = (rows >= start) & (rows < start + len(part.texts))
            found.append(part.ids((rows[here] - start).tolist()))
        return found


def build(recipe: Recipe) -> Job:
    """Model, data and measurements of a retrieval model."""
    assert isinstance(recipe, RetrievalRecipe)
    read = read_pairs if recipe.model.of == "pair" else read_poses
    parts = read(recipe.data, recipe.data.train, recipe.seed)
    held_out = read(recipe.data, recipe.data.eval, recipe.seed)
    if not parts:
        raise UserError("data.train: no source; name one, like data.train.script.records=FOLDER")
    model = make_model(recipe, [text for part in parts for texts in part.texts for text in texts])
    freeze(model, COMPONENTS, plan(recipe.stage, recipe.adapt))
    tokenizer = model.tokenizer
    assert tokenizer is not None

    def words(texts: Sequence[str]) -> list[list[int]]:
        return tokenizer(list(texts), add_special_tokens=False)["input_ids"]  # type: ignore[return-value]

    return Job(
        model=model,
        train_data=TextData(parts, recipe.data.mix, words),
        collate=_as_it_is,
        evaluate=(lambda trained: evaluate(cast(Any, trained), held_out[0], recipe.eval_records)) if held_out else None,
        components=COMPONENTS,
        count=lambda batch: len(batch["rotmat"]),
        sources=list(dict.fromkeys(part.folder for part in [*parts, *held_out])),
    )


def make_model(recipe: RetrievalRecipe, texts: Sequence[str]) -> PoseTextRetrieval | PosePairTextRetrieval:
    """A new model, or the one that the recipe starts from."""
    sizes = recipe.model
    kind = PosePairTextRetrieval if sizes.of == "pair" else PoseTextRetrieval
    if recipe.start_from is not None:
        return kind.from_pretrained(find_model(recipe.start_from))
    stage1 = load_tokenizer(sizes.tokenizer) if sizes.tokenizer is not None else None
    encoder: PoseTokenizerConfig = stage1.config if stage1 is not None else tokenizer_config(sizes.encoder)
    table: Tensor | None = None
    if sizes.words is not None:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(sizes.words)
        table = AutoModel.from_pretrained(sizes.words).get_input_embeddings().weight.detach()
        assert table is not None
    else:
        tokenizer = word_tokenizer(texts)
    config = RetrievalConfig(
        encoder=encoder.to_dict(),
        vocab_size=len(tokenizer) if table is None else table.shape[0],
        word_width=sizes.word_width if table is None else table.shape[1],
        text_width=sizes.text_width,
        pose_width=sizes.pose_width,
        embed_width=sizes.embed_width,
        initial_temperature=sizes.temperature,
    )
    model = kind(config)
    model.tokenizer = tokenizer
    if stage1 is not None:
        model.pose_encoder.load_state_dict(stage1.encoder.state_dict())
    if table is not None:
        model.text_encoder.words.weight.data.copy_(table)
    return model


def read_poses(data: Data, sources: dict[str, Source], seed: int) -> list[Texts]:
    """Records with a pose and texts."""
    found = []
    for source in pose_sources(data, sources, has=("pose_rotmat", "texts"), seed=seed):
        records = source.records
        poses = torch.from_numpy(np.array(records.poses()))
        texts = [list(texts) for texts in records.column("texts")]
        ids = lambda rows, records=records: RecordIds(records, rows)  # noqa: E731
        found.append(Texts((poses,), texts, ids, source.weight, source.folder))
    return found


def read_pairs(data: Data, sources: dict[str, Source], seed: int) -> list[Texts]:
    """Pairs with texts; the heading of the first pose is removed from both, of strangers from each its own."""
    found = []
    for name, source in sources.items():
        if not source.weight:
            continue
        pairs = PairSet.load(data.folder(source)).filter(split=source.split)
        kept = [row for row, texts in enumerate(pairs.column("texts")) if texts]
        if source.limit is not None:
            kept = sorted(np.random.default_rng(seed).permutation(kept)[: source.limit].tolist())
        if not kept:
            raise UserError(f"source {name}: no pair of split {source.split!r} of {data.folder(source)} has texts")
        everybody, inside = torch.from_numpy(np.array(pairs.records.poses())), pairs.records
        columns = {key: pairs.column(key) for key in ("a", "b", "texts", "in_sequence", "id")}
        a, b = (Pose(everybody[[inside.index_of(columns[end][row]) for row in kept]]) for end in ("a", "b"))
        together = torch.tensor([bool(columns["in_sequence"][row]) for row in kept])
        turned = b.turned(torch.where(together, -a.yaw_deg, -b.yaw_deg))
        names = [columns["id"][row] for row in kept]
        ids = lambda rows, names=names: [names[row] for row in rows]  # noqa: E731
        texts = [list(columns["texts"][row]) for row in kept]
        found.append(Texts((a.without_yaw().rotmat, turned.rotmat), texts, ids, source.weight, data.folder(source)))
    return found


def evaluate(
    model: PoseTextRetrieval | PosePairTextRetrieval, part: Texts, most: int, *, pool: int = 32, draws: int = 20
) -> dict[str, float]:
    """Recalls over the whole held-out set, and pose -> text precision among `pool` texts, in percent.

    Each record's first text. The benchmark in eval/ has every variant of the protocol; this is a look while training.
    """
    rows = torch.linspace(0, len(part.texts) - 1, min(most, len(part.texts))).long()
    sides = [side[rows] for side in part.poses]
    points = model.embed_pair(*sides) if isinstance(model, PosePairTextRetrieval) else model.embed_pose(*sides)
    scores = (points @ model.embed_text([part.texts[row][0] for row in rows.tolist()]).T).cpu()
    metrics: dict[str, float] = {}
    for name, table in (("p2t", scores), ("t2p", scores.T)):
        # Ties count against: two records may have the same text, and then nobody can tell them apart.
        rank = (table >= table.diagonal()[:, None]).sum(1) - 1
        metrics.update({f"r_{name}_{k}": 100 * (rank < k).double().mean().item() for k in (1, 5, 10)})
    metrics["mrecall"] = sum(metrics.values()) / len(metrics)
    count = len(scores)
    chance = torch.rand(draws, count, count, generator=torch.Generator().manual_seed(0))
    chance.diagonal(dim1=1, dim2=2).fill_(2.0)
    chosen = chance.topk(min(pool, count), dim=2).indices
    own = scores.diagonal()[None, :, None]
    better = (scores[None].expand(draws, -1, -1).gather(2, chosen) >= own).sum(2) - 1
    metrics["r_precision_1"] = 100 * (better < 1).double().mean().item()
    return metrics


def _as_it_is(batch: Any) -> Any:
    return batch
