"""A kind of model small enough to train in milliseconds, with everything that makes exactness hard.

Unequal numbers of targets, dropout, a running average in a buffer, a frozen part, a separate learning rate.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from train.job import Job
from train.recipe import KINDS, Batch, Optim, Recipe

WORDS = 31


@dataclass(kw_only=True)
class ToyModel:
    width: int = 8
    """Channels."""
    dropout: float = 0.1
    """Share of channels dropped."""
    poison: int | None = None
    """The example whose loss is not a number."""
    bad_gradient: bool = False
    """A finite loss with a gradient that is not."""


@dataclass(kw_only=True)
class ToyRecipe(Recipe):
    model: ToyModel = field(default_factory=ToyModel)
    """The toy."""
    examples: int = 50
    """How many there are."""
    batch: Batch = field(default_factory=lambda: Batch(size=4))
    """Four at a time."""
    optim: Optim = field(default_factory=lambda: Optim(lr=0.02))
    """Fast."""


RECIPES: dict[str, type[Recipe]] = {"toy": ToyRecipe}


class Toy(nn.Module):
    def __init__(self, model: ToyModel) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, model.width)
        self.layers = nn.ModuleList([nn.Linear(model.width, model.width)])
        self.head = nn.Linear(model.width, WORDS)
        self.frozen = nn.Linear(model.width, model.width).requires_grad_(False)
        self.dropout = nn.Dropout(model.dropout)
        self.register_buffer("average", torch.zeros(model.width))
        self.bad_gradient = model.bad_gradient

    def forward(self, words: Tensor, labels: Tensor, poison: Tensor, num_items_in_batch: Any = None) -> SimpleNamespace:
        hidden = self.dropout(torch.tanh(self.layers[0](self.embed(words)))) + self.frozen(self.embed(words))
        if self.training:
            self.average.mul_(0.9).add_(hidden.detach().mean((0, 1)), alpha=0.1)
        each = F.cross_entropy(self.head(hidden).flatten(0, 1), labels.flatten(), ignore_index=-100, reduction="sum")
        count = num_items_in_batch or int((labels != -100).sum())
        loss = each / count
        if poison.any():
            loss = loss * float("nan")
        if self.bad_gradient:
            loss = loss + torch.sqrt(self.head.bias.sum() * 0).nan_to_num()
        return SimpleNamespace(loss=loss, terms={"words": loss.detach(), "double": 2 * loss.detach()})


class ToyData:
    """Sentences of 1 to 20 words; a random half of them are targets, at least one."""

    def __init__(self, count: int, poison: int | None) -> None:
        rng = np.random.default_rng(0)
        self.sentences = [rng.integers(0, WORDS, rng.integers(2, 20)) for _ in range(count)]
        self.targets = [np.concatenate([[True], rng.random(len(s) - 1) < 0.5]) for s in self.sentences]
        self.poison = poison

    def __len__(self) -> int:
        return len(self.sentences)

    def __getitem__(self, index: int) -> dict[str, Any]:
        words = torch.from_numpy(self.sentences[index])
        labels = torch.where(torch.from_numpy(self.targets[index]), words.roll(-1), -100)
        return {"words": words, "labels": labels, "poison": index == self.poison, "id": f"sentence-{index}"}


def collate(items: list[dict[str, Any]]) -> dict[str, Any]:
    pad = nn.utils.rnn.pad_sequence
    return {
        "words": pad([item["words"] for item in items], batch_first=True),
        "labels": pad([item["labels"] for item in items], batch_first=True, padding_value=-100),
        "poison": torch.tensor([item["poison"] for item in items]),
        "record_ids": [item["id"] for item in items],
    }


def build(recipe: Recipe) -> Job:
    assert isinstance(recipe, ToyRecipe)
    data = ToyData(recipe.examples, recipe.model.poison)
    model = Toy(recipe.model)
    held_out = collate([ToyData(8, None)[n] for n in range(8)])
    held_out.pop("record_ids")

    return Job(
        model=model,
        train_data=data,
        collate=collate,
        evaluate=lambda trained: {"loss": trained(**held_out).loss.item()},
        save=lambda trained, folder: torch.save(trained.state_dict(), folder / "toy.pt"),
        components={"body": ("embed", "layers", "frozen"), "head": ("head",)},
        lengths=[len(sentence) for sentence in data.sentences],
    )


@contextmanager
def use_toy() -> Iterator[None]:
    """`kind: toy` in recipes."""
    KINDS["toy"] = __name__
    try:
        yield
    finally:
        del KINDS["toy"]


def main() -> None:
    """The command line with one more kind: `python tests/train/toy.py RECIPE.yaml …`, also under torchrun."""
    sys.modules.setdefault("toy", sys.modules[__name__])
    KINDS["toy"] = "toy"
    from train.run import main as train_main

    train_main()


def weights(folder: Path) -> dict[str, Tensor]:
    return torch.load(folder / "toy.pt", weights_only=True)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    main()
