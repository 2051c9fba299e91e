"""``flowlake block``, ``unblock`` and ``blocks`` on a real PostgreSQL: guard rails, confirmation, two at once, the audit."""

from __future__ import annotations

import json
import threading
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from infra.config import Settings
from jobs.incidents import audit, people
from jobs.response import acts, book
from jobs.response.addresses import target
from jobs.response.machine import surroundings
from jobs.response.reach import Reach
from jobs.sinks import hot, postgres
from schemas.network_flows import NETWORK_FLOWS
from schemas.packets import FLOWS
from tests.integration.response.conftest import INTRUDER, Site
from tests.integration.sinkbench import run
from tests.sinksdata import T0, table

pytestmark = pytest.mark.integration

#: An nft that takes everything and holds nothing: what these tests are about is the database.
FAKE = "#!/bin/sh\ncat >/dev/null\n"


def flows_now(where: Settings, hosts: int, *, answered: bool = True) -> None:
    """Flows of these minutes between :data:`INTRUDER` and hosts of ours."""
    now = (datetime.now(UTC) - T0).total_seconds() - 300
    sent = {"total_length_fwd_packets": 100, "total_length_bwd_packets": 900 if answered else 0}
    rows = [{"name": f"now{i}", "src_ip": INTRUDER, "dst_ip": f"10.1.0.{i + 1}", "at": now, **sent} for i in range(hosts)]
    with closing(postgres.connect(where.hot, "test")) as connection:
        hot.insert(connection, hot.hot_rows(table(rows), FLOWS), NETWORK_FLOWS, ("q", 0, 1, "x"))


def rows(site: Site) -> list[tuple[Any, ...]]:
    return run(site.settings.alerts, "SELECT host(address), state, asked_by, why, error FROM blocks ORDER BY asked_at")


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
    alert = _any_alert(site)
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


def fake(folder: Path, text: str = FAKE) -> Path:
    """A program in place of nft."""
    program = folder / "nft"
    listed = 'case "$*" in *list*) echo "Error: No such file or directory" >&2; exit 1;; esac\n'
    program.write_text(text.replace("cat >", f"{listed}cat >"))
    program.chmod(0o755)
    return program


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


@pytest.mark.parametrize(
    ("program", "words", "hint"),
    [
        ("/no/such/nft", "there is no program '/no/such/nft'", "apt install nftables"),
        ("#!/bin/sh\necho 'Operation not permitted (you must be root)' >&2; exit 1\n", "you must be root", "CAP_NET_ADMIN"),
        ("#!/bin/sh\necho nonsense\n", "is not understood", "nft list table inet flowlake"),
    ],
)
def test_a_responder_that_cannot(site: Site, tmp_path: Path, program: str, words: str, hint: str) -> None:
    if program.startswith("#!"):
        (tmp_path / "broken").write_text(program)
        (tmp_path / "broken").chmod(0o755)
        program = str(tmp_path / "broken")
    site.respond(responder="nftables", nft=program)
    code, out, err = site.call("block", "203.0.113.7", "--by", "anna", "--alert", _any_alert(site), "--force")
    assert (code, out) == (11, "")
    assert words in err
    assert hint in err
    ((_, state, by, _, error),) = rows(site)
    assert (state, by, words in error) == ("FAILED", "anna", True)
    assert run(site.settings.alerts, "SELECT DISTINCT action_taken FROM alerts") == [("none",)]
    code, _, err = site.call("blocks", "sync")
    assert (code, words in err) == (11, True)
    # once it is there again, the same command does it
    site.respond(responder="dry-run")
    assert site.call("block", "203.0.113.7")[0] == 0


def _any_alert(site: Site) -> str:
    return str(run(site.settings.alerts, "SELECT id::text FROM alerts LIMIT 1")[0][0])


def test_a_block_that_cannot_be_lifted_holds(site: Site, tmp_path: Path) -> None:
    program = fake(tmp_path)
    site.respond(responder="nftables", nft=str(program))
    site.call("block", "203.0.113.7")
    program.unlink()
    code, _, err = site.call("unblock", "203.0.113.7", "--by", "ben")
    assert (code, "203.0.113.7 is still blocked: there is no program" in err) == (11, True)
    ((_, state, _, _, error),) = rows(site)
    assert (state, "not lifted: " in error) == ("ACTIVE", True)
    fake(tmp_path)
    assert site.call("unblock", "203.0.113.7")[0] == 0
    assert rows(site)[0][1] == "LIFTED"


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


def test_a_dry_run_says_so_in_the_list(site: Site) -> None:
    assert site.call("block", "203.0.113.8", "--for", "2h")[0] == 0
    assert "1 block that would hold (dry run: nothing is blocked)" in site.call("blocks", "list")[1]


def test_list_and_history(site: Site) -> None:
    assert "0 blocks in force" in site.call("blocks", "list")[1]
    site.call("block", "203.0.113.7", "--for", "1s", "--by", "anna")
    site.call("block", "203.0.113.8", "--for", "2h", "--by", "=cmd|' /C calc'!A0")
    run(site.settings.alerts, "UPDATE blocks SET blocked_until = now() - interval '1 minute' WHERE host(address) = '203.0.113.7'")
    listed = json.loads(site.call("blocks", "list", "--json")[1])
    assert [(row["address"], row["state"]) for row in listed] == [("203.0.113.8", "DRY_RUN")]
    history = json.loads(site.call("blocks", "history", "--json")[1])
    assert [(row["address"], row["state"]) for row in history] == [("203.0.113.8", "DRY_RUN"), ("203.0.113.7", "EXPIRED")]
    assert [row["address"] for row in json.loads(site.call("blocks", "history", "203.0.113.7", "--json")[1])] == ["203.0.113.7"]
    site.call("blocks", "sync", "--by", "anna")
    assert run(site.settings.alerts, "SELECT user_id FROM user_actions WHERE action = 'block.expire'") == [("flowlake",)]
    assert site.call("block", "203.0.113.7")[0] == 0
    assert len(rows(site)) == 3
    with closing(postgres.connect(site.settings.alerts, "test")) as connection:
        assert audit.verify(connection).faults == ()


def test_any_other_way_leaves_a_row_too(site: Site) -> None:
    site.call("block", "203.0.113.7")
    run(site.settings.alerts, "UPDATE blocks SET state = 'LIFTED'")
    run(site.settings.alerts, "DELETE FROM blocks")
    run(site.settings.alerts, "TRUNCATE blocks CASCADE")
    found = run(site.settings.alerts, "SELECT action FROM user_actions ORDER BY id DESC LIMIT 3")
    assert [action for (action,) in found] == ["block.truncate", "block.delete", "UNBLOCK_IP"]


def test_without_the_table_and_without_the_database(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    run(site.settings.alerts, "DROP TABLE blocks CASCADE")
    code, _, err = site.call("block", "203.0.113.7")
    assert (code, "holds no such table yet" in err) == (5, True)
    monkeypatch.setenv("FLOWLAKE_ALERTS__PORT", "1")
    code, _, err = site.call("blocks", "list")
    assert (code, "flowlake up" in err) == (5, True)


def test_whoever_ended_in_between_left_what_is_to_be_done(site: Site) -> None:
    """BookedBlock down and never carried out: the next comparison says that it is done."""
    site.respond(responder="nftables", nft="/no/such/nft")
    with people.acting(site.settings.alerts, "anna") as cursor:
        book.write(cursor, book.Ask(target("203.0.113.7"), 3600, "anna", alert=None), "nftables", Reach(24))
    run(site.settings.alerts, "UPDATE blocks SET asked_at = now() - interval '1 hour'")
    assert site.call("blocks", "sync")[0] == 11
    assert rows(site)[0][1] == "ACTIVE"
    site.respond(responder="webhook", webhook_url="http://127.0.0.1:1/")
    code, _, err = site.call("blocks", "sync")
    assert (code, "no secret to sign with" in err, "FLOWLAKE_RESPONSE__WEBHOOK_SECRET" in err) == (2, True, True)


def test_by_a_login_of_the_role_alone(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for role in ("responder", "analyst"):
        run(
            site.settings.alerts,
            f"DO $$ BEGIN CREATE ROLE block_{role} LOGIN PASSWORD 'x' IN ROLE flowlake_{role}; "
            "EXCEPTION WHEN duplicate_object THEN NULL; END $$",
        )
    ((incident,),) = run(site.settings.alerts, "SELECT id::text FROM incidents")
    flows_now(site.settings, 2)
    site.respond(rules=[{"name": "guessing", "kinds": ["brute-force"]}])
    for store in ("HOT", "ALERTS"):
        monkeypatch.setenv(f"FLOWLAKE_{store}__USER", "block_responder")
        monkeypatch.setenv(f"FLOWLAKE_{store}__PASSWORD", "x")
    code, out, err = site.call("block", INTRUDER, "--incident", incident, "--by", "anna")
    assert (code, err, "2 flows" in out) == (0, "", True)
    assert site.call("block", INTRUDER, "--for", "3h")[0] == 0
    assert site.call("unblock", INTRUDER)[0] == 0
    assert site.call("respond", "--once")[0] == 0
    by = run(site.settings.alerts, "SELECT DISTINCT db_user FROM user_actions WHERE starts_with(target, 'ip:')")
    assert by == [("block_responder",)]
    monkeypatch.setenv("FLOWLAKE_ALERTS__USER", "block_analyst")
    assert site.call("blocks", "list")[0] == 0
    code, _, err = site.call("block", INTRUDER)
    assert (code, "GRANT flowlake_responder TO block_analyst" in err) == (5, True)


def test_only_a_responder_may(site: Site) -> None:
    run(site.settings.alerts, "GRANT USAGE ON SCHEMA public TO flowlake_analyst")
    for role, statement, may in (
        ("flowlake_responder", "SELECT * FROM blocks", True),
        ("flowlake_responder", "UPDATE blocks SET state = 'LIFTED'", True),
        ("flowlake_responder", "UPDATE blocks SET asked_by = 'x'", False),
        ("flowlake_responder", "DELETE FROM blocks", False),
        ("flowlake_analyst", "SELECT * FROM blocks", True),
        ("flowlake_analyst", "UPDATE blocks SET state = 'LIFTED'", False),
        ("flowlake_writer", "SELECT * FROM blocks", False),
        ("flowlake_admin", "DELETE FROM blocks", False),
    ):
        with closing(postgres.connect(site.settings.alerts, "test")) as connection, connection.cursor() as cursor:
            cursor.execute(f"SET ROLE {role}")
            refused = False
            try:
                cursor.execute(statement)
            except psycopg2.errors.InsufficientPrivilege:
                refused = True
            assert refused is not may, (role, statement)


def test_a_block_without_end_written_by_hand_is_shown(site: Site) -> None:
    assert site.call("block", INTRUDER)[0] == 0
    run(site.settings.alerts, "UPDATE blocks SET blocked_until = 'infinity'")
    for arguments in (("list",), ("history",), ("list", "--json")):
        code, out, err = site.call("blocks", *arguments)
        assert (code, err, INTRUDER in out) == (0, "", True)
    run(site.settings.alerts, "UPDATE blocks SET state = 'ACTIVE', responder = 'nftables'")
    with people.acting(site.settings.alerts, "anna") as cursor:
        assert set(book.holding(cursor, "nftables")) == {target(INTRUDER)}
        assert book.holding(cursor, "nftables")[target(INTRUDER)] < float("inf")
    assert site.call("unblock", INTRUDER)[0] in (0, 11)


def test_an_alert_is_named_as_everywhere(site: Site) -> None:
    ((alert,),) = run(site.settings.alerts, "SELECT id::text FROM alerts WHERE attack_type = 'SYN_SCAN'")
    assert site.call("block", INTRUDER, "--alert", f"urn:uuid:{alert}")[0] == 0
    assert run(site.settings.alerts, "SELECT alert_id::text FROM blocks") == [(alert,)]
