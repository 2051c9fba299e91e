"""What flowlake says to a Trino server: which tables there are, and questions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from infra.config import Settings
from infra.errors import StoreError, one_line
from infra.sections import TrinoSettings
from jobs.archiving import place as archived
from jobs.engines.properties import ARCHIVE, LAKE, location
from jobs.engines.tables import PARTITIONS, SCHEMA, Placed, archives, columns, lake_tables
from jobs.runtime import s3
from schemas.records import RecordType

if TYPE_CHECKING:
    from trino.dbapi import Connection

Rows = list[list[Any]]


@dataclass(frozen=True)
class Registered:
    """What became of a table: ``made``, ``moved``, ``changed``, ``current``, or ``nothing there yet``."""

    table: str
    place: str
    state: str


class Trino:
    """A connection to a server. Nothing is said to it before the first statement.

    Parameters
    ----------
    settings
        Its address, user and password.
    catalog, schema
        Where a name without them is looked up; none when empty.
    """

    def __init__(self, settings: TrinoSettings, catalog: str = "", schema: str = "") -> None:
        self._settings = settings
        self._connection = _connection(settings, catalog, schema)

    def ask(self, sql: str) -> tuple[list[str], Rows]:
        """Names of the columns, and the rows.

        Raises
        ------
        StoreError
            The server is away, or refuses: with its words.
        """
        with self._told():
            cursor = self._connection.cursor()
            cursor.execute(sql)
            rows = cursor.fetchall()
            return [column[0] for column in cursor.description or ()], rows

    def rows(self, sql: str) -> Rows:
        """The rows alone; see :meth:`ask`."""
        return self.ask(sql)[1]

    @contextmanager
    def _told(self) -> Iterator[None]:
        from requests.exceptions import RequestException
        from trino import exceptions

        url, user = self._settings.url, self._settings.user
        try:
            yield
        except exceptions.TrinoQueryError as e:
            raise StoreError(f"Trino at {url}: {one_line(e.message, 500)}", _way_out(e.error_name or "", self._settings)) from e
        except exceptions.TrinoAuthError as e:
            raise StoreError(f"Trino at {url} refuses user {user!r}: {one_line(e)}", "set trino.user, and FLOWLAKE_TRINO__PASSWORD") from e
        except (exceptions.Error, RequestException) as e:
            raise StoreError(f"Trino at {url} does not answer: {one_line(e)}", "start it (flowlake trino serve), or set trino.url") from e


def _way_out(name: str, settings: TrinoSettings) -> str:
    known = {
        "PERMISSION_DENIED": f"only the user that rules.json names may do that (trino.user is {settings.user!r})",
        "SERVER_STARTING_UP": "wait some seconds, and try again",
        "CATALOG_NOT_FOUND": "give the server its catalogs: flowlake trino config",
        "TABLE_NOT_FOUND": "tables are made known by: flowlake trino register; SHOW TABLES FROM lake.flowlake lists them",
        "SCHEMA_NOT_FOUND": "tables are made known by: flowlake trino register; SHOW TABLES FROM lake.flowlake lists them",
        "SYNTAX_ERROR": "docs/how-to/query-the-stores.md shows questions in Trino's dialect",
    }
    return known.get(name, "")


def _connection(settings: TrinoSettings, catalog: str, schema: str) -> Connection:
    from trino.auth import BasicAuthentication
    from trino.dbapi import connect

    address = urlsplit(settings.url)
    secure = address.scheme == "https"
    password = settings.password.get_secret_value()
    return connect(
        host=address.hostname or "",
        port=address.port or (443 if secure else 80),
        user=settings.user,
        http_scheme=address.scheme,
        auth=BasicAuthentication(settings.user, password) if secure and password else None,
        source="flowlake",
        catalog=catalog or None,
        schema=schema or None,
        timezone="UTC",
        max_attempts=2,
        request_timeout=(5, 60),
    )


def register(settings: Settings, said: Callable[[Registered], None]) -> list[Registered]:
    """Make every table known to the server that is there: the lake's with its side tables, and the archives with their months.

    May be done again at any time: a table that has moved is led to its new place, and new months of an archive are noted.

    Parameters
    ----------
    settings
        Of the stores, and of the server.
    said
        Called with each table when it is done.

    Raises
    ------
    StoreError
        The server or a store is away, or refuses.
    """
    trino = Trino(settings.trino)
    done: list[Registered] = []

    def tell(table: Registered) -> None:
        done.append(table)
        said(table)

    trino.rows(f"CREATE SCHEMA IF NOT EXISTS {LAKE}.{SCHEMA}")
    for table in lake_tables(settings):
        tell(_register_delta(trino, settings, table))
    if archives(settings):
        trino.rows(f"CREATE SCHEMA IF NOT EXISTS {ARCHIVE}.{SCHEMA}")
    for record, table in archives(settings):
        tell(_register_archive(trino, settings, record, table))
    return done


def _register_delta(trino: Trino, settings: Settings, table: Placed) -> Registered:
    name, place = f"{LAKE}.{SCHEMA}.{table.name}", location(table.place)
    known = _known_place(trino, LAKE, table.name, "location")
    there = _is_delta(settings, table)
    if known == place and there:
        return Registered(name, place, "current")
    if known:
        trino.rows(f"CALL {LAKE}.system.unregister_table(schema_name => '{SCHEMA}', table_name => '{table.name}')")
    if not there:
        return Registered(name, place, "nothing there yet")
    trino.rows(
        f"CALL {LAKE}.system.register_table(schema_name => '{SCHEMA}', table_name => '{table.name}', table_location => {_literal(place)})"
    )
    return Registered(name, place, "moved" if known else "made")


def _register_archive(trino: Trino, settings: Settings, record: RecordType, table: Placed) -> Registered:
    name, place = f"{ARCHIVE}.{SCHEMA}.{table.name}", location(table.place)
    known = _known_place(trino, ARCHIVE, table.name, "external_location")
    wanted = {column: kind.trino for column, kind in columns(record).items()} | dict.fromkeys(PARTITIONS, "integer")
    if not _months(settings, record):
        return Registered(name, place, "nothing there yet")
    state = "current"
    if known != place or _columns(trino, table.name) != wanted:
        if known:
            trino.rows(f"DROP TABLE {name}")  # of the server's notes; the files are not its own
        trino.rows(external(name, wanted, place))
        state = "made" if not known else "moved" if known != place else "changed"
    trino.rows(f"CALL {ARCHIVE}.system.sync_partition_metadata('{SCHEMA}', '{table.name}', 'FULL')")
    return Registered(name, place, state)


def _is_delta(settings: Settings, table: Placed) -> bool:
    from deltalake import DeltaTable

    try:
        return bool(DeltaTable.is_deltatable(table.place, s3.storage_options(settings.lake, table.place)))
    except Exception as e:
        if known := s3.trouble(str(e), table.place, settings.lake):
            raise StoreError(known.message, known.hint) from e
        raise StoreError(f"lake table {table.place} cannot be looked at: {one_line(e)}", "check lake.path") from e


def distinct(names: Sequence[str]) -> list[str]:
    """Names of columns, each once: ``count``, ``count_2``; a column without a name gets ``column``."""
    found: list[str] = []
    for name in (name or "column" for name in names):
        same = sum(other == name or other.startswith(f"{name}_") for other in found)
        found.append(f"{name}_{same + 1}" if name in found else name)
    return found


def external(name: str, wanted: dict[str, str], place: str) -> str:
    """The statement that makes the table of an archive."""
    listed = ",\n  ".join(f'"{column}" {kind}' for column, kind in wanted.items())
    parts = ", ".join(f"'{column}'" for column in PARTITIONS)
    return (
        f"CREATE TABLE {name} (\n  {listed}\n)\n"
        f"WITH (format = 'PARQUET', partitioned_by = ARRAY[{parts}], external_location = {_literal(place)})"
    )


def _months(settings: Settings, record: RecordType) -> bool:
    """Whether a reader of the archive finds a file."""
    assert record.hot is not None
    where = archived.of(settings, record.hot.name)
    with where.told("read"):
        return any(path.endswith(".parquet") and "/_" not in path.removeprefix(where.root) for path in where.below())


def _known_place(trino: Trino, catalog: str, table: str, prop: str) -> str:
    """Where the server believes a table to be; empty where it knows none of that name."""
    if not trino.rows(f"SHOW TABLES FROM {catalog}.{SCHEMA} LIKE {_literal(table.replace('_', '!_'))} ESCAPE '!'"):
        return ""
    ((text,),) = trino.rows(f"SHOW CREATE TABLE {catalog}.{SCHEMA}.{table}")
    found = re.search(rf"\b{prop} = '((?:[^']|'')*)'", text)
    return found[1].replace("''", "'") if found else "?"


def _columns(trino: Trino, table: str) -> dict[str, str]:
    return dict(
        trino.rows(
            f"SELECT column_name, data_type FROM {ARCHIVE}.information_schema.columns"
            f" WHERE table_schema = '{SCHEMA}' AND table_name = {_literal(table)} ORDER BY ordinal_position"
        )
    )


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
