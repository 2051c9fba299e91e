"""What other parts say about a block before it happens: the whitelist, and alerts that are suppressed."""

from __future__ import annotations

from typing import Any

from jobs.response.addresses import Network, show
from schemas.alerts import TABLE

#: The column by which an alert says that it is suppressed; NULL or false: it is not.
_SUPPRESSED = ("suppressed_by", "suppressed")
#: Entries of the whitelist, where there is one.
_WHITELIST = "suppressions"


def whitelisted(cursor: Any, network: Network) -> str:
    """Which entry of the whitelist an address or network touches; empty: none.

    Entries of some kind of alert, port, sensor or side alone silence alerts, and protect no address.

    Parameters
    ----------
    cursor
        In the transaction that is going to write down the block.
    network
        What is to be blocked.
    """
    cursor.execute("SELECT to_regclass(%s) IS NOT NULL AS there", (_WHITELIST,))
    if not cursor.fetchone()["there"]:
        return ""
    cursor.execute(
        f"SELECT id, network::text, reason FROM {_WHITELIST} WHERE sort = 'whitelist' AND network && %s::inet AND direction <> 'target' "
        "AND coalesce(kind, attack_type, port_low::text, sensor_id, domain) IS NULL AND starts_at <= clock_timestamp() "
        "AND ended_at IS NULL AND (ends_at IS NULL OR ends_at > clock_timestamp()) ORDER BY id LIMIT 1",
        (show(network),),
    )
    row = cursor.fetchone()
    return f"{row['network']}, entry {row['id']}: {row['reason']}" if row else ""


def unsuppressed(cursor: Any) -> str:
    """Condition on the alerts (``a``) that leaves out those that are suppressed; ``true`` where the table has no such column."""
    cursor.execute(
        "SELECT attname, format_type(atttypid, NULL) = 'boolean' AS is_flag FROM pg_attribute "
        "WHERE attrelid = to_regclass(%s) AND attname = ANY(%s) AND NOT attisdropped",
        (TABLE, list(_SUPPRESSED)),
    )
    found = [(row["attname"], row["is_flag"]) for row in cursor.fetchall()]
    return " AND ".join(f"a.{name} IS NOT TRUE" if flag else f"a.{name} IS NULL" for name, flag in found) or "true"
