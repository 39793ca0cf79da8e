"""A small CLIP in training: crops of pictures and the sentences of their records, by contrast."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel, CLIPVisionModel, PreTrainedTokenizerFast

from llmpose.errors import UserError
from llmpose.model.config import CLIP_MEAN, CLIP_STD, VisionEncoderSpec
from llmpose.talk.vocabulary import train_tokenizer
from train.crops import CropReader, Crops, normalise, sentences
from train.job import Draw, Job
from train.noise import uniform
from train.poses import PoseSource, folders
from train.tokenizer import TrainingOutput
from train.vision import ClipRecipe, as_it_is, crops_of

logger = logging.getLogger(__name__)

_STREAM_TEXT = 31


class Captions:
    """Crops, each with one of its sentences as tokens."""

    def __init__(self, crops: Crops, tokenizer: PreTrainedTokenizerFast, length: int) -> None:
        self.crops, self.tokenizer, self.length = crops, tokenizer, length

    def __len__(self) -> int:
        return len(self.crops)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.with_text(self.crops[index], [0])

    def __getitems__(self, draw: Draw) -> dict[str, Any]:
        batch = self.crops.__getitems__(draw)
        chance = uniform(draw.seed, draw.epoch, draw, 1, stream=_STREAM_TEXT)[:, 0]
        which = [int(c * len(texts)) for c, texts in zip(chance.tolist(), batch["texts"], strict=True)]
        return self.with_text(batch, which)

    def with_text(self, batch: dict[str, Any], which: Sequence[int]) -> dict[str, Any]:
        texts = [own[i] for own, i in zip(batch.pop("texts"), which, strict=True)]
        tokens: Any = self.tokenizer(
            [f"{self.tokenizer.bos_token}{text}{self.tokenizer.eos_token}" for text in texts],
            max_length=self.length,
            truncation=True,
            padding=True,
            return_tensors="pt",
        )
        # Cut sentences end in the mark of the end, too: the text encoder reads its summary there.
        ids = tokens["input_ids"]
        last = tokens["attention_mask"].sum(1) - 1
        ids[torch.arange(len(ids)), last] = cast(int, self.tokenizer.eos_token_id)
        return {**batch, "token_ids": ids, "is_real": tokens["attention_mask"]}


class ClipTraining(nn.Module):
    """Pictures and sentences that belong together come together."""

    def __init__(self, clip: CLIPModel, tokenizer: PreTrainedTokenizerFast, spec: VisionEncoderSpec) -> None:
        super().__init__()
        self.clip, self.tokenizer, self.spec = clip, tokenizer, spec

    def forward(
        self, pixels: Tensor, token_ids: Tensor, is_real: Tensor, num_items_in_batch: int | None = None, **_: Any
    ) -> TrainingOutput:
        """Contrast within the micro-batch, both ways."""
        scores = self.scores(pixels, token_ids, is_real)
        right = torch.arange(len(scores), device=scores.device)
        loss = (F.cross_entropy(scores, right, reduction="sum") + F.cross_entropy(scores.T, right, reduction="sum")) / 2
        count = num_items_in_batch or len(pixels)
        hits = (scores.argmax(1) == right).sum() / count
        return TrainingOutput(loss / count, {"picture_to_text": hits.detach()})

    def scores(self, pixels: Tensor, token_ids: Tensor, is_real: Tensor) -> Tensor:
        """(pictures, sentences)."""
        out: Any = self.clip(input_ids=token_ids, attention_mask=is_real, pixel_values=normalise(pixels, self.spec))
        return out.logits_per_image


def build_clip(recipe: ClipRecipe) -> Job:
    """A small CLIP on crops and the sentences of their records."""
    size = recipe.encoder
    if recipe.start_from is not None:
        raise UserError("start_from: a CLIP is trained from nothing here; leave it out")
    if size.image[0] != size.image[1]:
        raise UserError(f"encoder.image is {size.image}; CLIP sees squares")
    if size.stem:
        raise UserError("encoder.stem: CLIP's eye is transformers' own, which cuts patches; leave it empty")
    vision = {
        "image_size": size.image[0],
        "patch_size": size.patch,
        "hidden_size": size.hidden_size,
        "intermediate_size": 4 * size.hidden_size,
        "num_hidden_layers": size.num_layers,
        "num_attention_heads": size.num_heads,
        "hidden_act": "gelu",
    }
    spec = VisionEncoderSpec.of("clip", {"model_type": "clip_vision_model", **vision}, mean=CLIP_MEAN, std=CLIP_STD)
    train, tests, sources = crops_of(recipe, CropReader(spec, None, margin=recipe.margin), ("image", "texts"))
    tokenizer = _text_tokenizer(train.sources, recipe.vocab_size)
    tell_cut_texts(train.sources, tokenizer, recipe.text_tokens)
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": recipe.text_hidden_size,
        "intermediate_size": 4 * recipe.text_hidden_size,
        "num_hidden_layers": recipe.text_layers,
        "num_attention_heads": max(recipe.text_hidden_size // 32, 1),
        "max_position_embeddings": recipe.text_tokens,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    clip = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=recipe.projection))
    captions = [Captions(test, tokenizer, recipe.text_tokens) for test in tests]
    return Job(
        model=ClipTraining(clip, tokenizer, spec),
        train_data=Captions(train, tokenizer, recipe.text_tokens),
        collate=as_it_is,
        evaluate=lambda trained: evaluate_clip(cast(ClipTraining, trained), captions, recipe.eval_crops),
        save=_save_clip,
        components={"encoder": ("clip.vision_model",), "text": ("clip.",)},
        count=lambda batch: len(batch["pixels"]),
        sources=folders(sources),
    )


def _text_tokenizer(sources: Sequence[PoseSource], vocab_size: int) -> PreTrainedTokenizerFast:
    texts = [text for source in sources for record in source.records for text in sentences(record)]
    tokenizer = train_tokenizer(texts, vocab_size)
    # transformers' CLIP reads a sentence's summary at its end mark, but takes an end mark of id 2 for an old mistake of
    # its own, and then reads at the sentence's highest id: some word in the middle. So the end mark is the last word.
    tokenizer.add_special_tokens({"eos_token": "<end>"})
    return tokenizer


def tell_cut_texts(sources: Sequence[PoseSource], tokenizer: PreTrainedTokenizerFast, length: int) -> int:
    """How many of some thousand sentences are longer than the text encoder reads, logged where there are any."""
    records = [record for source in sources for record in source.records]
    texts = [text for record in records[:: max(1, len(records) // 4000)] for text in sentences(record)]
    tokens: Any = tokenizer(texts)
    cut = sum(len(ids) + 2 > length for ids in tokens["input_ids"])  # with the marks of both ends
    if cut:
        logger.info("texts cut=%d of=%d text_tokens=%d; what stands behind that is not read", cut, len(texts), length)
    return cut


def evaluate_clip(model: ClipTraining, tests: Sequence[Captions], most: int) -> dict[str, float]:
    """How often a picture finds its own sentence among 32, and the other way round."""
    pool, hits, total = 32, torch.zeros(2), 0
    device = next(model.parameters()).device
    for captions in tests:
        rows = np.unique(np.linspace(0, len(captions) - 1, min(most, len(captions))).astype(np.int64))
        for start in range(0, len(rows) - pool + 1, pool):
            crops = captions.crops.batch(rows[start : start + pool])
            batch = captions.with_text(crops, [0] * pool)
            scores = model.scores(*(batch[name].to(device) for name in ("pixels", "token_ids", "is_real"))).cpu()
            right = torch.arange(pool)
            hits += torch.tensor([float((s.argmax(1) == right).sum()) for s in (scores, scores.T)])
            total += pool
    if not total:
        return {}
    return {"picture_to_text_top1_of_32": float(hits[0]) / total, "text_to_picture_top1_of_32": float(hits[1]) / total}


def _save_clip(model: nn.Module, folder: Path) -> None:
    """The vision encoder as transformers knows it; the whole CLIP with its tokenizer in a folder inside."""
    training = cast(ClipTraining, model)
    training.clip.save_pretrained(folder / "with_text")
    training.tokenizer.save_pretrained(folder / "with_text")
    vision_config = CLIPConfig.from_pretrained(folder / "with_text").vision_config
    encoder = CLIPVisionModel(cast(Any, vision_config))
    encoder.load_state_dict(training.clip.vision_model.state_dict())
    encoder.save_pretrained(folder)
