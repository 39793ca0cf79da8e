"""BLEU-4, ROUGE-L and METEOR as PoseScript, PoseFix and UniPose report them: the definitions of Hugging Face
`evaluate`.

Not the COCO caption toolkit, whose numbers of the same names are far away (METEOR 0.44 instead of 0.70 on one set of
sentences). All values are shares of 1. `evaluate` fetches its metric scripts from the network, so the libraries
underneath are called here.
"""

import math
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from eval.metrics.base import Interval, Metric, bootstrap, bootstrap_mean
from eval.metrics.wordnet import WordNet, load_wordnet

MAX_ORDER = 4
METEOR_NAMES = {True: "meteor", False: "meteor_without_wordnet"}
HOW_TO_GET_WORDNET = (
    "apt install wordnet-base (or set WNSEARCHDIR to a folder with WordNet 3.0's data.noun, index.noun, ...)"
)


@lru_cache(maxsize=1)
def _tokenizer_13a():
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

    return Tokenizer13a()


def tokenize_13a(sentence: str) -> list[str]:
    """mteval's tokens; case is kept."""
    return _tokenizer_13a()(sentence).split()


def _ngrams(tokens: list[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(tokens[i : i + order]) for i in range(len(tokens) - order + 1))


def bleu_counts(prediction: str, references: Sequence[str]) -> np.ndarray:
    """One sentence's part of corpus BLEU: clipped matches of orders 1-4, possible matches of orders 1-4, length,
    shortest reference.
    """
    predicted, given = tokenize_13a(prediction), [tokenize_13a(reference) for reference in references]
    matches, possible = [], []
    for order in range(1, MAX_ORDER + 1):
        ceiling: Counter[tuple[str, ...]] = Counter()
        for reference in given:
            ceiling |= _ngrams(reference, order)
        matches.append(sum((_ngrams(predicted, order) & ceiling).values()))
        possible.append(max(len(predicted) - order + 1, 0))
    return np.array([*matches, *possible, len(predicted), min(map(len, given))], dtype=np.int64)


def bleu_from_counts(counts: np.ndarray) -> float:
    """Corpus BLEU-4 of summed counts (10,): geometric mean of the precisions, no smoothing, brevity penalty."""
    matches, possible, length, reference_length = counts[:4], counts[4:8], counts[8], counts[9]
    if matches.min() == 0:
        return 0.0
    precision = math.exp(float(np.log(matches / possible).mean()))
    return precision * (1.0 if length > reference_length else math.exp(1 - reference_length / length))


def bleu4(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Corpus BLEU-4, share of 1."""
    return bleu_from_counts(sum(bleu_counts(p, r) for p, r in zip(predictions, references, strict=True)))  # type: ignore[arg-type]


@lru_cache(maxsize=1)
def _rouge_scorer():
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], use_stemmer=False)


def rouge_l(prediction: str, references: Sequence[str]) -> float:
    """F1 of the longest common subsequence, the best over the references. (`evaluate` prints a bootstrap median of
    the mean.)
    """
    return float(_rouge_scorer().score_multi(list(references), prediction)["rougeL"].fmeasure)


@lru_cache(maxsize=1)
def _word_tokenizers():
    from nltk.tokenize.destructive import NLTKWordTokenizer
    from nltk.tokenize.punkt import PunktSentenceTokenizer

    # Untrained punkt needs no download; it differs from the trained one at abbreviations such as "approx." only.
    return PunktSentenceTokenizer(), NLTKWordTokenizer()


def word_tokenize(sentence: str) -> list[str]:
    """nltk's word_tokenize."""
    sentences, words = _word_tokenizers()
    return [token for part in sentences.tokenize(sentence) for token in words.tokenize(part)]


class _NoWordNet:
    """Stands in for a missing WordNet: no word has a synonym, so METEOR matches exact words and stems only."""

    def synsets(self, word: str) -> tuple[()]:
        return ()


def meteor(prediction: str, references: Sequence[str], wordnet: WordNet | None) -> float:
    """nltk's METEOR (alpha .9, beta 3, gamma .5), the best over the references; without WordNet a lower number.

    nltk hands stems on to the synonym step, so a synonym counts only where the stem is itself a word. Published numbers
    have this too.
    """
    from nltk.translate.meteor_score import meteor_score

    given = [word_tokenize(reference) for reference in references]
    source = wordnet if wordnet is not None else _NoWordNet()
    tokens = word_tokenize(prediction)
    return float(meteor_score(given, tokens, wordnet=source, alpha=0.9, beta=3.0, gamma=0.5))  # type: ignore[arg-type]


class TextOverlap(Metric[tuple[np.ndarray, float, float]]):
    """BLEU-4, ROUGE-L, METEOR over a corpus; METEOR without WordNet is named so, never `meteor`."""

    def __init__(self, wordnet_root: str | None = None) -> None:
        super().__init__()
        self.wordnet = load_wordnet(wordnet_root)

    @property
    def meteor_name(self) -> str:
        return METEOR_NAMES[self.wordnet is not None]

    def update(self, ids: Sequence[str], predictions: Sequence[str], references: Sequence[Sequence[str]]) -> None:
        """An empty prediction scores 0 everywhere; a record without any reference is a mistake of the caller."""
        rows = [
            (bleu_counts(p, r), rouge_l(p, r), meteor(p, r, self.wordnet))
            for p, r in zip(predictions, references, strict=True)
        ]
        self.add(ids, rows)

    def compute(self) -> dict[str, float]:
        if not self.rows:
            return {"n": 0}
        counts, rouge, meteors = self._arrays()
        return {
            "bleu4": bleu_from_counts(counts.sum(axis=0)),
            "rouge_l": float(rouge.mean()),
            self.meteor_name: float(meteors.mean()),
            "n": len(self),
        }

    def intervals(self) -> dict[str, Interval]:
        counts, rouge, meteors = self._arrays()
        return {
            "bleu4": bootstrap(len(counts), lambda rows: bleu_from_counts(counts[rows].sum(axis=0))),
            "rouge_l": bootstrap_mean(rouge),
            self.meteor_name: bootstrap_mean(meteors),
        }

    def _arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rows = self.ordered()
        return (
            np.stack([row[0] for row in rows]),
            np.array([row[1] for row in rows]),
            np.array([row[2] for row in rows]),
        )
