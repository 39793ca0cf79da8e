"""The words a language model gains: pose tokens, the marks around a pose block, the pose query, and placeholders.

    <p> <pose_17> <pose_903> ... </p>      a pose that is given: its codes as words
    <p> <pose_query> <pose_query> ... </p> a pose to be produced: every query is answered in one step
    <image> <keypoint>                     places that vision features and keypoint prompts fill
    <point>                                a point that is found: a head reads x and y off it (models that regress)
    <pose>                                 where a pose goes, in a text written by hand; never seen by the model

They can be added to any tokenizer of transformers; pose tokens lie in one run of ids: id = code + a constant.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, cast, overload

from torch import Tensor
from transformers import AddedToken, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from llmpose.errors import UserError

POSE_OPEN, POSE_CLOSE, POSE_QUERY = "<p>", "</p>", "<pose_query>"
IMAGE, POSE, KEYPOINT = "<image>", "<pose>", "<keypoint>"
POINT = "<point>"
"""KptLLM's word for a position (KptLLM++ §3.4). The paper calls it <keypoint>, which here is one that is given."""
MARKS = (POSE_OPEN, POSE_CLOSE, POSE_QUERY, IMAGE, POSE, KEYPOINT)


@dataclass(frozen=True)
class Vocabulary:
    """Where the added words lie among a tokenizer's ids."""

    codebook_size: int
    first_pose_id: int
    pose_open_id: int
    pose_close_id: int
    pose_query_id: int
    image_id: int
    pose_id: int
    keypoint_id: int
    end_id: int
    """Ends an answer."""
    pad_id: int
    size: int
    """Rows that the embedding and the head need at least: the largest id + 1."""
    point_id: int | None = None
    """Where `add_point_word` was called."""

    @staticmethod
    def of(extended: PreTrainedTokenizerBase) -> "Vocabulary":
        """Read the ids from a tokenizer that `add_pose_words` has extended."""
        tokenizer = cast(Any, extended)
        known = tokenizer.get_added_vocab()
        if missing := [word for word in (*MARKS, pose_word(0)) if word not in known]:
            raise UserError(f"the tokenizer lacks {', '.join(missing)}; extend it with llmpose.talk.add_pose_words")
        codebook_size = 0
        while (word := pose_word(codebook_size)) in known:
            if known[word] != known[pose_word(0)] + codebook_size:
                raise UserError(f"the tokenizer's pose tokens do not lie in one run: {word} has id {known[word]}")
            codebook_size += 1
        if tokenizer.eos_token_id is None:
            raise UserError("the tokenizer has no end-of-text token; set tokenizer.eos_token")
        pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
        return Vocabulary(
            codebook_size=codebook_size,
            first_pose_id=known[pose_word(0)],
            pose_open_id=known[POSE_OPEN],
            pose_close_id=known[POSE_CLOSE],
            pose_query_id=known[POSE_QUERY],
            image_id=known[IMAGE],
            pose_id=known[POSE],
            keypoint_id=known[KEYPOINT],
            end_id=int(tokenizer.eos_token_id),
            pad_id=int(pad_id),
            size=max(tokenizer.get_vocab().values()) + 1,
            point_id=known.get(POINT),
        )

    @property
    def pose_ids(self) -> range:
        """Ids of all pose tokens, in the order of their codes."""
        return range(self.first_pose_id, self.first_pose_id + self.codebook_size)

    @property
    def added_ids(self) -> list[int]:
        """Every id that was added to the tokenizer: the rows that a stage trains in the embedding and in the head."""
        marks = (
            self.pose_open_id,
            self.pose_close_id,
            self.pose_query_id,
            self.image_id,
            self.pose_id,
            self.keypoint_id,
        )
        return sorted([*marks, *self.pose_ids, *([] if self.point_id is None else [self.point_id])])

    @overload
    def code_to_id(self, codes: int) -> int: ...
    @overload
    def code_to_id(self, codes: Tensor) -> Tensor: ...
    def code_to_id(self, codes: int | Tensor) -> int | Tensor:
        """Pose codes 0 ... codebook_size-1 to token ids; an int or a tensor of any shape."""
        self._check(codes, 0, "pose code")
        return codes + self.first_pose_id

    @overload
    def id_to_code(self, ids: int) -> int: ...
    @overload
    def id_to_code(self, ids: Tensor) -> Tensor: ...
    def id_to_code(self, ids: int | Tensor) -> int | Tensor:
        """Token ids of pose tokens back to codes."""
        self._check(ids, self.first_pose_id, "pose token id")
        return ids - self.first_pose_id

    def is_pose(self, ids: Tensor) -> Tensor:
        return (ids >= self.first_pose_id) & (ids < self.first_pose_id + self.codebook_size)

    def _check(self, values: int | Tensor, first: int, what: str) -> None:
        low, high = (values, values) if isinstance(values, int) else _extremes(values, first)
        if low < first or high >= first + self.codebook_size:
            raise UserError(
                f"{what} {low if low < first else high} is outside {first} ... {first + self.codebook_size - 1}; "
                "the codes come from a pose tokenizer with another codebook"
            )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def _extremes(values: Tensor, default: int) -> tuple[int, int]:
    return (int(values.min()), int(values.max())) if values.numel() else (default, default)


def pose_word(code: int) -> str:
    return f"<pose_{code}>"


def add_pose_words(given: PreTrainedTokenizerBase, codebook_size: int) -> Vocabulary:
    """Add the marks and `codebook_size` pose tokens to a tokenizer (in place), and a chat template if it has none.

    Words that are there already keep their ids, so calling it twice changes nothing; a tokenizer that was extended for
    another codebook is an error. Afterwards the model's tables need `vocabulary.size` rows.
    """
    tokenizer = cast(Any, given)
    known = tokenizer.get_added_vocab()
    if pose_word(0) in known:
        vocabulary = Vocabulary.of(tokenizer)
        if vocabulary.codebook_size != codebook_size:
            raise UserError(
                f"the tokenizer already has {vocabulary.codebook_size} pose tokens, the codebook has {codebook_size} "
                "codes; start from the language model's own tokenizer"
            )
        return vocabulary
    words = [*MARKS, *(pose_word(code) for code in range(codebook_size))]
    # Special, so that the same letters inside somebody's text can be kept from becoming one of them.
    tokenizer.add_tokens([AddedToken(word, special=True, normalized=False) for word in words], special_tokens=True)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.unk_token if tokenizer.unk_token is not None else tokenizer.eos_token
    if not getattr(tokenizer, "chat_template", None):
        tokenizer.chat_template = PLAIN_CHAT_TEMPLATE
    return Vocabulary.of(tokenizer)


def add_point_word(extended: PreTrainedTokenizerBase) -> Vocabulary:
    """Add `<point>` to a tokenizer that has pose words (in place): what a model says whose head regresses positions."""
    cast(Any, extended).add_tokens([AddedToken(POINT, special=True, normalized=False)], special_tokens=True)
    return Vocabulary.of(extended)


PLAIN_CHAT_TEMPLATE = (
    "{{ bos_token or '' }}"
    "{% for message in messages %}"
    "{% if message.role == 'system' %}{{ message.content }}\n"
    "{% elif message.role == 'user' %}USER: {{ message.content }} "
    "{% else %}ASSISTANT: {{ message.content }}{{ eos_token }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
"""For base models without a template: the roles written out, as Vicuna does it."""

SHORT_CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% if message.role == 'system' %}{{ message.content }}"
    "{% elif message.role == 'user' %}<user>{{ message.content }}"
    "{% else %}<assistant>{{ message.content }}{{ eos_token }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
"""For `train_tokenizer`: a role costs one token."""


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of at most `vocab_size` words, learnt from `texts`: any text round-trips exactly.

    Digits stay single, so numbers are spelt; the same texts give the same tokenizer, byte for byte. It comes with a
    chat template in which a role is one token. Pose words are added afterwards by `add_pose_words`.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    specials = ["<pad>", "<s>", "</s>", "<user>", "<assistant>"]
    if vocab_size < len(alphabet) + len(specials):
        raise UserError(f"vocab_size is {vocab_size}; bytes and marks alone take {len(alphabet) + len(specials)}")
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(  # type: ignore[assignment]
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    core.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=specials, initial_alphabet=alphabet, show_progress=False
    )
    core.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        additional_special_tokens=["<user>", "<assistant>"],
        chat_template=SHORT_CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )
