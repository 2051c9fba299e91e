"""``flowlake block`` and ``unblock`` where the responder, the table or the database fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.incidents import people
from jobs.response import book
from jobs.response.addresses import target
from jobs.response.reach import Reach
from tests.integration.response.blocking import any_alert, fake, rows
from tests.integration.response.conftest import Site
from tests.integration.sinkbench import run

pytestmark = pytest.mark.integration


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
    code, out, err = site.call("block", "203.0.113.7", "--by", "anna", "--alert", any_alert(site), "--force")
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
