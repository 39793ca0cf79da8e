"""Poses, pairs of poses and texts in one space: the models that judge descriptions and generated poses.

UniPose suppl. §B.2: the pose tokenizer's encoder and 1D convolutions on one side, word embeddings and a bidirectional
GRU on the other, 512 numbers each, trained so that a pose is nearest to its own text within the batch (Eq. 2).

Poses are compared without their heading: texts are written that way. Of a pair, both turn by the first one's heading,
so that "turn left" stays visible.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast
from transformers.utils.generic import ModelOutput

from llmpose.body.pose import Pose
from llmpose.model.loading import load_or_say
from tokenizer_vq import PoseEncoder, PoseTokenizerConfig
from tokenizer_vq.parts import Slots

UNKNOWN, PADDING = "[UNK]", "[PAD]"


class RetrievalConfig(PretrainedConfig):
    """Sizes of a retrieval model; `encoder` is the pose tokenizer's config as a dict."""

    model_type = "pose_text_retrieval"

    def __init__(
        self,
        encoder: dict[str, Any] | None = None,
        vocab_size: int = 2,
        word_width: int = 300,
        text_width: int = 256,
        pose_width: int = 256,
        embed_width: int = 512,
        initial_temperature: float = 10.0,
        **kwargs: Any,
    ) -> None:
        self.encoder = encoder or {}
        self.vocab_size = vocab_size
        self.word_width = word_width
        self.text_width = text_width
        self.pose_width = pose_width
        self.embed_width = embed_width
        self.initial_temperature = initial_temperature
        super().__init__(**kwargs)


@dataclass
class RetrievalOutput(ModelOutput):
    """The batch-based classification loss and what it was made of."""

    loss: Tensor | None = None
    terms: dict[str, Tensor] | None = None
    """Share of poses nearest to their text, and of texts nearest to their pose, within the batch."""


class TextEncoder(nn.Module):
    """Words -> one bidirectional GRU layer -> its two last states -> a point of the space."""

    def __init__(self, config: RetrievalConfig) -> None:
        super().__init__()
        self.words = nn.Embedding(config.vocab_size, config.word_width)
        self.gru = nn.GRU(config.word_width, config.text_width, batch_first=True, bidirectional=True)
        self.out = nn.Linear(2 * config.text_width, config.embed_width)

    def forward(self, token_ids: Tensor, lengths: Tensor) -> Tensor:
        """(B, T) and (B,) -> (B, D). Padding is never read: a text alone gives what it gives in a batch."""
        packed = nn.utils.rnn.pack_padded_sequence(
            self.words(token_ids), lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        _, last = self.gru(packed)
        return F.normalize(self.out(torch.cat([last[0], last[1]], dim=-1)), dim=-1)


class PoseHead(nn.Module):
    """The tokenizer's vectors (B, L, C) of one pose, or of two side by side, -> a point of the space."""

    def __init__(self, config: RetrievalConfig, length: int, channels: int) -> None:
        super().__init__()
        width, half = config.pose_width, (length + 1) // 2
        self.conv1 = nn.Conv1d(channels, width, 3, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, stride=2, padding=1)
        # Not pooled: which of the vectors says it is half of what it says.
        self.out = nn.Sequential(nn.Linear(width * half, width), nn.GELU(), nn.Linear(width, config.embed_width))

    def forward(self, vectors: Tensor) -> Tensor:
        hidden = F.gelu(self.conv1(vectors.transpose(1, 2)))
        hidden = F.gelu(self.conv2(hidden))
        return F.normalize(self.out(hidden.flatten(1)), dim=-1)


class _Retrieval(PreTrainedModel):
    """What both models share: the texts' side, the loss, files."""

    config_class = RetrievalConfig
    base_model_prefix = ""
    main_input_name = "rotmat"
    config: RetrievalConfig
    poses_per_text = 1

    def __init__(self, config: RetrievalConfig) -> None:
        super().__init__(config)
        encoder = PoseTokenizerConfig(**config.encoder)
        self.pose_encoder = PoseEncoder(encoder)
        self.pose_head = PoseHead(config, encoder.latent_length, self.poses_per_text * encoder.code_width)
        self.text_encoder = TextEncoder(config)
        self.log_temperature = nn.Parameter(torch.tensor(config.initial_temperature).log())
        self.tokenizer: PreTrainedTokenizerFast | None = None
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Torch's own initial weights; only tables that no file holds are filled."""
        if isinstance(module, Slots):
            module.fill_tables()

    @torch.no_grad()
    def embed_text(self, texts: Sequence[str]) -> Tensor:
        """(B, D), of length one."""
        token_ids, lengths = self.tokenize(texts)
        return self.text_encoder(token_ids.to(self.device), lengths)

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Token ids (B, T) and lengths (B,); an empty text is one unknown word."""
        assert self.tokenizer is not None, "a retrieval model needs its tokenizer: load it with from_pretrained"
        rows = self.tokenizer(list(texts), add_special_tokens=False)["input_ids"]
        return pad_words(rows, self.unknown_word)

    @property
    def unknown_word(self) -> int:
        """Token id of a word that was never seen."""
        assert self.tokenizer is not None
        number: Any = self.tokenizer.unk_token_id
        return int(number or 0)

    def compare(self, poses: Tensor, texts: Tensor, num_items_in_batch: Any = None) -> RetrievalOutput:
        """Batch-based classification, both ways (UniPose suppl. Eq. 2): (B, D) and (B, D) of pairs."""
        scores = self.log_temperature.exp() * poses @ texts.T
        target = torch.arange(len(scores), device=scores.device)
        by_pose = F.cross_entropy(scores, target, reduction="sum")
        by_text = F.cross_entropy(scores.T, target, reduction="sum")
        count = num_items_in_batch or len(scores)
        hits = {
            "pose_to_text": (scores.argmax(1) == target).sum() / count,
            "text_to_pose": (scores.argmax(0) == target).sum() / count,
        }
        return RetrievalOutput(loss=(by_pose + by_text) / (2 * count), terms=hits)

    def save_pretrained(self, save_directory: str | Path, **kwargs: Any) -> None:  # type: ignore[override]
        """Weights, config and the words."""
        super().save_pretrained(save_directory, **kwargs)
        if self.tokenizer is not None:
            self.tokenizer.save_pretrained(save_directory)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Self:  # type: ignore[override]
        """Weights, config and the words."""
        model = load_or_say(super().from_pretrained, pretrained_model_name_or_path, *args, **kwargs)
        assert isinstance(model, cls)
        model.tokenizer = PreTrainedTokenizerFast.from_pretrained(pretrained_model_name_or_path)
        return model


class PoseTextRetrieval(_Retrieval):
    """Poses and their descriptions.

    model = PoseTextRetrieval.from_pretrained(folder).eval()
    model.embed_pose(rotmat) @ model.embed_text(texts).T        # (B, 22, 3, 3), B texts -> cosines
    """

    def forward(
        self, rotmat: Tensor, token_ids: Tensor, lengths: Tensor, num_items_in_batch: Any = None
    ) -> RetrievalOutput:
        """Loss of a batch of poses and their texts."""
        return self.compare(self._point(rotmat), self.text_encoder(token_ids, lengths), num_items_in_batch)

    @torch.no_grad()
    def embed_pose(self, rotmat: Tensor) -> Tensor:
        """(B, 22, 3, 3) -> (B, D), of length one."""
        return self._point(rotmat.to(self.device))

    def _point(self, rotmat: Tensor) -> Tensor:
        return self.pose_head(self.pose_encoder(Pose(rotmat).without_yaw().rotmat))


class PosePairTextRetrieval(_Retrieval):
    """Pairs of poses and texts that lead from the first to the second; the encoder sees each pose on its own."""

    poses_per_text = 2

    def forward(
        self, rotmat: Tensor, rotmat_b: Tensor, token_ids: Tensor, lengths: Tensor, num_items_in_batch: Any = None
    ) -> RetrievalOutput:
        """Loss of a batch of pairs and their texts."""
        points = self._point(rotmat, rotmat_b)
        return self.compare(points, self.text_encoder(token_ids, lengths), num_items_in_batch)

    @torch.no_grad()
    def embed_pair(self, rotmat_a: Tensor, rotmat_b: Tensor) -> Tensor:
        """(B, 22, 3, 3) twice -> (B, D), of length one."""
        return self._point(rotmat_a.to(self.device), rotmat_b.to(self.device))

    def _point(self, a: Tensor, b: Tensor) -> Tensor:
        straight = Pose(a).without_yaw().rotmat
        turn = straight[:, 0] @ a[:, 0].mT  # about z; b turns with a, so that a turn between them stays
        b = torch.cat([(turn @ b[:, 0])[:, None], b[:, 1:]], dim=1)
        vectors = torch.cat([self.pose_encoder(straight), self.pose_encoder(b)], dim=-1)
        return self.pose_head(vectors)


def word_tokenizer(texts: Sequence[str], most: int = 20_000) -> PreTrainedTokenizerFast:
    """Words of these texts, lower case, punctuation apart; the most frequent `most`, ties by the alphabet."""
    split = pre_tokenizers.Split(Regex(r"\w+|[^\w\s]"), "removed", invert=True)
    lower = normalizers.Lowercase()
    counts: dict[str, int] = {}
    for text in texts:
        for word, _ in split.pre_tokenize_str(lower.normalize_str(text)):
            counts[word] = counts.get(word, 0) + 1
    words = sorted(counts, key=lambda word: (-counts[word], word))[: most - 2]
    vocabulary = {word: number for number, word in enumerate([PADDING, UNKNOWN, *words])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    backend.normalizer = lower  # type: ignore[assignment]
    backend.pre_tokenizer = split  # type: ignore[assignment]
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token=UNKNOWN, pad_token=PADDING)


def pad_words(rows: Sequence[Sequence[int]], unknown: int) -> tuple[Tensor, Tensor]:
    """Rows of token ids -> (B, T) padded with zeros, and their lengths."""
    filled = [list(row) or [unknown] for row in rows]
    lengths = torch.tensor([len(row) for row in filled])
    token_ids = torch.zeros(len(filled), int(lengths.max()), dtype=torch.long)
    for place, row in enumerate(filled):
        token_ids[place, : len(row)] = torch.tensor(row)
    return token_ids, lengths
