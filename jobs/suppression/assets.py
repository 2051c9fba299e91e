"""The asset list in the database: read by the stream, changed by people."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg2
from psycopg2.extras import execute_values

from infra.errors import ConfigError
from infra.networks import Network
from infra.sections import AlertSettings
from jobs.incidents.people import MAX_NAME, text
from jobs.sinks import postgres
from jobs.suppression.importance import NO_ASSETS, AssetList
from schemas.assets import IMPORTANCES, TABLE, VERSION

_SHOWN = "a.id, a.network::text AS network, a.name, a.importance, a.owner, a.notes, a.changed_by, a.updated_at, a.removed_at, a.removed_by"


@dataclass(frozen=True)
class Asset:
    """A host or network, and how much it matters: 1 (low) .. 4 (critical)."""

    network: Network
    name: str
    importance: int
    owner: str = ""
    notes: str = ""


class CurrentAssets:
    """The list as the stream uses it: read again when its version has changed."""

    def __init__(self, settings: AlertSettings) -> None:
        self._settings = settings
        self._version = -1
        self._list = NO_ASSETS

    def read(self) -> AssetList:
        """The list as it is now.

        Raises
        ------
        StoreUnavailable, StoreError
            The database cannot be read.
        """
        connection = postgres.kept(self._settings, "flowlake-alerts")
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(f"SELECT version FROM {VERSION}")
                (version,) = cursor.fetchone() or (0,)
                if version != self._version:
                    # A later change may be seen with this version: it is read once more then.
                    cursor.execute(f"SELECT network::text, importance FROM {TABLE} WHERE removed_at IS NULL")
                    self._list = AssetList((ipaddress.ip_network(network), importance) for network, importance in cursor.fetchall())
                    self._version = version
        except psycopg2.Error as e:
            postgres.discard(connection)
            raise postgres.classify(e, self._settings) from e
        return self._list


@dataclass(frozen=True)
class Stored:
    """What became of assets that were given."""

    new: int
    changed: int
    same: int
    removed: int


def store(cursor: Any, assets: Sequence[Asset], by: str, *, replace: bool = False) -> Stored:
    """Set assets by their networks; with ``replace`` those that are not among them are removed."""
    name = text(by, "--by", MAX_NAME)
    cursor.execute(f"LOCK TABLE {TABLE} IN SHARE ROW EXCLUSIVE MODE")  # two imports: one after the other
    removed = 0
    if replace:
        cursor.execute(
            f"UPDATE {TABLE} SET removed_at = clock_timestamp(), removed_by = %s, updated_at = clock_timestamp() "
            "WHERE removed_at IS NULL AND network <> ALL(%s::cidr[])",
            (name, [str(asset.network) for asset in assets]),
        )
        removed = cursor.rowcount
    done = execute_values(
        cursor,
        f"INSERT INTO {TABLE} AS a (network, name, importance, owner, notes, changed_by) VALUES %s "
        "ON CONFLICT (network) WHERE removed_at IS NULL DO UPDATE SET name = EXCLUDED.name, importance = EXCLUDED.importance, "
        "owner = EXCLUDED.owner, notes = EXCLUDED.notes, changed_by = EXCLUDED.changed_by, updated_at = clock_timestamp() "
        "WHERE (a.name, a.importance, a.owner, a.notes) "
        "IS DISTINCT FROM (EXCLUDED.name, EXCLUDED.importance, EXCLUDED.owner, EXCLUDED.notes) "
        "RETURNING xmax = 0 AS new",
        [(str(one.network), one.name, one.importance, one.owner, one.notes, name) for one in assets],
        "(%s::cidr, %s, %s, %s, %s, %s)",
        page_size=1000,
        fetch=True,
    )
    new = sum(1 for row in done if row["new"])
    return Stored(new, len(done) - new, len(assets) - len(done), removed)


def remove(cursor: Any, network: Network, by: str) -> dict[str, Any]:
    """Take an asset off the list.

    Raises
    ------
    ConfigError
        It is not on it.
    """
    cursor.execute(
        f"UPDATE {TABLE} a SET removed_at = clock_timestamp(), removed_by = %s, updated_at = clock_timestamp() "
        f"WHERE network = %s::cidr AND removed_at IS NULL RETURNING {_SHOWN}",
        (text(by, "--by", MAX_NAME), str(network)),
    )
    row = cursor.fetchone()
    if row is None:
        raise ConfigError(
            f"{network} is no asset", "flowlake assets list shows them; flowlake assets show ADDRESS the one that holds an address"
        )
    return dict(row)


def holding(cursor: Any, network: Network) -> list[dict[str, Any]]:
    """Assets that hold an address or network, the longest prefix, which counts, first."""
    cursor.execute(
        f"SELECT {_SHOWN} FROM {TABLE} a WHERE removed_at IS NULL AND network >>= %s::inet ORDER BY masklen(network) DESC", (str(network),)
    )
    return [dict(row) for row in cursor.fetchall()]


def listed(cursor: Any, *, removed: bool = False) -> list[dict[str, Any]]:
    """All assets in the order of their networks; with ``removed`` also those that were taken off."""
    cursor.execute(f"SELECT {_SHOWN} FROM {TABLE} a WHERE removed_at IS NULL OR %s ORDER BY a.network, a.id", (removed,))
    return [dict(row) for row in cursor.fetchall()]


def importance_of(given: str) -> int:
    """``1`` .. ``4`` or their names.

    Raises
    ------
    ConfigError
        It is none of these.
    """
    word = given.strip().upper()
    if word in IMPORTANCES:
        return IMPORTANCES.index(word) + 1
    if word in ("1", "2", "3", "4"):
        return int(word)
    raise ConfigError(f"importance {given[:60]!r}", f"1 to {len(IMPORTANCES)}, or one of: {', '.join(IMPORTANCES)}")
