"""Every question of every view, expanded as Grafana would, on a real database."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import product
from typing import Any

import pytest

from ops.grafana.rules import DATABASE_RULES, MonitoringRule
from ops.views.catalogue import sensors_query, views
from ops.views.macros import expand, interval
from ops.views.model import Panel
from ops.views.subjects import subjects
from schemas import crowds
from schemas.roles import ANALYST
from tests.integration.views.conftest import HOSTILE, PLAIN, SCANNER, SILENT, Planted, records

pytestmark = pytest.mark.integration
#: What a page may take; here each question alone may.
BUDGET_MS = 2_000
RANGES = {"5m": timedelta(minutes=5), "6h": timedelta(hours=6), "24h": timedelta(hours=24), "30d": timedelta(days=30)}
SENSORS: dict[str, tuple[str, ...]] = {"all": (), "two": (PLAIN, HOSTILE), "none of them": ("'", "$__timeFrom()", "${source:sqlstring}")}
TYPES: dict[str, tuple[type, ...]] = {"time": (datetime,), "number": (int, float, Decimal), "text": (str,), "boolean": (bool,)}


def panels() -> Iterator[Panel]:
    for view in views(records(), countries=True):
        yield from (panel for panel in view.panels if panel.source != "metrics")


def asked(panel: Panel, begin: datetime, end: datetime, sensors: tuple[str, ...] = (), **variables: str) -> str:
    """Its question."""
    width = interval(begin, end, least=panel.interval)
    given = {"source": "", "target": "", **variables}
    return expand(panel.query, start=begin, end=end, interval=width, sensors=sensors, variables=given)


def answer(planted: Planted, panel: Panel, span: timedelta, sensors: tuple[str, ...] = (), **variables: str) -> list[tuple[Any, ...]]:
    """Rows of a panel for a range up to now; its columns are what it declares."""
    end = datetime.now(UTC)
    sql = asked(panel, end - span, end, sensors, **variables)
    names, rows = planted.ask(sql, role=ANALYST, budget_ms=BUDGET_MS)
    assert names == [column.name for column in panel.columns], panel.key
    for row in rows:
        for column, value in zip(panel.columns, row, strict=True):
            assert value is None or isinstance(value, TYPES[column.type]), f"{panel.key}: {column.name} is {value!r}"
    return rows


def panel(view: str, key: str) -> Panel:
    return {view.name: view for view in views(records(), countries=True)}[view].panel(key)


def whole_hours(span: timedelta) -> datetime:
    """The first whole hour of a range up to now."""
    begin = datetime.now(UTC) - span
    return begin.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)


class TestPanelQuestions:
    @pytest.mark.parametrize(("span", "sensors"), [("24h", "all"), *product(("5m", "6h", "30d"), SENSORS)])
    def test_each_is_answered_as_declared_by_who_may_only_read(self, planted: Planted, span: str, sensors: str) -> None:
        answered = {
            panel.key: answer(planted, panel, RANGES[span], SENSORS[sensors], source=SCANNER * (panel.key == "rows")) for panel in panels()
        }
        assert len(answered) >= 40
        if span == "24h":
            assert [key for key, rows in answered.items() if not rows] == []
        if sensors == "none of them":
            assert answered["alerts"] == []
            assert answered["flows_newest"] == []

    def test_a_short_range_counts_rows(self, planted: Planted) -> None:
        begin = datetime.now(UTC) - timedelta(hours=3)
        ((kind, attacks),) = answer(planted, panel("attacks", "flows_kinds"), timedelta(hours=3))
        assert (kind, attacks) == ("SYN_SCAN", sum(at >= begin for at in planted.attacks))

    @pytest.mark.parametrize("hours", [8, 20])
    def test_a_long_range_counts_hours_and_what_is_newer(self, planted: Planted, hours: int) -> None:
        since = whole_hours(timedelta(hours=hours))
        ((kind, attacks),) = answer(planted, panel("attacks", "flows_kinds"), timedelta(hours=hours))
        assert (kind, attacks) == ("SYN_SCAN", sum(at >= since for at in planted.attacks))

    def test_a_long_range_that_ended_within_an_hour_has_nothing_of_after_its_end(self, planted: Planted) -> None:
        hour = planted.times[0].replace(minute=0, second=0, microsecond=0) - timedelta(hours=2)
        begin, end = hour - timedelta(hours=8), hour + timedelta(minutes=12)
        _, kinds = planted.ask(asked(panel("attacks", "flows_kinds"), begin, end), role=ANALYST)
        assert kinds == [("SYN_SCAN", sum(begin <= at <= end for at in planted.attacks))]
        _, rows = planted.ask(asked(panel("traffic", "flows_over_time"), begin, end), role=ANALYST)
        at, _, attacks = rows[-1]
        assert at == hour
        assert float(attacks) * 12 == pytest.approx(sum(hour <= time <= end for time in planted.attacks), abs=0.2)

    @pytest.mark.parametrize("hours", [2, 9])
    def test_rates_times_their_seconds_are_all_rows(self, planted: Planted, hours: int) -> None:
        """A bucket that the range cuts is as high as the others: its rate is by the seconds that it has."""
        span = timedelta(hours=hours)
        rows = answer(planted, panel("traffic", "flows_over_time"), span)
        since = datetime.now(UTC) - span if hours <= 6 else whole_hours(span)
        width = max(interval(since, since + span, least="1m"), timedelta(hours=1) if hours > 6 else timedelta())
        inside = [row for row in rows if row[0] > since and row[0] + width < datetime.now(UTC)]
        assert inside
        for at, benign, attacks in inside:
            count = sum(at <= time < at + width for time in planted.times)
            assert float(benign) == pytest.approx(count * 60 / width.total_seconds(), abs=0.01), at
            count = sum(at <= time < at + width for time in planted.attacks)
            assert float(attacks) == pytest.approx(count * 60 / width.total_seconds(), abs=0.01), at

    @pytest.mark.parametrize("hours", [2, 9])
    def test_what_models_did_is_the_same_by_time_and_in_all(self, planted: Planted, hours: int) -> None:
        span = timedelta(hours=hours)
        ((model, rows, share, confidence, first, last),) = answer(planted, panel("model", "flows_models"), span)
        since = datetime.now(UTC) - span if hours <= 6 else whole_hours(span)
        times, attacks = ([at for at in of if at >= since] for of in (planted.times, planted.attacks))
        count = len(times) + len(attacks)
        assert rows == count
        assert float(share) == pytest.approx(100 * len(attacks) / count, abs=0.001)
        series = answer(planted, panel("model", "flows_by_model"), span)
        assert {metric for _, metric, _, _ in series} == {model}
        assert min(float(value) for _, _, value, _ in series) <= float(share) <= max(float(value) for _, _, value, _ in series)
        means = [float(mean) for _, _, _, mean in series]
        assert min(means) <= 100 * float(confidence) <= max(means)
        assert since - timedelta(minutes=10) <= first < last <= max(times)

    def test_a_sensor_of_hostile_name_is_one_sensor(self, planted: Planted) -> None:
        by_sensor = panel("traffic", "flows_by_sensor")
        ((sensor, rows),) = answer(planted, by_sensor, timedelta(hours=1), (HOSTILE,))
        assert (sensor, rows) == (HOSTILE, sum(at > datetime.now(UTC) - timedelta(minutes=15) for at in planted.attacks))
        assert [sensor for sensor, _ in answer(planted, by_sensor, timedelta(hours=1))] == [PLAIN, HOSTILE]

    def test_the_newest_row_of_a_sensor_that_is_silent_for_long_is_found(self, planted: Planted) -> None:
        ((age,),) = answer(planted, panel("traffic", "flows_age"), timedelta(minutes=5), (SILENT,))
        assert float(age) == pytest.approx(20 * 3600, abs=120)
        ((age,),) = answer(planted, panel("traffic", "flows_age"), timedelta(minutes=5), (PLAIN,))
        assert float(age) == pytest.approx((datetime.now(UTC) - planted.times[0]).total_seconds(), abs=5)
        ((age,),) = answer(planted, panel("traffic", "flows_age"), timedelta(minutes=5), ("nobody",))
        assert age is None

    def test_sensors_that_can_be_chosen(self, planted: Planted) -> None:
        _, rows = planted.ask(sensors_query(subjects(records())), role=ANALYST, budget_ms=BUDGET_MS)
        assert [sensor for (sensor,) in rows] == sorted((PLAIN, HOSTILE, SILENT))

    def test_the_smallest_network_says_the_country(self, planted: Planted) -> None:
        ((country, attacks, sources),) = answer(planted, panel("attacks", "flows_countries"), timedelta(hours=1))
        since = datetime.now(UTC) - timedelta(hours=24)
        assert (country, attacks, sources) == ("Somewhere", sum(at > since for at in planted.attacks), 1)

    def test_windows_are_counted_by_size_and_sources_told_apart(self, planted: Planted) -> None:
        hour = timedelta(hours=1)
        for key, number in (("sources", 2), ("attackers", 1), ("summed_up", 1)):
            assert answer(planted, panel("windows", key), hour) == [(number,)], key
        started = answer(planted, panel("windows", "started"), hour)
        assert {(source, float(most)) for _, source, most in started} == {(SCANNER, 50), ("198.18.0.0/24", 9)}
        assert {(source, float(share)) for _, source, share in answer(planted, panel("windows", "failed"), hour)} == {(SCANNER, 0.9)}
        assert {metric for _, metric, _ in answer(planted, panel("windows", "attacks_over_time"), hour)} == {
            "5 s SYN_SCAN", "30 s SYN_SCAN", "180 s SYN_SCAN", "180 s BOTNET_BEACON",
        }  # fmt: skip
        slowest, *_ = answer(planted, panel("windows", "slow"), hour)
        assert (slowest[0], slowest[3], slowest[5], float(slowest[6])) == ("10.0.0.9", "BOTNET_BEACON", 9, 61)
        assert [(size, model) for size, model, *_ in answer(planted, panel("windows", "models"), hour)] == [
            (n, str(n)) for n in (5, 30, 180)
        ]
        assert answer(planted, panel("windows", "rows"), hour) == []
        assert {row[2] for row in answer(planted, panel("windows", "rows"), hour, source="10.0.0.9")} == {"10.0.0.9"}

    def test_an_alert_leads_to_its_flows(self, planted: Planted) -> None:
        alerts = panel("alerts", "alerts")
        (column,) = (column for column in alerts.columns if column.link)
        link, names = column.link, [column.name for column in alerts.columns]
        assert link is not None
        rows = [dict(zip(names, row, strict=True)) for row in answer(planted, alerts, timedelta(hours=3))]
        (scan,) = (row for row in rows if row["attack_type"] == "SYN_SCAN")
        chosen = {variable: scan[name] for variable, name in link.variables.items()}
        assert chosen == {"source": "6.6.6.6", "target": ""}
        begin, end = (datetime.fromtimestamp(scan[name] / 1000, UTC) for name in (link.begin, link.end))
        assert begin < end
        _, found = planted.ask(asked(panel(link.view, "flows_rows"), begin, end, **chosen), role=ANALYST)
        assert len(found) == sum(begin <= at <= end for at in planted.attacks)

    @pytest.mark.parametrize("count", ["1", "39", "1023", "1024", "2744000", "2744.0", "0", "null", '"many"', "[3]"])
    def test_a_crowd_is_said_in_sql_as_in_words(self, planted: Planted, count: str) -> None:
        for side in ("source", "target"):
            details = {f"distinct_{side}s": json.loads(count)}
            row = "(SELECT NULL::inet AS src_ip, NULL::inet AS dst_ip, %s::jsonb AS details) alert"
            _, ((said,),) = planted.ask(f"SELECT {crowds.column(side)} FROM {row}", json.dumps(details))
            assert said == crowds.several(details, side)

    def test_a_long_range_reads_no_rows_of_old_days(self, planted: Planted) -> None:
        """Which way a question goes is settled before it begins."""
        end = datetime.now(UTC)
        for key in ("flows_over_time", "flows_bits_over_time"):
            question = asked(panel("traffic", key), end - timedelta(days=30), end)
            _, ((plan,),) = planted.ask(f"EXPLAIN (ANALYZE, FORMAT JSON) {question}")
            read = {name for name in executed(plan[0]["Plan"]) if name.startswith(("network_flows", "_hyper"))}
            old = f"network_flows_p{end - timedelta(days=1):%Y%m%d}"
            assert old not in read or end.hour < 3, read


class TestDatabaseRules:
    @pytest.mark.parametrize("rule", DATABASE_RULES, ids=lambda rule: rule.name)
    def test_it_fires_where_it_must_and_not_before(self, planted: Planted, rule: MonitoringRule) -> None:
        def fires() -> bool:
            _, rows = planted.ask(rule.query, role=ANALYST, budget_ms=BUDGET_MS)
            return any(value > 0 for row in rows for value in row)

        assert not fires()
        planted.ask(_CAUSES[rule.name] + " RETURNING 1")
        assert fires()


#: What makes a rule fire.
_CAUSES = {
    "FlowlakeCriticalIncidentOfNobody": "INSERT INTO incidents (id, title, priority, first_seen, last_seen, created_at) "
    "VALUES (gen_random_uuid(), 'old', 'CRITICAL', now(), now(), now() - interval '16 min')",
    "FlowlakeOpenAlertsPileUp": "INSERT INTO alerts (id, timestamp, attack_type, severity, confidence, kind, domain, sensor_id, "
    "model_version, first_seen, last_seen, flow_count) SELECT gen_random_uuid(), now(), 'SYN_SCAN', 1, 1, 'scan', 'd', 's', '1', now(), "
    "now(), 1 FROM generate_series(1, 1001)",
}


class TestLiterals:
    @pytest.mark.parametrize(
        "value",
        [
            "",
            "'",
            "''",
            "\\",
            "\\'",
            "a\nb",
            "%s %%",
            "$$",
            "$1",
            "$__timeFrom()",
            "${sensor:sqlstring}",
            "--",
            "/*",
            "é 漢 \U0001f600",
            "\x1b[31m",
        ],
    )
    def test_the_database_reads_back_what_was_chosen(self, planted: Planted, value: str) -> None:
        now = datetime.now(UTC)
        sql = expand("SELECT ARRAY[${sensor:sqlstring}]", start=now, end=now, interval="1m", sensors=(value, "other"))
        _, ((read,),) = planted.ask(sql)
        assert read == [value, "other"]


def executed(node: dict[str, Any]) -> Iterator[str]:
    """Tables that a plan did read."""
    if node["Actual Loops"]:
        if "Relation Name" in node:
            yield node["Relation Name"]
        for below in node.get("Plans", ()):
            yield from executed(below)
