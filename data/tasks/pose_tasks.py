"""The seven tasks of UniPose (suppl. Tab. 1–2), the two it is asked without training (§4.4, suppl. §D), and talks.

UniPose talks in several turns without having been trained to, for it begins as a chat model of seven billion weights. A
model that begins as nothing has to learn that "that pose" is the one of the turn before: TALKS are second turns, whose
first is one of the seven tasks.
"""

from dataclasses import replace

from data.record import Record
from data.tasks.base import Item, Task, whole_picture
from data.tasks.referring import referring_phrase
from llmpose.errors import UserError


def _described(item: Item, text: str) -> str:
    return f"The person can be described like this: {text}"


def _meant(item: Item, text: str) -> str:
    assert isinstance(item, Record)
    return f"I mean {referring_phrase(item)}."


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("pose_to_text", "record", ("pose",), "text"),
        Task("pose_diff", "pair", ("pose_a", "pose_b"), "text"),
        Task("image_to_text", "record", ("image",), "text"),
        Task("image_diff", "pair", ("image_a", "image_b"), "text"),
        Task("text_to_pose", "record", ("text",), "pose"),
        Task("pose_estimation", "record", ("image",), "pose", heading="kept"),
        Task("pose_editing", "pair", ("pose", "text"), "pose"),
    )
}

_ESTIMATE = TASKS["pose_estimation"]

TALKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("talk_describe", "record", (), "text", heading="kept", after=_ESTIMATE),
        Task("talk_edit", "pair", ("text",), "pose", heading="kept", after=_ESTIMATE),
        Task("talk_estimate", "record", (), "pose", heading="kept", after=TASKS["image_to_text"]),
    )
}

ZERO_SHOT: dict[str, Task] = {
    task.name: task
    for task in (
        # A description helps to see (UniPose Fig. 5).
        replace(_ESTIMATE, name="text_enhanced_estimation", templates_of="pose_estimation", suffix=_described),
        # Which of several people is meant (suppl. Fig. 5): the whole picture and a phrase.
        replace(
            _ESTIMATE,
            name="reasoning_estimation",
            templates_of="pose_estimation",
            suffix=_meant,
            suffix_tells_text=False,
            picture=whole_picture,
        ),
    )
}


def task_named(name: str) -> Task:
    """A task by its name; an unknown one lists what there is."""
    from difflib import get_close_matches

    known = {**TASKS, **TALKS, **ZERO_SHOT}
    if name in known:
        return known[name]
    near = get_close_matches(name, known, n=1)
    raise UserError(
        f"no task is called {name!r}; " + (f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}")
    )
