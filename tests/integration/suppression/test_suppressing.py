"""What the whitelist and maintenance windows silence, in the transaction of the alerts, on a real PostgreSQL."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2
import pytest

from infra.config import Settings
from infra.networks import network
from jobs.incidents import people
from jobs.sinks import postgres
from jobs.sinks.alertstore import AlertStore
from jobs.suppression import entries
from jobs.suppression.entries import Acting, NewEntry
from schemas.labels import BY_NAME
from schemas.packets import FLOWS
from schemas.roles import ANALYST, RESPONDER, WRITER
from tests.integration.incidents.test_grouping import BOTNET, INTRUSION, attack, give
from tests.integration.incidents.test_roles import as_role, attempt, login
from tests.integration.sinkbench import run
from tests.sinksdata import T0

pytestmark = pytest.mark.integration
#: Minute 0 of the flows.
START = T0
SCAN = [attack("SYN_SCAN", "6.6.6.6", f"10.0.0.{i}", 0, i) for i in range(10)]


@pytest.fixture
def where(tables: dict[str, Any], settings: Callable[..., Settings]) -> Iterator[Settings]:
    made = settings(hot=tables, alerts={**tables, "min_flows": 1, "most_suppressed": 1.0})
    yield made
    postgres.discard(postgres.kept(made.alerts, "flowlake-alerts"))


def silence(where: Settings, address: str | None = None, *, also_open: bool = False, everything: bool = False, **more: Any) -> int:
    """Make an entry; a window where it has a start."""
    sort: Any = "maintenance" if "starts_at" in more else "whitelist"
    new = NewEntry(sort, "known", network(address) if address else None, **more)
    acting = Acting(where.alerts, BY_NAME)
    with people.acting(where.alerts, "anna") as cursor:
        row, _ = entries.add(cursor, new, "anna", acting, everything=everything)
        if also_open:
            entries.silence_told(cursor, row, "anna", acting)
    return int(row["id"])


def end(where: Settings, number: int, *, tell: bool = False) -> int:
    with people.acting(where.alerts, "ben") as cursor:
        _, told = entries.end(cursor, number, "whitelist", "ben", "", Acting(where.alerts, BY_NAME), tell=tell)
    return told


def state(where: Settings) -> list[tuple[Any, ...]]:
    """Attack type, entry, whether it is in an incident, whether somebody was told."""
    sql = "SELECT attack_type, suppressed_by, incident_id IS NOT NULL, notified_severity > 0 FROM alerts ORDER BY first_seen, id"
    found: list[tuple[Any, ...]] = run(where.alerts, sql)
    return found


def counted(where: Settings) -> list[tuple[Any, ...]]:
    return list(run(where.alerts, "SELECT id, hits, last_hit IS NOT NULL FROM suppressions ORDER BY id"))


def test_a_silenced_alert_is_kept_marked_and_counted_and_told_to_nobody(where: Settings) -> None:
    entry = silence(where, "6.6.6.6", direction="source", kind="scan")
    store = AlertStore(where.alerts, FLOWS)
    done = give(store, INTRUSION)
    assert (len(done.raised), done.suppressed, done.messages) == (3, (entry,), 2)
    assert state(where) == [("SYN_SCAN", entry, False, False), ("SSH_BRUTE_FORCE", None, True, True), ("EXFILTRATION", None, True, True)]
    assert [title for (title,) in run(where.alerts, "SELECT title FROM incidents")] == [
        "SSH brute force, then exfiltration: 6.6.6.6, 10.0.0.5 -> 7.7.7.7"
    ]
    give(store, [attack("SYN_SCAN", "6.6.6.6", "10.0.0.77", 1)])
    give(AlertStore(where.alerts, FLOWS), INTRUSION)
    assert counted(where) == [(entry, 1, True)]  # an alert is one hit, however often it grows or comes again
    (audit,) = run(where.alerts, "SELECT user_id, action, details ->> 'reason' FROM user_actions WHERE starts_with(target, 'suppression:')")
    assert audit == ("anna", "suppression.insert", "known")


def test_an_alert_of_which_part_lies_elsewhere_is_told(where: Settings) -> None:
    entry = silence(where, "203.0.113.0/24", direction="source")
    store = AlertStore(where.alerts, FLOWS)
    flood = [attack("SYN_FLOOD", f"203.0.113.{i}", "10.0.2.1", 0, i) for i in range(10)]
    give(store, flood)
    assert state(where) == [("SYN_FLOOD", entry, False, False)]
    done = give(store, [attack("SYN_FLOOD", "198.51.100.1", "10.0.2.1", 1)])
    assert (done.messages, done.incidents) == (1, 1)
    assert state(where) == [("SYN_FLOOD", None, True, True)]


def test_a_network_silences_a_crowd_of_its_own_and_no_other(where: Settings) -> None:
    """More addresses than an alert keeps."""
    entry = silence(where, "10.20.0.0/16", direction="source")
    store = AlertStore(where.alerts, FLOWS)
    crowd = [attack("HTTP_FLOOD", f"10.20.{i // 200}.{i % 200}", "10.0.2.1", 0, i) for i in range(400)]
    for cut in (crowd[:5], crowd[5:300], crowd[300:]):
        give(store, cut)
    assert state(where) == [("HTTP_FLOOD", entry, False, False)]
    give(AlertStore(where.alerts, FLOWS), [attack("HTTP_FLOOD", "10.21.0.1", "10.0.2.1", 1)])
    assert state(where) == [("HTTP_FLOOD", None, True, True)]


@pytest.mark.parametrize("seed", range(3))
def test_what_is_silenced_in_the_end_does_not_depend_on_cuts(where: Settings, seed: int) -> None:
    silence(where, "6.6.6.6", kind="scan")
    silence(where, "10.0.1.0/30")
    silence(where, starts_at=START, ends_at=START + timedelta(minutes=15.5), kind="repeated")
    silence(where, "203.0.113.0/24", direction="source")
    crowd = [attack("UDP_FLOOD", f"203.0.{113 + (i == 30)}.{i + 1}", "10.0.3.1", 2, i) for i in range(40)]
    rows = INTRUSION + BOTNET + crowd
    rng = random.Random(seed)
    give(AlertStore(where.alerts, FLOWS), rows)
    sql = "SELECT id, suppressed_by, incident_id, notified_severity > 0 FROM alerts ORDER BY id"
    whole = run(where.alerts, sql)
    assert {entry for _, entry, _, _ in whole} == {None, 1, 2, 3}
    run(where.alerts, "DELETE FROM alerts")
    run(where.alerts, "DELETE FROM incidents")
    rng.shuffle(rows)
    store = AlertStore(where.alerts, FLOWS)
    while rows:
        size = rng.choice((1, 3, 40))
        give(store, rows[:size])
        rows = rows[size:]
    assert run(where.alerts, sql) == whole


def test_told_stays_told_and_an_entry_that_has_ended_silences_nothing_new(where: Settings) -> None:
    store = AlertStore(where.alerts, FLOWS)
    give(store, SCAN[:5])
    entry = silence(where, "6.6.6.6")
    give(store, SCAN[5:])
    assert state(where) == [("SYN_SCAN", None, True, True)]
    give(store, [attack("SSH_BRUTE_FORCE", "6.6.6.6", "10.0.9.9", 9)])
    assert state(where)[1] == ("SSH_BRUTE_FORCE", entry, False, False)
    assert end(where, entry) == 0
    give(store, [attack("FTP_BRUTE_FORCE", "6.6.6.6", "10.0.9.9", 9)])
    assert [row[1:] for row in state(where)] == [(None, True, True), (entry, False, False), (None, True, True)]
    give(store, [attack("SSH_BRUTE_FORCE", "6.6.6.6", "10.0.9.9", 9, 5)])  # goes on, and nothing silences it any more
    assert {row[1:] for row in state(where)} == {(None, True, True)}


def test_open_alerts_are_silenced_when_asked_and_told_again_when_asked(where: Settings) -> None:
    """An incident about nothing else is closed with a note, one about more goes on; told after all, all is as before."""
    store = AlertStore(where.alerts, FLOWS)
    give(store, INTRUSION + BOTNET)
    sql = "SELECT title, status, metadata ->> 'alerts' FROM incidents ORDER BY title"
    before = run(where.alerts, sql)
    beacons = silence(where, kind="repeated", attack_type=None, domain=None, also_open=True)
    after = run(where.alerts, sql)
    assert after[0][:2] == ("Botnet beacon: 5 hosts -> 9.9.9.9", "RESOLVED")
    assert after[1] == ("SYN scan, then SSH brute force: 6.6.6.6 -> 29 hosts", "OPEN", "2")
    assert run(where.alerts, "SELECT author, note FROM incident_notes") == [("anna", f"silenced by whitelist entry {beacons}: known")]
    assert counted(where) == [(beacons, 6, True)]
    assert end(where, beacons, tell=True) == 6
    assert run(where.alerts, sql) == before
    assert {row[1:] for row in state(where)} == {(None, True, True)}


def test_told_after_all_reaches_the_topic(where: Settings) -> None:
    entry = silence(where, "6.6.6.6")
    give(AlertStore(where.alerts, FLOWS), SCAN)
    assert run(where.alerts, "SELECT count(*) FROM alert_outbox") == [(0,)]
    assert end(where, entry, tell=True) == 1
    ((key, message),) = run(where.alerts, "SELECT key, message::jsonb FROM alert_outbox")
    assert (key, message["event"], message["src_ip"], message["dst_ip"]) == ("6.6.6.6", "raised", "6.6.6.6", None)


def test_people_and_the_stream_at_once_come_to_one_state(where: Settings) -> None:
    """Entries come and go while alerts are written: nobody waits for ever, and each alert is either silenced or told."""

    def people_act() -> None:
        for _ in range(6):
            end(where, silence(where, "6.6.6.6", also_open=True), tell=True)
        silence(where, "6.6.6.6", also_open=True)

    store = AlertStore(where.alerts, FLOWS)
    with ThreadPoolExecutor(1) as pool:
        acting = pool.submit(people_act)
        for i in range(20):
            give(
                store,
                [attack(kind, source, "10.0.0.5", i, i) for kind in ("FTP_BRUTE_FORCE", "DNS_TUNNEL") for source in ("6.6.6.6", "6.6.6.7")],
            )
        acting.result()
    found = run(
        where.alerts, "SELECT host(a.src_ip), a.suppressed_by, i.status FROM alerts a LEFT JOIN incidents i ON i.id = a.incident_id"
    )
    assert {(source, entry, None if entry else status) for source, entry, status in found} == {
        ("6.6.6.6", 7, None),
        ("6.6.6.7", None, "OPEN"),
    }
    assert {status for source, _, status in found if source == "6.6.6.6"} <= {None, "RESOLVED"}


def test_an_entry_past_its_time_silences_nothing(where: Settings) -> None:
    silence(where, "6.6.6.6", ends_at=datetime.now(UTC) + timedelta(hours=1))
    run(where.alerts, "UPDATE suppressions SET starts_at = starts_at - interval '1 day', ends_at = ends_at - interval '2 hours'")
    give(AlertStore(where.alerts, FLOWS), SCAN)
    assert state(where) == [("SYN_SCAN", None, True, True)]


NEW = "INSERT INTO suppressions (sort, reason, created_by) VALUES ('whitelist', 'r', 'a')"
MAY = {
    WRITER: ["UPDATE suppressions SET hits = 1", "SELECT * FROM assets", "SELECT * FROM assets_version"],
    ANALYST: ["SELECT * FROM suppressions", "SELECT * FROM assets"],
    RESPONDER: [NEW, "UPDATE suppressions SET ended_at = now()", "UPDATE alerts SET suppressed_by = NULL",
                "INSERT INTO assets (network, name, importance, changed_by) VALUES ('10.0.0.1', 'a', 1, 'b')"],
}  # fmt: skip
MAY_NOT = {
    WRITER: [NEW, "UPDATE suppressions SET ended_at = now()", "UPDATE assets SET importance = 1", "UPDATE assets_version SET version = 1"],
    ANALYST: [NEW, "UPDATE suppressions SET hits = 1", "DELETE FROM assets", "UPDATE assets SET importance = 1"],
    RESPONDER: ["DELETE FROM suppressions", "UPDATE suppressions SET network = '10.0.0.0/8'", "UPDATE suppressions SET reason = 'x'",
                "DELETE FROM assets", "DELETE FROM alert_outbox", "UPDATE assets_version SET version = 1"],
}  # fmt: skip


def test_what_each_role_may_and_may_not(where: Settings) -> None:
    _logins(where)
    for role, statements in MAY.items():
        for statement in statements:
            assert attempt(where, role, statement).split()[0] == statement.split()[0]
    for role, statements in MAY_NOT.items():
        for statement in statements:
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                attempt(where, role, statement)


def _logins(where: Settings) -> None:
    for role in (WRITER, ANALYST, RESPONDER):
        made = f"CREATE ROLE {login(role)} LOGIN PASSWORD 'x' IN ROLE {role}"
        run(where.alerts, f"DO $$ BEGIN {made}; EXCEPTION WHEN duplicate_object THEN NULL; END $$")


def test_a_responder_silences_and_tells_by_his_role_alone(where: Settings) -> None:
    """And the stream, as a writer, decides by what he made."""
    _logins(where)
    oncall, stream = as_role(where, RESPONDER), as_role(where, WRITER)
    give(AlertStore(stream.alerts, FLOWS), INTRUSION)
    entry = silence(oncall, "6.6.6.6", also_open=True)
    give(AlertStore(stream.alerts, FLOWS), [attack("CONNECT_SCAN", "6.6.6.6", "10.0.0.5", 9)])
    assert counted(where) == [(entry, 3, True)]
    assert end(oncall, entry, tell=True) == 3
    assert {row[1:] for row in state(where)} == {(None, True, True)}
    postgres.discard(postgres.kept(stream.alerts, "flowlake-alerts"))
