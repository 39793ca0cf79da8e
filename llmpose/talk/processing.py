"""`LlmPoseProcessor`: conversations to examples, images to pixels, codes to poses; saved and loaded beside the model.

It knows all lengths (how many placeholders an image takes, how many tokens a pose), so that the model's forward never
inserts or removes anything. What comes from people is checked here, once, and errors name the turn and the item.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from PIL import Image
from torch import Tensor
from transformers import AutoProcessor, AutoTokenizer, PreTrainedTokenizerBase, ProcessorMixin

from llmpose.errors import UserError
from llmpose.model.batch import Batch, Example, prompt_table
from llmpose.model.config import LlmPoseConfig
from llmpose.talk.conversation import Conversation, ImagePart, Part, PointPart, PosePart, TextPart
from llmpose.talk.encoding import Encoding, Place, check_codes, check_rotmat, naming
from llmpose.talk.grammar import Grammar, TokenStrings
from llmpose.talk.images import PixelSpec, pixels, read_image
from llmpose.talk.padding import pad_examples
from llmpose.talk.patterns import Pattern
from llmpose.talk.template import ChatTemplate
from llmpose.talk.text import TextTokens
from llmpose.talk.vocabulary import IMAGE, KEYPOINT, POINT, POSE, Vocabulary, add_pose_words

if TYPE_CHECKING:
    from llmpose.body.pose import Pose
    from llmpose.talk.conversation import ImageSource
    from tokenizer_vq import PoseTokenizer

SETTINGS_FILE = "processor_config.json"
MOST_GRAMMARS = 64
POSE_TOKENIZER_FOLDER = "pose_tokenizer"


class LlmPoseProcessor(ProcessorMixin):
    """All that stands between people and the model's tensors.

    processor = LlmPoseProcessor.from_pretrained("runs/demo/model")
    example = processor.encode(Conversation().user("Describe ", pose).assistant("A man stands."))
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        num_pose_tokens: int,
        num_image_tokens: int = 0,
        vision: Sequence[PixelSpec] = (),
        pose_tokenizer: "PoseTokenizer | str | Path | None" = None,
        pose_attention: str = "mixed",
        given_poses: str = "mixed",
        context_length: int | None = None,
        keypoint_prompts: bool = False,
    ) -> None:
        self.tokenizer = tokenizer
        self.chat_template = cast(Any, tokenizer).chat_template
        self.vocabulary = Vocabulary.of(tokenizer)
        self.vision = tuple(vision)
        self.encoding = Encoding(
            words=self.vocabulary,
            template=ChatTemplate(tokenizer),
            text=TextTokens(tokenizer),
            num_image_tokens=num_image_tokens,
            num_pose_tokens=num_pose_tokens,
            causal_poses=pose_attention == "causal",
            causal_given=given_poses == "causal",
            context_length=context_length,
            prompt_fit=self.vision[0].fit if keypoint_prompts else None,
        )
        self._pose_tokenizer = pose_tokenizer
        self._strings: dict[int, TokenStrings] = {}
        self._grammars: dict[tuple[Pattern, int, str], Grammar] = {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({json.dumps(self.to_dict())})"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_strings": {}, "_grammars": {}}  # made anew where they are needed

    @staticmethod
    def for_model(
        config: LlmPoseConfig,
        tokenizer: PreTrainedTokenizerBase,
        pose_tokenizer: "PoseTokenizer | str | Path | None" = None,
    ) -> "LlmPoseProcessor":
        """The processor that goes with a model of this configuration; adds the pose words where they are missing."""
        add_pose_words(tokenizer, config.codebook_size)
        return LlmPoseProcessor(
            tokenizer,
            num_pose_tokens=config.num_pose_tokens,
            num_image_tokens=config.num_image_tokens,
            vision=[PixelSpec.of(encoder) for encoder in config.encoders()],
            pose_tokenizer=pose_tokenizer,
            pose_attention=config.pose_attention,
            given_poses=config.given_poses,
            context_length=getattr(config.text_config, "max_position_embeddings", None),
            keypoint_prompts=config.keypoint_prompts is not None,
        )

    @property
    def num_pose_tokens(self) -> int:
        return self.encoding.num_pose_tokens

    @property
    def num_image_tokens(self) -> int:
        return self.encoding.num_image_tokens

    @property
    def context_length(self) -> int | None:
        return self.encoding.context_length

    @property
    def end_id(self) -> int:
        """The token that ends an answer: the chat template's, or the tokenizer's end of text."""
        return self.encoding.end_id

    # -- poses ------------------------------------------------------------------------------------------------------

    @property
    def has_pose_tokenizer(self) -> bool:
        return self._pose_tokenizer is not None

    @property
    def pose_tokenizer(self) -> "PoseTokenizer":
        """Read from its folder when first needed."""
        if self._pose_tokenizer is None:
            raise UserError("this processor has no pose tokenizer; pass pose_tokenizer=FOLDER, or give poses as codes")
        if isinstance(self._pose_tokenizer, str | Path):
            from llmpose.model.loading import load_pose_tokenizer

            self._pose_tokenizer = load_pose_tokenizer(self._pose_tokenizer)
            config = self._pose_tokenizer.config
            if (config.codebook_size, config.num_pose_tokens) != (self.vocabulary.codebook_size, self.num_pose_tokens):
                raise UserError(
                    f"the pose tokenizer has {config.codebook_size} codes and {config.num_pose_tokens} tokens a pose, "
                    f"the model was made for {self.vocabulary.codebook_size} and {self.num_pose_tokens}; use the one "
                    "that it was trained with"
                )
        return self._pose_tokenizer

    @torch.no_grad()
    def encode_poses(self, rotmat: Tensor) -> Tensor:
        """(B, 22, 3, 3) to codes (B, num_pose_tokens)."""
        return self.pose_tokenizer.encode(rotmat.to(self.pose_tokenizer.device)).cpu()

    @torch.no_grad()
    def decode_poses(self, codes: Tensor) -> "list[Pose]":
        """Codes (B, num_pose_tokens) to one pose each."""
        from llmpose.body.pose import Pose

        rotmat = self.pose_tokenizer.decode(codes.to(self.pose_tokenizer.device)).cpu() if len(codes) else codes
        return [Pose(rotmat=one) for one in rotmat]

    @torch.no_grad()
    def refine_poses(self, vectors: Tensor) -> "list[Pose]":
        """(B, num_pose_tokens, C), means of `mean_table`'s rows, to one pose each."""
        from llmpose.body.pose import Pose

        rotmat = self.pose_tokenizer.decode_vectors(vectors.to(self.pose_tokenizer.device)).cpu()
        return [Pose(rotmat=one) for one in rotmat]

    def mean_table(self) -> Tensor:
        """(codebook_size, C): what every pose code stands for."""
        vectors = self.pose_tokenizer.code_vectors()
        if vectors is None:
            raise UserError(
                "decoding: refine_poses needs codes that each stand for something; with a residual codebook they do "
                "only together"
            )
        return vectors.repeat(self.pose_tokenizer.config.codebook_size // len(vectors), 1)

    # -- conversations ----------------------------------------------------------------------------------------------

    def encode(self, conversation: Conversation, *, train: bool = True) -> Example:
        """One example. `train`: every answer is labelled; else a prompt, which ends where the answer begins."""
        return self.encode_batch([conversation], train=train)[0]

    def encode_batch(self, conversations: Sequence[Conversation], *, train: bool = True) -> list[Example]:
        """As `encode`, with the poses of all conversations turned into codes at once, and every image read once."""
        codes = self._codes(conversations)
        images: dict[object, Image.Image] = {}

        def read(source: "ImageSource") -> Image.Image:
            key = str(source) if isinstance(source, str | Path) else id(source)
            if key not in images:
                images[key] = read_image(source)
            return images[key]

        examples: list[Example] = []
        for number, (one, one_codes) in enumerate(zip(conversations, codes, strict=True)):
            with naming(one, number, len(conversations)):
                examples.append(self.encoding.example(one, one_codes, train=train, read=read))
        return examples

    def count(self, conversation: Conversation) -> int:
        """Tokens of an answered conversation, whether the model could read so many or not."""
        (codes,) = self._codes([conversation])
        return len(replace(self.encoding, context_length=None).example(conversation, codes, train=True))

    def _codes(self, conversations: Sequence[Conversation]) -> list[dict[Place, tuple[int, ...]]]:
        """The codes of every pose; those given as rotations go through the pose tokenizer together."""
        codes: list[dict[Place, tuple[int, ...]]] = [{} for _ in conversations]
        waiting: list[tuple[int, Place]] = []
        rotmats: list[Tensor] = []
        for number, conversation in enumerate(conversations):
            for place, part in _poses(conversation):
                where = f"turn {place[0] + 1} ({conversation.turns[place[0]].role}), item {place[1] + 1}"
                try:
                    if part.codes is not None:
                        codes[number][place] = check_codes(part.codes, self.encoding)
                    elif part.pose is not None:
                        rotmats.append(check_rotmat(part.pose.rotmat).cpu())
                        waiting.append((number, place))
                except UserError as error:
                    with naming(conversation, number, len(conversations)):
                        raise UserError(f"{where}: {error}") from error
        if waiting:
            found = self.encode_poses(torch.stack(rotmats)).tolist()
            for (number, place), row in zip(waiting, found, strict=True):
                codes[number][place] = tuple(row)
        return codes

    def grammar(self, pattern: Pattern, num_ids: int, device: torch.device | str = "cpu") -> Grammar:
        """A pattern over the vocabulary of a model whose head knows `num_ids` words; made once."""
        key = (pattern, num_ids, str(device))
        if key not in self._grammars:
            if num_ids not in self._strings:
                self._strings[num_ids] = TokenStrings(self, num_ids)
            if len(self._grammars) >= MOST_GRAMMARS:
                self._grammars.clear()
            self._grammars[key] = Grammar(pattern, self._strings[num_ids], device)
        return self._grammars[key]

    # -- tensors ----------------------------------------------------------------------------------------------------

    def pixels(self, images: Sequence[Any]) -> dict[str, Tensor]:
        """Encoder name -> (N, 3, H, W)."""
        return pixels(images, self.vision)

    def pad(self, examples: Sequence[Example], *, side: str = "left") -> Batch:
        """One example a row, padded: for decoding, and wherever packing is not wanted."""
        supports, prompts = prompt_table([prompt for example in examples for prompt in example.prompts])
        images = [*(image for example in examples for image in example.images), *supports]
        batch = pad_examples(
            examples, pad_id=self.vocabulary.pad_id, side=side, pixels=self.pixels(images) if images else None
        )
        batch.prompts = prompts
        return batch

    def __call__(  # type: ignore[override]
        self,
        text: str | Sequence[str],
        images: Sequence[Any] = (),
        poses: Sequence[Any] = (),
        **_: Any,
    ) -> Batch:
        """Prompts whose placeholders `<image>` and `<pose>` are filled, in order, with the images and poses given.

        The text is a question in plain words; the chat template is put around it.
        """
        texts = [text] if isinstance(text, str) else list(text)
        for mark, given in ((IMAGE, images), (POSE, poses)):
            wanted = [one.count(mark) for one in texts]
            if sum(wanted) != len(given):
                written = (
                    f"the texts have {' + '.join(map(str, wanted))}" if len(texts) > 1 else f"the text has {wanted[0]}"
                )
                raise UserError(f"{written} {mark} placeholders and {len(given)} were given; they must match")
        if any(KEYPOINT in one for one in texts):
            raise UserError(f"{KEYPOINT} cannot be filled here; say it with apply_chat_template or KeypointPart")
        supply = {IMAGE: iter(images), POSE: iter(poses)}
        conversations = [Conversation().user(*_filled(one, supply)) for one in texts]
        return self.pad(self.encode_batch(conversations, train=False))

    def apply_chat_template(  # type: ignore[override]
        self, conversation: Any, *, tokenize: bool = True, add_generation_prompt: bool | None = None, **_: Any
    ) -> "Batch | str | list[str]":
        """Messages with typed content (see `Conversation.from_messages`), one conversation or a list of them.

        tokenize=True gives a `Batch`, ready for the model: prompts where the last turn is the user's, labelled rows
        where it is the assistant's. tokenize=False gives the text with placeholders in it, to read.
        """
        if not isinstance(conversation, Conversation) and not conversation:
            raise UserError("there are no messages; a conversation begins with one of the user's")
        is_one = isinstance(conversation, Conversation) or isinstance(conversation[0], Mapping)
        many: Any = [conversation] if is_one else conversation
        found = [_conversation(one) for one in many]
        if tokenize:
            answered = {one.ends_with_answer for one in found}
            if len(answered) > 1:
                raise UserError(
                    "some conversations end with an answer and some with a question; give one kind at a time"
                )
            return self.pad(self.encode_batch(found, train=answered == {True}))
        wants_prompt = [
            not one.ends_with_answer if add_generation_prompt is None else add_generation_prompt for one in found
        ]
        rendered = [self._rendered(one, prompt) for one, prompt in zip(found, wants_prompt, strict=True)]
        return rendered[0] if is_one else rendered

    def _rendered(self, conversation: Conversation, add_generation_prompt: bool) -> str:
        messages = [{"role": "system", "content": conversation.system}] if conversation.system else []
        for turn in conversation.turns:
            messages.append({"role": turn.role, "content": "".join(_as_text(part) for part in turn.parts)})
        return self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=add_generation_prompt)

    # -- files ------------------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        return {
            "processor_class": type(self).__name__,
            "num_pose_tokens": self.num_pose_tokens,
            "num_image_tokens": self.num_image_tokens,
            "vision": [asdict(spec) for spec in self.vision],
            "pose_attention": "causal" if self.encoding.causal_poses else "mixed",
            "given_poses": "causal" if self.encoding.causal_given else "mixed",
            "context_length": self.context_length,
            "keypoint_prompts": self.encoding.prompt_fit is not None,
        }

    def save_pretrained(self, save_directory: str | Path, push_to_hub: bool = False, **kwargs: Any) -> list[str]:
        """Tokenizer, settings and the pose tokenizer (in its own folder) into one directory."""
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        self.tokenizer.save_pretrained(folder)
        if self._pose_tokenizer is not None:
            self.pose_tokenizer.save_pretrained(folder / POSE_TOKENIZER_FOLDER)
        settings = folder / SETTINGS_FILE
        settings.write_text(json.dumps(self.to_dict(), indent=2) + "\n", encoding="utf-8")
        if push_to_hub:
            self.push_to_hub(kwargs.pop("repo_id", folder.name), **kwargs)
        return [str(settings)]

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **kwargs: Any) -> "LlmPoseProcessor":  # type: ignore[override]
        """From a folder that `save_pretrained` wrote, or from the hub."""
        folder = local_folder(pretrained_model_name_or_path, revision=kwargs.get("revision"))
        path = folder / SETTINGS_FILE
        if not path.is_file():
            raise UserError(f"{path}: not found; expected the folder of a saved llmpose model or processor")
        try:
            settings = json.loads(path.read_text(encoding="utf-8"))
            settings.pop("processor_class", None)
            vision = [PixelSpec.from_dict(spec) for spec in settings.pop("vision")]
            pose_folder = folder / POSE_TOKENIZER_FOLDER
            return cls(
                AutoTokenizer.from_pretrained(folder),
                vision=vision,
                pose_tokenizer=pose_folder if pose_folder.is_dir() else None,
                **settings,
            )
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise UserError(f"{path}: not the settings of an llmpose processor ({error})") from error


def local_folder(name: str | Path, *, revision: str | None = None, weights: bool = False) -> Path:
    """The folder itself, or the downloaded copy of a model on the hub; `weights`: with the model's own."""
    if Path(name).is_dir():
        return Path(name)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    patterns = ["*.json", "*.jinja", "*.model", "*.txt", f"{POSE_TOKENIZER_FOLDER}/*"]
    try:
        wanted = [*patterns, "*.safetensors"] if weights else patterns
        return Path(snapshot_download(str(name), revision=revision, allow_patterns=wanted))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError) as error:
        raise UserError(f"{name}: no such folder, and no such model on the hub ({type(error).__name__})") from error


def _poses(conversation: Conversation) -> list[tuple[Place, PosePart]]:
    turns = enumerate(conversation.turns)
    return [((i, j), part) for i, turn in turns for j, part in enumerate(turn.parts) if isinstance(part, PosePart)]


def _conversation(value: Any) -> Conversation:
    return value if isinstance(value, Conversation) else Conversation.from_messages(value)


def _filled(text: str, supply: Mapping[str, Any]) -> list[Part]:
    parts: list[Part] = []
    for piece in re.split(f"({IMAGE}|{POSE})", text):
        if piece == IMAGE:
            parts.append(ImagePart(next(supply[IMAGE])))
        elif piece == POSE:
            parts.append(PosePart(pose=next(supply[POSE])))
        elif piece:
            parts.append(TextPart(piece))
    return parts


def _as_text(part: Part) -> str:
    if isinstance(part, TextPart):
        return part.text
    words: dict[type[Part], str] = {PosePart: POSE, ImagePart: IMAGE, PointPart: POINT}
    return words.get(type(part), KEYPOINT)


AutoProcessor.register(LlmPoseConfig, LlmPoseProcessor, exist_ok=True)
