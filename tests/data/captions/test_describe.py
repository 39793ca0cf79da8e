import re

import numpy as np
import pytest
import torch

from data.captions import describe, facing_viewer, mirror_text, text_joints
from data.synth.poses import sample_poses
from llmpose.body.pose import Pose
from llmpose.errors import BadUsage

STYLES = ("full", "brief")


@pytest.mark.parametrize("style", STYLES)
def test_captions_of_1000_mirrored_poses_are_the_mirrored_captions(poses, style) -> None:
    flipped = poses.mirrored()
    original = describe(poses.joints_m, style=style, rotmat=poses.rotmat)
    mirrored = describe(flipped.joints_m, style=style, rotmat=flipped.rotmat)
    assert [[mirror_text(text) for text in texts] for texts in original] == mirrored


@pytest.mark.parametrize("style", STYLES)
def test_mirroring_the_rotations_mirrors_the_captions_up_to_the_last_digit(poses, style) -> None:
    """Through the body model rounding may carry a value over a threshold: hardly ever."""
    rotmat = Pose(poses.rotmat).mirrored().rotmat
    original = describe(poses.joints_m, style=style, rotmat=poses.rotmat)
    mirrored = describe(text_joints(rotmat), style=style, rotmat=rotmat)
    same = [mirror_text(a) == b for (a,), (b,) in zip(original, mirrored, strict=True)]
    assert np.mean(same) > 0.99


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("seed", [None, 7])
def test_a_caption_does_not_depend_on_the_other_poses_of_the_batch(poses, style, seed) -> None:
    few = poses[torch.tensor([11, 400, 77])]
    alone = describe(few.joints_m, style=style, seed=seed, rotmat=few.rotmat, keys=[11, 400, 77])
    together = describe(poses.joints_m, style=style, seed=seed, rotmat=poses.rotmat)
    assert alone == [together[11], together[400], together[77]]


@pytest.mark.parametrize("style", STYLES)
def test_a_seed_gives_several_captions_and_the_same_ones_again(poses, style) -> None:
    some = poses[slice(0, 50)]
    captions = describe(some.joints_m, style=style, seed=1, num=3, rotmat=some.rotmat)
    assert captions == describe(some.joints_m, style=style, seed=1, num=3, rotmat=some.rotmat)
    assert captions != describe(some.joints_m, style=style, seed=2, num=3, rotmat=some.rotmat)
    assert all(len(texts) == 3 for texts in captions)
    assert sum(len(set(texts)) for texts in captions) > 2.5 * len(captions)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("seed", [None, 3])
def test_captions_are_well_formed_sentences(poses, style, seed) -> None:
    for (text,) in describe(poses.joints_m, style=style, seed=seed, rotmat=poses.rotmat):
        assert re.fullmatch(r"[A-Z][^{}]*\.", text), text
        assert not re.search(r"  | ,|\.\.", text), text
        for sentence in text.split(". "):
            assert sentence[0].isupper(), text
        assert not re.search(r"\b(\w+) \1\b", text), text


@pytest.mark.parametrize("seed", [None, 3])
def test_brief_captions_have_at_most_45_words_and_mostly_20_to_35(poses, seed) -> None:
    counts = [len(text.split()) for (text,) in describe(poses.joints_m, style="brief", seed=seed, rotmat=poses.rotmat)]
    assert max(counts) <= 45
    assert 20 <= np.mean(counts) <= 35


def test_brief_captions_list_three_things_with_a_comma(poses) -> None:
    firsts = [text.split(".")[0] for (text,) in describe(poses.joints_m, style="brief")]
    assert not [text for text in firsts if text.count(" and the ") > 1]


def test_brief_captions_tell_poses_apart(poses) -> None:
    captions = {text for (text,) in describe(poses.joints_m, style="brief", rotmat=poses.rotmat)}
    assert len(captions) > 0.7 * len(poses)


def test_brief_captions_mostly_survive_a_millimetre(poses) -> None:
    noise = torch.randn(poses.joints_m.shape, generator=torch.Generator().manual_seed(0)) * 0.001
    before = describe(poses.joints_m, style="brief")
    after = describe(poses.joints_m + noise, style="brief")
    assert np.mean([a == b for a, b in zip(before, after, strict=True)]) > 0.93


def test_lying_on_the_back_is_seen_whatever_the_heading() -> None:
    rotmat, _ = sample_poses(20, seed=0, categories=("ground",))
    turned = Pose(torch.as_tensor(rotmat)).turned(torch.linspace(0, 340, 20)).rotmat
    first, second = facing_viewer(rotmat), facing_viewer(turned)
    assert describe(text_joints(first), style="brief") == describe(text_joints(second), style="brief")


@pytest.mark.parametrize("name", ["supine", "supine_knees_up", "prone", "plank", "pushup_low"])
def test_of_somebody_who_lies_nothing_is_before_or_behind_the_torso(named_joints, name: str) -> None:
    text = describe(named_joints(name))[0][0]
    assert "of the torso" not in text
    assert "behind the torso" not in text
    assert "above the neck" not in text


@pytest.mark.parametrize("name", ["plank", "pushup_low", "cobra"])
def test_a_body_in_one_line_does_not_bend_forward(named_joints, name: str) -> None:
    assert "bends" not in describe(named_joints(name))[0][0]


def test_who_bends_over_is_said_to(named_joints) -> None:
    assert "bends far forward" in describe(named_joints("toe_touch"))[0][0]


def test_without_a_seed_there_is_one_caption() -> None:
    with pytest.raises(BadUsage, match="without a seed"):
        describe(torch.zeros(1, 24, 3), num=3)


def test_no_poses_have_no_captions() -> None:
    assert describe(torch.zeros(0, 24, 3)) == []
    assert describe(torch.zeros(0, 24, 3), style="brief", seed=1, num=2) == []
