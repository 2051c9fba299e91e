"""What other parts say about a block before it happens: the whitelist, and alerts that are suppressed."""

from __future__ import annotations

from typing import Any

from jobs.response.addresses import Network
from schemas.alerts import TABLE

#: The column by which an alert says that it is suppressed; NULL or false: it is not.
_SUPPRESSED = ("suppressed_by", "suppressed")


def whitelisted(cursor: Any, network: Network) -> str:
    """Which entry of the whitelist an address or network touches; empty: none. There is no whitelist yet.

    Parameters
    ----------
    cursor
        In the transaction that is going to write down the block.
    network
        What is to be blocked.
    """
    del cursor, network
    return ""


def unsuppressed(cursor: Any) -> str:
    """Condition on the alerts (``a``) that leaves out those that are suppressed; ``true`` where the table has no such column."""
    cursor.execute(
        "SELECT attname, format_type(atttypid, NULL) = 'boolean' AS is_flag FROM pg_attribute "
        "WHERE attrelid = to_regclass(%s) AND attname = ANY(%s) AND NOT attisdropped",
        (TABLE, list(_SUPPRESSED)),
    )
    found = [(row["attname"], row["is_flag"]) for row in cursor.fetchall()]
    return " AND ".join(f"a.{name} IS NOT TRUE" if flag else f"a.{name} IS NULL" for name, flag in found) or "true"
