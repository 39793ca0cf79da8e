"""Instruction templates: enough, distinct by content, the files equal to the grammar that writes them."""

import pytest
import yaml

from data.tasks import TASKS
from data.tasks.base import TEMPLATES
from data.tasks.grammar import NUM_CORE, content_words, expand, frames_file, templates


def test_alternatives_expand_to_every_combination_in_order() -> None:
    assert list(expand("[Show|Tell] me [a|b].")) == ["Show me a.", "Show me b.", "Tell me a.", "Tell me b."]


@pytest.mark.parametrize("task", frames_file())
def test_the_file_is_what_the_grammar_writes(task: str) -> None:
    content = yaml.safe_load((TEMPLATES / f"{task}.yaml").read_text(encoding="utf-8"))
    assert content == {"task": task, "num_core": NUM_CORE, **templates(task)}


@pytest.mark.parametrize("task", frames_file())
def test_two_hundred_to_train_and_twenty_held_out_no_two_alike(task: str) -> None:
    found = templates(task)
    assert (len(found["train"]), len(found["held_out"])) == (200, 20)
    keys = [content_words(sentence) for sentence in (*found["train"], *found["held_out"])]
    assert len(set(keys)) == 220


@pytest.mark.parametrize("task", frames_file())
def test_every_template_has_each_slot_of_its_task_once(task: str) -> None:
    for sentence in (*templates(task)["train"], *templates(task)["held_out"]):
        for slot in TASKS[task].shows:
            assert sentence.count(f"{{{slot}}}") == 1, sentence
        assert sentence.count("{") == len(TASKS[task].shows), sentence
        assert "  " not in sentence
        assert sentence[0].isupper() or sentence[0] == "{"


def test_stop_words_do_not_make_a_template_new() -> None:
    assert content_words("Describe the pose in {pose}.") == content_words("Please describe this pose of {pose}!")
    assert content_words("Describe the pose in {pose}.") != content_words("Explain the pose in {pose}.")
