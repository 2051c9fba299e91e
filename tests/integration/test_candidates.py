"""A scan is an alert when it has so many flows, however they are cut into batches and whatever is restarted between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg2
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as given_settings
from hypothesis import strategies as st

from infra.config import Settings
from jobs.sinks import alertbook, candidates, evidence, postgres
from jobs.sinks.alertstore import AlertStore, AppliedEvidence
from jobs.sinks.stores import StoreUnavailable
from schemas import alerts as table
from schemas.packets import FLOWS
from schemas.wire import arrow_stream
from tests.integration.sinkbench import Rows, run
from tests.sinksdata import table as flows

pytestmark = pytest.mark.integration

EPISODE = 3600


def probe(number: int, source: int = 1, **more: Any) -> dict[str, Any]:
    """A flow that the model takes for a probe of a scan, one second after the one before."""
    row = {"name": f"{source}/{number}", "at": number, "src_ip": f"10.0.0.{source}", "dst_port": 1000 + number}
    return {**row, "attack_type": "SYN_SCAN", **more}


def give(store: AlertStore, rows: Rows) -> AppliedEvidence:
    return store.apply(alertbook.gather([evidence.partials(evidence.attacks(flows(rows), FLOWS.alerts), FLOWS.alerts, EPISODE)]))


@pytest.fixture
def where(tables: dict[str, Any], settings: Callable[..., Settings]) -> Iterator[Settings]:
    made = settings(hot=tables, alerts={**tables, "min_flows": 5, "episode_s": EPISODE})
    yield made
    for key, connection in list(postgres._connections.items()):
        if made.alerts.database in key:
            connection.close()
            del postgres._connections[key]


def counts(where: Settings) -> list[tuple[str, int]]:
    rows = run(where.alerts, "SELECT host(src_ip), flow_count FROM alerts ORDER BY 1")
    return [(str(address), int(count)) for address, count in rows]


def test_the_fifth_flow_makes_the_alert(where: Settings) -> None:
    store = AlertStore(where.alerts, FLOWS)
    assert give(store, [probe(1), probe(2), probe(1, source=2)]) == AppliedEvidence((), 0, 0, candidates=2)
    assert give(store, [probe(2), probe(3, closed=False), probe(4)]).candidates == 2
    assert counts(where) == []
    assert run(where.alerts, "SELECT count(*) FROM alert_outbox") == [(0,)]
    done = give(store, [probe(3), probe(5)])
    assert [len(done.raised), done.messages, done.candidates] == [1, 1, 1]
    assert counts(where) == [("10.0.0.1", 5)]
    ((first, last, told, ports),) = run(
        where.alerts, "SELECT first_seen, last_seen, (details ->> 'evidence_time')::timestamptz, details -> 'ports' FROM alerts"
    )
    assert (last - first).total_seconds() >= 4
    assert told > first  # the packet that sufficed, not the first probe
    assert ports == [1001, 1002, 1003, 1004, 1005]
    assert give(store, [probe(6)]).changed == 1
    assert counts(where) == [("10.0.0.1", 6)]


def test_what_is_no_matter_of_numbers_is_told_at_once(where: Settings) -> None:
    done = give(AlertStore(where.alerts, FLOWS), [{"name": 1, "attack_type": "DNS_TUNNEL"}, *[probe(i, source=3) for i in range(5)]])
    assert len(done.raised) == 2


def beacon(at: int, flow: int = 1, **more: Any) -> dict[str, Any]:
    """A look at a flow, a second of its life after the one before."""
    return {"name": f"beacon/{flow}", "at": flow, "lasts": at, "attack_type": "BOTNET_BEACON", "closed": False, **more}


def test_one_look_at_an_open_flow_is_no_alert_and_a_second_is(where: Settings) -> None:
    store = AlertStore(where.alerts, FLOWS)
    assert give(store, [beacon(1)]).candidates == 1
    assert give(store, [beacon(1)]).raised == ()  # the same look again
    assert run(where.alerts, "SELECT count(*) FROM alerts") == [(0,)]
    done = give(AlertStore(where.alerts, FLOWS), [beacon(2)])  # after a restart
    assert [alert.flow_count for alert in done.raised] == [1]
    assert done.candidates == 0
    assert give(store, [beacon(1, flow=2)]).changed == 1  # an alert takes whatever comes


def test_a_closed_record_is_an_alert_and_so_are_looks_at_two_flows(where: Settings) -> None:
    assert len(give(AlertStore(where.alerts, FLOWS), [beacon(1, closed=True)]).raised) == 1
    others = {"src_ip": "10.0.0.77"}
    assert len(give(AlertStore(where.alerts, FLOWS), [beacon(1, 2, **others), beacon(1, 3, **others)]).raised) == 1


def test_a_look_at_what_does_not_say_when_it_ends_is_enough(where: Settings) -> None:
    done = give(AlertStore(where.alerts, FLOWS), [beacon(1, protocol=17), beacon(1, 2, protocol=17, attack_type="NEW_THING")])
    assert len(done.raised) == 2


def test_what_no_label_is_known_of_needs_a_second_look_too(where: Settings) -> None:
    store = AlertStore(where.alerts, FLOWS)
    assert give(store, [beacon(1, attack_type="NEW_THING")]).candidates == 1
    assert [alert.kind for alert in give(store, [beacon(2, attack_type="NEW_THING")]).raised] == ["per-flow"]
    assert len(give(store, [beacon(1, 2, attack_type="NEW_THING", closed=True)]).raised) == 1


def test_the_first_look_is_enough_where_the_settings_say_so(where: Settings) -> None:
    assert len(give(AlertStore(where.alerts.model_copy(update={"min_looks": 1}), FLOWS), [beacon(1)]).raised) == 1


def test_a_restart_forgets_no_candidate_and_no_alert(where: Settings) -> None:
    for number in range(1, 5):
        give(AlertStore(where.alerts, FLOWS), [probe(number)])
    give(AlertStore(where.alerts, FLOWS), [probe(4)])  # a batch that is repeated
    assert counts(where) == []
    give(AlertStore(where.alerts, FLOWS), [probe(5)])
    give(AlertStore(where.alerts, FLOWS), [probe(6)])  # one flow of an alert that is only in the database
    assert counts(where) == [("10.0.0.1", 6)]


def test_the_log_is_written_anew_and_stays_short(where: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "LOG_ROWS", 3)
    store = AlertStore(where.alerts, FLOWS)
    for number in range(1, 5):
        for source in range(1, 5):
            give(store, [probe(number, source)])
    assert run(where.alerts, f"SELECT count(*) FROM {table.CANDIDATES}")[0][0] <= 3
    again = AlertStore(where.alerts, FLOWS)
    assert give(again, [probe(5, source=1)]).candidates == 3
    assert give(again, [probe(5, source) for source in range(2, 5)]).candidates == 0
    assert counts(where) == [(f"10.0.0.{source}", 5) for source in range(1, 5)]


def test_the_oldest_candidates_make_room_and_are_counted(where: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "MAX_HELD", 3)
    store = AlertStore(where.alerts, FLOWS)
    give(store, [probe(1, source) for source in (1, 2)])
    assert give(store, [probe(1, source) for source in (3, 4)]).forgotten == 1
    assert give(store, []).candidates == 3


def test_a_long_stop_forgets_nothing_that_can_still_be_told(where: Settings) -> None:
    """Predictions are kept for a day: an episode may go on long after it began."""
    give(AlertStore(where.alerts, FLOWS), [probe(number) for number in range(1, 5)])
    run(where.alerts, f"UPDATE {table.CANDIDATES} SET written_at = written_at - interval '30 hours'")
    give(AlertStore(where.alerts, FLOWS), [probe(5)])
    assert counts(where) == [("10.0.0.1", 5)]


def test_after_a_restart_the_newest_are_held_and_no_more_than_there_is_room_for(where: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "MAX_HELD", 3)
    store = AlertStore(where.alerts, FLOWS)
    for source in (9, 8, 7, 1):
        give(store, [probe(1, source)])
    again = AlertStore(where.alerts, FLOWS)
    assert give(again, [probe(2, source=1)]).candidates == 3
    held = {item.samples["source"][0] for _, item in again._candidates._held.values()}
    assert held == {"10.0.0.8", "10.0.0.7", "10.0.0.1"}


def test_the_log_is_bounded_by_its_candidates_too_and_what_is_too_old_goes(where: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "MAX_HELD", 10)
    store = AlertStore(where.alerts, FLOWS)
    for batch in range(12):
        give(store, [probe(1, source) for source in range(batch * 5, batch * 5 + 5)])
    assert run(where.alerts, f"SELECT count(*) FROM {table.CANDIDATES}")[0][0] <= 6
    run(where.alerts, f"UPDATE {table.CANDIDATES} SET written_at = written_at - interval '50 hours'")
    assert give(AlertStore(where.alerts, FLOWS), [probe(1, source=200)]).candidates == 1
    assert run(where.alerts, f"SELECT count(*) FROM {table.CANDIDATES}") == [(1,)]


def test_a_batch_that_fails_leaves_no_trace_and_can_be_repeated(where: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    store = AlertStore(where.alerts, FLOWS)
    give(store, [probe(1), probe(2)])
    with monkeypatch.context() as patch:

        def broken(*_: Any) -> int:
            raise psycopg2.OperationalError("gone")

        patch.setattr(store, "_write", broken)
        with pytest.raises(StoreUnavailable):
            give(store, [probe(3), probe(4), probe(5), probe(1, source=2)])
    assert counts(where) == []
    assert run(where.alerts, f"SELECT count(*) FROM {table.CANDIDATES}") == [(1,)]
    assert give(store, [probe(3), probe(4), probe(5), probe(1, source=2)]).candidates == 1
    assert counts(where) == [("10.0.0.1", 5)]


@given_settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_cut_with_restarts_anywhere_gives_the_same_alerts(where: Settings, data: st.DataObject) -> None:
    run(where.alerts, f"TRUNCATE alerts, {table.CANDIDATES} CASCADE")
    rows = [probe(number, source) for source, count in ((1, 4), (2, 5), (3, 9)) for number in range(count)]
    rows += [beacon(at, host, src_ip=f"10.0.1.{host}") for host, looks in ((1, 1), (2, 2), (3, 4)) for at in range(1, looks + 1)]
    rows = data.draw(st.permutations(rows + rows[::3]))  # some are seen twice
    store = AlertStore(where.alerts, FLOWS)
    while rows:
        size = data.draw(st.integers(1, len(rows)))
        if data.draw(st.booleans()):
            store = AlertStore(where.alerts, FLOWS)
        give(store, rows[:size])
        rows = rows[size:]
    assert counts(where) == [("10.0.0.2", 5), ("10.0.0.3", 9), ("10.0.1.2", 1), ("10.0.1.3", 1)]


def test_evidence_logged_under_a_former_kind_grows_into_the_same_alert(where: Settings) -> None:
    """What was logged when brute force was called guessing: the fifth flow makes one alert, of the present kind."""

    def attempt(number: int) -> dict[str, Any]:
        return {"name": f"ssh/{number}", "at": number, "dst_port": 22, "attack_type": "SSH_BRUTE_FORCE"}

    for number in range(1, 5):
        give(AlertStore(where.alerts, FLOWS), [attempt(number)])
    logged = run(where.alerts, f"SELECT seq, evidence FROM {table.CANDIDATES}")
    assert len(logged) == 4
    for seq, written in logged:
        rows = alertbook.unpack(bytes(written))
        at = rows.schema.get_field_index("kind")
        former = rows.set_column(at, rows.schema.field(at), pa.array(["guessing"] * len(rows)))
        run(where.alerts, f"UPDATE {table.CANDIDATES} SET evidence = %s WHERE seq = %s", psycopg2.Binary(arrow_stream(former)), seq)
    assert len(give(AlertStore(where.alerts, FLOWS), [attempt(5)]).raised) == 1
    assert run(where.alerts, "SELECT kind, flow_count FROM alerts") == [("brute-force", 5)]
    ((message,),) = run(where.alerts, "SELECT message::jsonb ->> 'kind' FROM alert_outbox")
    assert message == "brute-force"


@pytest.mark.parametrize("restart", [False, True])
def test_single_looks_push_out_no_scan(where: Settings, monkeypatch: pytest.MonkeyPatch, restart: bool) -> None:
    """Whoever holds many connections open that look like something does not hide a slow scan by it."""
    monkeypatch.setattr(candidates, "MAX_HELD", 20)
    store = AlertStore(where.alerts, FLOWS)
    give(store, [probe(number) for number in range(1, 5)])
    done = give(store, [beacon(1, flow, src_ip=f"10.0.7.{flow}") for flow in range(1, 31)])
    assert (done.forgotten, done.candidates) == (11, 20)
    store = AlertStore(where.alerts, FLOWS) if restart else store
    assert give(store, [probe(5)]).candidates == 19
    assert counts(where) == [("10.0.0.1", 5)]
