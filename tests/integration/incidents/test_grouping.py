"""Alerts become incidents in the transaction that writes them: the same ones whatever is repeated, reordered or cut."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest

from infra.config import Settings
from jobs.incidents import people
from jobs.sinks import alertbook, evidence, postgres
from jobs.sinks.alertstore import AlertStore, AppliedEvidence
from schemas.packets import FLOWS
from tests.integration.sinkbench import Rows, run
from tests.sinksdata import table as flows

pytestmark = pytest.mark.integration
MINUTE = 60


def give(store: AlertStore, rows: Rows) -> AppliedEvidence:
    return store.apply(alertbook.gather([evidence.partials(evidence.attacks(flows(rows), FLOWS.alerts), FLOWS.alerts, 3600)]))


@pytest.fixture
def where(tables: dict[str, Any], settings: Callable[..., Settings]) -> Iterator[Settings]:
    made = settings(hot=tables, alerts={**tables, "min_flows": 1})
    yield made
    postgres.discard(postgres.kept(made.alerts, "flowlake-alerts"))


def attack(kind: str, source: str, target: str, at: float, number: int = 0, **more: Any) -> dict[str, Any]:
    """A flow of an attack, at a minute."""
    name = f"{kind}{source}{target}{at}{number}"
    return {"name": name, "attack_type": kind, "src_ip": source, "dst_ip": target, "at": at * MINUTE + number, **more}


#: A scan, a guessed password, data carried away by the host that was broken into; bots of one controller; a flood.
INTRUSION = [
    *(attack("SYN_SCAN", "6.6.6.6", f"10.0.0.{i}", 0, i) for i in range(1, 30)),
    *(attack("SSH_BRUTE_FORCE", "6.6.6.6", "10.0.0.5", 9, i) for i in range(20)),
    *(attack("EXFILTRATION", "10.0.0.5", "7.7.7.7", 20, i) for i in range(3)),
]
BOTNET = [attack("BOTNET_BEACON", f"10.0.1.{bot}", "9.9.9.9", 3 * i, bot) for bot in range(1, 6) for i in range(6)]
FLOOD = [attack("SYN_FLOOD", f"198.51.{i // 250}.{i % 250 + 1}", "10.0.2.1", 14, i) for i in range(300)]
#: Few sources at first, the scanner among them, by which it is of one story with the scan; then it is a crowd.
CROWD = [attack("UDP_FLOOD", "6.6.6.6" if i == 0 else f"203.0.{i // 250}.{i % 250 + 1}", "10.0.3.1", 2, i) for i in range(80)]
#: Two acts of one host, half an hour and more apart but for what the first does in between.
BRIDGED = [
    *(attack("EXFILTRATION", "10.0.9.1", "7.7.7.8", minute) for minute in (0, 25)),
    attack("BOTNET_BEACON", "10.0.9.1", "9.9.9.8", 50),
]


def told(where: Settings) -> dict[str, Any]:
    """Incidents and what is in them."""
    rows = run(
        where.alerts,
        "SELECT i.id::text, i.title, i.priority, i.status, (SELECT array_agg(DISTINCT a.attack_type ORDER BY a.attack_type) "
        "FROM alerts a WHERE a.incident_id = i.id), i.description, i.metadata::text, i.first_seen, i.last_seen FROM incidents i",
    )
    return {row[0]: row[1:] for row in rows}


def test_few_explained_stories(where: Settings) -> None:
    done = give(AlertStore(where.alerts, FLOWS), INTRUSION + BOTNET + FLOOD)
    assert (len(done.raised), done.incidents) == (9, 3)
    found = told(where)
    assert sorted((title, priority, types) for title, priority, _, types, *_ in found.values()) == [
        ("Botnet beacon: 5 hosts -> 9.9.9.9", "CRITICAL", ["BOTNET_BEACON"]),
        ("SYN flood: 300 hosts -> 10.0.2.1", "CRITICAL", ["SYN_FLOOD"]),
        (
            "SYN scan, then SSH brute force, then exfiltration: 6.6.6.6, 10.0.0.5 -> about 29 hosts", "CRITICAL",
            ["EXFILTRATION", "SSH_BRUTE_FORCE", "SYN_SCAN"],
        ),
    ]  # fmt: skip
    assert run(where.alerts, "SELECT count(*) FROM alerts WHERE incident_id IS NULL") == [(0,)]
    (story,) = [about for title, _, _, _, about, *_ in found.values() if title.startswith("SYN scan")]
    assert "SSH brute force (repeated SSH password attempts): 1 alert, 20 flows, 6.6.6.6 -> 10.0.0.5. MITRE ATT&CK T1110.001." in story


@pytest.mark.parametrize("seed", range(6))
def test_replay_order_and_cuts_change_nothing(where: Settings, seed: int) -> None:
    rows = INTRUSION + BOTNET + FLOOD + CROWD + BRIDGED
    give(AlertStore(where.alerts, FLOWS), rows)
    whole = told(where)
    give(AlertStore(where.alerts, FLOWS), rows)
    assert told(where) == whole
    run(where.alerts, "DELETE FROM alerts")
    run(where.alerts, "DELETE FROM incidents")
    rng = random.Random(seed)
    if seed:
        rng.shuffle(rows)
    store = AlertStore(where.alerts, FLOWS)
    while rows:
        size = rng.choice((1, 3, 40, 100))
        give(store, rows[:size])
        if rng.random() < 0.3:
            give(store, rows[:size])
        rows = rows[size:]
    assert told(where) == whole


def test_an_alert_that_goes_on_comes_near_to_a_later_one(where: Settings) -> None:
    store = AlertStore(where.alerts, FLOWS)
    give(store, [BRIDGED[0], BRIDGED[2]])
    assert len(told(where)) == 2
    give(store, [BRIDGED[1]])
    assert [types for _, _, _, types, *_ in told(where).values()] == [["BOTNET_BEACON", "EXFILTRATION"]]


def test_an_alert_that_goes_on_alone_keeps_its_incident_up_to_date(where: Settings) -> None:
    store = AlertStore(where.alerts, FLOWS)
    give(store, INTRUSION + FLOOD)
    before = told(where)
    give(store, [attack("SSH_BRUTE_FORCE", "6.6.6.6", "10.0.0.5", 10, i) for i in range(7)])
    now = told(where)
    assert now.keys() == before.keys()
    (story,) = [about for title, _, _, _, about, *_ in now.values() if title.startswith("SYN scan")]
    assert "1 alert, 27 flows, 6.6.6.6 -> 10.0.0.5" in story


def test_what_looked_like_one_story_is_parted_when_it_is_none(where: Settings) -> None:
    store = AlertStore(where.alerts, FLOWS)
    give(store, [*INTRUSION, CROWD[0]])
    assert len(told(where)) == 1
    give(store, CROWD)
    found = told(where)
    assert sorted(types for _, _, _, types, *_ in found.values()) == [["EXFILTRATION", "SSH_BRUTE_FORCE", "SYN_SCAN"], ["UDP_FLOOD"]]
    assert sum("UDP" in about for _, _, _, _, about, *_ in found.values()) == 1  # both are told anew


def test_alerts_that_were_deleted_leave_an_incident_that_takes_them_again(where: Settings) -> None:
    store = AlertStore(where.alerts, FLOWS)
    give(store, INTRUSION)
    before = set(told(where))
    run(where.alerts, "DELETE FROM alerts")
    give(AlertStore(where.alerts, FLOWS), INTRUSION[::-1])
    for row in INTRUSION:
        give(store, [row])
    assert set(told(where)) == before


def test_a_missing_link_joins_two_incidents_and_their_ids_lead_on(where: Settings) -> None:
    """Two sides of a story are there before what connects them: notes come along, and both ids lead to the one that stays."""
    store = AlertStore(where.alerts, FLOWS)
    give(store, [attack("EXFILTRATION", "10.0.0.5", "7.7.7.7", 20)])
    give(store, [attack("SYN_SCAN", "6.6.6.6", f"10.0.0.{i}", 0, i) for i in range(20)])
    before = set(told(where))
    assert len(before) == 2
    for key in before:
        run(where.alerts, "INSERT INTO incident_notes (incident_id, author, note) VALUES (%s, 'anna', 'seen')", (key,))
    give(store, [attack("SSH_BRUTE_FORCE", "6.6.6.6", "10.0.0.5", 9)])
    (now,) = told(where)
    assert now in before  # that of the earliest alert
    aliases = run(where.alerts, "SELECT alias::text, incident_id::text FROM incident_aliases")
    assert aliases == [(alias, now) for alias in before - {now}]
    assert run(where.alerts, "SELECT count(*), count(DISTINCT incident_id) FROM incident_notes") == [(2, 1)]


def test_what_people_have_done_stays(where: Settings) -> None:
    """An incident that somebody has taken keeps its id; one that is closed takes nothing new, and the next says what it follows."""
    store = AlertStore(where.alerts, FLOWS)
    give(store, [attack("SSH_BRUTE_FORCE", "6.6.6.6", "10.0.0.5", 9)])
    (taken,) = told(where)
    run(where.alerts, "UPDATE incidents SET assigned_to = 'anna', touched_at = now() WHERE id = %s", (taken,))
    give(store, [attack("SYN_SCAN", "6.6.6.6", "10.0.0.5", 0)])  # earlier: it would name the incident
    assert list(told(where)) == [taken]
    run(where.alerts, "UPDATE incidents SET status = 'RESOLVED' WHERE id = %s", (taken,))
    give(store, [attack("WEB_INJECTION", "6.6.6.6", "10.0.0.9", 30)])
    found = told(where)
    (fresh,) = set(found) - {taken}
    assert run(where.alerts, "SELECT metadata -> 'follows' FROM incidents WHERE id = %s", (fresh,)) == [([taken],)]
    give(store, [attack("SSH_BRUTE_FORCE", "6.6.6.6", "10.0.0.5", 10, 5)])  # more evidence of what is in the closed one
    assert set(told(where)) == {taken, fresh}
    assert UUID(taken)


def test_an_incident_says_how_many_hosts_as_far_as_its_alerts_do(where: Settings) -> None:
    """Floods of a source or two each are of a few hosts, whatever an alert by itself is one of."""
    store = AlertStore(where.alerts, FLOWS)
    slow = [attack("SYN_FLOOD", f"6.6.6.{6 + i % (1 + target % 2)}", f"10.0.4.{target}", 1, i) for target in range(4) for i in range(6)]
    give(store, slow)
    ((title, sources),) = run(where.alerts, "SELECT title, metadata ->> 'sources' FROM incidents")
    assert (title, sources) == ("SYN flood: 6.6.6.6, 6.6.6.7 -> 4 hosts", '["6.6.6.6", "6.6.6.7"]')
    give(store, [attack("SYN_FLOOD", f"6.6.7.{i}", "10.0.4.0", 2, i) for i in range(40)])
    assert run(where.alerts, "SELECT title FROM incidents ORDER BY 1") == [
        ("SYN flood: 41 hosts -> 10.0.4.0",), ("SYN flood: 6.6.6.6, 6.6.6.7 -> 10.0.4.1, 10.0.4.2, 10.0.4.3",),
    ]  # fmt: skip


def test_what_somebody_wrote_into_details_stops_no_stream(where: Settings) -> None:
    give(AlertStore(where.alerts, FLOWS), [attack("HTTP_FLOOD", f"6.6.6.{i}", "10.0.2.1", 14, i) for i in range(2)])
    run(where.alerts, "UPDATE alerts SET details = jsonb_build_object('sources', '[\"fe80::1%%x\", \"none\"]'::jsonb)", ())
    give(AlertStore(where.alerts, FLOWS), [attack("UDP_FLOOD", "6.6.6.6", "10.0.2.1", 14)])
    run(where.alerts, "UPDATE alerts SET incident_id = (SELECT id FROM incidents LIMIT 1)")
    give(AlertStore(where.alerts, FLOWS), [attack("UDP_FLOOD", "6.6.6.6", "10.0.2.1", 14, 1)])
    ((title,),) = run(where.alerts, "SELECT title FROM incidents WHERE title LIKE '%%none%%'", ())
    assert title == "HTTP flood, then UDP flood: fe80::1%x, none, 6.6.6.6 -> 10.0.2.1"


def test_a_beacon_of_one_flow_makes_no_incident_critical(where: Settings) -> None:
    """It is no stage of an attack of its own; with a second flow it is."""
    store = AlertStore(where.alerts, FLOWS)
    flood = [attack("HTTP_FLOOD", "6.6.6.6", "10.0.2.9", 1, i) for i in range(20)]
    beacons = [attack("BOTNET_BEACON", "6.6.6.6", f"9.9.9.{i}", 2, i) for i in range(2)]
    give(store, flood + beacons)
    about = "SELECT priority, metadata ->> 'stages' FROM incidents"
    assert run(where.alerts, about) == [("HIGH", '["impact", "control"]')]
    give(store, [attack("BOTNET_BEACON", "6.6.6.6", "9.9.9.1", 3, 9)])
    assert run(where.alerts, about) == [("CRITICAL", '["impact", "control"]')]


@pytest.mark.parametrize(
    "written",
    [
        '{"distinct_targets": 12345678901234567890}',
        '{"distinct_sources": 1e30}',
        '{"targets": ["1.1", "fe80::1%%eth0"]}',
        '{"sources": "x"}',
    ],
)
def test_numbers_and_texts_that_somebody_wrote_stop_no_stream(where: Settings, written: str) -> None:
    store = AlertStore(where.alerts, FLOWS)
    give(store, INTRUSION)
    run(where.alerts, "UPDATE alerts SET details = details || %s::jsonb", written.replace("%%", "%"))
    done = give(AlertStore(where.alerts, FLOWS), [attack("SSH_BRUTE_FORCE", "6.6.6.6", "10.0.0.5", 10, i) for i in range(3)])
    assert (done.changed, len(give(store, BOTNET).raised)) == (1, 5)


@pytest.mark.parametrize("together", [True, False])
def test_an_incident_goes_on_none_of_another_domain(where: Settings, together: bool) -> None:
    store = AlertStore(where.alerts, FLOWS)
    give(store, [attack("EXFILTRATION", "10.0.0.5", "7.7.7.7", 1, domain="d2")])
    (first,) = told(where)
    with people.acting(where.alerts, "anna") as cursor:
        people.close(cursor, first, "anna", "RESOLVED")
    later = [attack("BOTNET_BEACON", host, "9.9.9.9", 2, domain=domain) for host, domain in (("10.0.0.5", "d1"), ("10.0.0.77", "d2"))]
    for batch in [later] if together else [[row] for row in later]:
        give(store, batch)
    assert [about for _, *about in told(where).values() if "follows" in str(about)] == []
    give(store, [attack("BOTNET_BEACON", "10.0.0.5", "9.9.9.7", 3, domain="d2")])
    assert sum(first in str(about) for about in told(where).values()) == 1


def test_an_incident_that_was_opened_again_takes_in_what_came_meanwhile(where: Settings) -> None:
    store = AlertStore(where.alerts, FLOWS)
    give(store, [attack("EXFILTRATION", "10.0.0.5", "7.7.7.7", 1)])
    (first,) = told(where)
    with people.acting(where.alerts, "anna") as cursor:
        people.close(cursor, first, "anna", "RESOLVED")
    give(store, [attack("BOTNET_BEACON", "10.0.0.5", "9.9.9.9", 2)])
    with people.acting(where.alerts, "anna") as cursor:
        people.reopen(cursor, first)
    assert len(told(where)) == 2
    give(store, [attack("EXFILTRATION", "10.0.0.5", "7.7.7.7", 3)])
    assert list(told(where)) == [first]
