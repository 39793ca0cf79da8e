"""Short, fluent texts from the automatic ones by a language model, as UniPose's -R sets were made (suppl. §A.1, §A.2).

Every answer is kept on disk under the hash of what was asked, so a run that was stopped goes on where it was and asks
nothing twice. An answer must be one text of at most 45 words that names the right sides; else the rule-based `brief`
text stands in, and is counted with the reason.
"""

import hashlib
import json
import logging
import re
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import torch

from data.captions.brief import MAX_WORDS
from data.captions.endpoint import Endpoint, NoAnswerError
from data.captions.sides import CHANGE_CLAIMS, POSE_CLAIMS, Claim, swapped_sides

logger = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]

_RULES = (
    f"Answer with the text alone: English, at most {MAX_WORDS} words, no list, no quotation marks, no remark. "
    "Say left and right exactly as given, always from the person's own point of view, and name the side of every arm, "
    "hand, leg, knee or foot that you mention unless both do the same. Add nothing that is not in the notes."
)

CAPTION_PROMPT = (
    "You write captions of human poses. You are given exhaustive notes about one pose, made by a program: correct, "
    "but long and repetitive. " + _RULES,
    "Write what a person who sees the pose would say: first the posture or action as a whole (standing, kneeling on "
    "one knee, kicking to the side, sitting cross-legged ...) if the notes show one, then the arms and legs that make "
    "this pose different from others. Put together what belongs together (two straight legs are one thing, not six). "
    'Begin with "The person", "This person" or "Someone".\n\nNotes: {text}',
)
"""System and user prompt for single poses; the purposes of suppl. Fig. 2 in our own words."""

INSTRUCTION_PROMPT = (
    "You write instructions that lead from one human pose to another, as a trainer would say them. You are given "
    "exhaustive notes about the changes, made by a program: correct, but long and repetitive. " + _RULES,
    "Say what to do so that the new pose results: name the movement as a whole if there is one (kick, sit down, lean "
    "back ...), and put changes together that belong together (hand, elbow and shoulder going up are one arm raised). "
    "Keep a turn of the whole body, such as turning left, if the notes have one. Use the imperative.\n\nNotes: {text}",
)
"""System and user prompt for pairs; the purposes of suppl. Fig. 3 in our own words."""

_PATIENCE = 3
"""A server that left so many questions for each worker unanswered, and answered none between, is not asked any more:
each costs all of its tries, and thousands would wait for hours."""

_REFUSALS = re.compile(r"^(?:i'?m sorry|sorry|i cannot|i can't|as an ai|unfortunately)\b", re.IGNORECASE)


@dataclass
class Report:
    """What became of the texts."""

    refined: int = 0
    cached: int = 0
    """Answers that were on disk already, usable or not."""
    tokens: int = 0
    fell_back: Counter[str] = field(default_factory=Counter)
    """By reason: these have the rule-based text."""

    def summary(self) -> str:
        back = ", ".join(f"{count} {reason}" for reason, count in sorted(self.fell_back.items())) or "none"
        cached = f"{self.cached} answers from the cache"
        return f"{self.refined} refined ({cached}), {self.tokens} tokens; fell back to rules: {back}"


class Refiner:
    """Asks a language model to rewrite texts, several at a time."""

    def __init__(
        self, endpoint: Endpoint, cache: Path, *, workers: int = 8, max_tokens_total: int | None = None
    ) -> None:
        """cache: a .jsonl file, made if it is not there. max_tokens_total: nothing is asked that would pass it, as far
        as can be known: a question under way counts as the dearest one so far."""
        self.endpoint = endpoint
        self.cache = cache
        self.workers = workers
        self.budget = max_tokens_total
        self.report = Report()
        self._lock = threading.Lock()
        self._stop: Exception | None = None
        self._unanswered = 0
        self._under_way = 0
        self._dearest = 0
        self._answers = _read_cache(cache)

    @property
    def name(self) -> str:
        return self.endpoint.model

    def refine_captions(
        self,
        texts: Sequence[str],
        fallback: Sequence[str],
        values: torch.Tensor,
        *,
        progress: Progress = lambda *_: None,
    ) -> list[str]:
        """One short caption for each; values: (N, NUM_CODES) of `Posecodes.value`, to check the sides."""
        return self._refine(CAPTION_PROMPT, texts, fallback, values, POSE_CLAIMS, progress)

    def refine_instructions(
        self,
        texts: Sequence[str],
        fallback: Sequence[str],
        values: torch.Tensor,
        *,
        progress: Progress = lambda *_: None,
    ) -> list[str]:
        """One short instruction for each; values: (N, NUM_PAIR_CODES) of `Paircodes.value`."""
        return self._refine(INSTRUCTION_PROMPT, texts, fallback, values, CHANGE_CLAIMS, progress)

    def _refine(
        self,
        prompt: tuple[str, str],
        texts: Sequence[str],
        fallback: Sequence[str],
        values: torch.Tensor,
        claims: list[Claim],
        progress: Progress,
    ) -> list[str]:
        assert len(texts) == len(fallback) == len(values)
        self._stop, self._unanswered = None, 0

        def one(text: str, instead: str, row: list[float]) -> str:
            answer, reason = self._answer(prompt[0], prompt[1].replace("{text}", text))
            refined = tidy(answer) if answer is not None else ""
            reason = reason or unfit(refined, row, claims)
            with self._lock:
                if reason is None:
                    self.report.refined += 1
                else:
                    self.report.fell_back[reason] += 1
            progress("refining", 1, len(texts))
            return refined if reason is None else instead

        with ThreadPoolExecutor(self.workers) as pool:
            refined = list(pool.map(one, texts, fallback, values.tolist()))
        if self._stop is not None:
            raise self._stop
        logger.info("refine model=%s %s", self.name, self.report.summary())
        return refined

    def _answer(self, system: str, user: str) -> tuple[str | None, str | None]:
        """(answer, None), from the cache or the server, or (None, the reason why there is none)."""
        key = hashlib.sha256(json.dumps([self.endpoint.model, system, user]).encode()).hexdigest()
        with self._lock:
            if key in self._answers:
                self.report.cached += 1
                return self._answers[key], None
            if self._stop is not None:
                return None, "stopped"
            if self._unanswered >= _PATIENCE * self.workers:
                return None, "no answer"
            # Before the first answer the question's own length has to do: four letters are about a token.
            expected = (self._dearest or (len(system) + len(user)) // 4) * self._under_way
            if self.budget is not None and self.report.tokens + expected >= self.budget:
                return None, "over budget"
            self._under_way += 1
        try:
            answer = self.endpoint.ask(system, user)
        except NoAnswerError as error:
            with self._lock:
                self._under_way -= 1
                self._unanswered += 1
                last = self._unanswered == _PATIENCE * self.workers
            end = "; nothing more is asked, the same command goes on from the answers kept" if last else ""
            logger.warning("refine %s%s", error, end)
            return None, "no answer"
        except Exception as error:  # the others stop asking too, then it is raised
            with self._lock:
                self._under_way -= 1
                self._stop = self._stop or error
            return None, "stopped"
        with self._lock:
            self._under_way -= 1
            self._unanswered = 0
            self._dearest = max(self._dearest, answer.tokens)
            self.report.tokens += answer.tokens
            self._answers[key] = answer.text
            self.cache.parent.mkdir(parents=True, exist_ok=True)
            with self.cache.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"key": key, "model": self.endpoint.model, "text": answer.text}) + "\n")
        return answer.text, None


def _read_cache(path: Path) -> dict[str, str]:
    """Key -> answer. A line that was cut off by a crash is passed over: that question is asked again."""
    answers: dict[str, str] = {}
    if not path.is_file():
        return answers
    content = path.read_text(encoding="utf-8", errors="replace")
    for line in content.splitlines():
        try:
            entry = json.loads(line)
            answers[entry["key"]] = entry["text"]
        except (json.JSONDecodeError, KeyError, TypeError):
            logger.warning("refine cache=%s: one line is not readable and will be asked again", path)
    if content and not content.endswith("\n"):
        with path.open("a", encoding="utf-8") as file:
            file.write("\n")
    return answers


def tidy(answer: str) -> str:
    """One line, without the quotation marks and labels that models like to add."""
    text = " ".join(answer.split())
    text = re.sub(r"^(?:caption|description|instruction|answer)\s*:\s*", "", text, flags=re.IGNORECASE)
    if len(text) > 1 and text[0] in "\"'“" and text[-1] in "\"'”":
        text = text[1:-1].strip()
    return text if not text or text[-1] in ".!?" else text + "."


def unfit(text: str, row: list[float], claims: list[Claim]) -> str | None:
    """Why an answer cannot be used, or None."""
    if not re.search(r"[A-Za-z]{2}", text):
        return "empty"
    if _REFUSALS.match(text):
        return "refused"
    if len(text.split()) > MAX_WORDS:
        return "too long"
    return "left and right swapped" if swapped_sides(text, row, claims) else None
