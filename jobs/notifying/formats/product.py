"""What this program calls itself, and helpers that several shapes share."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from importlib import metadata
from ipaddress import ip_address

NAME = VENDOR = "flowlake"


@cache
def version() -> str:
    """Of the installed program; of one that runs from its folder, ``0``."""
    try:
        return metadata.version(NAME)
    except metadata.PackageNotFoundError:
        return "0"


def milliseconds(at: str) -> int:
    """Since the epoch, of a moment as text."""
    return round(datetime.fromisoformat(at).timestamp() * 1000)


def address(text: str) -> str:
    """An IP address in its canonical form; empty for what is none (other sources have other names for who and where)."""
    try:
        return str(ip_address(text))
    except ValueError:
        return ""


def addresses(texts: tuple[str, ...]) -> list[str]:
    """Those of some names that are IP addresses."""
    return [found for text in texts if (found := address(text))]
