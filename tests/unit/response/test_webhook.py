"""The webhook against a real HTTP server: signed, tried again, never led elsewhere, never waited for without end."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from pydantic import SecretStr

from infra.errors import ResponseError
from infra.sections import ResponseSettings
from jobs.response.addresses import target
from jobs.response.responder import BlockOrder
from jobs.response.webhook import Webhook
from tests.objectstores import certificates
from tests.unit.response.receiver import SECRET, Receiver

ORDER = BlockOrder(
    "block", UUID(int=7), target("203.0.113.7"), datetime(2026, 3, 1, 12, tzinfo=UTC), 3600.0, "anna", "guesses <b>\n'", UUID(int=9)
)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


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


def test_a_name_that_leads_nowhere() -> None:
    made = Webhook(ResponseSettings(webhook_url="http://no-such-host.invalid/x", webhook_secret=SecretStr(SECRET), webhook_attempts=1))
    with pytest.raises(ResponseError, match=r"its name cannot be resolved|no answer within"):
        made.carry_out(ORDER, {})


def test_tls_by_a_private_authority(tmp_path: Path) -> None:
    authority = certificates(tmp_path / "tls")
    secure = Receiver(tmp_path / "tls")
    try:
        secure.webhook(webhook_ca=str(authority)).carry_out(ORDER, {})
        assert len(secure.got) == 1
        with pytest.raises(ResponseError, match=r"TLS: .*attempt 1 of 3"):
            secure.webhook().carry_out(ORDER, {})
        with pytest.raises(ResponseError, match=r"response\.webhook_ca /no/such\.pem: No such file"):
            secure.webhook(webhook_ca="/no/such.pem").carry_out(ORDER, {})
        assert len(secure.got) == 1
    finally:
        secure.close()


def test_threads_of_attempts_that_were_given_up_end(receiver: Receiver) -> None:
    """While the receiver still sends a byte now and then."""
    receiver.manner = "trickle"
    for _ in range(3):
        with pytest.raises(ResponseError):
            receiver.webhook(webhook_timeout_s=0.1, webhook_attempts=1).carry_out(ORDER, {})
    end = time.monotonic() + 20
    while any(thread.name == "webhook" for thread in threading.enumerate()):
        assert time.monotonic() < end, threading.enumerate()
        time.sleep(0.02)
    assert len(receiver.got) == 3
