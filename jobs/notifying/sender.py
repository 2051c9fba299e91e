"""One message to its receiver: taken from the database, sent, and its end written down.

The row is locked while its message is sent, so that of several notifiers one sends it. Whoever dies between the receiver's answer and the
commit leaves the row as it was: the message goes out again, with the same id.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, Literal

from infra.channels import ChannelSettings
from infra.errors import one_line
from infra.log import get
from jobs.notifying.notice import Notice
from jobs.notifying.receivers.outcome import Receiver, ReceiverRefused, TryLater
from schemas.notifications import FAILED, MESSAGES, SENT, WAITING

#: Characters of a reason that are kept.
_REASON = 500
#: Seconds between two attempts at a receiver that is away, at most, whatever its messages wait for.
_MOST_PAUSE_S = 60.0
_CLAIM = f"""
SELECT m.seq, m.body, m.attempts FROM {MESSAGES} m
WHERE m.channel = %s AND m.state = '{WAITING}' AND m.due_at <= clock_timestamp()
    -- In the order of one incident: what is over must not be opened by a message that was late.
    AND NOT EXISTS (SELECT FROM {MESSAGES} e
        WHERE e.channel = m.channel AND e.key = m.key AND e.seq < m.seq AND e.state = '{WAITING}')
ORDER BY m.due_at, m.seq LIMIT 1 FOR UPDATE OF m SKIP LOCKED
"""


@dataclass(frozen=True)
class Attempt:
    """What became of a message; ``trouble``: the receiver is away or overburdened, for ``after_s`` seconds if it says so."""

    result: Literal["sent", "retried", "failed"]
    trouble: bool = False
    after_s: float | None = None


def deliver(cursor: Any, name: str, channel: ChannelSettings, receiver: Receiver) -> Attempt | None:
    """Send the message of a channel that is due first; ``None``: none is due.

    Parameters
    ----------
    cursor
        On the database of the alerts; committed by the caller.
    name, channel
        The channel.
    receiver
        Who takes its messages.
    """
    cursor.execute(_CLAIM, (name,))
    row = cursor.fetchone()
    if row is None:
        return None
    seq, body, before = row
    log = get("notify").bind(channel=name, news=body.get("news"), subject=body.get("subject_id"))
    try:
        said = receiver.send(Notice.of(body))
    except ReceiverRefused as e:
        _end(cursor, seq, FAILED, before + 1, str(e))
        log.error("message refused", cause=one_line(e, _REASON))
        return Attempt("failed")
    except Exception as e:
        # What a receiver's library raises beside its own errors is no reason to lose a message.
        later = e if isinstance(e, TryLater) else TryLater(f"{type(e).__name__}: {e}")
        return _later(cursor, seq, before + 1, channel, later, log)
    _end(cursor, seq, SENT, before + 1, said)
    log.info("message sent", answer=said)
    return Attempt("sent")


def _later(cursor: Any, seq: int, attempts: int, channel: ChannelSettings, problem: TryLater, log: Any) -> Attempt:
    reason = one_line(problem, _REASON)
    if attempts >= channel.attempts:
        _end(cursor, seq, FAILED, attempts, f"given up after {attempts} attempts: {reason}")
        log.error("message given up", attempts=attempts, cause=reason)
        return Attempt("failed", True, problem.after_s)
    wait = max(problem.after_s or 0.0, backoff(channel, attempts))
    cursor.execute(
        f"UPDATE {MESSAGES} SET attempts = %s, reason = %s, due_at = clock_timestamp() + %s * interval '1 second' WHERE seq = %s",
        (attempts, reason, wait, seq),
    )
    log.warning("message waits", attempts=attempts, again_in_s=round(wait, 1), cause=reason)
    return Attempt("retried", True, problem.after_s)


def _end(cursor: Any, seq: int, state: str, attempts: int, reason: str) -> None:
    cursor.execute(
        f"UPDATE {MESSAGES} SET state = %s, attempts = %s, reason = %s, done_at = clock_timestamp() WHERE seq = %s",
        (state, attempts, one_line(reason, _REASON), seq),
    )


def pause(cursor: Any, name: str, seconds: float) -> None:
    """Leave a receiver in peace: what waits for it waits so much longer. Of other notifiers too, and after a restart."""
    cursor.execute(
        f"UPDATE {MESSAGES} SET due_at = greatest(due_at, clock_timestamp() + %s * interval '1 second') WHERE seq = ANY(ARRAY("
        f"SELECT seq FROM {MESSAGES} WHERE channel = %s AND state = '{WAITING}' FOR UPDATE SKIP LOCKED))",
        (seconds, name),
    )


def pause_s(channel: ChannelSettings, attempt: Attempt, streak: int) -> float:
    """Seconds of a pause after so many failures in a row: short, since one message alone may be what the receiver stumbles over."""
    return max(attempt.after_s or 0.0, min(backoff(channel, streak), _MOST_PAUSE_S))


def backoff(channel: ChannelSettings, attempts: int) -> float:
    """Seconds until the next attempt after so many: doubled each time, between half and all of it (several notifiers, many channels)."""
    most = min(channel.retry_s * 2.0 ** min(attempts - 1, 40), channel.retry_most_s)
    return most * random.uniform(0.5, 1.0)
