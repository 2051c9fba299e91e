"""nftables for real: hosts in network namespaces, connections that die and come back."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator

import pytest

from jobs.incidents import people
from jobs.response import book
from jobs.response.addresses import show, target
from jobs.response.nft import Nftables
from jobs.response.reach import Reach
from tests.integration.response.conftest import Site
from tests.integration.response.netns import ATTACKER4, ATTACKER6, GUARD4, GUARD6, INNER4, Hosts, hosts_of
from tests.integration.response.test_rules import GUESSING, guess
from tests.integration.sinkbench import run

pytestmark = pytest.mark.integration
PAIRS = [(GUARD4, ATTACKER4), (GUARD6, ATTACKER6)]
#: Seconds without an answer that are taken for none.
SILENCE_S = 0.4
FOREIGN = "table ip theirs {\n\tset blocked4 {\n\t\ttype ipv4_addr\n\t\telements = { 192.0.2.1 }\n\t}\n}\n"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    with hosts_of(tmp_path_factory.mktemp("hosts")) as made:
        yield made


@pytest.fixture
def hosts(machine: Hosts) -> Hosts:
    """Both, without a rule."""
    machine.inside(machine.guard, "nft", "flush", "ruleset")
    return machine


@pytest.fixture
def guarded(site: Site, hosts: Hosts) -> Site:
    site.respond(responder="nftables", nft=str(hosts.nft))
    return site


@pytest.mark.parametrize(("guard", "attacker"), PAIRS, ids=["IPv4", "IPv6"])
def test_a_connection_dies_and_comes_back(guarded: Site, hosts: Hosts, guard: str, attacker: str) -> None:
    assert hosts.opens(guard)
    code, out, _ = guarded.call("block", attacker, "--for", "1h", "--yes", "--by", "anna")
    assert (code, f"{attacker} is blocked until" in out, "by nftables" in out) == (0, True, True)
    assert not hosts.answers(guard, SILENCE_S)
    assert not hosts.opens(guard, SILENCE_S)
    code, out, _ = guarded.call("unblock", attacker, "--by", "ben")
    assert (code, out) == (0, f"{attacker} is no longer blocked\n")
    assert hosts.opens(guard)
    states = run(guarded.settings.alerts, "SELECT state, lifted_by, applied_at IS NOT NULL FROM blocks")
    assert states == [("LIFTED", "ben", True)]


@pytest.mark.parametrize(("guard", "attacker"), PAIRS, ids=["IPv4", "IPv6"])
def test_it_ends_by_itself_with_nobody_running(guarded: Site, hosts: Hosts, guard: str, attacker: str) -> None:
    """The commands have ended; what follows is the kernel alone."""
    asked = time.monotonic()
    assert guarded.call("block", attacker, "--for", "2s", "--yes")[0] == 0
    # On a machine so busy that the time is over by now, there is nothing left to see.
    assert not hosts.opens(guard, SILENCE_S) or time.monotonic() - asked > 2
    assert hosts.comes_back(guard)
    assert json.loads(guarded.call("blocks", "list", "--json")[1]) == []
    assert json.loads(guarded.call("blocks", "history", "--json")[1])[0]["state"] == "EXPIRED"


def test_a_router_drops_for_those_behind_it(guarded: Site, hosts: Hosts) -> None:
    assert hosts.opens(INNER4)
    assert guarded.call("block", ATTACKER4, "--yes")[0] == 0
    assert not hosts.answers(INNER4, SILENCE_S)
    assert guarded.call("unblock", ATTACKER4)[0] == 0
    assert hosts.opens(INNER4)
    # what is behind it no longer reaches the blocked address either
    assert guarded.call("block", INNER4, "--yes")[0] == 0
    assert not hosts.opens(INNER4, SILENCE_S)


def test_a_rule_cuts_the_attacker_off(site: Site, hosts: Hosts) -> None:
    """From the alert to the dead connection, without a person."""
    site.respond(responder="nftables", nft=str(hosts.nft), rules=[GUESSING], confirm_hosts=100)
    assert site.call("respond", "--once")[0] == 0
    guess(site, ATTACKER4)
    assert hosts.opens(GUARD4)
    code, out, _ = site.call("respond", "--once")
    assert (code, "1 blocked, 0 refused, 0 failed" in out) == (0, True)
    assert not hosts.answers(GUARD4, SILENCE_S)
    taken = run(site.settings.alerts, "SELECT action_taken FROM alerts WHERE host(src_ip) = %s", ATTACKER4)
    assert taken == [("BLOCKED",)]


def test_the_mapped_form_blocks_the_address_itself(guarded: Site, hosts: Hosts) -> None:
    assert guarded.call("block", f"::ffff:{ATTACKER4}", "--yes")[0] == 0
    assert not hosts.opens(GUARD4, SILENCE_S)
    assert guarded.call("unblock", ATTACKER4)[0] == 0
    assert hosts.opens(GUARD4)


def test_after_a_reboot_and_after_somebodys_hand(guarded: Site, hosts: Hosts) -> None:
    guarded.call("block", ATTACKER4, "--yes")
    guarded.call("block", ATTACKER6, "--yes")
    assert guarded.call("blocks", "sync", "--check")[0] == 0
    hosts.inside(hosts.guard, "nft", "flush", "ruleset")
    assert hosts.opens(GUARD4)
    code, out, _ = guarded.call("blocks", "sync", "--check")
    assert (code, f"{ATTACKER4} was not blocked" in out, "nftables: differs" in out) == (10, True, True)
    code, out, _ = guarded.call("blocks", "sync")
    assert (code, "nftables: mended" in out) == (0, True)
    assert not hosts.opens(GUARD4, SILENCE_S)
    hosts.inside(hosts.guard, "nft", "add", "element", "inet", "flowlake", "blocked4", "{ 198.51.100.9 }")
    hosts.inside(hosts.guard, "nft", "delete", "element", "inet", "flowlake", "blocked6", f"{{ {ATTACKER6} }}")
    hosts.inside(hosts.guard, "nft", "flush", "chain", "inet", "flowlake", "input")
    told = json.loads(guarded.call("blocks", "sync", "--json")[1])
    assert (told["missing"], told["extra"], told["structure"]) == ([ATTACKER6], ["198.51.100.9"], ["rules of chain input"])
    assert guarded.call("blocks", "sync", "--check")[0] == 0
    assert not hosts.opens(GUARD6, SILENCE_S)
    assert "198.51.100.9" not in hosts.ruleset()


def test_what_was_written_down_and_never_done(guarded: Site, hosts: Hosts) -> None:
    """Whoever blocked it ended before the kernel was told."""
    ((alert,),) = run(guarded.settings.alerts, "SELECT id FROM alerts LIMIT 1")
    with people.acting(guarded.settings.alerts, "anna") as cursor:
        book.write(cursor, book.Ask(target(ATTACKER4), 3600, "anna", alert=alert), "nftables", Reach(24))
    run(guarded.settings.alerts, "UPDATE blocks SET asked_at = asked_at - interval '1 hour'")
    assert hosts.opens(GUARD4)
    assert guarded.call("blocks", "sync")[0] == 0
    assert not hosts.opens(GUARD4, SILENCE_S)
    assert run(guarded.settings.alerts, "SELECT state, applied_at IS NOT NULL FROM blocks") == [("ACTIVE", True)]
    assert run(guarded.settings.alerts, "SELECT action_taken FROM alerts WHERE id = %s", alert) == [("BLOCKED",)]


def test_no_other_table_is_touched(guarded: Site, hosts: Hosts) -> None:
    (hosts.nft.parent / "foreign").write_text(FOREIGN)
    hosts.inside(hosts.guard, "nft", "-f", str(hosts.nft.parent / "foreign"))
    assert guarded.call("block", ATTACKER4, "--yes")[0] == 0
    hosts.inside(hosts.guard, "nft", "flush", "chain", "inet", "flowlake", "forward")
    assert guarded.call("blocks", "sync")[0] == 0
    assert guarded.call("unblock", ATTACKER4)[0] == 0
    assert FOREIGN in hosts.ruleset()


def test_networks_that_lie_in_one_another(hosts: Hosts) -> None:
    nft = Nftables(str(hosts.nft))
    wide, narrow = target("203.0.113.0/24"), target(ATTACKER4)
    nft.mend({wide: 500, narrow: 900, target("2001:db8::/64"): 300, target(ATTACKER6): 200})
    assert not hosts.opens(GUARD4, SILENCE_S)
    nft.mend({narrow: 900})
    assert not hosts.opens(GUARD4, SILENCE_S)
    assert hosts.opens(GUARD6)
    nft.mend({wide: 500})
    assert not nft.mend({wide: 500}, only_look=True)
    assert not hosts.opens(GUARD4, SILENCE_S)
    nft.mend({})
    assert hosts.opens(GUARD4)


def test_a_longer_time_is_told_to_the_kernel(guarded: Site, hosts: Hosts) -> None:
    guarded.call("block", ATTACKER4, "--for", "1h", "--yes")
    guarded.call("block", ATTACKER4, "--for", "5h", "--yes")
    said = json.loads(hosts.inside(hosts.guard, "nft", "-j", "list", "set", "inet", "flowlake", "blocked4"))["nftables"]
    ((element,),) = [entry["set"]["elem"] for entry in said if "set" in entry]
    assert element["elem"]["val"] == ATTACKER4
    assert 17_900 < element["elem"]["expires"] <= 18_000


def test_many_at_once(hosts: Hosts) -> None:
    nft = Nftables(str(hosts.nft))
    many = {target(f"198.18.{i // 250}.{i % 250 + 1}"): 600.0 for i in range(6000)}
    assert len(nft.mend(many).missing) == 6000
    assert not nft.mend(many)
    assert len(nft.mend({}).extra) == 6000


def test_a_set_that_is_otherwise_is_made_anew(hosts: Hosts) -> None:
    for words in (("add", "table", "inet", "flowlake"), ("add", "set", "inet", "flowlake", "blocked4", "{ type ipv4_addr; }")):
        hosts.inside(hosts.guard, "nft", *words)
    nft = Nftables(str(hosts.nft))
    assert "set blocked4" in nft.mend({target(ATTACKER4): 600}).structure
    assert not nft.mend({target(ATTACKER4): 600}, only_look=True)
    assert show(target(ATTACKER4)) in hosts.ruleset()


def test_without_the_right_it_says_what_to_do(site: Site, hosts: Hosts) -> None:
    """nft as a user who may change nothing."""
    plain = hosts.nft.parent / "plain"
    drop = "setpriv --reuid 65534 --clear-groups --bounding-set=-all --inh-caps=-all" if _is_root() else ""
    plain.write_text(f'#!/bin/sh\nexec {drop} nft "$@"\n')
    plain.chmod(0o755)
    site.respond(responder="nftables", nft=str(plain))
    code, _, err = site.call("block", ATTACKER4, "--yes")
    assert (code, "not permitted" in err, "CAP_NET_ADMIN" in err) == (11, True, True)
    assert run(site.settings.alerts, "SELECT state FROM blocks") == [("FAILED",)]


def _is_root() -> bool:
    return os.geteuid() == 0
