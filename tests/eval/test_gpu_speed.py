"""The script for a GPU runs on a CPU, and what it calls needed is what torch counts."""

from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from data.collate import Collator
from eval.speed.common import random_model
from eval.speed.gpu import Scale, measure, needed_flops, prepare, seeing_examples


def test_needed_operations_are_those_that_torch_counts() -> None:
    """On one unpadded row without checkpointing; eager attention multiplies all pairs, so they are put in."""
    torch.manual_seed(0)
    model, processor = random_model("tiny", num_pose_tokens=20, codebook_size=64, sees=True)
    model.config.attn = "eager"
    collate = Collator(
        row_tokens=4096, multiple_of=1, pixels=processor.pixels, image_id=processor.vocabulary.image_id,
        num_image_tokens=processor.num_image_tokens,
    )  # fmt: skip
    batch = collate(seeing_examples(processor, 6, (8, 24)))
    assert batch.token_ids.shape[0] == 1
    wrapped = prepare(model, processor, 4)
    model.gradient_checkpointing_disable()
    with FlopCounterMode(display=False) as counter:
        wrapped(**batch).loss.backward()
    tokens = batch.token_ids.shape[1]
    seen = _pairs(batch)
    text: Any = model.config.text_config
    all_pairs = 12.0 * (tokens**2 - seen) * text.hidden_size * text.num_hidden_layers
    assert abs(counter.get_total_flops() / (needed_flops(wrapped, batch) + all_pairs) - 1) < 0.05


def _pairs(batch: Any) -> int:
    from llmpose.model.layout import may_see

    return int(may_see(batch.layout(), batch.layout(), 0).sum())


def test_every_figure_is_there() -> None:
    training, latency = measure("tiny", "cpu", "float32", Scale(6, 512, (4, 8), 2, 1), peak=0.001, num_pose_tokens=20)
    assert [row["what"][:7] for row in training] == ["stage 2", "stage 4"]
    assert all(row["tokens/s"] > 0 and row["MFU, %"] > 0 for row in training)
    assert all(row["ms end to end"] > 0 for row in latency)
    assert len(latency) == 2
