"""Keypoint prompts: the state decides, the place matters, shots that do not show the point do not count."""

import pytest
import torch

from llmpose.model.prompts import (
    AveragePooling,
    KeypointPromptEncoder,
    KeypointPrompts,
    PromptState,
    keypoint_l1,
    patch_centres,
)

GRID = (4, 6)
GIVEN, ABSENT, PADDING = (int(state) for state in PromptState)


def inputs(shots: int = 1, keypoints: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, shots, GRID[0] * GRID[1], 16, generator=generator)
    points = torch.rand(2, shots, keypoints, 2, generator=generator)
    return features, points, torch.zeros(2, shots, keypoints, dtype=torch.long)


def test_an_absent_point_is_the_same_wherever_its_coordinates_are() -> None:
    encoder = KeypointPromptEncoder(16)
    here = encoder(torch.tensor([[0.1, 0.2]]), torch.tensor([ABSENT]))
    there = encoder(torch.tensor([[0.9, 0.4]]), torch.tensor([ABSENT]))
    assert torch.equal(here, there)
    assert not torch.equal(here, encoder(torch.tensor([[0.1, 0.2]]), torch.tensor([PADDING])))
    assert not torch.equal(here, encoder(torch.tensor([[0.1, 0.2]]), torch.tensor([GIVEN])))


@pytest.mark.parametrize("kind", ["extractor", "average"])
def test_one_token_of_the_language_width_per_keypoint(kind) -> None:
    torch.manual_seed(0)
    prompts = KeypointPrompts(16, 24, kind=kind, num_heads=4)
    assert prompts(*inputs(shots=5), GRID).shape == (2, 3, 24)


@pytest.mark.parametrize("kind", ["extractor", "average"])
def test_a_shot_that_does_not_show_the_keypoint_changes_nothing(kind) -> None:
    torch.manual_seed(0)
    prompts = KeypointPrompts(16, 24, kind=kind, num_heads=4)
    features, points, state = inputs(shots=2)
    state[:, 1] = ABSENT
    both = prompts(features, points, state, GRID)
    alone = prompts(features[:, :1], points[:, :1], state[:, :1], GRID)
    torch.testing.assert_close(both, alone)


def test_a_keypoint_alone_is_the_same_as_among_others() -> None:
    torch.manual_seed(0)
    prompts = KeypointPrompts(16, 24, num_heads=4)
    features, points, state = inputs()
    together = prompts(features, points, state, GRID)
    alone = prompts(features, points[:, :, 1:2], state[:, :, 1:2], GRID)
    torch.testing.assert_close(together[:, 1:2], alone)


def test_the_token_depends_on_the_point_and_on_the_picture() -> None:
    torch.manual_seed(0)
    prompts = KeypointPrompts(16, 24, num_heads=4)
    features, points, state = inputs()
    base = prompts(features, points, state, GRID)
    assert (prompts(features, 1 - points, state, GRID) - base).abs().max() > 1e-3
    assert (prompts(features.flip(2), points, state, GRID) - base).abs().max() > 1e-3


def test_average_pooling_takes_the_patch_under_the_point() -> None:
    centres = patch_centres(GRID)
    features = torch.eye(len(centres))[None]
    pooled = AveragePooling(sigma=0.2)(centres[None], features, GRID)
    torch.testing.assert_close(pooled[0], torch.eye(len(centres)), atol=1e-4, rtol=0)


def test_patch_centres_run_row_by_row() -> None:
    centres = patch_centres((2, 4))
    assert centres[0].tolist() == [0.125, 0.25]
    assert centres[3].tolist() == [0.875, 0.25]
    assert centres[4].tolist() == [0.125, 0.75]


def test_the_l1_loss_adds_the_errors_in_x_and_y() -> None:
    found = keypoint_l1(torch.zeros(2, 2), torch.tensor([[0.1, 0.2], [0.5, 0.0]]))
    assert found.tolist() == pytest.approx([0.3, 0.5])
