"""Text metrics against values of Hugging Face `evaluate`, which PoseScript and PoseFix report."""

import math

import pytest

from eval.metrics import text as t
from eval.metrics.wordnet import load_wordnet

# The example in `evaluate`'s description of METEOR; it prints 0.6944.
PREDICTION = "It is a guide to action which ensures that the military always obeys the commands of the party"
REFERENCE = "It is a guide to action that ensures that the military will forever heed Party commands"
wordnet = load_wordnet()
needs_wordnet = pytest.mark.skipif(wordnet is None, reason=f"WordNet is not installed: {t.HOW_TO_GET_WORDNET}")


def test_a_perfect_text_scores_the_maximum() -> None:
    sentences = [
        "The person is standing on the left leg, arms crossed.",
        "Bend your right knee a little more than now.",
    ]
    metric = t.TextOverlap()
    metric.update(["a", "b"], sentences, [["Something else entirely.", s] for s in sentences])
    result = metric.compute()
    assert result["bleu4"] == pytest.approx(1.0)
    assert result["rouge_l"] == 1.0
    # METEOR punishes even one chunk: 1 - 0.5 * (1 / matches)^3.
    lengths = [len(t.word_tokenize(s)) for s in sentences]
    assert result[metric.meteor_name] == pytest.approx(sum(1 - 0.5 / n**3 for n in lengths) / 2)


def test_bleu_keeps_case_and_does_not_smooth() -> None:
    sentence = (
        "The cat sat on the mat today"  # seven tokens; one wrong capital leaves 6/7 5/6 4/5 3/4, whose product is 3/7
    )
    assert t.bleu4([sentence.lower()], [[sentence]]) == pytest.approx((3 / 7) ** 0.25)
    assert t.bleu4([sentence.lower()], [[sentence]]) == pytest.approx(0.8091, abs=1e-4)
    assert t.bleu4(["legs apart"], [["arms up"]]) == 0.0


def test_bleu_compares_with_the_shortest_reference() -> None:
    prediction = "one two three four five"
    references = ["one two three four", "one two three four five six seven eight nine"]
    assert t.bleu4([prediction], [references]) == pytest.approx(1.0)  # 5 > 4: no brevity penalty
    longer = ["one two three four five six seven eight nine"]
    assert t.bleu4([prediction], [longer]) == pytest.approx(math.exp(1 - 9 / 5))


def test_the_13a_tokenizer() -> None:
    assert t.tokenize_13a("3-4 cm") == ["3", "-", "4", "cm"]
    assert t.tokenize_13a("left-arm") == ["left-arm"]
    assert t.tokenize_13a("person's") == ["person's"]


def test_rouge_l_worked_by_hand_takes_the_best_reference() -> None:
    # Longest common subsequence of "a b c d" and "a c d e f" is "a c d": P 3/4, R 3/5, F1 2/3.
    assert t.rouge_l("A b, c d", ["x y z", "a c d e f"]) == pytest.approx(2 / 3)


def test_meteor_without_wordnet_is_named_so() -> None:
    metric = t.TextOverlap()
    metric.wordnet = None
    metric.update(["a"], [PREDICTION], [[REFERENCE]])
    assert "meteor" not in metric.compute()
    assert metric.compute()["meteor_without_wordnet"] > 0


@needs_wordnet
def test_meteor_equals_the_published_example() -> None:
    assert t.meteor(PREDICTION, [REFERENCE], wordnet) == pytest.approx(0.6944, abs=1e-4)


@needs_wordnet
def test_wordnet_lets_meteor_match_synonyms() -> None:
    # nltk looks up stems, so a synonym counts only where the stem is itself a word ("flex"), not in "individual"
    # ("individu").
    prediction, reference = "flex the left arm", "bend the left arm"
    assert t.meteor(prediction, [reference], wordnet) > t.meteor(prediction, [reference], None) + 0.1
    stem_lost = ("The individual stands", ["The person stands"])
    assert t.meteor(*stem_lost, wordnet) == t.meteor(*stem_lost, None)


@needs_wordnet
def test_wordnet_knows_inflected_and_irregular_words() -> None:
    assert wordnet is not None
    assert wordnet.base_forms("feet", "n") == ["foot"]
    assert wordnet.base_forms("raises", "v") == ["raise"]
    assert wordnet.base_forms("raising", "v") == ["raise"]
    lemmas = {lemma.name() for synset in wordnet.synsets("Person") for lemma in synset.lemmas()}
    assert {"person", "individual", "someone"} <= lemmas
    assert wordnet.synsets("qwertyuiop") == ()


def test_an_empty_answer_scores_zero_and_does_not_stop_the_run() -> None:
    metric = t.TextOverlap()
    metric.update(["a"], [""], [["The person is standing."]])
    result = metric.compute()
    assert (result["bleu4"], result["rouge_l"], result[metric.meteor_name]) == (0, 0, 0)


def test_intervals_hold_the_values() -> None:
    sentences = [f"The person raises {n} hands above the head and bends both knees" for n in range(20)]
    references = [[f"The person raises {n % 7} arms over the head and bends both knees"] for n in range(20)]
    metric = t.TextOverlap()
    metric.update([str(n) for n in range(20)], sentences, references)
    values = metric.compute()
    for name, interval in metric.intervals().items():
        assert interval.low <= values[name] <= interval.high
        assert interval.value == pytest.approx(values[name])
