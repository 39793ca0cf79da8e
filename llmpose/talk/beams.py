"""Beam search over words: several beginnings of an answer side by side, of which the likeliest go on.

Every beam is a row of the loop; a pose inside a beam is decoded as always and does not weigh in its score.
"""

import torch

from llmpose.talk.loop import Loop
from llmpose.talk.rows import Row


def run_beams(loop: Loop) -> list[Row]:
    """The best answer of each conversation whose prompt the loop has read.

    A conversation is over when it has as many complete answers as beams; the best is the one with the highest
    log-probability per word (`Decoding.length_penalty`).
    """
    beams = loop.settings.num_beams
    numbers = [row.number for row in loop.rows]
    complete: dict[int, list[Row]] = {number: [] for number in numbers}
    loop.select([i for i in range(len(numbers)) for _ in range(beams)])
    loop.rows = [row.copy() for row in loop.rows for _ in range(beams)]
    for i, row in enumerate(loop.rows):
        row.score = 0.0 if i % beams == 0 else -torch.inf  # all beams begin alike: only one of them counts
    while True:
        _say_best(loop, beams, complete)
        loop.ask_poses()
        _collect(loop, complete)
        groups = [loop.rows[start : start + beams] for start in range(0, len(loop.rows), beams)]
        going = [g for g, rows in enumerate(groups) if _goes_on(rows, complete[rows[0].number], beams)]
        if not going:
            return [
                max(complete[number], key=lambda row: _merit(row, loop.settings.length_penalty)) for number in numbers
            ]
        if len(going) < len(groups):
            loop.select([g * beams + k for g in going for k in range(beams)])
            loop.rows = [row for g in going for row in groups[g]]
        loop.read()
        loop.locate()
        _collect(loop, complete)


def _collect(loop: Loop, complete: dict[int, list[Row]]) -> None:
    """Beams that have come to their end leave the race."""
    for row in loop.rows:
        if row.finish is not None and row.score > -torch.inf:
            complete[row.number].append(row.copy())
            row.score = -torch.inf


def _goes_on(rows: list[Row], complete: list[Row], beams: int) -> bool:
    return len(complete) < beams and any(row.finish is None and row.score > -torch.inf for row in rows)


def _merit(row: Row, length_penalty: float) -> float:
    return row.score / max(row.num_words, 1) ** length_penalty


def _say_best(loop: Loop, beams: int, complete: dict[int, list[Row]]) -> None:
    """For each conversation, of all words that all its beams could say next, the likeliest are said."""
    old = loop.rows
    logprobs = loop.word_logprobs(loop.hidden, old)
    scores = torch.tensor([row.score if row.finish is None else -torch.inf for row in old], device=logprobs.device)
    size = logprobs.shape[1]
    totals = (logprobs + scores[:, None]).view(-1, beams * size)
    best = totals.topk(min(2 * beams, beams * size), dim=1)  # half of them at most can be ends
    parents: list[int] = []
    rows: list[Row] = []
    for group, (indices, values) in enumerate(zip(best.indices.tolist(), best.values.tolist(), strict=True)):
        chosen: list[tuple[int, Row]] = []
        for index, value in zip(indices, values, strict=True):
            parent = group * beams + index // size
            if value == -torch.inf or len(chosen) == beams:
                break
            row = old[parent].copy()
            row.say(index % size, value - row.score)
            loop.check_room(row)
            if row.finish is None:
                chosen.append((parent, row))
            else:
                complete[row.number].append(row)
        while len(chosen) < beams:  # places that nothing fills stay empty
            empty = old[group * beams].copy()
            empty.score, empty.finish, empty.feed, empty.opened = -torch.inf, "length", [], None
            chosen.append((group * beams, empty))
        parents += [parent for parent, _ in chosen]
        rows += [row for _, row in chosen]
    if parents != list(range(len(old))):
        loop.select(parents)
    loop.rows = rows
