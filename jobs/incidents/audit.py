"""Whether the audit is whole: every row's hash is computed anew, here and not in the database, and compared.

What is found: a row that was changed, a row that is missing, a row that was put in, and an end that was cut off. Whoever owns the
server can write the whole chain anew, and its head; that is found too by whoever has noted a head before and gives it (``noted``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from infra.plurals import are, counted
from schemas.incidents import ACTIONS, AUDIT_HEAD

_READ = (
    f"SELECT id, (extract(epoch FROM timestamp) * 1000000)::bigint, user_id, action, target, details::text, db_user, previous, hash "
    f"FROM {ACTIONS} ORDER BY id"
)
_AT_ONCE = 10_000
#: Faults told one by one.
MAX_TOLD = 100


@dataclass(frozen=True)
class Fault:
    """A row of the audit with which something is wrong; ``row`` 0: the audit as a whole."""

    row: int
    what: str


@dataclass(frozen=True)
class Verified:
    """Rows read, the head (``number:hash``), and what is wrong."""

    rows: int
    head: str
    faults: tuple[Fault, ...]


def hashed(row: tuple[Any, ...]) -> bytes:
    """Hash of a row: SHA-256 of the hash before it and its fields (:mod:`jobs.incidents.guards`), each behind its length in bytes."""
    number, us, user, action, target, details, db_user, previous, _ = row
    parts = [str(number), str(us)]
    for text in (user, action, target, details):
        parts += [str(len(text.encode())), text]
    return sha256(bytes(previous) + " ".join([*parts, db_user]).encode()).digest()


def verify(connection: Any, noted: str = "") -> Verified:
    """Read the whole audit.

    Parameters
    ----------
    connection
        To the database of the alerts; left in its transaction.
    noted
        A head from before, ``number:hash``: the row of this number must still have this hash.

    Raises
    ------
    psycopg2.Error
        The database is away, or refuses.
    """
    faults: list[Fault] = []
    last, hash_before, rows = 0, b"", 0
    wanted, _, text = noted.partition(":")
    wanted = wanted.lstrip("0") or wanted
    seen = not noted
    with connection.cursor(name="audit") as cursor:
        cursor.itersize = _AT_ONCE
        cursor.execute(_READ)
        for row in cursor:
            rows += 1
            faults += _compared(row, last, hash_before)
            if str(row[0]) == wanted:
                seen = True
                if bytes(row[8]).hex() != text:
                    faults.append(Fault(row[0], "its hash is another than the one that was noted: the audit was written anew"))
            last, hash_before = row[0], bytes(row[8])
    if not seen:
        faults.append(Fault(0, f"row {wanted}, which was noted, is not there"))
    faults += _head(connection, last, hash_before)
    return Verified(rows, f"{last}:{hash_before.hex()}", tuple(faults))


def _compared(row: tuple[Any, ...], last: int, hash_before: bytes) -> Iterator[Fault]:
    number = row[0]
    if number != last + 1:
        yield Fault(last + 1, f"{_missing(number - last - 1)} before row {number}" if number > last else "a number twice")
    elif bytes(row[7]) != hash_before:
        yield Fault(number, "it does not follow the row before it: one of them was put in or changed")
    if hashed(row) != bytes(row[8]):
        yield Fault(number, "its content was changed")


def _missing(rows: int) -> str:
    return f"{counted(rows, 'row')} {are(rows)} missing"


def _head(connection: Any, last: int, hash_last: bytes) -> Iterator[Fault]:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT id, hash FROM {AUDIT_HEAD}")
        found = cursor.fetchone()
    if found is None:
        yield Fault(0, f"{AUDIT_HEAD} is empty")
    elif found[0] > last:
        yield Fault(last + 1, f"{_missing(found[0] - last)} at the end")
    elif (found[0], bytes(found[1])) != (last, hash_last):
        yield Fault(last, "the last row is not the one that was written last")
