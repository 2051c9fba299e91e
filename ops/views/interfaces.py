"""Panels of exporters' interfaces: rates between two counters of one interface."""

from __future__ import annotations

from collections.abc import Iterator

from ops.views.model import Field, Panel
from ops.views.subjects import binned
from schemas.interfacecounters import TABLE

_LINES = 20
_ERRORS = " + ".join(f"coalesce({name} - lag({name}) OVER one, 0)" for name in ("in_errors", "in_discards", "out_errors", "out_discards"))
#: Differences between a counter and the one before of its interface; one that went back was begun anew, or wrapped, and is left out.
_MOVED = f"""WITH moved AS (
  SELECT exporter_ip, interface, timestamp, speed, in_bytes - lag(in_bytes) OVER one AS came, out_bytes - lag(out_bytes) OVER one AS went,
    {_ERRORS} AS errors, extract(epoch FROM timestamp - lag(timestamp) OVER one) AS seconds
  FROM {TABLE} WHERE $__timeFilter(timestamp)
  WINDOW one AS (PARTITION BY exporter_ip, interface ORDER BY timestamp, counter_id)
), rates AS (
  SELECT {binned("timestamp")} AS at, exporter_ip, interface, 8 * sum(greatest(came, went)) / sum(seconds) AS bits,
    greatest(max(8 * greatest(came, went) / seconds / nullif(speed, 0)), 0) AS used, sum(errors) / sum(seconds) AS errors
  FROM moved WHERE seconds > 0 AND came >= 0 AND went >= 0 AND errors >= 0 GROUP BY 1, 2, 3
), top AS (SELECT exporter_ip, interface FROM rates GROUP BY 1, 2 ORDER BY sum({{by}}) DESC NULLS LAST, 1, 2 LIMIT {_LINES})"""


def panels() -> Iterator[Panel]:
    """Panels of *Pipeline health*."""
    yield _panel(
        "interface_bits", "Load of interfaces", "bits", "bps", "The busier of the two directions, of the 20 interfaces with the most."
    )  # fmt: skip
    yield _panel(
        "interface_used", "Use of interfaces", "used", "percentunit", "Share of an interface's speed, at its most within each point."
    )  # fmt: skip
    yield _panel("interface_errors", "Errors and discards of interfaces", "errors", "ops", "Packets per second, both directions.")


def _panel(key: str, title: str, by: str, unit: str, description: str) -> Panel:
    sql = _MOVED.replace("{by}", by, 1)
    return Panel(
        key, title, "timeseries", "hot",
        f"{sql} SELECT at AS \"time\", host(exporter_ip) || ' ' || interface::text AS metric, round({by}::numeric, 3) AS {by} "
        "FROM rates JOIN top USING (exporter_ip, interface) ORDER BY 1, 2",
        f"{description} From counters of sFlow: the topic interface.counters.",
        (Field("time", "time"), Field("metric", "text"), Field(by, "number", unit)), section="Interfaces of exporters", interval="30s",
    )  # fmt: skip
