"""Our default design: every token speaks of one part of the body.

    root . . . | torso . . . | head . . | left leg . . . | …       one small network per part, all parts in one matmul

A language model predicts all tokens of a pose at once, each from its own query, so tokens should not need one another:
no token here refines another part's, and neighbouring grid points mean neighbouring rotations. Rotations are seen from
the pelvis (tokenizer_vq/rotations.py), so that an error in the spine does not swing the arms.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tokenizer_vq.config import BODY_PARTS, PoseTokenizerConfig


class GroupedLinear(nn.Module):
    """One linear layer per group, (G, B, in) -> (G, B, out), in one batched matmul."""

    def __init__(self, groups: int, width_in: int, width_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(groups, width_in, width_out))
        self.bias = nn.Parameter(torch.zeros(groups, 1, width_out))
        nn.init.normal_(self.weight, std=width_in**-0.5)

    def forward(self, x_GBI: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, x_GBI, self.weight)


class GroupedBlock(nn.Module):
    """x + up(gelu(down(norm(x)))), per group."""

    def __init__(self, groups: int, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.enter = GroupedLinear(groups, width, 2 * width)
        self.leave = GroupedLinear(groups, 2 * width, width)
        nn.init.zeros_(self.leave.weight)

    def forward(self, x_GBH: Tensor) -> Tensor:
        return x_GBH + self.leave(F.gelu(self.enter(self.norm(x_GBH))))


class GroupedMlp(nn.Sequential):
    """(G, B, in) -> (G, B, out) with residual blocks in between."""

    def __init__(self, groups: int, width_in: int, width: int, width_out: int, num_layers: int) -> None:
        blocks = [GroupedBlock(groups, width) for _ in range(num_layers)]
        enter, leave = GroupedLinear(groups, width_in, width), GroupedLinear(groups, width, width_out)
        super().__init__(enter, *blocks, nn.LayerNorm(width), leave)


class Slots(nn.Module):
    """Where each part's items (joints, or vectors) stand in a flat row and in a padded table (parts, most items)."""

    def __init__(self, items: list[list[int]]) -> None:
        super().__init__()
        self.items = items
        self.most = max(len(row) for row in items)
        count = sum(len(row) for row in items)
        self.padded: Tensor
        self.keep: Tensor
        self.place: Tensor
        self.register_buffer("padded", torch.zeros(len(items), self.most, dtype=torch.long), persistent=False)
        self.register_buffer("keep", torch.zeros(len(items), self.most), persistent=False)
        self.register_buffer("place", torch.zeros(count, dtype=torch.long), persistent=False)
        self.fill_tables()

    def fill_tables(self) -> None:
        """Write the index tables; they are in no file."""
        place = {item: part * self.most + n for part, row in enumerate(self.items) for n, item in enumerate(row)}
        self.padded.copy_(torch.tensor([row + row[:1] * (self.most - len(row)) for row in self.items]))
        self.keep.copy_(torch.tensor([[float(n < len(row)) for n in range(self.most)] for row in self.items]))
        self.place.copy_(torch.tensor([place[item] for item in range(len(place))]))

    def gather(self, x_BNC: Tensor) -> Tensor:
        """(B, N, C) -> (G, B, most * C), zeros where a part has fewer items."""
        table = x_BNC[:, self.padded] * self.keep[:, :, None]
        return table.flatten(2).transpose(0, 1)

    def scatter(self, x_GBM: Tensor) -> Tensor:
        """(G, B, most * C) -> (B, N, C): inverse of `gather`."""
        table = x_GBM.transpose(0, 1).unflatten(2, (self.most, -1)).flatten(1, 2)
        return table[:, self.place]


class _Parts(nn.Module):
    def __init__(self, config: PoseTokenizerConfig) -> None:
        super().__init__()
        assert config.part_tokens is not None
        per_vector = config.num_pose_tokens // config.latent_length
        starts, vectors = 0, []
        for part in BODY_PARTS:
            count = config.part_tokens[part] // per_vector
            vectors.append(list(range(starts, starts + count)))
            starts += count
        self.joints = Slots([list(joints) for joints in BODY_PARTS.values()])
        self.vectors = Slots(vectors)


class PartsEncoder(_Parts):
    """(B, 22, 6) -> (B, L, C); vector n sees only the joints of its own part."""

    def __init__(self, config: PoseTokenizerConfig) -> None:
        super().__init__(config)
        groups, width = len(BODY_PARTS), config.hidden_size
        out = self.vectors.most * config.code_width
        self.net = GroupedMlp(groups, self.joints.most * 6, width, out, config.num_layers)

    def forward(self, rot6d: Tensor) -> Tensor:
        return self.vectors.scatter(self.net(self.joints.gather(rot6d)))


class PartsDecoder(_Parts):
    """(B, L, C) -> (B, 22, 6); a joint depends only on the vectors of its own part."""

    def __init__(self, config: PoseTokenizerConfig) -> None:
        super().__init__(config)
        groups, width = len(BODY_PARTS), config.hidden_size
        wide = self.vectors.most * config.code_width
        self.net = GroupedMlp(groups, wide, width, self.joints.most * 6, config.num_layers)

    def forward(self, values: Tensor) -> Tensor:
        return self.joints.scatter(self.net(self.vectors.gather(values)))


def token_parts(config: PoseTokenizerConfig) -> list[str]:
    """The part of the body that each pose token speaks of, in order; empty for designs whose tokens mix parts."""
    if config.design != "parts" or config.part_tokens is None:
        return []
    return [part for part in BODY_PARTS for _ in range(config.part_tokens[part])]
