"""An alert storm is bounded: so many rows, one that counts the rest, the same whatever comes again."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from infra.config import Settings
from jobs.sinks import alertbook, evidence, postgres, storms
from jobs.sinks.alertstore import AlertStore, AppliedEvidence
from schemas.packets import FLOWS
from tests.integration.sinkbench import Rows, run
from tests.sinksdata import table as flows

pytestmark = pytest.mark.integration

EPISODE, LIMIT = 3600, 50


def injections(n: int, first: int = 0, **more: Any) -> Rows:
    """Each of a source of its own, at one server."""
    return [
        {"name": i, "attack_type": "WEB_INJECTION", "at": i / 1000, "src_ip": f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}", **more}
        for i in range(first, first + n)
    ]


def give(store: AlertStore, *shares: Rows) -> AppliedEvidence:
    """Batches of several tasks each, as :func:`jobs.sinks.alerts.task` hands them over."""
    found = [evidence.partials(evidence.attacks(flows(rows), FLOWS.alerts), FLOWS.alerts, EPISODE) for rows in shares]
    return store.apply(alertbook.gather([storms.bounded(rows, LIMIT, EPISODE) for rows in found]))


@pytest.fixture
def where(tables: dict[str, Any], settings: Callable[..., Settings]) -> Iterator[Settings]:
    made = settings(alerts={**tables, "episode_s": EPISODE, "storm_alerts": LIMIT})
    yield made
    for key, connection in list(postgres._connections.items()):
        if made.alerts.database in key:
            connection.close()
            del postgres._connections[key]


def rows(where: Settings) -> list[tuple[Any, ...]]:
    sql = "SELECT kind, count(*), sum(flow_count)::int, count(src_ip), count(dst_ip) FROM alerts GROUP BY kind ORDER BY kind"
    return run(where.alerts, sql)


def test_a_storm_is_so_many_rows_and_one_that_counts_the_rest(where: Settings) -> None:
    store = AlertStore(where.alerts, FLOWS)
    give(store, injections(20))
    assert rows(where) == [("repeated", 20, 20, 20, 20)]
    for first in range(20, 20_020, 5000):
        give(store, injections(2500, first), injections(2500, first + 2500))
    expected = [("repeated", LIMIT, LIMIT, LIMIT, LIMIT), ("storm", 1, 20_020 - LIMIT, 0, 1)]
    assert rows(where) == expected
    # what comes again changes nothing, and neither does another process that knows nothing yet
    assert give(store, injections(5000, 20)).raised == ()
    assert give(AlertStore(where.alerts, FLOWS), injections(5000, 20), injections(20)).raised == ()
    assert rows(where) == expected
    ((sources, severity),) = run(where.alerts, "SELECT (details ->> 'distinct_sources')::int, severity FROM alerts WHERE kind = 'storm'")
    assert sources == pytest.approx(20_020 - LIMIT, rel=0.1)
    assert severity == 5  # one more than the label's, for so many flows


def test_a_storm_is_one_incident_that_says_so(where: Settings) -> None:
    give(AlertStore(where.alerts, FLOWS), injections(3000))
    ((title, text, alerts_, flows_),) = run(
        where.alerts, "SELECT title, description, metadata ->> 'alerts', metadata ->> 'flows' FROM incidents"
    )
    number = re.fullmatch("Web injection: about ([0-9,]+) hosts -> 10.0.0.2", title)
    assert number
    assert int(number[1].replace(",", "")) == pytest.approx(3000, rel=0.1)
    assert (alerts_, flows_) == (str(LIMIT + 1), "3000")
    assert "A storm" in text


def test_what_is_an_alert_goes_on_growing_beside_a_storm(where: Settings) -> None:
    store = AlertStore(where.alerts, FLOWS)
    give(store, injections(1, src_ip="172.16.0.9"))
    give(store, injections(2000, 100))
    give(store, injections(30, 5000, src_ip="172.16.0.9"))
    assert run(where.alerts, "SELECT flow_count FROM alerts WHERE host(src_ip) = '172.16.0.9'") == [(31,)]


def test_alerts_of_other_kinds_domains_and_hours_are_rows_beside_a_storm(where: Settings) -> None:
    store = AlertStore(where.alerts, FLOWS)
    give(store, injections(200))
    give(store, injections(1, 300, attack_type="DNS_TUNNEL"), injections(1, 301, domain="d2"), injections(1, 302, at=EPISODE + 1.0))
    assert rows(where)[0][:2] == ("repeated", LIMIT + 3)
