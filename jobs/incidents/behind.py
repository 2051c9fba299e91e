"""The records behind alerts, from the store that still has them: the hot store, else the lake."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from infra.config import Settings
from infra.errors import ConfigError, StoreError, one_line
from infra.names import printable
from infra.plurals import are, counted
from jobs.incidents import flows
from jobs.incidents.flows import Condition
from jobs.runtime import lake
from jobs.sinks import ask
from schemas.records import RecordType

if TYPE_CHECKING:
    import pyarrow.dataset as ds

#: Alerts whose records are looked up in one go, at most.
MAX_ALERTS = 1000
HOT, LAKE = "hot", "lake"
Alert = Mapping[str, Any]


@dataclass(frozen=True)
class Behind:
    """Records behind alerts.

    Attributes
    ----------
    rows : list of dict
        In the order of time.
    total : int
        How many there are; more than ``rows`` where a limit was reached.
    store : str
        ``hot`` or ``lake``.
    notes : list of str
        What a reader has to know: why it is this store, what is left out.
    """

    rows: list[dict[str, Any]]
    total: int
    store: str
    notes: list[str]


@dataclass(frozen=True)
class Wanted:
    """What to look for.

    Attributes
    ----------
    columns : mapping of str to str
        Store -> the columns to select from it, as SQL.
    limit : int
        Rows at most, the earliest.
    attacks : bool
        Only those labelled as attacks.
    since : datetime, optional
        Only those that began then or later.
    """

    columns: Mapping[str, str]
    limit: int
    attacks: bool = False
    since: datetime | None = None


def find(settings: Settings, record: RecordType, alerts: Sequence[Alert], wanted: Wanted, store: str | None = None) -> Behind:
    """Records of one type that are behind alerts. Types that share a hot table share alerts: it is about all of them, whichever is named.

    Parameters
    ----------
    record
        Their type; it has a hot table, a lake table and alerts.
    alerts
        Rows with id, kind, attack_type, domain, src_ip, dst_ip, first_seen, last_seen, flow_count, details, record_type.
    store
        ``hot`` or ``lake``; None: the hot store, and the lake where the hot store holds fewer than the alerts count and the lake more.

    Raises
    ------
    ConfigError
        None of the alerts is about such records.
    StoreError
        No store can be asked.
    """
    mine = [alert for alert in alerts if alert["record_type"] in [one.name for one in sharing(settings, record)]]
    notes = list[str]()
    if not mine:
        other = sorted({printable(alert["record_type"]) for alert in alerts})
        raise ConfigError(
            f"no {record.name} are behind it: it is about records of type {', '.join(other) or 'none'}",
            "flowlake alerts show tells how to look at them",
        )
    if len(mine) < len(alerts):
        others = len(alerts) - len(mine)
        notes.append(f"{counted(others, 'alert')} {are(others)} about other records than {record.name}, and left out")
    if len(mine) > MAX_ALERTS:
        notes.append(f"these are the records of the first {MAX_ALERTS:,} alerts of {len(mine):,}")
        mine = mine[:MAX_ALERTS]
    if store is not None:
        rows, total = _ASK[store](settings, record, mine, wanted)
        return Behind(rows, total, store, notes)
    expected = 0 if wanted.attacks or wanted.since else sum(alert["flow_count"] for alert in mine)
    return _whichever(settings, record, mine, wanted, expected, notes)


def sharing(settings: Settings, record: RecordType) -> list[RecordType]:
    """Record types whose rows lie in the hot table of this one, itself among them."""
    assert record.hot is not None
    return [one for one in settings.catalogue.records if one.hot is not None and one.hot.name == record.hot.name]


def _whichever(settings: Settings, record: RecordType, alerts: Sequence[Alert], wanted: Wanted, expected: int, notes: list[str]) -> Behind:
    failed: StoreError | None = None
    rows, total = list[dict[str, Any]](), -1
    try:
        rows, total = _hot(settings, record, alerts, wanted)
        if total >= max(expected, 1):
            return Behind(rows, total, HOT, notes)
        why = f"the hot store holds {total:,} of {expected:,}" if expected else "the hot store holds none"
    except StoreError as e:
        failed, why = e, f"the hot store cannot be asked: {e}"
    try:
        older, more = _lake(settings, record, alerts, wanted)
    except StoreError as e:
        if failed is not None:
            raise failed from e
        return Behind(rows, total, HOT, [*notes, *([f"the lake cannot be asked: {e}"] if total < expected else [])])
    if more > total:
        return Behind(older, more, LAKE, [*notes, f"from the lake: {why}"])
    if total < expected:
        notes.append(_fewer(total, expected, len(alerts)))
    return Behind(rows, total, HOT, notes)


def _fewer(total: int, expected: int, alerts: int) -> str:
    """Why fewer are stored than alerts count."""
    ends = "open ones are when they end, and old ones are deleted"
    if alerts == 1:
        return f"{total:,} of {counted(expected, 'flow')} {are(expected)} stored: {ends}"
    return f"{counted(total, 'flow')} {are(total)} stored, the alerts count {expected:,}: what two of them share counts twice; {ends}"


def _where(alerts: Sequence[Alert], record: RecordType, wanted: Wanted, columns: Mapping[str, str], time: str) -> Condition:
    assert record.alerts is not None
    parts, values = list[str](), list[Any]()
    for alert in alerts:
        part, more = flows.condition(alert, record, record.alerts, columns, time)
        parts.append(part)
        values += more
    text = f"({' OR '.join(parts)})"
    if len(alerts) > 1:  # what a store can skip by
        text = f"{time} BETWEEN %s AND %s AND {text}"
        values = [min(alert["first_seen"] for alert in alerts), max(alert["last_seen"] for alert in alerts), *values]
    if wanted.attacks:
        text += f" AND {columns['predicted_label']} = 1"
    if wanted.since:
        text += f" AND {time} >= %s"
        values.append(wanted.since)
    return text, values


def _hot(settings: Settings, record: RecordType, alerts: Sequence[Alert], wanted: Wanted) -> tuple[list[dict[str, Any]], int]:
    assert record.hot is not None
    columns = flows.of_hot(record)
    where, values = _where(alerts, record, wanted, columns, record.hot.time)
    body = f"FROM {record.hot.name} WHERE {where}"
    order = f"ORDER BY {record.hot.time}, {columns[record.key]}"
    rows = ask.query(settings.hot, f"SELECT {wanted.columns[HOT]} {body} {order} LIMIT %s", [*values, wanted.limit])
    if len(rows) < wanted.limit:
        return rows, len(rows)
    return rows, ask.query(settings.hot, f"SELECT count(*) AS n {body}", values)[0]["n"]


def _lake(settings: Settings, record: RecordType, alerts: Sequence[Alert], wanted: Wanted) -> tuple[list[dict[str, Any]], int]:
    import duckdb
    import pyarrow.dataset as ds
    from deltalake.exceptions import DeltaError

    from infra import paths

    paths.check_lake(settings)
    place = lake.location(settings, record)
    first, last = min(alert["first_seen"] for alert in alerts), max(alert["last_seen"] for alert in alerts)
    columns = {name: name for name in record.published.names}
    where, values = _where(alerts, record, wanted, columns, record.event_time)
    body = f"FROM days WHERE {where.replace('%s', '?')}"
    try:
        # Days and files are left out by Arrow; DuckDB does the rest.
        moment, day = ds.field(record.event_time), ds.field("event_date")
        near = (day >= first.date()) & (day <= last.date()) & (moment >= first) & (moment <= last)
        days = _tables(settings, record).filter(near)  # noqa: F841 - DuckDB finds it by name
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            order = f"ORDER BY {record.event_time}, {record.key}"
            found = connection.sql(f"SELECT {wanted.columns[LAKE]} {body} {order} LIMIT {int(wanted.limit)}", params=values)
            rows: list[dict[str, Any]] = found.to_arrow_table().to_pylist()
            if len(rows) < wanted.limit:
                return rows, len(rows)
            counted = connection.execute(f"SELECT count(*) {body}", values).fetchone()
            return rows, counted[0] if counted else len(rows)
    except (DeltaError, OSError) as e:
        raise lake.problem(e, place, settings.lake) from e
    except (RuntimeError, ValueError, duckdb.Error) as e:
        raise StoreError(f"lake {place} cannot be read: {one_line(e)}", "check lake.path and lake.s3_endpoint") from e


def _tables(settings: Settings, record: RecordType) -> ds.Dataset:
    """The lake's tables of the record types that share alerts, as one, with the columns that all of them have; those that are there."""
    import pyarrow.dataset as ds
    from deltalake.exceptions import TableNotFoundError

    from infra.console import looks

    found: list[ds.Dataset] = []
    for one in sharing(settings, record):
        with suppress(TableNotFoundError):
            found.append(lake.dataset(lake.location(settings, one), settings.lake))
    if not found:
        raise StoreError(f"lake {lake.location(settings, record)} holds no table yet", looks.NO_TABLE)
    names = set.intersection(*(set(table.schema.names) for table in found))
    schema = pa.schema([field for field in found[0].schema if field.name in names])
    return ds.dataset([table.replace_schema(schema) for table in found]) if len(found) > 1 else found[0]


_ASK: dict[str, Callable[[Settings, RecordType, Sequence[Alert], Wanted], tuple[list[dict[str, Any]], int]]] = {HOT: _hot, LAKE: _lake}
