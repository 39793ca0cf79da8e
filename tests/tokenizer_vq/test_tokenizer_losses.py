"""Eq. 1 by hand."""

import pytest
import torch

from tokenizer_vq.losses import Reconstruction, Weights, distance, reconstruction_terms, squared_distance


def test_distance_is_the_mean_length() -> None:
    a, b = torch.zeros(2, 2, 3), torch.zeros(2, 2, 3)
    b[0, 0] = torch.tensor([0.3, 0.4, 0.0])
    assert distance(a, b).tolist() == pytest.approx([0.25, 0.0], abs=1e-4)
    assert squared_distance(a, b).tolist() == pytest.approx([0.25 / 6, 0.0])


def test_terms_carry_their_weights_and_vertices_only_when_there_are_any() -> None:
    eye = torch.eye(3).expand(1, 22, 3, 3)
    found = Reconstruction(eye + 0.1, torch.ones(1, 22, 3), torch.ones(1, 5, 3))
    wanted = Reconstruction(eye, torch.zeros(1, 22, 3), torch.zeros(1, 5, 3))
    weights = Weights(rotations=20, vertices=100, joints=100)
    terms = reconstruction_terms(found, wanted, weights, squared_distance)
    assert {name: round(term.item(), 4) for name, term in terms.items()} == {
        "rotations": 0.2, "joints": 100.0, "vertices": 100.0,
    }  # fmt: skip
    bare = reconstruction_terms(
        Reconstruction(eye, torch.ones(1, 22, 3)), Reconstruction(eye, torch.zeros(1, 22, 3)), weights, distance
    )
    assert set(bare) == {"rotations", "joints"}


def test_the_gradient_of_a_perfect_pose_is_finite() -> None:
    points = torch.zeros(1, 4, 3, requires_grad=True)
    distance(points, torch.zeros(1, 4, 3)).sum().backward()
    assert points.grad is not None
    assert torch.isfinite(points.grad).all()
