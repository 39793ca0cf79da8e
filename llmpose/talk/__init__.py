"""From conversation to tokens and back: vocabulary, processing, grammar, generation, chat.

    conversation   turns made of parts                     vocabulary, text, template   words, ids, chat templates
    images         anything to pixels                      row_writer, encoding         a conversation as one example
    processing     LlmPoseProcessor: all of these          patterns, grammar            what may be said next
    generation     one answer for each conversation        loop, rows, beams, cache     how, step by step
    chat           LlmPose, ChatSession                    terminal, attach, figure     the same for a person

Imports `llmpose.body`, `llmpose.model` and `tokenizer_vq`. The names below are loaded when first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {
    "Answer": "decoding",
    "Conversation": "conversation",
    "Decoding": "decoding",
    "ImagePart": "conversation",
    "KeypointPart": "conversation",
    "Part": "conversation",
    "LlmPoseProcessor": "processing",
    "PosePart": "conversation",
    "TextPart": "conversation",
    "Turn": "conversation",
    "fill_template": "conversation",
    "generate": "generation",
    "Vocabulary": "vocabulary",
    "add_pose_words": "vocabulary",
    "train_tokenizer": "vocabulary",
}

if TYPE_CHECKING:
    from llmpose.talk.conversation import Conversation as Conversation
    from llmpose.talk.conversation import ImagePart as ImagePart
    from llmpose.talk.conversation import KeypointPart as KeypointPart
    from llmpose.talk.conversation import Part as Part
    from llmpose.talk.conversation import PosePart as PosePart
    from llmpose.talk.conversation import TextPart as TextPart
    from llmpose.talk.conversation import Turn as Turn
    from llmpose.talk.conversation import fill_template as fill_template
    from llmpose.talk.decoding import Answer as Answer
    from llmpose.talk.decoding import Decoding as Decoding
    from llmpose.talk.generation import generate as generate
    from llmpose.talk.processing import LlmPoseProcessor as LlmPoseProcessor
    from llmpose.talk.vocabulary import Vocabulary as Vocabulary
    from llmpose.talk.vocabulary import add_pose_words as add_pose_words
    from llmpose.talk.vocabulary import train_tokenizer as train_tokenizer


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'llmpose.talk' has no attribute {name!r}")
    return getattr(import_module(f"llmpose.talk.{_HOMES[name]}"), name)
