"""Memory and time of the loss: all logits at once, only those that have a label, and those in chunks.

    python -m eval.speed.loss                        34 048 words, 4 096 positions, 30 % of them labelled, on the CPU
    python -m eval.speed.loss --device cuda --width 4096

Peak memory is what the loss and its backward pass need beyond their inputs: measured by CUDA's allocator on a GPU, by a
watch on all tensors that are alive on a CPU.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from eval.speed.common import arguments, report, seconds
from llmpose.model.batch import IGNORE
from llmpose.model.loss import cross_entropy_sums


class Watch(TorchDispatchMode):
    """Bytes of all tensors made inside that are alive at once, at most."""

    def __init__(self) -> None:
        super().__init__()
        self.alive: dict[int, int] = {}
        self.now = self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else (out,):
            if isinstance(tensor, Tensor):
                self._add(tensor)
        return out

    def _add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage.data_ptr()
        if key and key not in self.alive:
            import weakref

            self.alive[key] = storage.nbytes()
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._remove, key)

    def _remove(self, key: int) -> None:
        self.now -= self.alive.pop(key, 0)


def whole(head: nn.Linear, hidden: Tensor, labels: Tensor) -> Tensor:
    """All positions, all logits."""
    return F.cross_entropy(head(hidden).float(), labels, ignore_index=IGNORE, reduction="sum")


def labelled(head: nn.Linear, hidden: Tensor, labels: Tensor) -> Tensor:
    """Only the positions that have a label."""
    keep = labels != IGNORE
    return F.cross_entropy(head(hidden[keep]).float(), labels[keep], reduction="sum")


def chunked(head: nn.Linear, hidden: Tensor, labels: Tensor) -> Tensor:
    """Those, a chunk at a time (llmpose/model/loss.py)."""
    keep = labels != IGNORE
    none = labels.new_zeros(0)
    sums = cross_entropy_sums(head, hidden[keep], labels[keep], none, 0, vocab_size=head.out_features, num_chunks=8)
    return sums.loss


WAYS: dict[str, Callable[[nn.Linear, Tensor, Tensor], Tensor]] = {
    "all logits": whole,
    "labelled positions": labelled,
    "labelled, in 8 chunks": chunked,
}


def measure(
    device: str, dtype: str, *, words: int, positions: int, width: int, share: float, repeats: int = 3
) -> list[dict[str, Any]]:
    """A row for each way; the loss itself is in the table, to be seen equal."""
    torch.manual_seed(0)
    head = nn.Linear(width, words, bias=False).to(device, getattr(torch, dtype))
    hidden = torch.randn(positions, width, device=device, dtype=getattr(torch, dtype)).requires_grad_()
    labels = torch.randint(0, words, (positions,), device=device)
    labels[torch.rand(positions, device=device) > share] = IGNORE
    rows = []
    for name, way in WAYS.items():

        def step(way: Callable[..., Tensor] = way) -> Tensor:
            head.zero_grad(set_to_none=True)
            hidden.grad = None
            loss = way(head, hidden, labels)
            loss.backward()
            return loss.detach()

        rows.append(
            {
                "loss over": name,
                "value": float(step()),
                "peak MiB": _peak(step, device) / 2**20,
                "ms": 1000 * seconds(step, device, repeats=repeats),
            }
        )
    for row in rows:
        row["of all logits"] = row["peak MiB"] / rows[0]["peak MiB"]
    return rows


def _peak(step: Callable[[], Tensor], device: str) -> float:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    with Watch() as watch:
        step()
    return watch.peak


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__ or "", words=34048, positions=4096, width=256, share=0.3, repeats=3)
    given = parser.parse_args()
    rows = measure(
        given.device,
        given.dtype,
        words=given.words,
        positions=given.positions,
        width=given.width,
        share=given.share,
        repeats=given.repeats,
    )
    report(f"The loss over {given.positions} positions and {given.words} words", rows, given.out)


if __name__ == "__main__":
    main()
