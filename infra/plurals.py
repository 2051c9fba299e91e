"""Numbers of things, as people read them."""

from __future__ import annotations


def counted(count: int, noun: str, plural: str = "") -> str:
    """``1 alert``, ``2,743 alerts``; ``plural`` where it is not the noun and an ``s``."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def so_many(shown: int, total: int, noun: str, plural: str = "") -> str:
    """``7 alerts``, or ``20 of 32 alerts`` where not all of them are shown."""
    return counted(total, noun, plural) if shown >= total else f"{shown:,} of {counted(total, noun, plural)}"


def are(count: int) -> str:
    """``is`` or ``are``."""
    return "is" if count == 1 else "are"
