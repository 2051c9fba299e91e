"""``flowlake block`` and ``unblock`` on a real PostgreSQL: what is written down of a block, of two at once, and of its end."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from jobs.response import acts, book
from jobs.response.addresses import target
from jobs.response.machine import surroundings
from tests.integration.response.blocking import any_alert, fake, flows_now, rows
from tests.integration.response.conftest import INTRUDER, Site
from tests.integration.sinkbench import run

pytestmark = pytest.mark.integration


def test_dry_run_is_the_default_and_says_so(site: Site) -> None:
    flows_now(site.settings, 3)
    code, out, err = site.call("block", INTRUDER, "--for", "2h", "--why", "guesses\x1b[2J", "--by", "anna")
    assert (code, err) == (0, "")
    assert f"dry run: {INTRUDER} would be blocked until" in out
    assert "(2h); nothing was done" in out or "(1h59m); nothing was done" in out
    assert "3 flows, 3,000 bytes, 3 hosts; 3 of them exchanged data with it" in out
    assert "\x1b" not in out
    assert rows(site) == [(INTRUDER, "DRY_RUN", "anna", "guesses [2J", "")]
    assert run(site.settings.alerts, "SELECT DISTINCT action_taken FROM alerts") == [("none",)]


def test_the_alert_and_the_incident_say_what_was_done(site: Site, tmp_path: Path) -> None:
    ((alert,),) = run(site.settings.alerts, "SELECT id::text FROM alerts WHERE attack_type = 'SYN_SCAN'")
    ((incident,),) = run(site.settings.alerts, "SELECT id::text FROM incidents")
    assert site.call("block", INTRUDER, "--alert", alert[:8])[0] == 0
    assert run(site.settings.alerts, "SELECT attack_type, action_taken FROM alerts WHERE action_taken <> 'none'") == [
        ("SYN_SCAN", "LOGGED")
    ]
    site.respond(responder="nftables", nft=str(fake(tmp_path)))
    assert site.call("block", INTRUDER, "--incident", incident[:8])[0] == 0
    taken = dict(run(site.settings.alerts, "SELECT attack_type, action_taken FROM alerts"))
    assert taken == {"SYN_SCAN": "BLOCKED", "SSH_BRUTE_FORCE": "BLOCKED", "EXFILTRATION": "none"}
    assert site.call("block", INTRUDER)[0] == 0
    assert run(site.settings.alerts, "SELECT count(*) FROM alerts WHERE action_taken = 'BLOCKED'") == [(2,)]
    for option, given in (("--alert", "ffffffff"), ("--alert", "x' OR 1"), ("--incident", "ffffffff")):
        code, _, err = site.call("block", "9.9.9.9", option, given)
        assert (code, given[:6] in err) == (2, True)


def test_a_dry_run_leaves_what_a_person_has_written(site: Site) -> None:
    alert = any_alert(site)
    run(site.settings.alerts, f"UPDATE alerts SET action_taken = 'isolated by anna' WHERE id = '{alert}'")
    assert site.call("block", INTRUDER, "--alert", alert, "--force", "--yes")[0] == 0
    assert run(site.settings.alerts, f"SELECT action_taken FROM alerts WHERE id = '{alert}'") == [("isolated by anna",)]


def test_who_is_blocked_for_an_alert_is_one_whom_it_is_about(site: Site) -> None:
    ((alert, source, target),) = run(
        site.settings.alerts, "SELECT id::text, host(src_ip), host(dst_ip) FROM alerts WHERE attack_type = 'SSH_BRUTE_FORCE'"
    )
    ((incident,),) = run(site.settings.alerts, "SELECT id::text FROM incidents")
    for option, key in (("--alert", alert), ("--incident", incident)):
        code, out, err = site.call("block", "9.9.9.9", option, key[:8], "--yes")
        assert (code, out) == (2, "")
        assert f"{option[2:]} {key} is not about 9.9.9.9: it is about " in err
        assert source in err
        assert f"leave {option} out, or say --force" in err
    assert rows(site) == []
    assert site.call("block", target, "--alert", alert, "--yes")[0] in (0, 11), "an address of ours may be protected, but it is meant"
    assert site.call("block", f"::ffff:{source}", "--alert", alert, "--yes")[0] == 0
    assert site.call("block", "6.6.6.0/24", "--incident", incident, "--yes")[0] == 0
    assert site.call("block", "9.9.9.9", "--alert", alert, "--force", "--yes")[0] == 0
    assert [row[0] for row in rows(site)] == [target, source, "6.6.6.0", "9.9.9.9"]


def test_who_is_a_part_of_a_crowd_is_one_whom_the_alert_is_about(site: Site) -> None:
    run(
        site.settings.alerts,
        'UPDATE alerts SET src_ip = NULL, details = details || \'{"sources": ["198.51.100.1", "198.51.100.2"]}\' '
        "WHERE attack_type = 'SSH_BRUTE_FORCE'",
    )
    ((alert,),) = run(site.settings.alerts, "SELECT id::text FROM alerts WHERE attack_type = 'SSH_BRUTE_FORCE'")
    assert site.call("block", "198.51.100.2", "--alert", alert, "--yes")[0] == 0
    code, _, err = site.call("block", "198.51.100.3", "--alert", alert, "--yes")
    assert (code, "it is about 198.51.100.1, 198.51.100.2" in err) == (2, True)


def test_the_longer_of_both_times_holds(site: Site) -> None:
    site.call("block", "203.0.113.7", "--for", "1h", "--by", "anna", "--why", "scans")
    code, out, _ = site.call("block", "::ffff:203.0.113.7", "--for", "3h", "--by", "ben", "--why", "guesses")
    assert (code, "it was blocked before, by anna: it holds longer now" in out) == (0, True)
    code, out, _ = site.call("block", "203.0.113.7", "--for", "1m", "--by", "cleo", "--json")
    row = json.loads(out)
    assert (code, row["asks"], row["why"], 10_700 < row["seconds"] <= 10_800) == (0, 3, "guesses", True)
    actions = run(
        site.settings.alerts,
        "SELECT user_id, action FROM user_actions WHERE target = 'ip:203.0.113.7' AND starts_with(action, 'B') ORDER BY id",
    )
    assert actions == [(name, "BLOCK_IP") for name in ("anna", "ben", "cleo")]


def test_two_people_at_once_are_one_block(site: Site, tmp_path: Path) -> None:
    where = site.respond(responder="nftables", nft=str(fake(tmp_path)))
    around, network = surroundings(where), target("203.0.113.7")
    gate, faults = threading.Barrier(6), list[Exception]()

    def ask(number: int) -> None:
        gate.wait()
        try:
            acts.block(where, book.Ask(network, 600.0 * (number + 1), f"p{number}"), around, lambda *_: True)
        except Exception as e:
            faults.append(e)

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    ((state, asks, seconds),) = run(where.alerts, "SELECT state, asks, extract(epoch FROM blocked_until - now())::float8 FROM blocks")
    assert (state, asks, 3500 < seconds <= 3600) == ("ACTIVE", 6, True)


def test_unblock_and_what_it_says_otherwise(site: Site) -> None:
    site.call("block", "203.0.113.0/24", "--yes")
    code, _, err = site.call("unblock", "203.0.113.7")
    assert (code, "203.0.113.7 is not blocked" in err) == (2, True)
    site.respond(responder="nftables", nft="/bin/true")
    site.call("block", "203.0.113.7", "--by", "anna")
    assert rows(site)[-1][1] == "FAILED"  # that program says nothing that could be understood
    code, out, _ = site.call("unblock", "203.0.113.0/24", "--by", "ben")
    assert (code, out) == (0, "203.0.113.0/24 is no longer blocked (dry run)\n")
    assert site.call("unblock", "203.0.113.0/24")[0] == 2
    actions = run(
        site.settings.alerts, "SELECT user_id, action, details -> 'state' FROM user_actions WHERE target = 'ip:203.0.113.0/24' ORDER BY id"
    )
    assert actions[-1] == ("ben", "UNBLOCK_IP", ["DRY_RUN", "LIFTED"])


def test_part_of_a_blocked_network(site: Site, tmp_path: Path) -> None:
    site.respond(responder="nftables", nft=str(fake(tmp_path)))
    site.call("block", "203.0.113.0/24", "--yes")
    code, _, err = site.call("unblock", "203.0.113.7")
    assert (code, "blocked as a part of 203.0.113.0/24" in err) == (2, True)
    site.call("block", "203.0.113.7")
    code, out, _ = site.call("unblock", "203.0.113.7")
    assert (code, "but it is a part of 203.0.113.0/24, which is" in out) == (0, True)


def test_an_alert_is_named_as_everywhere(site: Site) -> None:
    ((alert,),) = run(site.settings.alerts, "SELECT id::text FROM alerts WHERE attack_type = 'SYN_SCAN'")
    assert site.call("block", INTRUDER, "--alert", f"urn:uuid:{alert}")[0] == 0
    assert run(site.settings.alerts, "SELECT alert_id::text FROM blocks") == [(alert,)]
