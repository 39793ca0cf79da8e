"""WordNet 3.0 read straight from its database files, with the little that METEOR asks of it: the lemmas of a word's
synsets.

Debian's package `wordnet-base` puts the files into /usr/share/wordnet; nltk's own reader refuses them, because a file
it wants for other purposes (lexnames) is not in the package. Formats: wndb(5WN) and morphy(7WN) of WordNet's manual.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

SEARCH_PATHS = ("/usr/share/wordnet", "/usr/local/share/wordnet", "/opt/homebrew/share/wordnet")
_FILES = {"n": "noun", "v": "verb", "a": "adj", "r": "adv"}
# (ending to cut, ending to put there) per part of speech, tried in this order.
_ENDINGS: dict[str, tuple[tuple[str, str], ...]] = {
    "n": (
        ("s", ""), ("ses", "s"), ("ves", "f"), ("xes", "x"), ("zes", "z"),
        ("ches", "ch"), ("shes", "sh"), ("men", "man"), ("ies", "y"),
    ),
    "v": (("s", ""), ("ies", "y"), ("es", "e"), ("es", ""), ("ed", "e"), ("ed", ""), ("ing", "e"), ("ing", "")),
    "a": (("er", ""), ("est", ""), ("er", "e"), ("est", "e")),
    "r": (),
}  # fmt: skip


@dataclass(frozen=True)
class Lemma:
    """One word of a synset; `name()` is what nltk's METEOR calls."""

    word: str

    def name(self) -> str:
        return self.word


@dataclass(frozen=True)
class Synset:
    words: tuple[Lemma, ...]

    def lemmas(self) -> tuple[Lemma, ...]:
        return self.words


class WordNet:
    """`synsets(word)` as nltk's METEOR uses it, over all four parts of speech."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self._offsets: dict[str, dict[str, list[int]]] = {}
        self._exceptions: dict[str, dict[str, list[str]]] = {}
        self._data: dict[str, bytes] = {}
        for part, name in _FILES.items():
            self._data[part] = (self.root / f"data.{name}").read_bytes()
            self._offsets[part] = dict(_index_rows(self.root / f"index.{name}"))
            rows = (
                line.split() for line in (self.root / f"{name}.exc").read_text("utf-8").splitlines() if line.strip()
            )
            self._exceptions[part] = {row[0]: row[1:] for row in rows}
        self._synsets = lru_cache(maxsize=50_000)(self._look_up)

    def synsets(self, word: str) -> tuple[Synset, ...]:
        return self._synsets(word.lower())

    def _look_up(self, word: str) -> tuple[Synset, ...]:
        return tuple(
            self._read_synset(part, offset)
            for part in _FILES
            for form in self.base_forms(word, part)
            for offset in self._offsets[part][form]
        )

    def _read_synset(self, part: str, offset: int) -> Synset:
        """A data line: offset, file number, part of speech, word count in hex, then (word, lexical id) pairs."""
        data = self._data[part]
        fields = data[offset : data.index(b"\n", offset)].split()
        count = int(fields[3], 16)
        words = (fields[4 + 2 * i].decode("utf-8") for i in range(count))
        # Adjectives may carry a marker of where they stand: "ready(p)".
        return Synset(tuple(Lemma(word.partition("(")[0]) for word in words))

    def base_forms(self, word: str, part: str) -> list[str]:
        """Morphy: the word itself and its exceptions if it is irregular, else endings are cut until a known word
        appears.
        """
        known = self._offsets[part]
        irregular = self._exceptions[part].get(word)
        if irregular is not None:
            return _unique(form for form in (word, *irregular) if form in known)
        cut = self._cut(part, [word])
        found = _unique(form for form in (word, *cut) if form in known)
        while not found and cut:
            cut = self._cut(part, cut)
            found = _unique(form for form in cut if form in known)
        return found

    @staticmethod
    def _cut(part: str, forms: list[str]) -> list[str]:
        return [form[: -len(old)] + new for form in forms for old, new in _ENDINGS[part] if form.endswith(old)]


def _index_rows(path: Path) -> Iterable[tuple[str, list[int]]]:
    """lemma, part, synset count, ..., offsets (as many as synsets, at the end of the line); the licence's lines begin
    with a blank.
    """
    for line in path.read_text("utf-8").splitlines():
        if not line.startswith(" "):
            fields = line.split()
            yield fields[0], [int(offset) for offset in fields[-int(fields[2]) :]]


def _unique(forms: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(forms))


@lru_cache(maxsize=4)
def load_wordnet(root: str | None = None) -> WordNet | None:
    """The first WordNet found (argument, WNSEARCHDIR, the usual places), or None."""
    places = [root] if root else [os.environ.get("WNSEARCHDIR", ""), *SEARCH_PATHS]
    for place in places:
        if place and (Path(place) / "data.noun").is_file():
            return WordNet(place)
    return None
