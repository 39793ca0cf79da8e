"""Text to token ids and back: nobody's words ever turn into marks, and prompts agree with what was trained on."""

import re
from typing import Any, cast

from transformers import PreTrainedTokenizerBase

_POSE_WORD = re.compile(r"<pose_\d+>")  # one pattern instead of thousands of alternatives


class TextTokens:
    """A tokenizer's text side."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = cast(Any, tokenizer)
        added = self._tokenizer.added_tokens_decoder
        self._special_ids = {*self._tokenizer.all_special_ids, *(i for i, token in added.items() if token.special)}
        marks = {token.content for token in added.values() if token.special} | set(self._tokenizer.all_special_tokens)
        others = sorted(re.escape(mark) for mark in marks if not _POSE_WORD.fullmatch(mark))
        self._mark = re.compile("|".join([_POSE_WORD.pattern, *others]))

    def ids(self, text: str, *, trusted: bool) -> list[int]:
        """`trusted` text is a template's: its marks are marks. In any other text they are letters."""
        if not text:
            return []
        split = not trusted and self._mark.search(text) is not None
        return self._tokenizer(text, add_special_tokens=False, split_special_tokens=split).input_ids

    def run(self, pieces: list[tuple[str, bool]]) -> list[int]:
        """Pieces (text, trusted) that follow each other, tokenised as one text: words may span template and content.

        Only where untrusted text holds a mark is every piece tokenised by itself.
        """
        if any(self._mark.search(text) for text, trusted in pieces if not trusted):
            return [token_id for text, trusted in pieces for token_id in self.ids(text, trusted=trusted)]
        return self.ids("".join(text for text, _ in pieces), trusted=True)

    def answer(self, text: str, *, lead: str, context: str) -> list[int]:
        """An answer's first words as they come out in decoding: after exactly the tokens of the prompt.

        `context` is the template's literal before the answer. Some vocabularies put a space before whatever stands
        first in a text; seen after its context, the answer does not stand first.
        """
        alone = self.ids(lead + text, trusted=False)
        if self._mark.search(text) is not None or not context:
            return alone
        before = self.ids(context, trusted=True)
        together = self.ids(context + lead + text, trusted=True)
        return together[len(before) :] if together[: len(before)] == before else alone

    def end_id(self, closing: str) -> int | None:
        """The mark with which a template ends an answer, if it does."""
        ids = self.ids(closing.lstrip(" "), trusted=True)
        return ids[0] if ids and ids[0] in self._special_ids else None

    def decode(self, ids: list[int]) -> str:
        return self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
