"""``flowlake respond``: rules block by themselves, each alert decided once, within their limits; against a real PostgreSQL."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from jobs.response import rules, service
from jobs.response.machine import surroundings
from jobs.sinks.alertstore import AlertStore
from schemas.packets import FLOWS
from tests.integration.incidents.test_grouping import attack, give
from tests.integration.response.conftest import INTRUDER, Site
from tests.integration.sinkbench import run

pytestmark = pytest.mark.integration
GUESSING = {"name": "guessing", "kinds": ["brute-force"], "min_severity": 3, "min_confidence": 0.5, "for_s": 600}


def start(site: Site, **response: Any) -> None:
    """The rules, and a cursor that lies before all alerts."""
    site.respond(**{"rules": [GUESSING], "confirm_hosts": 100, **response})
    run(site.settings.alerts, "INSERT INTO block_cursor (seen) VALUES (now() - interval '1 day')")


def look(site: Site) -> rules.Looked:
    return rules.look(site.settings, surroundings(site.settings))


def guess(site: Site, *sources: str) -> None:
    give(AlertStore(site.settings.alerts, FLOWS), [attack("SSH_BRUTE_FORCE", source, "10.0.0.5", 9, i) for i, source in enumerate(sources)])


def blocks(site: Site) -> list[tuple[Any, ...]]:
    return run(site.settings.alerts, "SELECT host(address), state, rule, asked_by FROM blocks ORDER BY asked_at")


def test_off_unless_there_are_rules(site: Site) -> None:
    code, out, _ = site.call("respond", "--once")
    assert (code, "rules: none: nothing is blocked without a person" in out, "0 blocked" in out) == (0, True, True)
    assert blocks(site) == []


def test_what_was_before_the_rules_is_left_alone(site: Site) -> None:
    site.respond(rules=[GUESSING])
    run(site.settings.alerts, "UPDATE alerts SET updated_at = now() - interval '1 hour'")
    assert look(site) == rules.Looked()
    guess(site, "203.0.113.9")
    assert look(site).blocked == 1


def test_each_alert_once_and_audited(site: Site) -> None:
    start(site)
    code, out, _ = site.call("respond", "--once")
    assert (code, "1 blocked (dry run), 0 refused, 0 failed" in out) == (0, True)
    assert look(site) == rules.Looked()
    assert blocks(site) == [(INTRUDER, "DRY_RUN", "guessing", "rule guessing")]
    guess(site, INTRUDER)  # the alert grows
    assert look(site) == rules.Looked()
    assert run(site.settings.alerts, "SELECT asks FROM blocks") == [(1,)]
    assert run(site.settings.alerts, "SELECT action_taken FROM alerts WHERE attack_type = 'SSH_BRUTE_FORCE'") == [("LOGGED",)]
    ((user, details),) = run(site.settings.alerts, "SELECT user_id, details FROM user_actions WHERE action = 'BLOCK_IP'")
    assert (user, details["rule"], details["why"]) == ("flowlake respond", "guessing", "SSH_BRUTE_FORCE, severity 4, confidence 0.90")


def test_kind_type_severity_and_confidence(site: Site) -> None:
    scans = {"name": "scans", "kinds": ["SYN_SCAN"], "min_severity": 1, "min_confidence": 0.9}
    start(site, rules=[{**GUESSING, "min_severity": 5}, {**GUESSING, "min_confidence": 0.91, "name": "sure"}, scans])
    give(AlertStore(site.settings.alerts, FLOWS), [attack("UDP_SCAN", "203.0.113.1", f"10.0.0.{i}", 0, i) for i in range(1, 30)])
    guess(site, "203.0.113.2", "203.0.113.3", "203.0.113.4")
    for source, change in (("203.0.113.3", "severity = 5, kind = 'guessing'"), ("203.0.113.4", "confidence = 0.91")):
        run(site.settings.alerts, f"UPDATE alerts SET {change} WHERE host(src_ip) = '{source}'")
    look(site)
    found = sorted((address, rule) for address, _, rule, _ in blocks(site))
    assert found == [("203.0.113.3", "guessing"), ("203.0.113.4", "sure"), (INTRUDER, "scans")]


def test_alerts_that_no_rule_means_hold_nothing_up(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "_AT_ONCE", 2)
    start(site)
    give(AlertStore(site.settings.alerts, FLOWS), [attack("BOTNET_BEACON", "203.0.113.1", f"10.0.1.{i}", i) for i in range(20)])
    guess(site, "203.0.113.9")
    run(site.settings.alerts, "UPDATE alerts SET updated_at = clock_timestamp() WHERE host(src_ip) = '203.0.113.9'")
    assert service.once(site.settings).blocked == 2


def test_an_alert_that_matches_only_later(site: Site) -> None:
    start(site, rules=[{**GUESSING, "min_severity": 5}])
    assert look(site) == rules.Looked()
    run(site.settings.alerts, "UPDATE alerts SET severity = 5, updated_at = clock_timestamp() WHERE attack_type = 'SSH_BRUTE_FORCE'")
    assert look(site).blocked == 1


def test_our_own_and_protected_and_resolved_are_left(site: Site) -> None:
    start(site, protected=["203.0.113.8"])
    guess(site, "10.0.9.9", "192.168.1.1", "fd00::9", "::ffff:192.168.1.2", "203.0.113.8", "203.0.113.9")
    run(site.settings.alerts, "UPDATE alerts SET resolved_at = now() WHERE host(src_ip) = '203.0.113.9'")
    look(site)
    assert {address: state for address, state, *_ in blocks(site)} == {
        INTRUDER: "DRY_RUN", "192.168.1.2": "REFUSED", "203.0.113.8": "REFUSED"
    }  # fmt: skip
    assert look(site) == rules.Looked()


@pytest.mark.parametrize(
    ("limit", "words"),
    [({"auto_per_minute": 2}, "auto_per_minute"), ({"auto_max_active": 2}, "auto_max_active"), ({"max_active": 2}, "max_active")],
)
def test_limits(site: Site, limit: dict[str, int], words: str) -> None:
    start(site, **limit)
    guess(site, *(f"203.0.113.{i}" for i in range(1, 5)))
    assert look(site) == rules.Looked(blocked=2, refused=3)
    ((error,),) = run(site.settings.alerts, "SELECT DISTINCT error FROM blocks WHERE state = 'REFUSED'")
    assert words in error
    # a person is not held up by the limits of rules
    assert site.call("block", "198.51.100.1")[0] == (11 if words == "max_active" else 0)


def test_what_a_person_would_have_to_confirm(site: Site) -> None:
    start(site)
    run(site.settings.hot, "DROP TABLE network_flows CASCADE")
    assert look(site) == rules.Looked(refused=1)
    assert "not known whom" in run(site.settings.alerts, "SELECT error FROM blocks")[0][0]


def test_old_alerts(site: Site) -> None:
    start(site, auto_max_age_s=60)
    run(site.settings.alerts, "UPDATE alerts SET updated_at = now() - interval '10 minutes'")
    assert look(site) == rules.Looked(refused=1)


@pytest.mark.parametrize(("name", "kind", "value"), [("suppressed_by", "bigint", "7"), ("suppressed", "boolean", "true")])
def test_suppressed_alerts_are_left(site: Site, name: str, kind: str, value: str) -> None:
    start(site)
    run(site.settings.alerts, f"ALTER TABLE alerts ADD COLUMN IF NOT EXISTS {name} {kind}, DROP CONSTRAINT IF EXISTS alerts_suppressed")
    guess(site, "203.0.113.9")
    run(site.settings.alerts, f"UPDATE alerts SET {name} = {value} WHERE host(src_ip) = '{INTRUDER}'")
    look(site)
    assert [address for address, *_ in blocks(site)] == ["203.0.113.9"]


def test_a_responder_that_fails_is_recorded_and_the_next_goes_on(site: Site) -> None:
    start(site, responder="nftables", nft="/no/such/nft")
    guess(site, "203.0.113.9")
    assert look(site) == rules.Looked(failed=2)
    assert {state for _, state, *_ in blocks(site)} == {"FAILED"}


def test_many_more_than_one_look_takes(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "_AT_ONCE", 3)
    start(site)
    guess(site, *(f"203.0.113.{i}" for i in range(1, 8)))
    assert service.once(site.settings).blocked == 8
    assert run(site.settings.alerts, "SELECT count(*), count(DISTINCT alert_id) FROM block_decisions") == [(8, 8)]


def test_one_acts_and_the_next_takes_over(site: Site) -> None:
    start(site, poll_s=0.05)
    ends = [threading.Event(), threading.Event()]
    threads = [threading.Thread(target=service.run, args=(site.settings, lambda end=end: not end.is_set())) for end in ends]
    threads[0].start()
    wait_for(lambda: len(blocks(site)) == 1)
    threads[1].start()
    code, _, err = site.call("respond", "--once")
    assert (code, "another process applies the rules" in err) == (5, True)
    guess(site, "203.0.113.9")
    wait_for(lambda: len(blocks(site)) == 2)
    ends[0].set()
    threads[0].join()
    guess(site, "203.0.113.10")
    wait_for(lambda: len(blocks(site)) == 3)
    ends[1].set()
    threads[1].join()
    assert run(site.settings.alerts, "SELECT count(*), count(DISTINCT alert_id) FROM block_decisions") == [(3, 3)]


def wait_for(holds: Any) -> None:
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.05)
