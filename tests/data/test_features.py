"""Features kept on disk are those of the encoders, once for every different picture."""

from pathlib import Path

import numpy as np
import pytest
import torch

from data.branches import digest
from data.features import ABOUT, Features, make_features, ticket, weights_of
from llmpose.errors import UserError


def pictures(count: int) -> list[np.ndarray]:
    return [np.full((4, 4, 3), i, np.uint8) for i in range(count)]


def encode(images) -> torch.Tensor:
    return torch.stack([torch.full((2, 3), float(image[0, 0, 0])) for image in images])


def test_every_picture_is_encoded_once_and_found_by_its_pixels(tmp_path: Path):
    calls: list[int] = []

    def counted(images) -> torch.Tensor:
        calls.append(len(images))
        return encode(images)

    images = pictures(5)
    made = make_features(tmp_path, [*images, *images], counted, encoders="x", batch=2)
    assert sum(calls) == 5
    for features in (made, Features(tmp_path)):
        assert len(features) == 5
        assert features([images[3].copy(), images[0]])[:, 0, 0].tolist() == [3.0, 0.0]
        assert features([]).shape == (0, 2, 3)
        assert images[2] in features


def test_a_ticket_stands_for_its_picture(tmp_path: Path):
    images = pictures(3)
    features = make_features(tmp_path, images, encode, encoders="x")
    assert features([ticket(digest(images[2])), images[1]])[:, 0, 0].tolist() == [2.0, 1.0]
    with pytest.raises(UserError, match="is not in the cache"):
        features([ticket(digest(np.zeros((5, 5, 3), np.uint8)))])


def test_a_second_run_reads_and_does_not_encode(tmp_path: Path):
    make_features(tmp_path, pictures(3), encode, encoders="x")

    def never(images) -> torch.Tensor:
        raise AssertionError("encoded again")

    assert len(make_features(tmp_path, pictures(3), never, encoders="x")) == 3


def test_a_half_written_folder_is_written_anew(tmp_path: Path):
    make_features(tmp_path, pictures(3), encode, encoders="x")
    (tmp_path / ABOUT).unlink()
    with pytest.raises(UserError, match=r"no about\.json"):
        Features(tmp_path)
    assert len(make_features(tmp_path, pictures(4), encode, encoders="x")) == 4


def test_features_of_other_encoders_are_refused(tmp_path: Path):
    make_features(tmp_path, pictures(3), encode, encoders="x")
    with pytest.raises(UserError, match="made by other vision encoders"):
        make_features(tmp_path, pictures(3), encode, encoders="y")
    with pytest.raises(UserError, match="is not in the cache"):
        Features(tmp_path)(pictures(4))


def test_infinite_features_are_refused(tmp_path: Path):
    with pytest.raises(UserError, match="not finite in float16"):
        make_features(tmp_path, pictures(1), lambda images: torch.full((1, 2, 3), 1e9), encoders="x")


def test_a_change_of_one_weight_is_another_encoder():
    layer = torch.nn.Linear(3, 3)
    before = weights_of(layer)
    with torch.no_grad():
        layer.weight[0, 0] += 1e-3
    assert weights_of(layer) != before
