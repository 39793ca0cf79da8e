"""Numbers at the expected value of their digits: worked by hand."""

import numpy as np
import pytest

from llmpose.errors import UserError
from llmpose.talk.decoding import Decoding
from llmpose.talk.refine import densest_of, mean_of, middle, share_near, stretches


def value(words: list[str], choices: list[dict[str, float]]) -> float:
    text = "".join(words)
    start = text.index("0.") if "0." in text else text.index("1.")
    return mean_of(stretches(words, choices, start, start + 5))


def sure(words: list[str]) -> list[dict[str, float]]:
    return [{word: 1.0} for word in words]


def test_a_sure_number_stays_where_it_is() -> None:
    words = list("eye: 0.512")
    assert value(words, sure(words)) == pytest.approx(0.512)


def test_two_likely_last_digits_meet_in_between() -> None:
    words = list("0.512")
    assert value(words, [*sure(words)[:4], {"2": 0.5, "3": 0.5}]) == pytest.approx(0.5125)


def test_another_first_digit_counts_as_the_mean_of_what_it_leads_to() -> None:
    words = list("0.512")
    choices = [*sure(words)[:2], {"5": 0.6, "4": 0.4}, {"1": 1.0}, {"2": 0.5, "3": 0.5}]
    assert value(words, choices) == pytest.approx(0.6 * 0.5125 + 0.4 * 0.4495)


def test_one_may_be_meant_where_nought_was_said() -> None:
    words = list("0.990")
    assert value(words, [{"0": 0.75, "1": 0.25}, *sure(words)[1:]]) == pytest.approx(0.75 * 0.99 + 0.25)


def test_words_of_several_digits_and_words_that_begin_before_the_number() -> None:
    assert value(["eye", ": 0", ".", "512"], [{}, {": 0": 1.0}, {".": 1.0}, {"512": 0.5, "502": 0.5}]) == pytest.approx(
        0.507
    )
    # What would not have gone on as this number counts for nothing.
    assert value(["eye: ", "0.", "512"], [{}, {"0.": 0.5, "1.": 0.25, "left": 0.25}, {"512": 1.0}]) == pytest.approx(
        (0.5 * 0.512 + 0.25 * 1.0) / 0.75
    )


@pytest.mark.parametrize(("digits", "mean"), [("", 0.5), ("0.", 0.4995), ("0.5", 0.5495), ("0.51", 0.5145)])
def test_the_middle_is_the_mean_of_all_numbers_that_begin_alike(digits: str, mean: float) -> None:
    assert middle(digits) == pytest.approx(mean)


def test_beams_and_refined_points_do_not_go_together() -> None:
    with pytest.raises(UserError, match="num_beams=1"):
        Decoding(points="densest", num_beams=2)
    with pytest.raises(UserError, match="one of said, mean, densest"):
        Decoding(points="middle")  # type: ignore[arg-type]  (what somebody may write)


def test_the_densest_place_lies_where_most_may_be_and_not_between_two_places() -> None:
    words = list("0.105")
    # 0.4 for 0.1…, 0.3 for 0.8… and 0.3 for 0.9…: the likeliest digits say 0.105, most lies between 0.8 and 1.
    found = stretches(words, [*sure(words)[:2], {"1": 0.4, "8": 0.3, "9": 0.3}, *sure(words)[3:]], 0, 5)
    assert sum(share for _, _, share in found) == pytest.approx(1)
    assert densest_of(found) == pytest.approx(0.9, abs=0.01)
    assert mean_of(found) == pytest.approx(0.4 * 0.105 + 0.3 * (0.8495 + 0.9495))


def test_a_sure_number_stays_and_a_small_doubt_far_away_does_not_move_it() -> None:
    words = list("0.105")
    assert densest_of(stretches(words, sure(words), 0, 5)) == pytest.approx(0.105)
    doubtful = stretches(words, [*sure(words)[:2], {"1": 0.98, "3": 0.02}, *sure(words)[3:]], 0, 5)
    assert densest_of(doubtful) == pytest.approx(0.105, abs=0.002)
    assert mean_of(doubtful) > 0.109


def test_a_place_is_as_sure_as_what_lies_around_it() -> None:
    words = list("0.105")
    found = stretches(words, [*sure(words)[:2], {"1": 0.4, "8": 0.3, "9": 0.3}, *sure(words)[3:]], 0, 5)
    assert share_near(found, 0.105) == pytest.approx(0.4, abs=0.001)
    assert share_near(found, densest_of(found)) == pytest.approx(0.3 + 0.3 * np.exp(-0.5), abs=0.06)
    assert share_near(found, 0.5) < 0.01
    assert share_near(stretches(words, sure(words), 0, 5), 0.105) == pytest.approx(1)


def test_letters_are_no_digits_whatever_they_are_called() -> None:
    words = list("0.512")
    choices = [*sure(words)[:2], {"5": 0.5, "d": 0.25, "²": 0.25}, {"1": 1.0}, {"2": 1.0}]
    assert value(words, choices) == pytest.approx(0.512)
