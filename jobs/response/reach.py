"""The blast radius of a block: what an address was part of lately, by the hot store."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import Any

import psycopg2

from infra.config import Settings
from infra.errors import FlowlakeError, one_line
from jobs.response.addresses import Network, show
from jobs.sinks import postgres
from jobs.sinks.stores import StoreUnavailable
from schemas.network_flows import TABLE

#: Flows that are looked at in each direction at most.
_MOST = 200_000

_SIDE = (
    f"(SELECT {{other}} AS host, total_length_fwd_packets AS sent, total_length_bwd_packets AS returned FROM {TABLE} "
    "WHERE timestamp >= now() - %(hours)s * interval '1 hour' AND {own} {within} %(network)s::inet LIMIT %(most)s)"
)


@dataclass(frozen=True)
class Reach:
    """What an address or network was part of, in the hours that were looked at.

    ``hosts`` it had flows with; ``partners`` are those of them with which data went both ways: a scan makes hosts, no partners.
    ``unknown`` says why nothing is known; ``complete`` is false where there was more than was looked at.
    """

    hours: float
    flows: int = 0
    bytes: int = 0
    hosts: int = 0
    partners: int = 0
    complete: bool = True
    unknown: str = ""

    def words(self) -> str:
        """In one line."""
        if self.unknown:
            return f"what it was part of is not known: {self.unknown}"
        more = "" if self.complete else "at least "
        return (
            f"in the last {self.hours:g} h {more}{self.flows:,} flows, {self.bytes:,} bytes, {self.hosts:,} hosts; "
            f"{self.partners:,} of them exchanged data with it"
        )


def of(settings: Settings, network: Network) -> Reach:
    """Ask the hot store, for ``response.reach_s`` at most. Never fails: what is not known is said."""
    hours = settings.response.reach_hours
    within = "=" if network.prefixlen == network.max_prefixlen else "<<="
    sides = [_SIDE.format(own=own, other=other, within=within) for own, other in (("src_ip", "dst_ip"), ("dst_ip", "src_ip"))]
    sql = (
        "SELECT count(*), coalesce(sum(sent + returned), 0)::bigint, count(DISTINCT host), "
        f"count(DISTINCT host) FILTER (WHERE sent > 0 AND returned > 0) FROM ({' UNION ALL '.join(sides)}) f"
    )
    values = {"hours": hours, "network": show(network), "most": _MOST}
    try:
        row = _asked(settings, sql, values)
    except (StoreUnavailable, FlowlakeError, psycopg2.Error) as e:
        return Reach(hours, unknown=_why(e, settings))
    # Two sides of as many rows each: below that many in all none of them was cut off.
    flows, total, hosts, partners = map(int, row)
    return Reach(hours, flows, total, hosts, partners, complete=flows < _MOST)


def _asked(settings: Settings, sql: str, values: dict[str, Any]) -> Any:
    with closing(postgres.connect(settings.hot, "flowlake-reach")) as connection, connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL statement_timeout = {round(settings.response.reach_s * 1000)}")
        cursor.execute(sql, values)
        return cursor.fetchone()


def _why(error: Exception, settings: Settings) -> str:
    if isinstance(error, psycopg2.errors.QueryCanceled):
        return f"the hot store did not say within {settings.response.reach_s:g} s"
    if isinstance(error, psycopg2.errors.UndefinedTable):
        return f"{postgres.where(settings.hot)} holds no flows"
    return one_line(error)
