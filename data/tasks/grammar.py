"""A grammar of instructions: frames with alternatives, expanded, kept apart, and written to data/templates/*.yaml.

    [Describe|Explain] the [pose|stance] of {pose}.       expands to four sentences

Two templates that differ only in stop words are one: the second is dropped. Held-out templates come from frames of
their own, so that a model meets wordings, not only words, that it never trained on.

    python -m data.tasks.grammar            writes the files anew (a test holds them equal)
"""

import re
from collections.abc import Iterator
from functools import cache
from itertools import product
from pathlib import Path

import yaml

FRAMES_FILE = Path(__file__).resolve().parent / "frames.yaml"
KEYPOINT_FRAMES_FILE = FRAMES_FILE.with_name("keypoint_frames.yaml")
TALK_FRAMES_FILE = FRAMES_FILE.with_name("talk_frames.yaml")
FOLDER = Path(__file__).resolve().parent.parent / "templates"
NUM_CORE = 12
COUNTS = {FRAMES_FILE: (200, 20), KEYPOINT_FRAMES_FILE: (60, 10), TALK_FRAMES_FILE: (60, 10)}
"""File of frames -> templates of each task to train with, and held out. Questions about keypoints differ by the
keypoint already, second turns by the first."""

STOP_WORDS = {
    "a", "an", "and", "are", "as", "at", "be", "by", "can", "could", "do", "does", "for", "from", "have", "i", "in",
    "into", "is", "it", "its", "let", "me", "my", "of", "on", "one", "or", "please", "should", "so", "that", "the",
    "their", "them", "there", "these", "they", "this", "those", "to", "us", "want", "was", "we", "were", "what",
    "which", "who", "will", "with", "would", "you", "your",
}  # fmt: skip
_CHOICE = re.compile(r"\[([^\[\]]*)\]")


def expand(frame: str) -> Iterator[str]:
    """All sentences of a frame, in the order in which its alternatives are written."""
    parts = _CHOICE.split(frame)
    for words in product(*(part.split("|") for part in parts[1::2])):
        sentence = parts[0]
        for word, rest in zip(words, parts[2::2], strict=True):
            sentence += word + rest
        yield (
            " ".join(sentence.split())
            .replace(" ?", "?")
            .replace(" .", ".")
            .replace(" ,", ",")
            .replace(" a SMPL", " an SMPL")
        )


def content_words(template: str) -> tuple[str, ...]:
    """What is left of a template without stop words and punctuation: its identity."""
    words = re.findall(r"\{\w+\}|[a-z0-9'-]+", template.lower())
    return tuple(word for word in words if word not in STOP_WORDS)


def _spread(frames: list[str], count: int, taken: set[tuple[str, ...]]) -> list[str]:
    """`count` sentences, drawn from the frames in turn so that none of them crowds out the others."""
    streams = [iter(_shuffled(list(expand(frame)))) for frame in frames]
    chosen: list[str] = []
    while streams and len(chosen) < count:
        for stream in list(streams):
            sentence = next((s for s in stream if content_words(s) not in taken), None)
            if sentence is None:
                streams.remove(stream)
            elif len(chosen) < count:
                taken.add(content_words(sentence))
                chosen.append(sentence)
    if len(chosen) < count:
        raise ValueError(
            f"the frames give {len(chosen)} distinct templates, {count} are wanted; first frame: {frames[0]}"
        )
    return chosen


def _shuffled(sentences: list[str]) -> list[str]:
    """A fixed order without pattern: neighbours in a frame differ in one word, so they should not come together."""
    return sorted(sentences, key=lambda s: sum(ord(c) * (k + 7) * 2654435761 for k, c in enumerate(s)) % 1000003)


@cache
def frames_file(path: Path = FRAMES_FILE) -> dict[str, dict[str, list[str]]]:
    """Task → its frames for training and those held out."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def templates(task: str) -> dict[str, list[str]]:
    """`train` (its first dozen are the plain core that small worlds train with) and `held_out` of one task."""
    taken: set[tuple[str, ...]] = set()
    path = next(path for path in COUNTS if task in frames_file(path))
    frames_of, (num_train, num_held_out) = frames_file(path)[task], COUNTS[path]
    core, *frames = frames_of["train"]
    first = _spread([core], NUM_CORE, taken) if core else []
    held_out = _spread(frames_of["held_out"], num_held_out, taken)
    return {"train": first + _spread(frames, num_train - len(first), taken), "held_out": held_out}


def write(folder: Path = FOLDER) -> None:
    """Write one YAML file per task."""
    folder.mkdir(exist_ok=True)
    for source in COUNTS:
        for task in frames_file(source):
            content = {"task": task, "num_core": NUM_CORE, **templates(task)}
            head = f"# Written by `python -m data.tasks.grammar` from {source.name} beside it; "
            text = yaml.safe_dump(content, sort_keys=False, width=200, allow_unicode=True)
            (folder / f"{task}.yaml").write_text(f"{head}edit the frames, not this file.\n{text}", encoding="utf-8")


if __name__ == "__main__":
    write()
