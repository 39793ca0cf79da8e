"""The refiner against a small server of our own, which answers slowly, not at all, wrongly, or well."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from data.captions import compare, describe, mirror_text, posecodes
from data.captions.endpoint import Endpoint, NoAnswerError
from data.captions.paircodes import NUM_PAIR_CODES, paircodes
from data.captions.posecodes import NUM_CODES
from data.captions.refine import Refiner, tidy
from data.captions.sides import CHANGE_CLAIMS, POSE_CLAIMS, swapped_sides
from llmpose.errors import UserError


class Server:
    """Answers each request with the next of `script`, and with "The person waves." after its end."""

    def __init__(self) -> None:
        self.script: list[str] = []
        self.requests: list[dict] = []
        self.headers: list[dict[str, str]] = []
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with outer._lock:
                    outer.requests.append({"path": self.path, **body})
                    outer.headers.append(dict(self.headers))
                    act = outer.script.pop(0) if outer.script else "The person waves."
                outer._act(self, act)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_port}/v1"

    def _act(self, handler: BaseHTTPRequestHandler, act: str) -> None:
        if act == "DROP":
            handler.connection.close()
            return
        if act == "SLOW":
            time.sleep(1.0)
        if act.startswith("STATUS "):
            code = int(act.split()[1])
            handler.send_response(code)
            handler.send_header("Retry-After", "0")
            handler.end_headers()
            handler.wfile.write(b'{"error": "no"}')
            return
        content = {"choices": [{"message": {"content": act}}], "usage": {"total_tokens": 100}}
        body = b'{"choices": [' if act == "BROKEN" else json.dumps({} if act == "EMPTY" else content).encode()
        try:
            handler.send_response(200)
            handler.end_headers()
            handler.wfile.write(body)
        except OSError:  # the client did not wait
            pass


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


def ask_at(server: Server, **changes) -> Endpoint:
    settings = {"timeout_s": 5.0, "max_tries": 4, "sleep": lambda _: None} | changes
    return Endpoint(server.url, "small", "secret", **settings)


def refine(refiner: Refiner, texts: list[str]) -> list[str]:
    return refiner.refine_captions(texts, ["Rules."] * len(texts), torch.zeros(len(texts), NUM_CODES))


def test_a_question_goes_to_the_chat_address_with_model_and_key(server: Server, tmp_path: Path) -> None:
    server.script = ['"The person  waves"']
    assert refine(Refiner(ask_at(server), tmp_path / "cache.jsonl"), ["Long notes."]) == ["The person waves."]
    request = server.requests[0]
    assert request["path"] == "/v1/chat/completions"
    assert request["model"] == "small"
    assert "Long notes." in request["messages"][1]["content"]
    assert server.headers[0]["Authorization"] == "Bearer secret"


@pytest.mark.parametrize("failure", ["STATUS 429", "STATUS 500", "BROKEN", "EMPTY", "DROP", "SLOW"])
def test_what_may_pass_is_tried_again(server: Server, tmp_path: Path, failure: str) -> None:
    server.script = [failure, failure, "The person sits."]
    refiner = Refiner(ask_at(server, timeout_s=0.3), tmp_path / "cache.jsonl", workers=1)
    assert refine(refiner, ["Notes."]) == ["The person sits."]
    assert len(server.requests) == 3


def test_waits_double_and_are_shaken(server: Server) -> None:
    waits: list[float] = []
    server.script = ["STATUS 503"] * 4
    with pytest.raises(NoAnswerError, match="4 tries; last: HTTP 503"):
        ask_at(server, sleep=waits.append, first_wait_s=1.0).ask("a", "b")
    assert len(waits) == 3
    assert all(0.5 * 2**n <= wait <= 1.5 * 2**n for n, wait in enumerate(waits))


def test_a_server_that_never_answers_leaves_the_rules_and_is_counted(server: Server, tmp_path: Path) -> None:
    server.script = ["DROP"] * 8
    refiner = Refiner(ask_at(server), tmp_path / "cache.jsonl", workers=1)
    assert refine(refiner, ["One.", "Two."]) == ["Rules.", "Rules."]
    assert dict(refiner.report.fell_back) == {"no answer": 2}


def test_a_server_that_is_gone_is_not_asked_thousands_of_times(server: Server, tmp_path: Path) -> None:
    server.script = ["DROP"] * 1000
    refiner = Refiner(ask_at(server), tmp_path / "cache.jsonl", workers=2)
    assert set(refine(refiner, [f"Notes {number}." for number in range(200)])) == {"Rules."}
    assert dict(refiner.report.fell_back) == {"no answer": 200}
    assert len(server.requests) <= 7 * refiner.endpoint.max_tries
    server.script = []
    assert refine(refiner, ["Notes 1."]) == ["The person waves."]  # a later set is asked anew


@pytest.mark.parametrize("status", [401, 404, 400])
def test_a_refused_key_or_an_unknown_model_stops_everything(server: Server, tmp_path: Path, status: int) -> None:
    server.script = [f"STATUS {status}"] * 50
    with pytest.raises(UserError, match=f"HTTP {status} for model 'small'"):
        refine(Refiner(ask_at(server), tmp_path / "cache.jsonl", workers=2), ["Notes."] * 50)
    assert len(server.requests) <= 4


def test_answers_are_kept_and_never_asked_for_again(server: Server, tmp_path: Path) -> None:
    cache = tmp_path / "deep" / "cache.jsonl"
    texts = [f"Notes {number}." for number in range(20)]
    first = refine(Refiner(ask_at(server), cache), texts[:12])
    assert len(server.requests) == 12
    again = Refiner(ask_at(server), cache)
    assert refine(again, texts)[:12] == first
    assert len(server.requests) == 20
    assert (again.report.cached, again.report.refined) == (12, 20)


def test_a_cache_that_was_cut_off_loses_only_its_last_answer(server: Server, tmp_path: Path) -> None:
    cache = tmp_path / "cache.jsonl"
    refine(Refiner(ask_at(server), cache, workers=1), ["One.", "Two."])
    cache.write_text(cache.read_text()[:-20])
    refine(Refiner(ask_at(server), cache, workers=1), ["One.", "Two."])
    assert len(server.requests) == 3
    refine(Refiner(ask_at(server), cache, workers=1), ["One.", "Two."])
    assert len(server.requests) == 3


def test_a_spent_budget_leaves_the_rules(server: Server, tmp_path: Path) -> None:
    refiner = Refiner(ask_at(server), tmp_path / "cache.jsonl", workers=1, max_tokens_total=300)
    texts = refine(refiner, [f"Notes {number}." for number in range(10)])
    assert texts.count("The person waves.") == 3
    assert refiner.report.fell_back["over budget"] == 7


def test_a_budget_holds_for_questions_under_way_too(server: Server, tmp_path: Path) -> None:
    server.script = ["The person sits."] + ["SLOW"] * 8
    refiner = Refiner(ask_at(server), tmp_path / "cache.jsonl", workers=1)
    refine(refiner, ["Notes."])  # now it is known what a question costs: 100 tokens
    refiner.workers, refiner.budget = 8, 400
    refine(refiner, [f"Notes {number}." for number in range(20)])
    assert refiner.report.tokens <= 400


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (" ".join(["word"] * 46) + ".", "too long"),
        ("   ", "empty"),
        ("I'm sorry, I cannot describe people.", "refused"),
    ],
)
def test_answers_that_cannot_be_used_leave_the_rules(server: Server, tmp_path: Path, answer: str, reason: str) -> None:
    server.script = [answer]
    refiner = Refiner(ask_at(server), tmp_path / "cache.jsonl")
    assert refine(refiner, ["Notes."]) == ["Rules."]
    assert dict(refiner.report.fell_back) == {reason: 1}


def test_an_answer_that_swaps_left_and_right_leaves_the_rules(server: Server, tmp_path: Path, poses) -> None:
    rows = [row for row, name in enumerate(poses.names) if name in ("kick_front", "knee_strike")][:4]
    some = poses[torch.tensor(rows)]
    truth = [texts[0] for texts in describe(some.joints_m, style="brief")]
    server.script = [mirror_text(text) for text in truth]
    refiner = Refiner(ask_at(server), tmp_path / "cache.jsonl", workers=1)
    values = posecodes(some.joints_m).value
    assert refiner.refine_captions([f"Notes {n}." for n in range(len(rows))], truth, values) == truth
    assert dict(refiner.report.fell_back) == {"left and right swapped": len(rows)}


def test_true_texts_are_never_called_swapped_and_mirrored_ones_often_are(poses) -> None:
    flipped = torch.roll(torch.arange(len(poses)), 1)
    values = posecodes(poses.joints_m).value.tolist()
    changes = paircodes(poses.joints_m[flipped], poses.joints_m).value.tolist()
    captions = describe(poses.joints_m)
    instructions = compare(poses.joints_m[flipped], poses.joints_m)
    for texts, rows, claims in ((captions, values, POSE_CLAIMS), (instructions, changes, CHANGE_CLAIMS)):
        found = [swapped_sides(text, row, claims) for (text,), row in zip(texts, rows, strict=True)]
        assert found.count(None) == len(found)
        caught = [swapped_sides(mirror_text(text), row, claims) for (text,), row in zip(texts, rows, strict=True)]
        assert caught.count(None) < 0.6 * len(caught)


def test_instructions_have_a_prompt_of_their_own(server: Server, tmp_path: Path) -> None:
    refiner = Refiner(ask_at(server), tmp_path / "cache.jsonl")
    refiner.refine_instructions(["Raise it."], ["Rules."], torch.zeros(1, NUM_PAIR_CODES))
    assert "instructions" in server.requests[0]["messages"][0]["content"]


def test_the_address_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LLMPOSE_LLM_URL", raising=False)
    monkeypatch.setenv("LLMPOSE_LLM_MODEL", "small")
    with pytest.raises(UserError, match="LLMPOSE_LLM_URL not set"):
        Endpoint.from_environment()
    monkeypatch.setenv("LLMPOSE_LLM_URL", "http://localhost:1/v1")
    assert Endpoint.from_environment().model == "small"


def test_labels_quotes_and_line_breaks_are_taken_off() -> None:
    assert tidy('Caption: "The person\n sits"') == "The person sits."
    assert tidy("“Raise the left arm.”") == "Raise the left arm."
