"""How much faster packed rows and shared prefixes train than one padded sequence for each example.

    python -m eval.speed.packing                          a small model on the CPU
    python -m eval.speed.packing --size 7b --device cuda

Stage 2's mixture packed into rows, against the same examples padded to the longest of their batch; the same with three
texts about each pose as branches (a recipe's `texts: 3`); and an image that is asked eight questions as one prefix with
eight branches, against eight sequences. Forward and backward, the same weights, the same loss
(tests/data/test_collate.py). Branches can be compared with padding and with packing alone.
Padded rows run as anybody trains them, on a CPU with sdpa and its mask; ours run with what `attn: auto` picks.

Packing cannot win more than what padding wastes: 1 / (share of real tokens) where the cost is that of the tokens, and
padded² / (sum of squared lengths) in the attention. Both bounds are printed beside what was measured, over `--batches`.
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


def measure(
    size: str, device: str, dtype: str, *, repeats: int = 3, image_tokens: int = 144, batches: int = 4
) -> list[dict[str, Any]]:
    """Rows: what is compared, examples a second, the ratio to padding."""
    model, processor = random_model(size, num_pose_tokens=80, device=device, dtype=dtype)
    model.train()
    pad_id = processor.vocabulary.pad_id
    multiple = 128 if device.startswith("cuda") else 8
    # Where every sample attends by itself (llmpose/model/segments.py), one long row costs no more than many.
    pack = Collator(row_tokens=2048 if multiple == 128 else 16384, multiple_of=multiple, pad_id=pad_id)
    branched = replace(pack, branches=True)
    rows = []
    # Batches of 24, as in the paper; brief captions of 20 to 60 words, long ones of 60 to 250, or half of each. With
    # three texts, as many answers, three about each pose or pair.
    brief, long = (20, 60), (60, 250)
    for name, words in (("brief texts", (brief, brief)), ("long texts", (long, long)), ("both mixed", (brief, long))):
        for texts in (1, 3):
            given = [
                [e for n, own in enumerate(words) for e in stage2_examples(processor, 12, own, 2 * seed + n, texts)]
                for seed in range(batches)
            ]
            layouts = {"padded": [_padded(one, pad_id) for one in given], "packed": [pack(one) for one in given]}
            if texts > 1:
                layouts["branches"] = [branched(one) for one in given]
            what = f"stage 2, {name}{', three each' if texts > 1 else ''}"
            rows += _compare(model, what, layouts, sum(map(len, given)), device, repeats)
    groups = questions_about_one_image(processor, 4, 8, image_tokens)
    flat = [example for group in groups for example in group]
    merged = [merge([replace(e) for e in group], image_tokens + 12, -1, 0) for group in groups]
    layouts = {"padded": [_padded(flat, pad_id)], "packed": [pack(flat)], "branches": [pack(merged)]}
    rows += _compare(model, "4 images, 8 questions each", layouts, len(flat), device, repeats)
    return rows


def _padded(examples: Sequence[Example], pad_id: int) -> Batch:
    return pad_examples(examples, pad_id=pad_id, side="right")


def _compare(
    model: LlmPoseForConditionalGeneration,
    what: str,
    layouts: dict[str, list[Batch]],
    count: int,
    device: str,
    repeats: int,
) -> list[dict[str, Any]]:
    times: dict[str, float] = {}
    for name, batches in layouts.items():
        model.config.attn = "sdpa" if name == "padded" and device == "cpu" else "auto"
        times[name] = seconds(_steps(model, [batch.to(device) for batch in batches]), device, repeats=repeats)
    return [
        {
            "what": what,
            "rows as": name,
            "tokens": sum(batch.token_ids.numel() for batch in batches),
            "real": sum(int((batch.sample >= 0).sum()) for batch in batches)
            / sum(batch.token_ids.numel() for batch in batches),
            "examples/s": count / times[name],
            "times padded": times["padded"] / times[name],
            **_bounds(layouts["padded"], batches),
        }
        for name, batches in layouts.items()
    ]


def _bounds(padded: Sequence[Batch], batches: Sequence[Batch]) -> dict[str, float]:
    """How much more work the padded rows are than `batches`: in tokens, and in the pairs that attention scores."""
    seen = 0
    for batch in batches:
        pieces = segments_of(Layout(batch.sample, batch.branch, batch.block, batch.position))
        assert pieces is not None
        seen += sum(piece.length * sum(pieces[i].length for i in piece.keys) for piece in pieces)
    return {
        "bound": sum(one.token_ids.numel() for one in padded) / sum(int((b.sample >= 0).sum()) for b in batches),
        "in attention": sum(one.token_ids.numel() * one.token_ids.shape[1] for one in padded) / seen,
    }


def _steps(model: LlmPoseForConditionalGeneration, batches: Sequence[Batch]) -> Callable[[], None]:
    def run() -> None:
        for batch in batches:
            model.zero_grad(set_to_none=True)
            model(**batch).loss.backward()

    return run


def main() -> None:
    """Measure and print."""
    words = arguments(__doc__ or "", repeats=3, image_tokens=144, batches=4).parse_args()
    rows = measure(
        words.size,
        words.device,
        words.dtype,
        repeats=words.repeats,
        image_tokens=words.image_tokens,
        batches=words.batches,
    )
    report("Training, examples a second", rows, words.out)


if __name__ == "__main__":
    main()
