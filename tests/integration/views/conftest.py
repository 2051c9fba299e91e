"""A hot store and alerts with some days of both, for the questions of views."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from infra import config
from infra.config import Settings
from infra.sections import HotSettings
from jobs.archiving import ledger
from jobs.hotstore import countries as loader
from jobs.sinks import alerts, hot, postgres
from jobs.sinks.alertstore import AlertStore
from jobs.sinks.migrations import Component, migrate
from schemas import countries
from schemas.packets import FLOWS
from schemas.records import RecordType, hot_records
from schemas.windowrecords import WINDOW_FEATURES_TABLE, WINDOWS
from tests.integration.hotstore import STORES, Store, empty_database, flows, server_of
from tests.integration.incidents.test_grouping import BOTNET, FLOOD, INTRUSION, give
from tests.sinksdata import T0
from tests.toy_source.records import READING
from tests.windowsdata import table

#: A sensor whose name is hostile, one like any, and one that had a single flow long ago.
HOSTILE, PLAIN, SILENT = "s'; DROP TABLE network_flows; --", "edge-1", "silent"
#: Who scans in windows.
SCANNER = "6.6.6.6"
#: So many minutes before now flows are planted; every third time an attack, too.
MINUTES = (*range(1, 60), *range(61, 26 * 60, 7))


class Planted:
    """Where everything is, and a connection to it."""

    def __init__(self, settings: Settings, times: list[datetime]) -> None:
        self.settings = settings
        self.times = times
        self.attacks = times[::3]
        self._connection = postgres.connect(settings.hot, "test")
        self._connection.autocommit = True

    def ask(self, sql: str, *values: Any, role: str = "", budget_ms: int = 5000) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Names of the columns, and rows; as a member of a role, within a time."""
        with self._connection.cursor() as cursor:
            cursor.execute(f"SET statement_timeout = {budget_ms}; SET ROLE {role or 'NONE'}")
            cursor.execute(sql, values or None)
            return [column.name for column in cursor.description], cursor.fetchall()

    def close(self) -> None:
        self._connection.close()


@pytest.fixture(scope="module", params=STORES)
def planted(request: pytest.FixtureRequest) -> Iterator[Planted]:
    """Some hours of flows of two sensors, readings, alerts and incidents, an archived month, networks of countries."""
    server = server_of(request.param, request)
    with empty_database(server) as name:
        made = config.build(
            hot={"database": name, **server}, alerts={"database": name, **server, "min_flows": 1}, metrics={"stream_port": 0}
        )
        for component in _components(made):
            migrate(component)
        now = datetime.now(UTC)
        times = [now - timedelta(minutes=minutes, seconds=7) for minutes in MINUTES]
        _plant(Store(HotSettings(database=name, **server)), times)
        _plant_windows(made)
        give(AlertStore(made.alerts, FLOWS), INTRUSION + BOTNET + FLOOD)
        postgres.kept(made.alerts, "flowlake-alerts").close()
        _date_alerts(made)
        found = Planted(made, times)
        yield found
        found.close()


def records() -> list[RecordType]:
    """A second record type beside flows, without rollups and sensors; and those of windows, which share a table."""
    return [READING, FLOWS, *WINDOWS.values()]


def _components(made: Settings) -> list[Component]:
    return [
        *(hot.component(made, record.hot) for record in hot_records(records()) if record.hot),
        ledger.component(made),
        alerts.component(made),
        loader.component(made),
    ]


def _plant(store: Store, times: list[datetime]) -> None:
    store.write(flows(times, attack=False, sensor_id=PLAIN, src_ip="10.0.0.7", confidence_score=0.45))
    store.write(flows(times[::3], sensor_id=HOSTILE, src_ip="6.6.6.6", name="a"))
    store.write(flows([times[0] - timedelta(hours=20)], attack=False, sensor_id=SILENT, name="silent"))
    with closing(postgres.connect(store.settings, "test")) as connection, connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO sensor_readings SELECT now() - n * interval '1 min', gen_random_uuid(), 'd' || n % 3, n, 0, (n % 5 = 0)::int, "
            "0.5, CASE WHEN n % 5 = 0 THEN 'SPIKE' ELSE 'BENIGN' END, '3' FROM generate_series(1, 200) n"
        )
        cursor.execute(f"INSERT INTO {countries.COUNTRIES} VALUES ('6.0.0.0/8', 'Nowhere'), ('6.6.0.0/16', 'Somewhere')")
        cursor.execute(
            "INSERT INTO archive_months (table_name, month, run_id, state, place, rows, bytes, program, schema_version) "
            "VALUES ('network_flows', '2026-01-01', 'r1', 'deleted', '/archive', 12, 345, 'test', 1)"
        )
        connection.commit()
    store.maintain()


def _plant_windows(made: Settings) -> None:
    """Of the last hour: a scanner, one who calls home and is quiet in between, and a network of many who forge their addresses."""
    now = (datetime.now(UTC) - T0).total_seconds()
    with closing(postgres.connect(made.hot, "test")) as connection:
        for size, record in WINDOWS.items():
            rows = [
                {"at": (now - ago) // size * size, "model_version": str(size), **what}
                for ago in range(size, 3600, size)
                for what in (
                    {
                        "src_ip": SCANNER,
                        "flows_started": 50.0,
                        "syn_count": 50.0,
                        "failed_ratio": 0.9,
                        "attack_type": "SYN_SCAN",
                        "complete": 1,
                    },
                    {"src_ip": "10.0.0.9", "flows_started": 1.0, "beats": 9.0, "beat_period": 61.0, "attack_type": "BOTNET_BEACON"},
                    {"src_ip": "198.18.0.0", "src_prefix": 24, "flows_started": 9.0},
                )
                if size == 180 or what["src_ip"] != "10.0.0.9"
            ]
            hot.insert(connection, hot.hot_rows(table(size, rows), record), WINDOW_FEATURES_TABLE, ("windows", size, 0, "x"))


def _date_alerts(made: Settings) -> None:
    """The planted alerts are of a day long gone: they are brought to today, some of them closed."""
    with closing(postgres.connect(made.alerts, "test")) as connection, connection.cursor() as cursor:
        cursor.execute(
            "UPDATE alerts SET timestamp = now() - interval '2 h', first_seen = now() - interval '2 h', "
            "last_seen = now() - interval '1 h', sensor_id = %s",
            (PLAIN,),
        )
        cursor.execute("UPDATE incidents SET last_seen = now() - interval '1 h'")
        cursor.execute("UPDATE incidents SET status = 'FALSE_POSITIVE', closed_at = now(), closed_by = 'anna' WHERE title LIKE 'Botnet%'")
        connection.commit()
