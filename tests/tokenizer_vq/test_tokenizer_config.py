"""Numbers of a tokenizer that fit together, and those that do not."""

import math

import pytest

from tokenizer_vq import PoseTokenizerConfig
from tokenizer_vq.config import BODY_PARTS, PARENTS, divide_tokens, levels_for
from tokenizer_vq.conv import shrinking_lengths


def test_every_joint_has_one_part_and_a_parent_before_it() -> None:
    assert sorted(joint for joints in BODY_PARTS.values() for joint in joints) == list(range(22))
    assert all(parent < joint for joint, parent in enumerate(PARENTS))


@pytest.mark.parametrize("size", [4, 16, 64, 128, 256, 512, 1024, 2048, 4096])
def test_a_grid_has_as_many_points_as_codes(size: int) -> None:
    levels = levels_for(size)
    assert math.prod(levels) == size
    assert min(levels) >= 4


@pytest.mark.parametrize("tokens", [7, 16, 20, 24, 40, 80, 160])
def test_tokens_are_divided_without_loss(tokens: int) -> None:
    shares = divide_tokens(tokens)
    assert sum(shares.values()) == tokens
    assert min(shares.values()) >= 1
    assert shares["left_arm"] == shares["right_arm"]
    assert shares["left_leg"] == shares["right_leg"]


def test_twenty_two_tokens_by_hand() -> None:
    assert divide_tokens(22) == {
        "root": 3, "torso": 3, "head": 2, "left_leg": 3, "right_leg": 3, "left_arm": 4, "right_arm": 4,
    }  # fmt: skip


def test_the_papers_decoder_lengths() -> None:
    """As in the released TokenHMR and UniPose weights."""
    assert list(shrinking_lengths(80, 22)) == [65, 51, 36, 22]
    assert list(shrinking_lengths(160, 21)) == [125, 90, 55, 21]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"codebook_size": 100}, "power of two"),
        ({"codebook_size": 64, "fsq_levels": [8, 4]}, "make 32 codes, not 64"),
        ({"num_pose_tokens": 5}, "cannot cover 7 body parts"),
        ({"part_tokens": {"root": 3}}, "add up to 3"),
        ({"num_joints": 21}, "22 joints"),
        ({"quantizer": "residual", "num_residual": 3}, "not a multiple of num_residual 3"),
    ],
)
def test_what_does_not_fit_is_said(options: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        _ = PoseTokenizerConfig(**options).latent_length


def test_the_conv_design_names_the_token_counts_it_can_make() -> None:
    from tokenizer_vq import PoseTokenizer

    with pytest.raises(ValueError, match=r"20, 40, 80, 160.*not 33"):
        PoseTokenizer(PoseTokenizerConfig(design="conv", num_pose_tokens=33, hidden_size=8))
