"""``flowlake whitelist`` and ``flowlake maintenance`` on a real PostgreSQL: what people do, what is refused, hostile text."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.config import Settings
from infra.console import looks
from jobs.sinks import postgres
from jobs.sinks.alertstore import AlertStore
from schemas.packets import FLOWS
from tests.integration.incidents.test_grouping import attack, give
from tests.integration.incidents.test_incidents_cli import call
from tests.integration.sinkbench import run

pytestmark = pytest.mark.integration
SCAN = [attack("SYN_SCAN", "6.6.6.6", f"10.0.0.{i}", 0, i) for i in range(10)]
GUESS = [attack("SSH_BRUTE_FORCE", "6.6.6.7", "10.0.0.5", 1, i, dst_port=22) for i in range(6)]


@pytest.fixture
def made(tables: dict[str, Any], settings: Callable[..., Settings], home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    where = settings(hot=tables, alerts={**tables, "min_flows": 1})
    conf = home / "conf.yaml"
    conf.write_text(yaml.safe_dump({"alerts": {name: getattr(where.alerts, name) for name in ("host", "port", "user", "database")}}))
    monkeypatch.setenv("FLOWLAKE_CONF", str(conf))
    monkeypatch.setenv("FLOWLAKE_ALERTS__PASSWORD", where.alerts.password.get_secret_value())
    yield where
    postgres.discard(postgres.kept(where.alerts, "flowlake-alerts"))


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    code, out, err = call(capsys, *arguments, "--json")
    assert (code, err) == (0, "")
    return json.loads(out)


def test_from_the_entry_to_its_end(made: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(
        capsys, "whitelist", "add", "::ffff:6.6.6.6", "--direction", "source", "--kind", "scan", "--for", "7d", "--why", "our scanner",
        "--by", "anna",
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert out.startswith("1  source 6.6.6.6, kind scan  until 20")
    assert "by anna: our scanner\nwhat it states fits 0 of 0 alerts of the last 7 days" in out
    give(AlertStore(made.alerts, FLOWS), SCAN + GUESS)
    code, out, err = call(capsys, "alerts")
    assert (code, "SYN_SCAN" in out, "SSH_BRUTE_FORCE" in out) == (0, False, True)
    assert err == "1 suppressed alert is not shown: --suppressed shows them too\n"
    rows = told(capsys, "alerts", "--suppressed")
    assert {row["attack_type"]: row["suppressed_by"] for row in rows} == {"SYN_SCAN": 1, "SSH_BRUTE_FORCE": None}
    (row,) = told(capsys, "whitelist", "list")
    assert (row["network"], row["hits"], row["state"], row["created_by"]) == ("6.6.6.6/32", 1, "in force", "anna")
    code, out, _ = call(capsys, "whitelist", "remove", "1", "--by", "ben", "--why", "it is gone")
    assert (code, "ended by ben; what it silenced stays so: 1 alert\n" in out) == (0, True)
    code, out, err = call(capsys, "whitelist", "list", "--json")
    assert (code, out, "without, there is 1\n  flowlake whitelist list --all" in err) == (0, "[]\n", True)
    assert [row["ended_by"] for row in told(capsys, "whitelist", "list", "--all")] == ["ben"]
    code, _, err = call(capsys, "whitelist", "remove", "1")
    assert (code, "whitelist entry 1 was ended before, by ben" in err) == (5, True)
    assert told(capsys, "whitelist", "remove", "1", "--tell")["told"] == 1
    assert told(capsys, "incidents", "list", "--open")[0]["title"].startswith("S")
    assert call(capsys, "audit", "verify")[0] == 0


def test_open_alerts_are_named_and_silenced_when_asked(made: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    give(AlertStore(made.alerts, FLOWS), SCAN + GUESS)
    _, out, _ = call(capsys, "whitelist", "add", "6.6.6.7", "--port", "22", "--why", "tests of logins")
    assert "fits 1 of 2 alerts" in out
    assert "1 open alert that it fits has been told: flowlake whitelist apply 1 silences it too" in out
    assert call(capsys, "whitelist", "apply", "1")[1] == "silenced by 1: 1 open alert\n"
    added = told(capsys, "maintenance", "add", "6.6.6.6", "--from", "2026-03-01T11:00", "--for", "2h", "--why", "move", "--also-open")
    assert (added["silenced"], added["state"], added["hits"]) == (1, "over", 1)
    assert told(capsys, "alerts", "--open", "--suppressed")[0]["suppressed_by"] in (1, 2)
    _, out, _ = call(capsys, "maintenance", "add", "6.6.6.8", "--from", "2026-03-01T11:00", "--for", "2h", "--why", "move")
    assert "it is over already: only what happened within it and comes late is silenced" in out


def test_what_silences_an_address(made: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["10.0.0.0/24", "--direction", "target", "--port", "22"], ["6.6.6.6", "--kind", "SYN_SCAN"], ["2001:db8::/48"]):
        assert call(capsys, "whitelist", "add", *arguments, "--why", "x")[0] == 0
    call(capsys, "maintenance", "add", "10.0.0.9", "--from", "now", "--for", "1h", "--why", "disk")

    def entries(*arguments: str) -> list[int]:
        return [row["id"] for row in told(capsys, "whitelist", "test", *arguments)]

    assert entries("10.0.0.9") == [1, 4]
    assert entries("::ffff:10.0.0.9", "--as", "source") == [4]
    assert entries("10.0.0.9", "--port", "80") == [4]
    assert entries("6.6.6.6") == entries("6.6.6.6", "--kind", "scan") == entries("6.6.6.6", "--kind", "SYN_SCAN") == [2]
    assert entries("6.6.6.6", "--kind", "flood") == entries("6.6.6.6", "--kind", "UDP_SCAN") == entries("9.9.9.9") == []
    assert entries("2001:db8:0:5::1") == [3]

    def asked(*arguments: str) -> list[list[str]]:
        return [row["if"] for row in told(capsys, "whitelist", "test", *arguments)]

    assert asked("10.0.0.9") == [["it is the target", "port is 22"], []]
    assert asked("10.0.0.9", "--as", "target", "--port", "22") == [[], []]
    assert asked("6.6.6.6", "--kind", "scan") == [["type is SYN_SCAN"]]
    assert asked("6.6.6.6", "--kind", "SYN_SCAN") == [[]]
    _, out, _ = call(capsys, "whitelist", "test", "10.0.0.9")
    assert "1 entry silences, 1 entry may silence 10.0.0.9" in out
    assert "if it is the target and port is 22" in out
    assert "nothing silences 9.9.9.9" in call(capsys, "whitelist", "test", "9.9.9.9")[1]


def test_a_window_that_comes_again_is_listed_with_its_next_time(made: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    begins = datetime.now(UTC).replace(microsecond=0) - timedelta(days=20)  # the next is tomorrow
    arguments = ("--from", f"{begins:%Y-%m-%dT%H:%M:%S}", "--for", "2h", "--every", "week", "--why", "backup")
    assert call(capsys, "maintenance", "add", "10.0.0.9", *arguments)[0] == 0
    (row,) = told(capsys, "maintenance", "list")
    following = begins + timedelta(days=21)
    ends = looks.plain(following + timedelta(hours=2))
    assert (row["next_start"], row["next_end"], row["state"]) == (looks.plain(following), ends, "to come")
    assert row["starts_at"] == looks.plain(begins)
    _, out, _ = call(capsys, "maintenance", "list")
    assert "1 maintenance window, the newest first" in out
    assert ends in out
    assert looks.plain(begins + timedelta(hours=2)) not in out


REFUSED = [
    (["whitelist", "add"], "an entry without a condition silences every alert: nearly nothing would be told"),
    (["whitelist", "add", "0.0.0.0/0"], "0.0.0.0/0 is wider than /8"),
    (["whitelist", "add", "::/0", "--kind", "scan"], "::/0 is wider than /32"),
    (["whitelist", "add", "::ffff:0.0.0.0/96"], "0.0.0.0/0 is wider than /8"),
    (["whitelist", "add", "--yes-everything"], "with --yes-everything it must end within 24 h"),
    (["whitelist", "add", "--yes-everything", "--for", "2d"], "with --yes-everything it must end within 24 h"),
    (["whitelist", "add", "10.0.0.5/24"], "address '10.0.0.5/24': bits of a host are set"),
    (["whitelist", "add", "10.0.0.999"], "address '10.0.0.999' is no address and no network"),
    (["whitelist", "add", "10.0.0.1/33"], "is no address and no network"),
    (["whitelist", "add", "fe80::1%eth0"], "is no address and no network"),
    (["whitelist", "add", "10.0.0.1", "--port", "70000"], "--port '70000' is no port"),
    (["whitelist", "add", "10.0.0.1", "--port", "90-80"], "--port '90-80' is reversed"),
    (["whitelist", "add", "10.0.0.1", "--kind", "syn_scan"], "attack types are written in capitals"),
    (["whitelist", "add", "10.0.0.1", "--kind", "benign"], "--kind 'benign' is no kind of alert"),
    (["whitelist", "add", "10.0.0.1", "--direction", "up"], "--direction 'up'"),
    (["whitelist", "add", "10.0.0.1", "--for", "never"], "--for 'never' is no length of time"),
    (["whitelist", "add", "10.0.0.1", "--until", "2020-01-01"], "--until 2020-01-01: that is in the past"),
    (["whitelist", "add", "10.0.0.1", "--for", "1h", "--until", "+2h"], "--for and --until are both given"),
    (["whitelist", "remove", "77"], "there is no whitelist entry 77"),
    (["whitelist", "test", "10.0.0.0/24"], "address '10.0.0.0/24' is a network"),
    (["maintenance", "add", "10.0.0.1", "--from", "now"], "a maintenance window has an end"),
    (["maintenance", "add", "10.0.0.1", "--from", "2026-03-02", "--until", "2026-03-01"], "that is before it begins"),
    (["maintenance", "add", "--from", "now", "--for", "2d"], "an entry without a condition"),
    (["maintenance", "add", "--from", "now", "--for", "1h", "--every", "day", "--yes-everything"], "it must end within 24 h"),
    (["maintenance", "add", "10.0.0.1", "--from", "now", "--for", "2d", "--every", "day"], "cannot come again every day"),
    (["maintenance", "add", "10.0.0.1", "--from", "now", "--for", "1h", "--timezone", "Mars/Olympus"], "is no time zone"),
]


def test_what_is_refused_says_why_and_leaves_nothing(made: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, words in REFUSED:
        why = ["--why", "x"] if "add" in arguments else []
        code, out, err = call(capsys, *arguments, *why)
        assert (code, out, words in err) == (2, "", True), (arguments, err)
        assert len(err.splitlines()) == 2, err
    assert call(capsys, "whitelist", "add", "10.0.0.1")[0] == 2  # without a reason
    assert call(capsys, "whitelist", "add", "10.0.0.1", "--why", "  ")[0] == 2
    assert run(made.alerts, "SELECT count(*) FROM suppressions") == [(0,)]
    assert run(made.alerts, "SELECT count(*) FROM user_actions") == [(0,)]
    assert call(capsys, "whitelist", "add", "--yes-everything", "--for", "24h", "--why", "storm")[0] == 0
    code, _, err = call(capsys, "whitelist", "add", "--yes-everything", "--for", "1h", "--why", "storm")
    assert (code, "says the same already" in err) == (2, True)


def test_an_entry_that_fits_most_alerts_is_refused_by_measure(made: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    many = [attack("SYN_SCAN", f"6.6.6.{i}", "10.0.0.1", 0, i) for i in range(15)]
    give(AlertStore(made.alerts, FLOWS), many + [attack("BOTNET_BEACON", f"7.7.7.{i}", "10.0.0.1", 0, i) for i in range(10)])
    code, _, err = call(capsys, "whitelist", "add", "--kind", "scan", "--why", "x")
    assert (code, "it fits 15 of the 25 alerts of the last 7 days, more than 50%" in err) == (2, True)
    assert "--yes-everything, for 24 h at most" in err
    assert call(capsys, "whitelist", "add", "--kind", "repeated", "--why", "x")[0] == 0


def test_hostile_text_is_text(made: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "'); DROP TABLE alerts; -- \x1b[31mred\u202e <script>"
    assert call(capsys, "whitelist", "add", "10.0.0.1", "--why", hostile, "--by", hostile)[::2] == (0, "")
    assert call(capsys, "whitelist", "add", "10.0.0.1", "--why", "x", "--sensor", hostile)[0] == 2
    _, out, _ = call(capsys, "whitelist", "list")
    assert ("\x1b" in out, "\u202e" in out, "<script>" in out) == (False, False, True)
    assert run(made.alerts, "SELECT count(*) FROM suppressions") == [(1,)]
