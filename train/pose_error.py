"""How far the pose that an answer amounts to is from the true one: a loss beside the cross-entropy of its tokens.

To a cross-entropy every wrong code is as wrong as any other. Here each place's codes are averaged by their
probabilities, as decoding with `refine_poses` does, and the pose tokenizer's frozen decoder turns the averages into a
pose, whose joints are compared with those of the true codes. The papers train by the cross-entropy alone; a small model
that sees few examples learns from this what a near miss is worth.

Shape letters: N poses, T tokens of a pose, K codes, S codes of one place, C width of a code.
"""

from typing import cast

import torch
from torch import Tensor, nn

from llmpose.body.model import BodyModel
from llmpose.errors import UserError
from tokenizer_vq import PoseTokenizer
from tokenizer_vq.losses import distance


class PoseError:
    """Callable; no module, because nothing in it trains and no checkpoint should hold it."""

    def __init__(self, codec: PoseTokenizer, body: BodyModel) -> None:
        vectors = codec.code_vectors()
        if vectors is None:
            raise UserError(
                "pose_error: codes of a residual codebook stand for something only together, so they have no mean; "
                "leave pose_error at 0"
            )
        self.codec, self.body, self.vectors = codec.requires_grad_(False), body, vectors

    def __call__(self, logits: Tensor, codes: Tensor) -> Tensor:
        """Mean distance of the joints about the pelvis in metres, (N,), from logits (N, T, K) and codes (N, T)."""
        self._move(logits.device)
        likely = self.own_place(logits.float()).softmax(-1)
        found = self._joints_m(likely @ self.vectors)
        with torch.no_grad():
            wanted = self._joints_m(self.vectors[codes % len(self.vectors)])
        return distance(found, wanted)

    def own_place(self, logits: Tensor) -> Tensor:
        """(N, T, K) to (N, T, S): of each place the codes that it chooses among."""
        places = logits.shape[-1] // len(self.vectors)
        if places == 1:
            return logits
        return torch.stack([logits[:, place].chunk(places, dim=-1)[place] for place in range(places)], dim=1)

    def _joints_m(self, vectors: Tensor) -> Tensor:
        joints = self.body.joints(self.codec.decode_vectors(vectors))[:, :22]
        return joints - joints[:, :1]

    def _move(self, device: torch.device) -> None:
        if self.vectors.device != device:
            cast(nn.Module, self.codec).to(device)
            self.body.to(device)
            self.vectors = self.vectors.to(device)
