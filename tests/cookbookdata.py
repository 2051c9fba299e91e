"""Data with planted facts for the questions of the cookbook: flows, alerts, labels and an archive, the same at every run but for "now".

All moments are so many minutes before an anchor, so that ``now() - interval '24' hour`` finds what it should. Nothing lies near the ends of
the spans that the cookbook asks about (an hour, a day): a test may ask ten minutes after the data were made.

:class:`Data` makes the rows; :func:`into_postgres`, :func:`into_lake` and :func:`into_archive` put them into a store.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any
from uuid import UUID

import pyarrow as pa

from infra import config
from infra.config import Settings
from infra.sections import HotSettings, PostgresSettings
from jobs.archiving import place
from jobs.archiving.columns import ArchiveLayout
from jobs.hotstore import placing, rollups
from jobs.hotstore.maintain import maintain
from jobs.runtime import lake, s3
from jobs.sinks import hot, labels, postgres
from jobs.sinks.migrations import Component, migrate
from jobs.sinks.parquet import PARTITION, lake_rows
from schemas import alerts
from schemas.labels import BY_NAME
from schemas.packets import FLOWS
from schemas.records import HotTable
from tests.sinksdata import T0, table

Row = dict[str, Any]

WEB, SECOND_WEB, DNS = "192.0.2.10", "192.0.2.11", "192.0.2.53"
SCANNER, SWEEPER, GUESSER, FLOODER = "203.0.113.7", "203.0.113.8", "198.51.100.23", "198.51.100.99"
SCANNED, SSH_SERVER = "10.0.2.5", "10.0.2.22"
BEACON, CONTROLLER = "10.0.1.77", "198.51.100.200"
IRREGULAR, SITE = "10.0.1.78", "198.51.100.201"
DNS_TUNNEL, ICMP_TUNNEL, FAR_END = "10.0.1.66", "10.0.1.67", "203.0.113.50"
THIEF, DROP = "10.0.1.99", "203.0.113.200"
CURIOUS, NEW_SITE = "10.0.1.5", "203.0.113.77"
#: Minutes before "now" at which the second model took over.
SWITCH = 720
_OLD_MODEL, _NEW_MODEL = "7", "8"
#: Spans in which nothing happens, around the ends of an hour, a day.
_QUIET = ((50, 75), (1380, 1500))
#: What says where a database is.
_PLACE = {"host", "port", "database", "user", "password"}


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


@dataclass(frozen=True)
class Data:
    """The rows, made for one moment.

    Parameters
    ----------
    now : datetime
        The moment, UTC.
    """

    now: datetime = field(default_factory=_now)

    def at(self, minutes: float) -> datetime:
        """So many minutes before."""
        return self.now - timedelta(minutes=minutes)

    @cached_property
    def rows(self) -> list[Row]:
        """Flows of the last two days; columns of a record that matter, ``start_time`` among them."""
        return [self._row(number, row) for number, row in enumerate(_traffic())]

    @cached_property
    def archived_rows(self) -> list[Row]:
        """Flows of two months that are over for long: 20 (5 attacks) in the newer, 10 (2 attacks) in the older."""
        newer, older = self.archived_months
        made = [self._archived(newer, number, number < 5) for number in range(20)]
        return made + [self._archived(older, number, number < 2) for number in range(10)]

    @cached_property
    def archived_months(self) -> tuple[datetime, datetime]:
        """First moments of the two archived months, the newer first."""
        newer = (self.now - timedelta(days=125)).replace(day=1, hour=0, minute=0, second=0)
        return newer, (newer - timedelta(days=1)).replace(day=1)

    @cached_property
    def flows(self) -> pa.Table:
        """:attr:`rows` as published records."""
        return _records(self.rows)

    @cached_property
    def archived(self) -> pa.Table:
        """:attr:`archived_rows` as published records."""
        return _records(self.archived_rows)

    @cached_property
    def alerts(self) -> list[Row]:
        """One alert for each attack of the flows, as the stream would raise it: rows of the table ``alerts``."""
        found: dict[str, Row] = {}
        for row in self.rows:
            if row["predicted_label"]:
                _raise_alert(found, row)
        return list(found.values())

    @cached_property
    def labels(self) -> list[Row]:
        """An analyst's verdicts, rows of the table ``labels``: one beacon is none, four are; the exfiltrations are right."""
        judged = [row for row in self.rows if row["attack_type"] in ("BOTNET_BEACON", "EXFILTRATION")]
        chosen = [row for row in judged if row["attack_type"] == "BOTNET_BEACON"][:5] + [
            r for r in judged if r["attack_type"] == "EXFILTRATION"
        ]
        return [
            {
                "record_type": FLOWS.name, "record_key": row["flow_id"], "label": int(bool(number)),
                "attack_type": row["attack_type"] if number else "BENIGN", "source": "analyst", "labelled_by": "anna",
                "labelled_at": self.at(20), "note": "" if number else "an update service",
            }
            for number, row in enumerate(chosen)
        ]  # fmt: skip

    def _row(self, number: int, row: Row) -> Row:
        minutes = row.pop("minutes")
        attack = row.get("attack_type", "BENIGN")
        packets = row["total_fwd_packets"] + row["total_backward_packets"]
        bytes_ = row["total_length_fwd_packets"] + row["total_length_bwd_packets"]
        start, lasts = self.at(minutes), row["flow_duration"] / 1e6
        return {
            "attack_type": attack,
            "predicted_label": int(attack != "BENIGN"),
            "confidence_score": 0.96875 if attack != "BENIGN" else 0.03125,
            "sensor_id": f"edge-{1 + number % 2}",
            "model_version": _OLD_MODEL if minutes > SWITCH else _NEW_MODEL,
            "community_id": f"1:{number:026d}=",
            "src_port": 40000 + number % 20000,
            "start_time": start,
            "end_time": start + timedelta(seconds=lasts),
            "scored_at": start + timedelta(seconds=lasts),
            "flow_bytes_per_sec": bytes_ / lasts if lasts else 0.0,
            "flow_packets_per_sec": packets / lasts if lasts else 0.0,
            "fwd_l3_bytes": row["total_length_fwd_packets"] + 40 * row["total_fwd_packets"],
            "bwd_l3_bytes": row["total_length_bwd_packets"] + 40 * row["total_backward_packets"],
            "flow_id": str(UUID(int=0xF10E << 112 | number)),
            **row,
        }

    def _archived(self, month: datetime, number: int, attack: bool) -> Row:
        row = _flow(0, "10.0.1.1", WEB, 443, attack_type="SYN_FLOOD" if attack else "BENIGN")
        minutes = (self.now - month).total_seconds() / 60 - 600 - number
        return self._row(month.month * 1000 + number, row | {"minutes": minutes})


def _flow(minutes: float, src: str, dst: str, port: int, **more: Any) -> Row:
    """A flow so many minutes before now: ten packets and 2,000 bytes out, eight packets and 6,000 bytes back, a quarter of a second."""
    return {
        "minutes": minutes, "src_ip": src, "dst_ip": dst, "dst_port": port, "protocol": 6, "tcp_state": "SF", "end_reason": "fin",
        "flow_duration": 250_000, "total_fwd_packets": 10, "total_backward_packets": 8, "total_length_fwd_packets": 2_000,
        "total_length_bwd_packets": 6_000, "ip_version": 4, "domain": "lab", **more,
    }  # fmt: skip


def _probe(minutes: float, src: str, dst: str, port: int, attack: str, state: str = "REJ") -> Row:
    """A TCP SYN that was refused, or not answered."""
    return _flow(
        minutes, src, dst, port, attack_type=attack, tcp_state=state, end_reason="rst" if state == "REJ" else "idle", flow_duration=500,
        total_fwd_packets=1, total_backward_packets=int(state == "REJ"), total_length_fwd_packets=0, total_length_bwd_packets=0,
    )  # fmt: skip


def _traffic() -> Iterator[Row]:
    yield from _ordinary()
    for n in range(60):  # one host, many ports
        yield _probe(300 - n / 60, SCANNER, SCANNED, 1 + n, "SYN_SCAN")
    for n in range(40):  # many hosts, one port
        yield _probe(400 - n / 60, SWEEPER, f"10.0.3.{1 + n}", 22, "SYN_SCAN", "S0")
    for n in range(30):
        yield _flow(200 - n / 6, GUESSER, SSH_SERVER, 22, attack_type="SSH_BRUTE_FORCE", flow_duration=1_500_000)
    for n in range(30):  # ten in each of three minutes
        yield _probe(30 - n // 10 - (n % 10) / 60, FLOODER, WEB, 443, "SYN_FLOOD", "S0")
    for n in range(48):  # every five minutes, for four hours
        yield _flow(320 - 5 * n, BEACON, CONTROLLER, 8443, attack_type="BOTNET_BEACON", total_length_fwd_packets=120)
    for n in range(24):  # at growing distances
        yield _flow(110 + n * n, IRREGULAR, SITE, 443)
    for n in range(12):
        yield _flow(
            500 - n, DNS_TUNNEL, DNS, 53, attack_type="DNS_TUNNEL", protocol=17, tcp_state="", end_reason="idle",
            total_length_fwd_packets=40_000,
        )  # fmt: skip
    for n in range(5):
        yield _flow(
            550 - n, ICMP_TUNNEL, FAR_END, 0, protocol=1, src_port=0, tcp_state="", end_reason="idle", total_length_fwd_packets=20_000
        )
    for n in range(3):  # two hours, two and a half, three
        yield _flow(
            900 - 60 * n, THIEF, DROP, 443, attack_type="EXFILTRATION", flow_duration=(7_200 + 1_800 * n) * 1_000_000,
            total_fwd_packets=350_000, total_length_fwd_packets=500_000_000, total_length_bwd_packets=1_000_000,
        )  # fmt: skip
    for n in range(4):
        yield _flow(90 + n, CURIOUS, NEW_SITE, 443)
    for n in range(7):  # the model is not sure
        yield _flow(150 + n, "10.0.1.9", SECOND_WEB, 80, confidence_score=0.375 + n / 32)


def _ordinary() -> Iterator[Row]:
    """Twenty clients that ask a resolver and two web servers, over forty hours: one flow in four minutes."""
    for n in range(600):
        minutes = 20 + 4 * n
        if any(first <= minutes <= last for first, last in _QUIET):
            continue
        client = f"10.0.1.{1 + n % 20}"
        if n % 3 == 0:
            yield _flow(
                minutes, client, DNS, 53, protocol=17, tcp_state="", end_reason="idle", flow_duration=20_000, total_fwd_packets=1,
                total_backward_packets=1, total_length_fwd_packets=40, total_length_bwd_packets=120,
            )  # fmt: skip
        else:
            yield _flow(minutes, client, (WEB, SECOND_WEB)[n % 3 - 1], (443, 80)[n % 3 - 1])


def _records(rows: list[Row]) -> pa.Table:
    return table([{"at": (row["start_time"] - T0).total_seconds(), **row} for row in rows])


def _raise_alert(found: dict[str, Row], row: Mapping[str, Any]) -> None:
    """Count a flow with the alert that it belongs to, of one long episode."""
    label = BY_NAME[row["attack_type"]]
    key = alerts.alert_key(label.kind, label.name, row["domain"], 0, row["src_ip"], row["dst_ip"], row["flow_id"])
    alert = found.setdefault(
        key,
        {
            "id": str(alerts.alert_id(key)), "timestamp": row["start_time"], "src_ip": None if label.kind == "flood" else row["src_ip"],
            "dst_ip": None if label.kind == "scan" else row["dst_ip"], "attack_type": label.name, "severity": label.severity,
            "confidence": row["confidence_score"], "details": json.dumps({"flow_id": row["flow_id"]} if label.kind == "per-flow" else {}),
            "kind": label.kind, "domain": row["domain"], "sensor_id": row["sensor_id"], "model_version": row["model_version"],
            "first_seen": row["start_time"], "last_seen": row["end_time"], "flow_count": 0, "notified_severity": label.severity,
            "record_type": FLOWS.name,
        },
    )  # fmt: skip
    alert["flow_count"] += 1
    alert["first_seen"] = alert["timestamp"] = min(alert["first_seen"], row["start_time"])
    alert["last_seen"] = max(alert["last_seen"], row["end_time"])


def into_postgres(data: Data, database: PostgresSettings) -> None:
    """Make the tables of hot store and alerts in a database, and fill them as the stream does; the rollups are current."""
    settings = config.build(hot=database.model_dump(include=_PLACE))
    into = hot.table_of(FLOWS)
    migrate(hot.component(settings, into))
    migrate(Component("alerts", database, alerts.MIGRATIONS))
    rows = hot.hot_rows(data.flows, FLOWS)
    connection = postgres.connect(database, "cookbook")
    try:
        placing.ready(connection, settings.hot, into, rows[into.time])
        hot.insert(connection, rows, into, ("cookbook", 0, 0, ""))
        with connection, connection.cursor() as cursor:
            names = list(alerts.WRITTEN)
            cursor.executemany(
                f"INSERT INTO {alerts.TABLE} ({', '.join(names)}) VALUES ({', '.join(f'%({n})s' for n in names)})", data.alerts
            )
    finally:
        connection.close()
    maintained = maintain(settings.hot, [into])
    assert maintained
    assert [item.problems for item in maintained] == [[]]
    _roll_up_all(settings.hot, into)


def _roll_up_all(settings: HotSettings, into: HotTable) -> None:
    """The newest hours, too, which maintenance leaves until they are over."""
    with closing(postgres.connect(settings, "cookbook")) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute("SELECT 1 FROM pg_extension WHERE extname = 'timescaledb'")
        if not cursor.fetchone():
            rollups.refresh(cursor, into, datetime.now(UTC) + timedelta(hours=3))
            return
        for rollup in into.rollups:
            cursor.execute("CALL refresh_continuous_aggregate(%s, NULL, NULL)", (rollup.name,))


def into_lake(data: Data, settings: Settings) -> None:
    """Write the Delta tables ``flows`` and ``labels`` where the settings have them, a folder or S3."""
    from deltalake import write_deltalake

    write_deltalake(
        s3.uri(lake.location(settings, FLOWS)), lake_rows(data.flows, FLOWS), mode="overwrite", partition_by=[PARTITION],
        storage_options=s3.storage_options(settings.lake),
    )  # fmt: skip
    labels.put(settings, data.labels)


def into_archive(data: Data, settings: Settings) -> None:
    """Write the archive of flows where the settings have it, a folder or S3, as ``flowlake archive run`` lays it out."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    layout = ArchiveLayout.of(FLOWS)
    rows = hot.hot_rows(data.archived, FLOWS)
    exact = pa.table([rows[field.name].cast(field.type) for field in layout.exact_schema], schema=layout.exact_schema)
    archived = layout.archived(exact)
    where = place.of(settings, layout.table.name)
    for month in data.archived_months:
        folder = where.path(f"year={month:%Y}", f"month={month:%m}")
        where.make_folder(folder)
        mine = pc.equal(pc.strftime(archived[layout.time], format="%Y-%m"), f"{month:%Y-%m}")
        pq.write_table(archived.filter(mine), f"{folder}/part-0.parquet", filesystem=where.files, compression="zstd")
