"""Moments as whole numbers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def micros(moment: datetime) -> int:
    """Microseconds from 1970 to a moment that has a zone."""
    return (moment - EPOCH) // timedelta(microseconds=1)
