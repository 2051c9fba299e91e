"""A message to try a channel with: all that a real one may have, about nobody (addresses of RFC 5737)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

from jobs.notifying.notice import Notice, iso


def sample(link: str = "") -> Notice:
    """The sample; ``link`` as in the settings."""
    now = datetime.now(UTC)
    key = str(uuid4())
    return Notice(
        id=str(uuid4()), key=key, news="test", subject="test", subject_id=key, at=iso(now),
        title="SYN scan, then SSH brute force: 203.0.113.7 -> 192.0.2.10",
        description="This is a test of the channel. Nothing has happened.", priority="LOW", severity=1,
        kinds=("SYN_SCAN", "SSH_BRUTE_FORCE"), stages=("reconnaissance", "break-in"), techniques=("T1046", "T1110.001"),
        sources=("203.0.113.7",), targets=("192.0.2.10",),
        alerts=2, flows=47, first_seen=iso(now - timedelta(minutes=9)), last_seen=iso(now), link=link.replace("{id}", key),
    )  # fmt: skip
