"""One conversation as one example: tokens, labels where they are predicted, and the layout of attention.

A pose that ends the conversation is asked for by queries, in the row itself (q: pose query, c: pose code as a word):

    USER: raise the arm   <p> c c c </p>  ASSISTANT:  <p> q q q </p>
    block                      1 1 1                       2 2 2
    label                                  <p>             c c c  end

What comes after a produced pose must see the pose and not the question for it, just as in decoding, where the cache is
rewound and the produced codes are read again. So when something follows, the queries get a branch of their own, and the
codes stand behind it in the row, as if they had been given:

    ASSISTANT:  <p>  q q q </p>  c c c </p>  Now raise ...
    branch       0   1 1 1  1    0 0 0  0    0
    block        0   1 1 1  0    2 2 2  0    0
    position     7   8 9 10 11   8 9 10 11   12
    label            c c c  Now         Now

Both `</p>` predict the next word: the first one, seen from the queries, is the one that decides in decoding whether the
answer ends here. In causal mode (`pose_attention="causal"`, the ablation of UniPose §4.4) pose tokens are words like
any other.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from llmpose.model.batch import IGNORE, Example
from llmpose.talk.vocabulary import Vocabulary


@dataclass
class RowWriter:
    """Writes an example from left to right, and knows which positions still wait for the token that they predict."""

    words: Vocabulary
    causal_poses: bool = False
    causal_given: bool = False
    """Poses that are given are read causally, like words: as UniPose's released weights learned it."""
    token_ids: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    branch: list[int] = field(default_factory=list)
    block: list[int] = field(default_factory=list)
    position: list[int] = field(default_factory=list)
    _predictors: tuple[int, ...] = ()
    _blocks: int = 0
    _branches: int = 0
    _next: int = 0

    def __len__(self) -> int:
        return len(self.token_ids)

    def _put(
        self, ids: Sequence[int], *, labels: Sequence[int] = (), branch: int = 0, block: int = 0, at: int = -1
    ) -> None:
        """`at` is the position of the first token; on the main line (branch 0) positions simply go on."""
        start = self._next if at < 0 else at
        self.token_ids += ids
        self.labels += labels or [IGNORE] * len(ids)
        self.branch += [branch] * len(ids)
        self.block += [block] * len(ids)
        self.position += range(start, start + len(ids))
        if branch == 0:
            self._next = start + len(ids)

    def _predict(self, token_id: int) -> None:
        for index in self._predictors:
            self.labels[index] = token_id

    def given(self, ids: Sequence[int]) -> None:
        """Text or placeholders that nobody has to predict."""
        if ids:
            self._put(ids)
            self._predictors = (len(self) - 1,)

    def answered(self, ids: Sequence[int]) -> None:
        """Words of an answer: each is the label of the position before it."""
        for token_id in ids:
            self._predict(token_id)
            self.given([token_id])

    def end(self, token_id: int) -> None:
        """The answer is over: its last position predicts the end, which itself is not written."""
        self._predict(token_id)

    def given_pose(self, codes: Sequence[int]) -> None:
        self.given([self.words.pose_open_id])
        self._put_codes(codes)
        self.given([self.words.pose_close_id])

    def _put_codes(self, codes: Sequence[int]) -> None:
        causal = self.causal_poses or self.causal_given
        self._blocks += 0 if causal else 1
        ids = [self.words.code_to_id(code) for code in codes]
        self._put(ids, block=0 if causal else self._blocks)

    def answered_pose(self, codes: Sequence[int], *, is_last: bool) -> None:
        """A pose to be produced; `is_last` where nothing but the end follows."""
        self.answered([self.words.pose_open_id])
        ids = [self.words.code_to_id(code) for code in codes]
        if self.causal_poses:
            self.answered(ids)
            self.given([self.words.pose_close_id])  # forced in decoding, so nothing predicts it
            return
        self._blocks += 1
        start, queries = self._next, [self.words.pose_query_id] * len(ids)
        if is_last:
            self._put(queries, labels=ids, block=self._blocks)
            self.given([self.words.pose_close_id])
            return
        self._branches += 1
        self._put(queries, labels=ids, branch=self._branches, block=self._blocks, at=start)
        self._put([self.words.pose_close_id], branch=self._branches, at=start + len(ids))
        seen_from_queries = len(self) - 1
        self._put_codes(codes)
        self._put([self.words.pose_close_id])
        self._predictors = (seen_from_queries, len(self) - 1)

    def example(self, **fields: object) -> Example:
        tensors = (self.token_ids, self.labels, self.branch, self.block, self.position)
        return Example(*(torch.tensor(values, dtype=torch.int64) for values in tensors), **fields)  # type: ignore[arg-type]
