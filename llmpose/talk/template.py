"""A chat template as the literal strings around what the turns say, so that content and template never mix.

    Vicuna, two turns:    "USER: " | what the user says | " ASSISTANT:" | what the model says | "</s>"

The template is rendered once per succession of roles with a sentinel for each turn's content, and cut at the sentinels.
So no answer is ever searched for in a string, a user who types "</s>" or "ASSISTANT:" forges nothing, and rendering
thousands of conversations costs a dictionary look-up each.
"""

from dataclasses import dataclass
from typing import Any, cast

from transformers import PreTrainedTokenizerBase

from llmpose.errors import UserError
from llmpose.talk.conversation import Role


@dataclass(frozen=True)
class Frame:
    """`literals[i]` stands before the content of turn i, the last one after the last turn.

    `leads[i]` are spaces that the template puts before an answer. They belong to the answer's first word (in byte-level
    and sentencepiece vocabularies alike a word carries its space), so a prompt never ends in a lone space token.
    """

    literals: tuple[str, ...]
    leads: tuple[str, ...]


class ChatTemplate:
    """The chat template of a tokenizer, cut into frames. `has_system`: the first content is the system's."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = cast(Any, tokenizer)
        self._frames: dict[tuple[tuple[Role, ...], bool], Frame] = {}

    def frame(self, roles: tuple[Role, ...], has_system: bool = False) -> Frame:
        if (roles, has_system) not in self._frames:
            self._frames[roles, has_system] = self._cut(("system", *roles) if has_system else roles)
        return self._frames[roles, has_system]

    def end_word(self) -> str:
        """What the template puts after an answer: the text up to the next turn."""
        return self.frame(("user", "assistant")).literals[-1]

    def _cut(self, roles: tuple[str, ...]) -> Frame:
        sentinels = [f"\ue000{index}\ue001" for index in range(len(roles))]
        rendered = self._render(roles, sentinels, as_list=False)
        if any(rendered.count(sentinel) != 1 for sentinel in sentinels):
            rendered = self._render(roles, sentinels, as_list=True)  # templates of multimodal models want lists
        literals: list[str] = []
        for sentinel in sentinels:
            before, found, rendered = rendered.partition(sentinel)
            if not found:
                raise UserError(
                    f"the chat template does not show every turn of {' / '.join(roles)} once and in order; "
                    "set tokenizer.chat_template to one that does"
                )
            literals.append(before)
        literals.append(rendered)
        leads = [""] * len(literals)
        for index, role in enumerate(roles):
            if role == "assistant":
                kept = literals[index].rstrip(" ")
                literals[index], leads[index] = kept, literals[index][len(kept) :]
        return Frame(tuple(literals), tuple(leads))

    def _render(self, roles: tuple[str, ...], contents: list[str], as_list: bool) -> str:
        messages = [
            {"role": role, "content": [{"type": "text", "text": content}] if as_list else content}
            for role, content in zip(roles, contents, strict=True)
        ]
        try:
            return self._tokenizer.apply_chat_template(messages, tokenize=False)
        except Exception as error:  # jinja's own errors and those that templates raise on purpose
            raise UserError(f"the chat template refuses the turns {' / '.join(roles)}: {error}") from error
