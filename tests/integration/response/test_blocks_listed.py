"""``flowlake blocks``: what it lists, what the audit keeps of it, and who may."""

from __future__ import annotations

import json
from contextlib import closing

import psycopg2
import pytest

from jobs.incidents import audit, people
from jobs.response import book
from jobs.response.addresses import target
from jobs.sinks import postgres
from tests.integration.response.blocking import flows_now, rows
from tests.integration.response.conftest import INTRUDER, Site
from tests.integration.sinkbench import run

pytestmark = pytest.mark.integration


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
