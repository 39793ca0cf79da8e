"""Examples side by side as rows of one batch, one example a row."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from llmpose.errors import UserError
from llmpose.model.batch import IGNORE, Batch, Example, point_targets
from llmpose.model.layout import PADDING


def pad_examples(
    examples: Sequence[Example], *, pad_id: int, side: str = "left", pixels: dict[str, Tensor] | None = None
) -> Batch:
    """Rows as long as the longest example; padding belongs to no sample, so nothing ever sees it."""
    if not examples:
        raise UserError("a batch of no examples; give at least one")
    if side not in ("left", "right"):
        raise UserError(f"padding side is {side!r}; expected left or right")
    length = max(len(example) for example in examples)

    def rows(values: list[Tensor], fill: int) -> Tensor:
        gaps = [length - len(value) for value in values]
        sides = [(gap, 0) if side == "left" else (0, gap) for gap in gaps]
        return torch.stack([pad(value, both, value=fill) for value, both in zip(values, sides, strict=True)])

    names = sorted({example.task for example in examples})
    tasks = [torch.full_like(example.token_ids, names.index(example.task)) for example in examples]
    return Batch(
        token_ids=rows([example.token_ids for example in examples], pad_id),
        labels=rows([example.labels for example in examples], IGNORE),
        sample=rows([torch.zeros_like(example.token_ids) for example in examples], PADDING),
        branch=rows([example.branch for example in examples], 0),
        block=rows([example.block for example in examples], 0),
        position=rows([example.position for example in examples], 0),
        task=rows(tasks, -1),
        tasks=tuple(names),
        pixels=pixels,
        points=point_targets(examples),
        record_ids=tuple((example.record_id,) for example in examples),
    )
