"""The webhook against a real HTTP server: signed, tried again, never led elsewhere, never waited for without end."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretStr

from infra.errors import ResponseError
from infra.sections import ResponseSettings
from jobs.response.addresses import target
from jobs.response.responder import BlockOrder
from jobs.response.webhook import Webhook

SECRET = "not told to anybody"
ORDER = BlockOrder(
    "block", UUID(int=7), target("203.0.113.7"), datetime(2026, 3, 1, 12, tzinfo=UTC), 3600.0, "anna", "guesses <b>\n'", UUID(int=9)
)


class Receiver:
    """Answers with ``codes`` in turn, the last one for ever; ``hang``: with nothing; ``trickle``: a byte now and then."""

    def __init__(self) -> None:
        self.codes: list[int] = [200]
        self.body = b"taken"
        self.manner = ""
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        self.over = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.got.append((self.path, dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
                if receiver.manner == "hang":
                    receiver.over.wait(20)
                    return
                if receiver.manner == "trickle":
                    self._trickle()
                    return
                self.send_response(receiver.codes.pop(0) if len(receiver.codes) > 1 else receiver.codes[0])
                self.send_header("Location", "http://127.0.0.1:1/elsewhere")
                self.send_header("Content-Length", str(len(receiver.body)))
                self.end_headers()
                self.wfile.write(receiver.body)

            def _trickle(self) -> None:
                self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
                while not receiver.over.wait(0.05):
                    try:
                        self.wfile.write(b"x")
                        self.wfile.flush()
                    except OSError:
                        return

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing on standard error."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def webhook(self, **settings: Any) -> Webhook:
        url = f"http://127.0.0.1:{self.server.server_port}/hook/token-in-the-path"
        given = {"webhook_timeout_s": 10.0, **settings}
        return Webhook(ResponseSettings(responder="webhook", webhook_url=url, webhook_secret=SecretStr(SECRET), **given))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.over.set()
    made.server.shutdown()
    made.thread.join()
    made.server.server_close()


def test_what_is_sent_is_signed_and_can_be_checked(receiver: Receiver) -> None:
    receiver.webhook().carry_out(ORDER, {})
    ((path, headers, body),) = receiver.got
    assert path == "/hook/token-in-the-path"
    assert json.loads(body) == {
        "version": 1, "action": "block", "id": str(UUID(int=7)), "address": "203.0.113.7", "until": "2026-03-01T12:00:00Z",
        "seconds": 3600.0, "by": "anna", "why": "guesses <b>\n'", "alert": str(UUID(int=9)), "incident": None,
    }  # fmt: skip
    seconds, digest = (part.partition("=")[2] for part in headers["X-Flowlake-Signature"].split(","))
    assert digest == hmac.new(SECRET.encode(), seconds.encode() + b"." + body, hashlib.sha256).hexdigest()


def test_tried_again_with_the_same_key(receiver: Receiver) -> None:
    receiver.codes = [503, 429, 204]
    receiver.webhook().carry_out(ORDER, {})
    assert {headers["Idempotency-Key"] for _, headers, _ in receiver.got} == {f"{UUID(int=7)}:block:1"}
    assert len(receiver.got) == 3


@pytest.mark.parametrize(
    ("codes", "attempts", "words"),
    [
        ([500], 3, "answers 500: taken"),
        ([400], 1, "answers 400"),
        ([401, 200], 1, "answers 401"),
        ([302], 1, "redirect"),
        ([307], 1, "redirect"),
    ],
)
def test_what_is_not_taken_is_told(receiver: Receiver, codes: list[int], attempts: int, words: str) -> None:
    receiver.codes = codes
    with pytest.raises(ResponseError, match=words) as told:
        receiver.webhook().carry_out(ORDER, {})
    assert len(receiver.got) == attempts
    assert SECRET not in str(told.value)
    assert "token-in-the-path" not in str(told.value)


@pytest.mark.parametrize("manner", ["hang", "trickle"])
def test_who_does_not_answer_is_not_waited_for(receiver: Receiver, manner: str) -> None:
    receiver.manner = manner
    with pytest.raises(ResponseError, match=r"no answer.*attempt 2 of 2"):
        receiver.webhook(webhook_timeout_s=0.2, webhook_attempts=2).carry_out(ORDER, {})
    assert len(receiver.got) == 2


def test_an_answer_that_steers_a_terminal_or_has_no_end(receiver: Receiver) -> None:
    receiver.codes, receiver.body = [400], b"\x1b[2J" + b"x" * 1_000_000
    with pytest.raises(ResponseError) as told:
        receiver.webhook().carry_out(ORDER, {})
    assert "\x1b" not in str(told.value)
    assert len(str(told.value)) < 400


def test_nobody_there() -> None:
    made = Webhook(ResponseSettings(webhook_url="http://127.0.0.1:1/x", webhook_secret=SecretStr(SECRET), webhook_attempts=1))
    with pytest.raises(ResponseError, match=r"webhook http://127.0.0.1:1: connection refused \(attempt 1 of 1\)"):
        made.carry_out(ORDER, {})
