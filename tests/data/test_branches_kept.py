"""Examples that have branches of their own pass through merging untouched."""

import torch

from data.branches import merge_alike
from llmpose.model.batch import IGNORE, Example


def example(branch: list[int]) -> Example:
    length = len(branch)
    labels = [IGNORE] * (length - 1) + [3]
    columns = (list(range(1, length + 1)), labels, branch, [0] * length, list(range(length)))
    return Example(*(torch.tensor(column) for column in columns))


def test_an_answer_that_goes_on_behind_a_pose_is_not_merged() -> None:
    plain, with_branch = [0, 0, 0, 0, 0, 0], [0, 0, 0, 1, 0, 0]
    given = [example(plain), example(with_branch), example(plain), example(with_branch)]
    merged = merge_alike(given, -1, 0, at_least=3)
    assert [len(one) for one in merged] == [6, 6, 7]
    assert merged[0] is given[1]
    assert merged[1] is given[3]
    assert merged[2].branch.tolist() == [0, 0, 0, 0, 0, 1, 2]
