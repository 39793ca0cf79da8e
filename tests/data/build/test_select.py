import pytest
import torch

from data.build.select import farthest_points, mean_distance
from llmpose.errors import UserError


def _one_by_one(joints: torch.Tensor, count: int, start: int) -> list[int]:
    """The definition, without any short cut."""
    chosen = [start]
    nearest = mean_distance(joints, joints[start])
    while len(chosen) < count:
        nearest[chosen] = -1
        chosen.append(int(nearest.argmax()))
        nearest = torch.minimum(nearest, mean_distance(joints, joints[chosen[-1]]))
    return chosen


@pytest.mark.parametrize("count", [1, 2, 30, 120, 300])
def test_the_short_cuts_change_nothing(count: int) -> None:
    joints = torch.randn(300, 22, 3, generator=torch.Generator().manual_seed(1))
    assert farthest_points(joints, count, start=7).tolist() == _one_by_one(joints, count, 7)


def test_points_on_a_line_are_taken_from_the_ends_inwards() -> None:
    joints = torch.zeros(5, 1, 3)
    joints[:, 0, 0] = torch.tensor([0.0, 1.0, 2.0, 3.0, 10.0])
    assert farthest_points(joints, 5).tolist() == [0, 4, 3, 1, 2]


def test_equal_poses_come_last_and_only_once() -> None:
    joints = torch.randn(6, 22, 3, generator=torch.Generator().manual_seed(0))
    joints[3] = joints[1]
    chosen = farthest_points(joints, 6, start=1).tolist()
    assert sorted(chosen) == [0, 1, 2, 3, 4, 5]
    assert chosen[-1] == 3


def test_the_number_of_threads_is_as_before() -> None:
    before = torch.get_num_threads()
    farthest_points(torch.randn(10, 22, 3), 3)
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("joints", "count", "message"),
    [
        (torch.zeros(3, 22, 3), 4, "4 poses cannot be chosen among 3"),
        (torch.zeros(3, 22, 3), 0, "0 poses cannot be chosen"),
        (torch.full((3, 22, 3), float("nan")), 2, "not a number"),
        (torch.zeros(3, 66), 2, "expected"),
    ],
)
def test_what_cannot_be_chosen_from_is_said(joints: torch.Tensor, count: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        farthest_points(joints, count)
