"""Blocks by a webhook: what the receiver gets over a block's life, and what happens while it is away or hangs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from jobs.response import rules
from jobs.response.machine import surroundings
from tests.integration.response.conftest import INTRUDER, Site
from tests.integration.response.test_rules import GUESSING, guess
from tests.integration.sinkbench import run
from tests.unit.response.receiver import SECRET, Receiver

pytestmark = pytest.mark.integration


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def hooked(site: Site, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setenv("FLOWLAKE_RESPONSE__WEBHOOK_SECRET", SECRET)
    site.respond(**by(receiver))
    return site


def by(receiver: Receiver, **more: Any) -> dict[str, Any]:
    given = {"webhook_attempts": 1, "confirm_hosts": 100, **more}
    return {"responder": "webhook", "webhook_url": receiver.url, **given}


def sent(receiver: Receiver) -> list[tuple[str, str, str]]:
    """Action, address and the end of the key of each message."""
    bodies = [(json.loads(body), headers["Idempotency-Key"]) for _, headers, body in receiver.got]
    return [(body["action"], body["address"], key.partition(":")[2]) for body, key in bodies]


def states(site: Site) -> list[tuple[Any, ...]]:
    return run(site.settings.alerts, "SELECT state, applied_at IS NOT NULL, error FROM blocks ORDER BY asked_at")


def test_a_life(hooked: Site, receiver: Receiver) -> None:
    assert hooked.call("block", "203.0.113.7", "--for", "1h")[0] == 0
    assert hooked.call("block", "203.0.113.7", "--for", "1m")[0] == 0  # no longer than it holds: nothing to tell
    assert hooked.call("block", "203.0.113.7", "--for", "3h")[0] == 0
    assert hooked.call("unblock", "203.0.113.7")[0] == 0
    assert sent(receiver) == [
        ("block", "203.0.113.7", "block:1"), ("block", "203.0.113.7", "block:3"), ("unblock", "203.0.113.7", "unblock:3")
    ]  # fmt: skip
    assert states(hooked) == [("LIFTED", True, "")]


def test_away_at_first_and_at_the_end(hooked: Site, receiver: Receiver) -> None:
    receiver.codes = [503]
    code, _, err = hooked.call("block", "203.0.113.7")
    assert (code, "answers 503" in err, "token-in-the-path" in err) == (11, True, False)
    assert [state for state, *_ in states(hooked)] == ["FAILED"]
    receiver.codes = [200]
    assert hooked.call("block", "203.0.113.7")[0] == 0
    receiver.codes = [500]
    code, _, err = hooked.call("unblock", "203.0.113.7")
    assert (code, "still blocked" in err) == (11, True)
    assert [state for state, *_ in states(hooked)] == ["FAILED", "ACTIVE"]


def test_a_longer_time_that_was_not_taken_is_sent_again(hooked: Site, receiver: Receiver) -> None:
    hooked.call("block", "203.0.113.7", "--for", "1h")
    receiver.codes = [500]
    assert hooked.call("block", "203.0.113.7", "--for", "3h")[0] == 11
    ((state, applied, error),) = states(hooked)
    assert (state, applied, "answers 500" in error) == ("ACTIVE", False, True)
    receiver.codes = [200]
    run(hooked.settings.alerts, "UPDATE blocks SET asked_at = asked_at - interval '1 hour'")
    assert hooked.call("blocks", "sync")[0] == 0
    assert sent(receiver)[-1] == ("block", "203.0.113.7", "block:2")
    assert states(hooked) == [("ACTIVE", True, "")]


def test_one_that_hangs_holds_no_row_and_no_transaction(hooked: Site, receiver: Receiver) -> None:
    """While a rule waits for it, people write into the same tables; then it is recorded as failed, and the next alert has its turn."""
    hooked.respond(**by(receiver, webhook_timeout_s=1.0, rules=[GUESSING]))
    run(hooked.settings.alerts, "INSERT INTO block_cursor (seen) VALUES (now() - interval '1 day')")
    guess(hooked, "203.0.113.9")
    receiver.manner = "hang"
    seen: list[Any] = []

    def while_it_hangs() -> None:
        statements = "SET lock_timeout = '500ms'; UPDATE blocks SET why = 'seen'; UPDATE alerts SET severity = 5; SELECT state FROM blocks"
        seen.extend(run(hooked.settings.alerts, statements))

    receiver.meanwhile = while_it_hangs
    assert rules.look(hooked.settings, surroundings(hooked.settings)) == rules.Looked(failed=2)
    assert seen[0] == ("ACTIVE",)
    assert [state for state, *_ in states(hooked)] == ["FAILED", "FAILED"]
    assert {address for _, address, _ in sent(receiver)} == {INTRUDER, "203.0.113.9"}
