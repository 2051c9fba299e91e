"""What Grafana makes of a question."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from infra.errors import ConfigError
from ops.views.macros import expand, expand_promql, interval, literal, span

BEGIN = datetime(2026, 3, 1, 12, tzinfo=UTC)
END = datetime(2026, 3, 1, 13, 0, 0, 250_000, tzinfo=UTC)


def made(sql: str, width: timedelta | str = "1m", *, sensors: tuple[str, ...] = (), timescale: bool = False, **variables: str) -> str:
    return expand(sql, start=BEGIN, end=END, interval=width, sensors=sensors, variables=variables, timescale=timescale)


class TestMacros:
    @pytest.mark.parametrize(
        ("sql", "expected"),
        [
            ("$__time(at)", 'at AS "time"'),
            ("$__timeEpoch(at)", 'extract(epoch from at) as "time"'),
            ("$__timeFilter(a.at)", "a.at BETWEEN '2026-03-01T12:00:00Z' AND '2026-03-01T13:00:00.25Z'"),
            ("$__timeFrom()::timestamptz", "'2026-03-01T12:00:00Z'::timestamptz"),
            ("$__timeTo()", "'2026-03-01T13:00:00.25Z'"),
            ("$__timeGroup(at, '5m')", "floor(extract(epoch from at)/300)*300"),
            ("$__timeGroup(at,1h, 0)", "floor(extract(epoch from at)/3600)*3600"),
            ("$__timeGroup(at, $__interval)", "floor(extract(epoch from at)/60)*60"),
            ("$__timeGroupAlias(at, $__interval)", 'floor(extract(epoch from at)/60)*60 AS "time"'),
            ("SELECT $__timeGroup(at, 1m), 2", 'SELECT floor(extract(epoch from at)/60)*60 AS "time", 2'),
            ("$__timeGroup(at, 500ms)", "floor(extract(epoch from at)/0.5)*0.5"),
            ("$__unixEpochFilter(n)", "n >= 1772366400 AND n <= 1772370000"),
            ("$__unixEpochTo() - $__unixEpochFrom()", "1772370000 - 1772366400"),
            ("$__unixEpochNanoFilter(n)", "n >= 1772366400000000000 AND n <= 1772370000250000000"),
            ("$__unixEpochNanoFrom(), $__unixEpochNanoTo()", "1772366400000000000, 1772370000250000000"),
            ("$__unixEpochGroup(n, 1m)", "floor((n)/60)*60"),
            ("$__unixEpochGroupAlias(n, 1m)", 'floor((n)/60)*60 AS "time"'),
            ("$__interval ${__interval} $__interval_ms ${__interval_ms}", "1m 1m 60000 60000"),
        ],
    )
    def test_each(self, sql: str, expected: str) -> None:
        assert made(sql) == expected

    def test_with_timescaledb(self) -> None:
        assert made("$__timeGroup(at, 30s)", timescale=True) == "time_bucket('30.000s',at)"

    def test_a_moment_of_another_zone_is_the_same_moment(self) -> None:
        there = timezone(timedelta(hours=5, minutes=30))
        told = expand("$__timeFrom()", start=BEGIN.astimezone(there), end=END, interval="1m")
        assert told == "'2026-03-01T12:00:00Z'"

    @pytest.mark.parametrize(
        ("width", "told"), [("90s", "90s"), ("120s", "2m"), ("24h", "1d"), ("1w", "7d"), (timedelta(milliseconds=1500), "1500ms")]
    )
    def test_an_interval_is_told_in_its_largest_unit(self, width: timedelta | str, told: str) -> None:
        assert made("$__interval", width) == told

    @pytest.mark.parametrize(
        ("sql", "said"),
        [
            ("$__nothing(at)", r"\$__nothing\(\) is no macro"),
            ("$__nothing", r"\$__nothing is no variable"),
            ("${other:sqlstring}", r"\$\{other:sqlstring\} is no variable"),
            ("${sensor}", r"\$\{sensor\}: a value goes into SQL as a literal"),
            ("${sensor:raw}", r"\$\{sensor:raw\}: a value goes into SQL as a literal"),
            ("$__timeGroup(at, soon)", "'soon' is no length of time"),
        ],
    )
    def test_what_is_not_known_is_refused(self, sql: str, said: str) -> None:
        with pytest.raises(ConfigError, match=said):
            made(sql)

    def test_a_range_that_ends_before_it_starts_is_refused(self) -> None:
        with pytest.raises(ConfigError, match=r"ends .* before it starts"):
            expand("SELECT 1", start=END, end=BEGIN, interval="1m")


class TestVariables:
    def test_all_sensors_is_null(self) -> None:
        assert made("sensor_id IN (${sensor:sqlstring})") == "sensor_id IN (NULL)"

    @pytest.mark.parametrize(
        ("value", "told"),
        [
            ("edge", "'edge'"),
            ("it's", "'it''s'"),
            ("''", "''''''"),
            ("back\\slash", "'back\\slash'"),
            ("a,b", "'a,b'"),
            ("$__timeFrom()", "'$__timeFrom()'"),
            ("${sensor:sqlstring}", "'${sensor:sqlstring}'"),
            ("\\g<0>%s{}", "'\\g<0>%s{}'"),
            ("", "''"),
        ],
    )
    def test_a_value_is_text_whatever_it_says(self, value: str, told: str) -> None:
        assert made("${sensor:sqlstring}", sensors=(value, "x")) == f"{told},'x'"
        assert made("${source:sqlstring}", source=value) == told

    def test_the_character_zero_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="character 0"):
            literal("a\0b")


class TestIntervals:
    @pytest.mark.parametrize(
        ("hours", "points", "least", "expected"),
        [
            (1, 300, "1s", "10s"), (1, 300, "1m", "1m"), (6, 300, "1m", "1m"), (24, 300, "1m", "5m"), (24 * 7, 300, "1m", "30m"),
            (24 * 30, 300, "1m", "2h"), (24 * 365, 300, "1m", "1d"), (24 * 365 * 9, 10, "1m", "365d"), (0, 300, "1s", "1s"),
        ],
    )  # fmt: skip
    def test_a_range_by_the_points_there_is_room_for(self, hours: int, points: int, least: str, expected: str) -> None:
        assert interval(BEGIN, BEGIN + timedelta(hours=hours), points=points, least=least) == span(expected)

    @pytest.mark.parametrize("text", ["", "5", "m", "0s", "-5m", "1.5h", "5 m", "1y", "9" * 30 + "w", "5m; DROP"])
    def test_no_length_of_time(self, text: str) -> None:
        with pytest.raises(ConfigError, match="is no length of time"):
            span(text)


class TestPromql:
    @pytest.mark.parametrize(("width", "scrape", "rate"), [("15s", "15s", "1m"), ("5m", "15s", "315s"), ("1s", "1s", "4s")])
    def test_a_rate_needs_four_scrapes(self, width: str, scrape: str, rate: str) -> None:
        assert expand_promql("rate(x[$__rate_interval])", interval=width, scrape=scrape) == f"rate(x[{rate}])"

    def test_an_interval_is_no_shorter_than_a_scrape(self) -> None:
        assert expand_promql("avg_over_time(x[$__interval])", interval="1s") == "avg_over_time(x[15s])"
