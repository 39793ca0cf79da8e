"""Trivial answers."""

import numpy as np
import roma
import torch
from PIL import Image

from eval.baselines import TextFeatures, draw, image_features, mean_pose, nearest


def test_the_mean_pose_is_a_rotation_in_the_middle() -> None:
    axis = torch.zeros(3, 22, 3)
    axis[:, 4, 0] = torch.tensor([0.2, 0.4, 0.6])
    mean = mean_pose(roma.rotvec_to_rotmat(axis))
    assert torch.allclose(roma.rotmat_to_rotvec(mean)[4], torch.tensor([0.4, 0, 0]), atol=1e-5)
    assert torch.allclose(mean @ mean.mT, torch.eye(3).expand(22, 3, 3), atol=1e-6)


def test_nearest_finds_what_brute_force_finds() -> None:
    rng = np.random.default_rng(0)
    query, bank = rng.normal(size=(40, 5)), rng.normal(size=(70, 5))
    expected = ((query[:, None] - bank[None]) ** 2).sum(-1).argmin(1)
    assert nearest(query, bank, chunk=7).tolist() == expected.tolist()


def test_text_features_prefer_the_caption_that_shares_rare_words() -> None:
    captions = ["the left arm is raised", "the right knee is bent", "the person is kneeling on the right knee"]
    features = TextFeatures(captions)
    assert nearest(features(["kneeling with the right knee down"]), features(captions)).tolist() == [2]
    assert np.allclose(np.linalg.norm(features(captions), axis=1), 1)
    assert not features(["zzz"]).any()


def test_image_features_ignore_brightness() -> None:
    gradient = Image.linear_gradient("L")
    brighter = gradient.point(lambda v: v // 2 + 100)
    a, b = image_features([gradient, brighter])
    assert np.abs(a - b).max() < 0.05


def test_a_guesser_is_the_same_guesser_each_time() -> None:
    assert draw(10, 5, seed=1).tolist() == draw(10, 5, seed=1).tolist()
    assert draw(10, 50, seed=1).tolist() != draw(10, 50, seed=2).tolist()
