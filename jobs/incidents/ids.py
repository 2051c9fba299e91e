"""Ids as people type them: a UUID, or the beginning of one that no other row shares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from infra.errors import ConfigError
from schemas.alerts import TABLE
from schemas.incidents import INCIDENTS

#: Digits that are asked for at least: fewer would soon name several rows.
SHORTEST = 4
#: Candidates that are named; of more than these it is said that there are more.
NAMED = 5
_ALERT_HINT = "flowlake alerts list shows the ids in its last column"
Span = tuple[str, str]


def span(given: str, what: str, hint: str) -> Span:
    """The first and the last UUID that begin so.

    Parameters
    ----------
    given
        At least :data:`SHORTEST` hexadecimal digits; hyphens, braces and ``urn:uuid:`` are passed over.
    what
        Of what it is the id.
    hint
        Where the ids are shown.

    Raises
    ------
    ConfigError
        It is no UUID, nor the beginning of one.

    Examples
    --------
    >>> span("0b4C", "alert", "")
    ('0b4c0000-0000-0000-0000-000000000000', '0b4cffff-ffff-ffff-ffff-ffffffffffff')
    """
    digits = given.strip().lower().removeprefix("urn:uuid:").strip("{}").replace("-", "")
    if not SHORTEST <= len(digits) <= 32 or set(digits) - set("0123456789abcdef"):
        raise ConfigError(f"{what} id {given!r} is no UUID, nor the beginning of one", f"{SHORTEST} digits at least; {hint}")
    return str(UUID(digits.ljust(32, "0"))), str(UUID(digits.ljust(32, "f")))


def one(found: Sequence[tuple[str, str]], given: str, what: str, hint: str) -> str:
    """The id among those that begin as ``given``.

    Parameters
    ----------
    found
        Ids and what to say of each, no more than :data:`NAMED` + 1.

    Raises
    ------
    ConfigError
        There is none; or several, which are named then.
    """
    shown = given.strip().lower()
    if not found:
        raise ConfigError(f"there is no {what} {shown}", hint)
    if len(found) > 1:
        named = "; ".join(f"{key} ({about})" for key, about in found[:NAMED]) + ("; and more" if len(found) > NAMED else "")
        raise ConfigError(f"several {what}s begin with {shown}: {named}", "type more digits of the one that is meant")
    return found[0][0]


def alert(cursor: Any, given: str) -> str:
    """The whole id of an alert.

    Parameters
    ----------
    cursor
        Whose rows are mappings.
    given
        The id, or its beginning.

    Raises
    ------
    ConfigError
        It names none, or several.
    """
    first, last = span(given, "alert", _ALERT_HINT)
    cursor.execute(
        f"SELECT id::text, attack_type, host(src_ip) AS source, host(dst_ip) AS target FROM {TABLE} "
        "WHERE id BETWEEN %s::uuid AND %s::uuid ORDER BY id LIMIT %s",
        (first, last, NAMED + 1),
    )
    found = [(row["id"], f"{row['attack_type']} {row['source'] or 'many'} -> {row['target'] or 'many'}") for row in cursor.fetchall()]
    return one(found, given, "alert", _ALERT_HINT if found else other(cursor, INCIDENTS, "incident", (first, last)) or _ALERT_HINT)


def other(cursor: Any, table: str, what: str, between: Span) -> str:
    """The hint where an id that was not found is one of something else; empty where it is not."""
    cursor.execute(f"SELECT id::text FROM {table} WHERE id BETWEEN %s::uuid AND %s::uuid ORDER BY id LIMIT 1", between)
    row = cursor.fetchone()
    return f"{row['id']} is an {what}: flowlake {what}s show {row['id'][:8]}" if row else ""
