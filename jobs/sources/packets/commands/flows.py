"""``flowlake flows``: the newest flow records of the lake (DuckDB over delta-rs, no JVM) or of the hot store."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

import typer

from infra import config, paths
from infra.config import Settings
from infra.console import looks, times
from infra.console.options import ConfFile, Json
from infra.errors import StoreError, one_line
from jobs.incidents import shown
from jobs.incidents.behind import Wanted
from jobs.runtime import lake, s3
from jobs.sinks import ask
from schemas.network_flows import TABLE
from schemas.packets import FLOWS


class RecordStore(StrEnum):
    """Where records are looked up."""

    lake = "lake"
    hot = "hot"


_SHOWN = (
    "start_time",
    "src_ip",
    "src_port",
    "dst_ip",
    "dst_port",
    "protocol",
    "packets",
    "bytes",
    "duration_s",
    "end_reason",
    "attack_type",
    "confidence_score",
)
_HOT = "timestamp AS start_time, host(src_ip) AS src_ip, src_port, host(dst_ip) AS dst_ip, dst_port, protocol"
_LAKE = "start_time, src_ip, src_port, dst_ip, dst_port, protocol"
_DERIVED = (
    "total_fwd_packets + total_backward_packets AS packets, total_length_fwd_packets + total_length_bwd_packets AS bytes, "
    "flow_duration / 1e6 AS duration_s, end_reason, attack_type, confidence_score, predicted_label, flow_id"
)
#: What is shown of a flow, as SQL by store.
COLUMNS = {"hot": f"{_HOT}, {_DERIVED.replace('/ 1e6', '/ 1e6::float8')}", "lake": f"{_LAKE}, {_DERIVED}"}

#: Why an alert may have no flows.
_GONE = "open ones are when they end, old ones are deleted; the lake keeps them longest"


def flows(
    store: Annotated[
        RecordStore | None,
        typer.Option(help="Which store to look into.", show_default="lake; of an alert or incident: hot, else lake"),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="So many: the newest; of an alert or incident, the first.")] = 20,
    attacks: Annotated[bool, typer.Option("--attacks", help="Only records labelled as attacks.")] = False,
    since: Annotated[str | None, typer.Option(help="Started since: 15m, 2h, 7d, 2w, or 2026-03-01T12:00.")] = None,
    alert: Annotated[str | None, typer.Option("--alert", help="Only those behind this alert: its id, or the beginning of it.")] = None,
    incident: Annotated[str | None, typer.Option("--incident", help="Only those behind the alerts of this incident.")] = None,
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    conf_file: ConfFile = None,
) -> None:
    """The newest flow records of the lake or the hot store."""
    shown.exclude(alert=alert, incident=incident, as_json=as_json, as_csv=as_csv)
    settings = config.load(conf_file)
    form = "json" if as_json else "csv" if as_csv else "table"
    if alert is not None or incident is not None:
        wanted = Wanted(COLUMNS, limit, attacks, times.since(since))
        only = store.value if store else None
        shown.show(settings, FLOWS, wanted, _SHOWN, form, alert=alert, incident=incident, noun="flows", store=only, nothing=_GONE)
        return
    store = store or RecordStore.lake
    rows = read(settings, store, limit=limit, attacks=attacks, since=times.since(since))
    looks.show(rows, _SHOWN, form=form, title=f"{len(rows)} flows, newest first ({store.value})")
    if not rows:
        conditions = [*(["--attacks"] if attacks else []), *([f"--since {since}"] if since else [])]
        newest = read(settings, store, limit=1) if conditions else []
        looks.explain_nothing(f"flows in {_place(settings, store)}", conditions, newest[0]["start_time"] if newest else None)


flows.epilog = (  # type: ignore[attr-defined]
    "Examples:  flowlake flows --attacks --since 1h   |   flowlake flows --store hot --limit 5 --json   |   flowlake flows --alert 0b4c1f6e"
)


def read(
    settings: Settings, store: RecordStore, *, limit: int, attacks: bool = False, since: datetime | None = None
) -> list[dict[str, Any]]:
    """Newest records first.

    Raises
    ------
    StoreError
        The store cannot be reached, or holds no records yet.
    """
    return (_hot if store is RecordStore.hot else _lake)(settings, limit, attacks, since)


def _place(settings: Settings, store: RecordStore) -> str:
    """The store as a person names it."""
    from jobs.sinks import postgres

    return postgres.where(settings.hot) if store is RecordStore.hot else f"lake {_lake_path(settings)}"


def _lake_path(settings: Settings) -> str:
    return settings.lake.path if "://" in settings.lake.path else str(settings.path(settings.lake.path))


def _hot(settings: Settings, limit: int, attacks: bool, since: datetime | None) -> list[dict[str, Any]]:
    where, values = ["true"], []
    if attacks:
        where.append("predicted_label = 1")
    if since:
        where.append("timestamp >= %s")
        values.append(since)
    sql = f"SELECT {COLUMNS['hot']} FROM {TABLE} WHERE {' AND '.join(where)} ORDER BY timestamp DESC LIMIT %s"
    return ask.query(settings.hot, sql, [*values, limit])


def _lake(settings: Settings, limit: int, attacks: bool, since: datetime | None) -> list[dict[str, Any]]:
    import duckdb
    import pyarrow.dataset as ds
    from deltalake.exceptions import TableNotFoundError

    paths.check_lake(settings)
    where = _lake_path(settings)
    try:
        source = lake.dataset(where, settings.lake)
        condition = None
        if since:
            condition = (ds.field("start_time") >= since) & (ds.field("event_date") >= since.date())
        if attacks:
            label = ds.field("predicted_label") == 1
            condition = label if condition is None else condition & label
        filtered = source.filter(condition) if condition is not None else source  # noqa: F841 - DuckDB finds it by name
        sql = f"SELECT {COLUMNS['lake']} FROM filtered ORDER BY start_time DESC LIMIT {int(limit)}"
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            found: list[dict[str, Any]] = connection.sql(sql).to_arrow_table().to_pylist()
            return found
    except TableNotFoundError as e:
        raise StoreError(f"lake {where} holds no table yet", looks.NO_TABLE) from e
    except (OSError, RuntimeError, ValueError, duckdb.Error) as e:
        if store := s3.trouble(str(e), where, settings.lake):
            raise StoreError(store.message, store.hint) from e
        raise StoreError(f"lake {where} cannot be read: {one_line(e)}", "check lake.path and lake.s3_endpoint") from e
