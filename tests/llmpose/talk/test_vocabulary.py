"""Codes and ids, any tokenizer, the same bytes every time."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_tokenizers import sentencepiece_like
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from llmpose.errors import UserError
from llmpose.talk.vocabulary import MARKS, Vocabulary, add_pose_words, pose_word, train_tokenizer

TEXTS = ["The person raises the left arm.", "Both knees are bent, 0.123 and 45."] * 10


@pytest.fixture(params=["trained", "sentencepiece"])
def any_tokenizer(request: Any) -> PreTrainedTokenizerFast:
    return train_tokenizer(TEXTS, 300) if request.param == "trained" else sentencepiece_like(TEXTS)


def test_codes_become_ids_and_back(any_tokenizer: PreTrainedTokenizerFast) -> None:
    words = add_pose_words(any_tokenizer, 64)
    codes = torch.arange(64).reshape(2, 32)
    ids = words.code_to_id(codes)
    assert torch.equal(words.id_to_code(ids), codes)
    assert any_tokenizer.convert_ids_to_tokens(ids[0].tolist()) == [pose_word(code) for code in range(32)]
    assert words.id_to_code(words.code_to_id(5)) == 5
    around = torch.tensor([words.first_pose_id - 1, words.first_pose_id, words.first_pose_id + 63])
    assert words.is_pose(around).tolist() == [False, True, True]


def test_every_word_is_one_token_and_none_is_lost(any_tokenizer: PreTrainedTokenizerFast) -> None:
    words = add_pose_words(any_tokenizer, 64)
    for word in [*MARKS, pose_word(63)]:
        assert len(any_tokenizer(word, add_special_tokens=False).input_ids) == 1
    assert len(words.added_ids) == len(set(words.added_ids)) == 64 + len(MARKS)
    assert words.size == max(words.added_ids) + 1


def test_adding_twice_changes_nothing_and_saving_loses_nothing(any_tokenizer: Any, tmp_path: Path) -> None:
    words = add_pose_words(any_tokenizer, 64)
    assert add_pose_words(any_tokenizer, 64) == words
    any_tokenizer.save_pretrained(tmp_path)
    assert Vocabulary.of(AutoTokenizer.from_pretrained(tmp_path)) == words


def test_another_codebook_or_a_bare_tokenizer_is_refused(any_tokenizer: Any) -> None:
    with pytest.raises(UserError, match="lacks <p>"):
        Vocabulary.of(any_tokenizer)
    words = add_pose_words(any_tokenizer, 64)
    with pytest.raises(UserError, match="already has 64 pose tokens"):
        add_pose_words(any_tokenizer, 128)
    for wrong in (-1, 64):
        with pytest.raises(UserError, match=f"pose code {wrong}"):
            words.code_to_id(wrong)
    with pytest.raises(UserError, match="pose token id"):
        words.id_to_code(torch.tensor([words.pose_open_id]))


def test_any_text_round_trips_and_digits_stay_single() -> None:
    tokenizer = train_tokenizer(TEXTS, 300)
    for text in ["The person raises 0.123", "  two spaces\n\ttab", "Zürich 東京 🤸", ""]:
        ids = tokenizer(text, add_special_tokens=False).input_ids
        assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text
    assert tokenizer.tokenize("0.123") == ["0", ".", "1", "2", "3"]


def test_the_same_texts_give_the_same_tokenizer_in_another_process() -> None:
    program = (
        "from llmpose.talk.vocabulary import train_tokenizer\n"
        f"print(train_tokenizer({TEXTS!r}, 320).backend_tokenizer.to_str())"
    )
    other = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3]
    )
    assert other.stdout.strip() == train_tokenizer(TEXTS, 320).backend_tokenizer.to_str()


def test_a_vocabulary_without_room_for_the_bytes_is_refused() -> None:
    with pytest.raises(UserError, match="bytes and marks"):
        train_tokenizer(TEXTS, 100)
