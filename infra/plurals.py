"""Numbers of things, as people read them."""

from __future__ import annotations


def counted(count: int, noun: str, plural: str = "") -> str:
    """``1 alert``, ``2,743 alerts``; ``plural`` where it is not the noun and an ``s``."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"
