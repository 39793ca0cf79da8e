"""A chat model behind an OpenAI-compatible address: one question, one answer, tried again where that can help.

LLMPOSE_LLM_URL     base address, for instance http://localhost:8000/v1
LLMPOSE_LLM_MODEL   the model's name there
LLMPOSE_LLM_KEY     key, if the server wants one
"""

import http.client
import json
import os
import random
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llmpose.errors import UserError

_URL, _MODEL, _KEY = "LLMPOSE_LLM_URL", "LLMPOSE_LLM_MODEL", "LLMPOSE_LLM_KEY"
_TRY_AGAIN = (408, 409, 425, 429, 500, 502, 503, 504, 529)
_BROKEN = (
    OSError,
    http.client.HTTPException,
    json.JSONDecodeError,
    UnicodeDecodeError,
    KeyError,
    IndexError,
    TypeError,
)
"""What a dropped connection, a time-out or an answer that is not one raises."""


@dataclass(frozen=True)
class Answer:
    text: str
    tokens: int
    """Of question and answer, as the server counted them, or a quarter of the letters."""


class NoAnswerError(Exception):
    """The server did not answer in the tries it was given; the message says how it failed last."""


@dataclass(frozen=True)
class Endpoint:
    """Where to ask, and how patiently."""

    url: str
    model: str
    key: str = ""
    timeout_s: float = 60.0
    max_tries: int = 6
    first_wait_s: float = 1.0
    """Doubles with every try, up to a minute, times a random half to one and a half: threads must not march in step."""
    max_tokens: int = 200
    sleep: Callable[[float], None] = time.sleep

    @classmethod
    def from_environment(cls) -> "Endpoint":
        """From LLMPOSE_LLM_URL, LLMPOSE_LLM_MODEL and LLMPOSE_LLM_KEY."""
        missing = [name for name in (_URL, _MODEL) if not os.environ.get(name)]
        if missing:
            raise UserError(
                f"{' and '.join(missing)} not set: a language model to refine texts is asked at {_URL} "
                f"(say http://localhost:8000/v1) for {_MODEL}, with {_KEY} as its key if it wants one; "
                "leave --refine out to use the rules instead"
            )
        return cls(os.environ[_URL], os.environ[_MODEL], os.environ.get(_KEY, ""))

    def ask(self, system: str, user: str) -> Answer:
        """One answer. NoAnswerError after the last try; a UserError where trying again is of no use."""
        last = ""
        for attempt in range(self.max_tries):
            wait = min(60.0, self.first_wait_s * 2**attempt) * random.uniform(0.5, 1.5)
            try:
                return self._post(system, user)
            except urllib.error.HTTPError as error:
                detail = error.read(500).decode("utf-8", "replace").strip()
                last = f"HTTP {error.code}"
                if error.code not in _TRY_AGAIN:
                    raise UserError(f"{self.url}: {last} for model {self.model!r}: {detail or error.reason}") from None
                wait = max(wait, _retry_after(error))
            except _BROKEN as error:
                last = f"{type(error).__name__}: {error}"
            if attempt + 1 < self.max_tries:
                self.sleep(wait)
        raise NoAnswerError(f"no answer in {self.max_tries} tries; last: {last}")

    def _post(self, system: str, user: str) -> Answer:
        body = {
            "model": self.model,
            "messages": [{"role": "system", "content": system}, {"role": "user", "content": user}],
            "temperature": 0.0,
            "max_tokens": self.max_tokens,
        }
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self.key}"} if self.key else {})
        request = urllib.request.Request(
            self.url.rstrip("/") + "/chat/completions", json.dumps(body).encode(), headers, method="POST"
        )
        with urllib.request.urlopen(request, timeout=self.timeout_s) as response:
            content: dict[str, Any] = json.loads(response.read().decode("utf-8"))
        text = content["choices"][0]["message"]["content"]
        if not isinstance(text, str):
            raise TypeError("an answer without text")
        counted = (content.get("usage") or {}).get("total_tokens")
        return Answer(text, counted if isinstance(counted, int) else (len(system) + len(user) + len(text)) // 4)


def _retry_after(error: urllib.error.HTTPError) -> float:
    """Seconds that the server asks to wait, at most two minutes."""
    try:
        return min(120.0, float(error.headers.get("Retry-After", 0)))
    except (TypeError, ValueError):
        return 0.0
