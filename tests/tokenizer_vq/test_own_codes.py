"""Codes that belong to their place: the same poses, each place with names of its own."""

import pytest
import torch
from torch import Tensor

from tokenizer_vq import PoseTokenizer, PoseTokenizerConfig

SIZES = {"num_pose_tokens": 20, "hidden_size": 16, "num_layers": 1}


@pytest.fixture(scope="module")
def both() -> tuple[PoseTokenizer, PoseTokenizer]:
    """The same weights, with shared codes and with own ones."""
    torch.manual_seed(0)
    shared = PoseTokenizer(PoseTokenizerConfig(**SIZES, codebook_size=64)).eval()
    own = PoseTokenizer(PoseTokenizerConfig(**SIZES, codebook_size=20 * 64, own_codes=True)).eval()
    own.load_state_dict(shared.state_dict())
    return shared, own


def test_every_code_says_its_place(both: tuple[PoseTokenizer, PoseTokenizer], poses: Tensor) -> None:
    shared, own = both
    codes = own.encode(poses)
    assert torch.equal(codes // 64, torch.arange(20).expand_as(codes))
    assert torch.equal(codes % 64, shared.encode(poses))


def test_own_codes_decode_to_the_same_poses(both: tuple[PoseTokenizer, PoseTokenizer], poses: Tensor) -> None:
    shared, own = both
    assert torch.equal(own.decode(own.encode(poses)), shared.decode(shared.encode(poses)))
    assert torch.equal(own(poses).rotmat, shared(poses).rotmat)


def test_a_code_stands_for_one_vector(both: tuple[PoseTokenizer, PoseTokenizer]) -> None:
    shared, own = both
    vectors = own.code_vectors()
    assert vectors is not None
    assert vectors.shape == (64, own.config.code_width)
    assert len(vectors.unique(dim=0)) == 64
    assert torch.equal(vectors, shared.code_vectors())


@pytest.mark.parametrize("options", [{"codebook_size": 64}, {"codebook_size": 1280, "quantizer": "ema"}])
def test_a_codebook_that_cannot_be_divided_is_refused(options: dict) -> None:
    with pytest.raises(ValueError, match="own_codes divides a multiple of 20 codes"):
        PoseTokenizerConfig(**SIZES, **options, own_codes=True)
