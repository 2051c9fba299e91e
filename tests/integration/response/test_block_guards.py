"""``flowlake block``: whom it refuses, what it asks to be confirmed, and how many it blocks at most."""

from __future__ import annotations

import pytest

from tests.integration.response.blocking import flows_now, rows
from tests.integration.response.conftest import INTRUDER, Site
from tests.integration.sinkbench import run

pytestmark = pytest.mark.integration

REFUSED = {
    "127.0.0.1": "loopback",
    "::ffff:127.0.0.1": "loopback",
    "192.0.2.0/24": "it covers 192.0.2.64/26: response.protected",
    "0.0.0.0/0": "it covers",
    "2001:db8::/32": "more than response.max_addresses (65,536)",
}


def test_refused_whatever_is_confirmed_and_written_down(site: Site) -> None:
    site.respond(protected=["192.0.2.64/26"])
    for number, (address, words) in enumerate(REFUSED.items()):
        code, out, err = site.call("block", address, "--yes", "--by", "anna")
        assert (code, out, "refused: " in err, words in err) == (11, "", True, True), err
        (state, by, error) = run(site.settings.alerts, "SELECT state, asked_by, error FROM blocks ORDER BY asked_at")[number]
        assert (state, by, words in error) == ("REFUSED", "anna", True)
    acts_of = run(site.settings.alerts, "SELECT action, user_id, details ->> 'state' FROM user_actions WHERE starts_with(target, 'ip:')")
    assert acts_of == [("BLOCK_IP", "anna", "REFUSED")] * len(REFUSED)


def test_what_is_no_address_is_told_and_nothing_happens(site: Site) -> None:
    for address in ("nonsense", "203.0.113.7/24", "fe80::1%eth0", "203.0.113.7; flush ruleset", "--"):
        code, _, err = site.call("block", address, "--yes")
        assert (code, err.startswith("error: ")) == (2, True)
    assert rows(site) == []


def test_durations(site: Site) -> None:
    for duration in ("0s", "x", "1y", ""):
        code, _, err = site.call("block", "203.0.113.7", "--for", duration, "--yes")
        assert (code, f"--for '{duration}' is no length of time" in err) == (2, True)
    assert rows(site) == []
    for duration in ("99w", "999999999w"):
        code, _, err = site.call("block", "203.0.113.7", "--for", duration, "--yes")
        assert (code, "no time for a block" in err) == (11, True)
    assert {state for _, state, *_ in rows(site)} == {"REFUSED"}


def test_above_the_blast_radius_somebody_must_say_so(site: Site) -> None:
    site.respond(confirm_hosts=2)
    flows_now(site.settings, 3)
    code, _, err = site.call("block", INTRUDER)
    assert (code, rows(site)) == (2, [])
    assert "3 hosts exchanged data with it, more than response.confirm_hosts (2)" in err
    assert "--yes" in err
    assert site.call("block", INTRUDER, "--yes")[0] == 0
    reach = run(site.settings.alerts, "SELECT reach FROM blocks")[0][0]
    assert (reach["flows"], reach["partners"], reach["unknown"]) == (3, 3, "")


def test_whom_a_scanner_tried_is_not_cut_off_by_its_block(site: Site) -> None:
    site.respond(confirm_hosts=2)
    flows_now(site.settings, 30, answered=False)
    code, out, _ = site.call("block", INTRUDER)
    assert (code, "30 hosts; 0 of them exchanged data" in out) == (0, True)


def test_a_network_and_what_is_not_known_are_confirmed_too(site: Site) -> None:
    code, _, err = site.call("block", "203.0.113.0/24")
    assert (code, "256 addresses, more than response.confirm_addresses (1)" in err) == (2, True)
    run(site.settings.hot, "DROP TABLE network_flows CASCADE")
    code, _, err = site.call("block", "203.0.113.7")
    assert (code, "not known whom it would cut off" in err, "holds no flows" in err) == (2, True, True)
    assert site.call("block", "203.0.113.7", "--yes")[0] == 0


def test_what_is_typed_on_a_terminal(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    typed = iter(["yes", "203.0.113.0/24"])
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.prompt", lambda *_, **__: next(typed))
    assert site.call("block", "203.0.113.0/24")[0] == 2
    assert site.call("block", "203.0.113.0/24")[0] == 0


def test_no_more_than_the_most(site: Site) -> None:
    site.respond(max_active=2)
    assert [site.call("block", f"203.0.113.{i}")[0] for i in (1, 2, 1, 3)] == [0, 0, 0, 11]
    assert rows(site)[-1][1] == "REFUSED"


def test_the_whitelist(site: Site) -> None:
    run(
        site.settings.alerts,
        "CREATE TABLE IF NOT EXISTS suppressions (id bigint GENERATED ALWAYS AS IDENTITY, sort text, network cidr, direction text DEFAULT "
        "'either', kind text, attack_type text, port_low int, sensor_id text, domain text, starts_at timestamptz DEFAULT now(), ends_at "
        "timestamptz, ended_at timestamptz, reason text, created_by text)",
    )
    for network, more in (("203.0.113.0/28", "NULL"), ("203.0.113.64/28", "'scan'")):
        run(
            site.settings.alerts,
            f"INSERT INTO suppressions (sort, network, kind, reason, created_by) VALUES ('whitelist', '{network}', {more}, 'ours', 'anna')",
        )
    code, _, err = site.call("block", "203.0.113.7", "--yes")
    assert (code, "203.0.113.7 is whitelisted: 203.0.113.0/28, entry 1: ours" in err) == (11, True)
    assert site.call("block", "203.0.113.0/24", "--yes")[0] == 11
    assert site.call("block", "203.0.113.65")[0] == 0
    run(site.settings.alerts, "UPDATE suppressions SET ended_at = now()")
    assert site.call("block", "203.0.113.7")[0] == 0
