import re

import pytest

from data.captions import mirror_text
from data.captions.brief import brief_words
from data.captions.brief_change import change_words as brief_change_words
from data.captions.compare import change_words
from data.captions.words import wording


@pytest.mark.parametrize(
    ("text", "mirrored"),
    [
        ("The left knee is bent at a right angle.", "The right knee is bent at a right angle."),
        ("Her right-angled left arm", "Her right-angled right arm"),
        ("Right hand right above the left one", "Left hand right above the right one"),
        ("the foot is right in front of the right knee", "the foot is right in front of the left knee"),
        ("the left foot is behind, the right in front", "the right foot is behind, the left in front"),
        ("leaning rightwards, the LEFT arm leftmost", "leaning leftwards, the RIGHT arm rightmost"),
        ("turn clockwise, then anti-clockwise", "turn counterclockwise, then clockwise"),
        ("bright and copyright stay", "bright and copyright stay"),
    ],
)
def test_sides_swap_and_right_angles_stay(text: str, mirrored: str) -> None:
    assert mirror_text(text) == mirrored


def _strings(tree: object) -> list[str]:
    if isinstance(tree, str):
        return [tree]
    children = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    return [text for child in children for text in _strings(child)]


@pytest.mark.parametrize("words", [wording, change_words, brief_words, brief_change_words])
def test_our_own_wording_uses_right_as_a_side_or_an_angle_only(words) -> None:
    for text in _strings(words()):
        assert mirror_text(mirror_text(text)) == text
        sides = re.findall(r"\bright\b(?! angle)", text)
        assert mirror_text(text).count("left") == len(sides), text
