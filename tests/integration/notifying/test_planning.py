"""From what the stream and people do to the messages of each channel, on a real PostgreSQL; nothing is sent here."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any
from uuid import uuid4

import pytest

from infra.config import Settings
from jobs.incidents import people
from jobs.notifying import channels
from jobs.notifying.planner import MAX_QUEUED, NewsPlanned, Planner
from jobs.sinks import postgres
from jobs.sinks.alertstore import AlertStore
from schemas import notifications
from schemas.packets import FLOWS
from tests.integration.incidents.test_grouping import BOTNET, FLOOD, INTRUSION, attack, give
from tests.integration.sinkbench import run

pytestmark = pytest.mark.integration
HOOK = {"kind": "webhook", "url": "http://127.0.0.1:1/hook"}


@pytest.fixture
def make(database: dict[str, Any], settings: Callable[..., Settings]) -> Callable[..., Settings]:
    """Settings with some channels."""

    def build(**declared: dict[str, Any]) -> Settings:
        return settings(alerts={**database, "min_flows": 1}, notify={"channels": {n: {**HOOK, **c} for n, c in declared.items()}})

    return build


def plan(where: Settings, settle_s: float = 0.0) -> NewsPlanned:
    planner = Planner(where.notify, channels.classes(where))
    with closing(postgres.connect(where.alerts, "test")) as connection, connection, connection.cursor() as cursor:
        return planner.step(cursor, settle_s)


def told(where: Settings, channel: str = "ops") -> list[tuple[str, str, str]]:
    """News, priority and title of the messages of a channel, in their order."""
    rows = run(where.alerts, "SELECT news, body FROM notification_messages WHERE channel = %s ORDER BY seq", channel)
    return [(news, body["priority"], body["title"]) for news, body in rows]


def outbox(where: Settings) -> int:
    (row,) = run(where.alerts, "SELECT count(*) FROM notifications")
    return int(row[0])


def act(where: Settings, do: Callable[..., Any], *values: Any, **named: Any) -> Any:
    with people.acting(where.alerts, "anna") as cursor:
        return do(cursor, *values, **named)


def incident(where: Settings, beginning: str) -> str:
    ((key,),) = run(where.alerts, "SELECT id::text FROM incidents WHERE starts_with(title, %s)", beginning)
    return str(key)


def test_each_incident_is_told_once_however_often_it_is_seen(make: Callable[..., Settings]) -> None:
    where = make(ops={})
    store = AlertStore(where.alerts, FLOWS)
    give(store, INTRUSION + BOTNET + FLOOD)
    assert outbox(where) == 3
    assert plan(where).messages == 3
    assert [news for news, _, _ in told(where)] == ["new"] * 3
    give(store, INTRUSION + BOTNET + FLOOD)  # again
    give(store, [attack("SYN_FLOOD", "203.0.113.9", "10.0.2.1", 15, i) for i in range(5)])  # it grows
    assert outbox(where) == 0
    assert plan(where) == NewsPlanned()
    assert len(told(where)) == 3


def test_the_outbox_and_the_alerts_are_one_transaction(make: Callable[..., Settings]) -> None:
    where = make(ops={})
    run(where.alerts, "ALTER TABLE alert_outbox ADD CONSTRAINT broken CHECK (false) NOT VALID")
    try:
        with pytest.raises(Exception, match="refuses an alert"):
            give(AlertStore(where.alerts, FLOWS), INTRUSION)
    finally:
        run(where.alerts, "ALTER TABLE alert_outbox DROP CONSTRAINT broken")
    assert outbox(where) == 0
    assert run(where.alerts, "SELECT count(*) FROM alerts") == [(0,)]


def test_a_raised_priority_is_told_a_lower_one_is_not(make: Callable[..., Settings]) -> None:
    where = make(ops={})
    store = AlertStore(where.alerts, FLOWS)
    give(store, [attack("UDP_SCAN", "6.6.6.6", f"10.0.0.{i}", 0, i) for i in range(1, 6)])
    plan(where)
    give(store, [attack("SSH_BRUTE_FORCE", "6.6.6.6", "10.0.0.5", 5, i) for i in range(5)])
    plan(where)
    key = incident(where, "UDP scan")
    act(where, people.edit, key, "anna", priority="LOW")
    assert outbox(where) == 0
    act(where, people.edit, key, "anna", priority="CRITICAL")
    plan(where)
    assert told(where) == [
        ("new", "LOW", "UDP scan: 6.6.6.6 -> 5 hosts"),
        ("raised", "CRITICAL", "UDP scan, then SSH brute force: 6.6.6.6 -> 5 hosts"),
    ]
    ((before,),) = run(where.alerts, "SELECT body ->> 'before' FROM notification_messages WHERE news = 'raised'")
    assert before == "LOW"


def test_the_end_of_an_incident_is_told_to_those_who_know_of_it(make: Callable[..., Settings]) -> None:
    where = make(ops={}, urgent={"min_priority": "CRITICAL"}, silent={"resolved": False})
    give(AlertStore(where.alerts, FLOWS), [attack("SSH_BRUTE_FORCE", "6.6.6.6", "10.0.0.5", 0, i) for i in range(5)])
    plan(where)
    key = incident(where, "SSH")
    act(where, people.close, key, "anna", "FALSE_POSITIVE", "our own <script>test</script>")
    plan(where)
    act(where, people.reopen, key)
    plan(where)
    assert [news for news, *_ in told(where)] == ["new", "resolved", "reopened"]
    assert told(where, "urgent") == []
    assert [news for news, *_ in told(where, "silent")] == ["new", "reopened"]
    ((note, by, status),) = run(
        where.alerts, "SELECT body ->> 'note', body ->> 'closed_by', body ->> 'status' FROM notification_messages WHERE news = 'resolved'"
    )
    assert (note, by, status) == ("our own <script>test</script>", "anna", "FALSE_POSITIVE")


def test_what_was_closed_before_anybody_heard_of_it_is_not_told(make: Callable[..., Settings]) -> None:
    where = make(ops={})
    give(AlertStore(where.alerts, FLOWS), INTRUSION)
    assert plan(where, settle_s=60).taken == 0  # it may still change
    act(where, people.close, incident(where, "SYN scan"), "anna", "RESOLVED")
    assert plan(where).taken == 1
    assert told(where) == []


def test_a_changed_id_and_a_merged_incident_keep_their_conversation(make: Callable[..., Settings]) -> None:
    where = make(ops={})
    store = AlertStore(where.alerts, FLOWS)
    give(store, [attack("EXFILTRATION", "10.0.0.5", "7.7.7.7", 20, i) for i in range(3)])
    plan(where)
    give(store, [attack("SSH_BRUTE_FORCE", "6.6.6.6", "10.0.0.5", 9, i) for i in range(20)])  # earlier: it gives the incident its id
    plan(where)
    keys = run(where.alerts, "SELECT key, body ->> 'subject_id' FROM notification_messages ORDER BY seq")
    assert len({key for key, _ in keys}) == 1
    give(store, BOTNET)
    plan(where)
    into, other = incident(where, "SSH"), incident(where, "Botnet")
    act(where, people.merge, [into, other], people.labels_of(where))
    plan(where)
    last, body = run(where.alerts, "SELECT news, body FROM notification_messages ORDER BY seq DESC LIMIT 1")[0]
    assert (last, body["title"][:13], body["merged_into"], body["key"]) == ("resolved", "Botnet beacon", into, other)
    act(where, people.close, into, "anna", "RESOLVED")
    plan(where)
    assert [news for news, *_ in told(where)].count("resolved") == 2


def test_channels_hear_of_what_they_want(make: Callable[..., Settings]) -> None:
    where = make(
        all={}, scans={"kinds": ["scan"]}, named={"kinds": ["*_flood", "BOTNET_BEACON"]}, severe={"min_severity": 5},
        critical={"min_priority": "CRITICAL"},
    )  # fmt: skip
    give(AlertStore(where.alerts, FLOWS), [*BOTNET, *FLOOD, *[attack("UDP_SCAN", "6.6.6.7", f"10.9.0.{i}", 0, i) for i in range(9)]])
    plan(where)
    titles = {name: sorted(title.split(":")[0] for *_, title in told(where, name)) for name in where.notify.channels}
    assert titles == {
        "all": ["Botnet beacon", "SYN flood", "UDP scan"], "scans": ["UDP scan"], "named": ["Botnet beacon", "SYN flood"],
        "severe": ["Botnet beacon", "SYN flood"], "critical": ["Botnet beacon", "SYN flood"],
    }  # fmt: skip


def suppress(where: Settings, which: str) -> None:
    """Mark alerts; by what they are suppressed need not exist."""
    run(where.alerts, f"SET session_replication_role = replica; UPDATE alerts SET suppressed_by = 1 WHERE {which}")


def test_suppressed_alerts_are_quiet(make: Callable[..., Settings]) -> None:
    where = make(ops={})
    give(AlertStore(where.alerts, FLOWS), INTRUSION + BOTNET)
    suppress(where, "attack_type IN ('SYN_SCAN', 'BOTNET_BEACON')")
    plan(where)
    assert [title.split(",")[0] for *_, title in told(where)] == ["SYN scan"]  # one of its alerts is not suppressed


def test_an_alert_without_an_incident_is_told(make: Callable[..., Settings]) -> None:
    where = make(ops={})
    store = AlertStore(where.alerts, FLOWS)
    flood = [attack("SYN_FLOOD", f"198.51.100.{i}", "10.0.2.1", 14, i) for i in range(9)]
    give(store, flood)
    run(where.alerts, "UPDATE alerts SET incident_id = NULL, grouped_by = 'person'")
    run(where.alerts, "DELETE FROM notifications")
    give(store, [*flood, attack("SYN_FLOOD", "198.51.100.77", "10.0.2.1", 14, 99)])
    plan(where)
    assert told(where) == [("new", "CRITICAL", "SYN_FLOOD: 198.51.100.0, 198.51.100.1, 198.51.100.2 and 7 more -> 10.0.2.1")]
    run(where.alerts, "UPDATE alerts SET resolved_at = now(), resolved_by = 'anna'")
    assert outbox(where) == 0
    columns, values = "sort, reason, network, direction, created_by", "'whitelist', 'known', '10.0.9.9', 'target', 'anna'"
    run(where.alerts, f"INSERT INTO suppressions ({columns}) VALUES ({values})")
    give(store, [attack("SYN_FLOOD", f"198.51.100.{i}", "10.0.9.9", 14, i) for i in range(9)])
    assert run(where.alerts, "SELECT incident_id FROM alerts WHERE suppressed_by IS NOT NULL") == [(None,)]
    assert outbox(where) == 0


def put(where: Settings, count: int, priority: str = "HIGH", kind: str = "SYN_FLOOD") -> None:
    """Incidents by the hundred."""
    run(
        where.alerts,
        "INSERT INTO incidents (id, title, priority, metadata, first_seen, last_seen) SELECT gen_random_uuid(), 'Flood ' || i, %s, "
        "jsonb_build_object('attack_types', jsonb_build_array(%s), 'sources', jsonb_build_array('10.1.0.' || i %% 50)), now(), now() "
        "FROM generate_series(1, %s) i",
        priority, kind, count,
    )  # fmt: skip


def test_more_than_a_channel_takes_becomes_one_digest(make: Callable[..., Settings]) -> None:
    where = make(ops={"per_minute": 5, "digest_s": 1}, other={"per_minute": 1000})
    put(where, 20)
    put(where, 3, "CRITICAL")
    done = plan(where)
    assert dict(done.held) == {"ops": 18}
    assert [priority for _, priority, _ in told(where)] == ["CRITICAL"] * 3 + ["HIGH"] * 2  # the most urgent first
    assert len(told(where, "other")) == 23
    run(where.alerts, "UPDATE notification_held SET first_at = first_at - interval '2 seconds'")
    plan(where)
    ((body,),) = run(where.alerts, "SELECT body FROM notification_messages WHERE news = 'digest'")
    assert body["title"] == "18 messages held back: SYN_FLOOD 18"
    assert body["counts"]["priorities"] == {"HIGH": 18}
    assert sum(body["counts"]["sources"].values()) == 18
    put(where, 7)
    for _ in range(2):  # the first digest still waits for its receiver
        run(where.alerts, "UPDATE notification_held SET first_at = first_at - interval '2 seconds'")
        plan(where)
    assert [news for news, *_ in told(where)].count("digest") == 1
    run(where.alerts, "UPDATE notification_messages SET state = 'sent', done_at = now()")
    plan(where)
    assert [news for news, *_ in told(where)].count("digest") == 2


def test_a_channel_that_is_far_behind_gets_no_more(make: Callable[..., Settings]) -> None:
    where = make(ops={"per_minute": 10_000})
    put(where, MAX_QUEUED + 200)
    while plan(where).taken:
        pass
    assert len(told(where)) == MAX_QUEUED
    assert run(where.alerts, "SELECT sum(count) FROM notification_held WHERE channel = 'ops'") == [(200,)]


def test_a_storm_leaves_a_bounded_number_of_rows_and_messages(make: Callable[..., Settings]) -> None:
    where = make(ops={"per_minute": 30}, critical={"min_priority": "CRITICAL"})
    run(where.alerts, "ALTER TABLE incidents DISABLE TRIGGER flowlake_audit")  # its rows are not what is counted here
    try:
        for _ in range(4):
            put(where, 4000)
        put(where, 500, "CRITICAL", "DNS_TUNNEL")
    finally:
        run(where.alerts, "ALTER TABLE incidents ENABLE ALWAYS TRIGGER flowlake_audit")
    assert outbox(where) <= notifications.MAX_WAITING + 1
    ((counted, rows),) = run(where.alerts, "SELECT sum(count), count(*) FROM notification_held")
    assert outbox(where) + counted == 16_500
    assert rows <= 100  # by kind, priority and source: 50 sources
    while plan(where).taken:
        pass
    assert outbox(where) == 0
    assert len(told(where)) == 30
    ((held,),) = run(where.alerts, "SELECT sum(count) FROM notification_held WHERE channel = 'ops'")
    assert held == 16_500 - 30
    ((mine,),) = run(where.alerts, "SELECT sum(count) FROM notification_held WHERE channel = 'critical'")
    assert (mine, told(where, "critical")) == (500, [])


def test_an_incident_that_goes_on_is_told_again_where_that_is_wanted(make: Callable[..., Settings]) -> None:
    where = make(ops={"update_s": 600}, other={})
    store = AlertStore(where.alerts, FLOWS)
    give(store, FLOOD)
    plan(where)
    give(store, [attack("SYN_FLOOD", "203.0.113.9", "10.0.2.1", 15, i) for i in range(5)])
    plan(where)
    assert [news for news, *_ in told(where)] == ["new"]  # too early
    run(where.alerts, "UPDATE notification_threads SET told_at = told_at - interval '601 seconds'")
    plan(where)
    plan(where)
    assert [news for news, *_ in told(where)] == ["new", "grown"]
    assert [news for news, *_ in told(where, "other")] == ["new"]


@pytest.mark.parametrize("metadata", ["[]", "3", '{"flows": "many", "attack_types": 7, "sources": {"a": 1}}'])
def test_what_somebody_wrote_by_hand_stops_nobody(make: Callable[..., Settings], metadata: str) -> None:
    where = make(ops={"per_minute": 1})
    put(where, 1)
    run(
        where.alerts,
        "INSERT INTO incidents (id, title, description, metadata, first_seen, last_seen) "
        "SELECT gen_random_uuid(), E'\\x1b[2J by hand', '', %s, now(), now() FROM generate_series(1, 2)", metadata,
    )  # fmt: skip
    assert plan(where).taken == 3
    run(where.alerts, "UPDATE notification_messages SET created_at = created_at - interval '2 minutes'")
    run(where.alerts, "UPDATE incidents SET priority = 'CRITICAL' WHERE title <> 'Flood 1'")
    plan(where)
    assert told(where)[-1] == ("new", "CRITICAL", "[2J by hand")


def test_one_plans_at_a_time(make: Callable[..., Settings]) -> None:
    where = make(ops={})
    put(where, 3)
    with closing(postgres.connect(where.alerts, "test")) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", (postgres.LOCK_NOTIFY,))
        assert plan(where) == NewsPlanned()
        connection.rollback()
    assert plan(where).messages == 3


def test_what_nobody_was_told_for_a_day_is_in_the_digest(make: Callable[..., Settings]) -> None:
    where = make(ops={})
    put(where, 4)
    run(where.alerts, "UPDATE notifications SET at = at - interval '25 hours'")
    assert dict(plan(where).held) == {"ops": 4}
    assert told(where) == []


def test_a_change_while_the_notifier_has_the_row_is_not_lost(make: Callable[..., Settings]) -> None:
    where = make(ops={})
    key = str(uuid4())
    run(where.alerts, "INSERT INTO incidents (id, title, priority, first_seen, last_seen) VALUES (%s, 'x', 'LOW', now(), now())", key)
    planner = Planner(where.notify, {})
    with closing(postgres.connect(where.alerts, "test")) as connection:
        with connection, connection.cursor() as cursor:
            planner.step(cursor, 0.0)
        with closing(postgres.connect(where.alerts, "test")) as other, other.cursor() as late, connection.cursor() as cursor:
            late.execute("UPDATE incidents SET priority = 'HIGH' WHERE id = %s", (key,))  # not committed yet
            assert planner.step(cursor, 0.0).taken == 0
            other.commit()
            assert planner.step(cursor, 0.0).taken == 1
            connection.commit()
    assert [(news, priority) for news, priority, _ in told(where)] == [("new", "LOW"), ("raised", "HIGH")]
