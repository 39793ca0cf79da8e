"""How much faster packed rows and shared prefixes train than one padded sequence for each example.

    python -m eval.speed.packing                          a small model on the CPU
    python -m eval.speed.packing --size 7b --device cuda

Stage 2's mixture packed into rows, against the same examples padded to the longest of their batch; the same with three
texts about each pose as branches (a recipe's `texts: 3`); and an image that is asked eight questions as one prefix with
eight branches, against eight sequences. Forward and backward, the same weights, the same loss
(tests/data/test_collate.py). Branches can be compared with padding and with packing alone.
Padded rows run as anybody trains them, on a CPU with sdpa and its mask; ours run with what `attn: auto` picks.

Packing cannot win more than what padding wastes: 1 / (share of real tokens) where the cost is that of the tokens, and
padded² / (sum of squared lengths) in the attention. Both bounds are printed beside what was measured.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from data.branches import merge
from data.collate import Collator
from eval.speed.common import arguments, random_model, report, seconds, stage2_examples
from llmpose.model.batch import Batch, Example
from llmpose.model.layout import Layout
from llmpose.model.modeling import LlmPoseForConditionalGeneration
from llmpose.model.segments import segments_of
from llmpose.talk.padding import pad_examples
from llmpose.talk.processing import LlmPoseProcessor


def questions_about_one_image(
    processor: LlmPoseProcessor, images: int, questions: int, image_tokens: int, seed: int = 0
) -> list[list[Example]]:
    """For each image a long shared beginning (its tokens, as plain words here), and short questions with answers."""
    generator = torch.Generator().manual_seed(seed)
    groups = []
    for _ in range(images):
        prefix = torch.randint(5, 300, (image_tokens + 12,), generator=generator)
        group = []
        for _ in range(questions):
            tail = torch.randint(5, 300, (16,), generator=generator)
            ids = torch.cat([prefix, tail])
            labels = torch.full_like(ids, -100)
            labels[-9:-1] = ids[-8:]
            zeros, position = torch.zeros_like(ids), torch.arange(len(ids))
            group.append(Example(token_ids=ids, labels=labels, branch=zeros, block=zeros, position=position))
        groups.append(group)
    return groups


def measure(size: str, device: str, dtype: str, *, repeats: int = 3, image_tokens: int = 144) -> list[dict[str, Any]]:
    """Rows: what is compared, examples a second, the ratio to padding."""
    model, processor = random_model(size, num_pose_tokens=80, device=device, dtype=dtype)
    model.train()
    pad_id = processor.vocabulary.pad_id
    multiple = 128 if device.startswith("cuda") else 8
    # Where every sample attends by itself (llmpose/model/segments.py), one long row costs no more than many.
    pack = Collator(row_tokens=2048 if multiple == 128 else 16384, multiple_of=multiple, pad_id=pad_id)
    branched = replace(pack, branches=True)
    rows = []
    # A batch of 24, as in the paper; brief captions of 20 to 60 words, long ones of 60 to 250, or half of each.
    brief, long = (20, 60), (60, 250)
    for name, words in (("brief texts", (brief, brief)), ("long texts", (long, long)), ("both mixed", (brief, long))):
        examples = [e for seed, own in enumerate(words) for e in stage2_examples(processor, 12, own, seed)]
        layouts = {"padded": _padded(examples, pad_id), "packed": pack(examples)}
        rows += _compare(model, f"stage 2, 24 examples, {name}", layouts, len(examples), device, repeats)
        # The same number of answers, three texts about each pose or pair.
        examples = [e for seed, own in enumerate(words) for e in stage2_examples(processor, 12, own, seed, texts=3)]
        layouts = {"padded": _padded(examples, pad_id), "packed": pack(examples), "branches": branched(examples)}
        rows += _compare(model, f"the same, three texts of each, {name}", layouts, len(examples), device, repeats)
    groups = questions_about_one_image(processor, 4, 8, image_tokens)
    flat = [example for group in groups for example in group]
    merged = [merge([replace(e) for e in group], image_tokens + 12, -1, 0) for group in groups]
    layouts = {"padded": _padded(flat, pad_id), "packed": pack(flat), "branches": pack(merged)}
    rows += _compare(model, f"4 images of {image_tokens} tokens, 8 questions each", layouts, len(flat), device, repeats)
    return rows


def _padded(examples: Sequence[Example], pad_id: int) -> Batch:
    return pad_examples(examples, pad_id=pad_id, side="right")


def _compare(
    model: LlmPoseForConditionalGeneration, what: str, layouts: dict[str, Batch], count: int, device: str, repeats: int
) -> list[dict[str, Any]]:
    times: dict[str, float] = {}
    for name, batch in layouts.items():
        model.config.attn = "sdpa" if name == "padded" and device == "cpu" else "auto"
        times[name] = seconds(_step(model, batch.to(device)), device, repeats=repeats)
    return [
        {
            "what": what,
            "rows as": name,
            "tokens": batch.token_ids.numel(),
            "of them real": float((batch.sample >= 0).float().mean()),
            "examples/s": count / times[name],
            "times padded": times["padded"] / times[name],
            **_bounds(layouts["padded"], batch),
        }
        for name, batch in layouts.items()
    ]


def _bounds(padded: Batch, batch: Batch) -> dict[str, float]:
    """How much more work the padded rows are than `batch`: in tokens, and in the pairs that attention scores."""
    pieces = segments_of(Layout(batch.sample, batch.branch, batch.block, batch.position))
    assert pieces is not None
    seen = sum(piece.length * sum(pieces[i].length for i in piece.keys) for piece in pieces)
    return {
        "bound by tokens": padded.token_ids.numel() / float((batch.sample >= 0).sum()),
        "in attention": padded.token_ids.numel() * padded.token_ids.shape[1] / seen,
    }


def _step(model: LlmPoseForConditionalGeneration, batch: Batch) -> Callable[[], None]:
    def step() -> None:
        model.zero_grad(set_to_none=True)
        model(**batch).loss.backward()

    return step


def main() -> None:
    """Measure and print."""
    words = arguments(__doc__ or "", repeats=3, image_tokens=144).parse_args()
    rows = measure(words.size, words.device, words.dtype, repeats=words.repeats, image_tokens=words.image_tokens)
    report("Training, examples a second", rows, words.out)


if __name__ == "__main__":
    main()
