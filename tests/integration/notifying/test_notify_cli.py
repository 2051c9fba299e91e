"""``flowlake notify`` from the alert to real receivers: retried, given up, sent again, held back; two notifiers at once; clear errors."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from infra.config import ROOT, Settings
from infra.process import free_port
from jobs.sinks.alertstore import AlertStore
from ops.cli.main import main
from schemas.packets import FLOWS
from tests.integration.incidents.test_grouping import BOTNET, FLOOD, INTRUSION, attack, give
from tests.integration.notifying.servers import Hook, hook
from tests.integration.sinkbench import run

pytestmark = pytest.mark.integration


@pytest.fixture
def web() -> Iterator[Hook]:
    with hook() as server:
        yield server


class Place:
    """A database with the tables of the alerts, and a configuration file that names channels."""

    def __init__(self, where: Settings, conf: Path) -> None:
        self.where = where
        self.store = AlertStore(where.alerts, FLOWS)
        self._conf = conf

    def declare(self, **channels: dict[str, Any]) -> None:
        section = {name: getattr(self.where.alerts, name) for name in ("host", "port", "user", "database")}
        notify = {"channels": channels, "settle_s": 0, "poll_s": 0.05}
        self._conf.write_text(yaml.safe_dump({"alerts": section, "notify": notify}))

    def states(self) -> list[tuple[str, str, int]]:
        return [tuple(row) for row in run(self.where.alerts, "SELECT news, state, attempts FROM notification_messages ORDER BY seq")]


def prepared(database: dict[str, Any], settings: Callable[..., Settings], home: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    where = settings(alerts={**database, "min_flows": 1})
    monkeypatch.setenv("FLOWLAKE_CONF", str(home / "conf.yaml"))
    monkeypatch.setenv("FLOWLAKE_ALERTS__PASSWORD", where.alerts.password.get_secret_value())
    return Place(where, home / "conf.yaml")


@pytest.fixture
def place(database: dict[str, Any], settings: Callable[..., Settings], home: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    return prepared(database, settings, home, monkeypatch)


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        main(["notify", *arguments])
    out = capsys.readouterr()
    return int(end.value.code or 0), out.out, out.err


def once(capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, int]]:
    code, out, _ = call(capsys, "run", "--once", "--json")
    return code, json.loads(out.splitlines()[-1])


def status(capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    code, out, err = call(capsys, "status", "--json")
    assert err == ""
    found: dict[str, Any] = json.loads(out)
    return code, found


def test_from_an_alert_to_slack_and_pagerduty_and_to_the_end(
    place: Place, web: Hook, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWLAKE_NOTIFY__CHANNELS__PAGER__SECRET", "R0UTING")
    monkeypatch.setenv("FLOWLAKE_NOTIFY__CHANNELS__CHAT__URL", web.url)
    with hook() as pager:
        place.declare(chat={"kind": "slack"}, pager={"kind": "pagerduty", "url": pager.url, "min_priority": "CRITICAL"})
        give(place.store, INTRUSION)
        assert once(capsys) == (0, {"sent": 2, "retried": 0, "failed": 0, "held": 0})
        assert once(capsys) == (0, {"sent": 0, "retried": 0, "failed": 0, "held": 0})
        ((key,),) = run(place.where.alerts, "SELECT id::text FROM incidents")
        with pytest.raises(SystemExit):
            main(["incidents", "resolve", key, "--by", "anna", "--why", "host cleaned"])
        assert once(capsys)[1]["sent"] == 2
    assert [event["event_action"] for event in (posted.json for posted in pager.posted)] == ["trigger", "resolve"]
    assert {posted.json["dedup_key"] for posted in pager.posted} == {key}
    assert "host cleaned" in web.posted[1].body.decode()


def test_a_receiver_in_trouble_gets_it_later_and_under_the_same_id(place: Place, web: Hook, capsys: pytest.CaptureFixture[str]) -> None:
    place.declare(ops={"kind": "webhook", "url": web.url, "retry_s": 0.001})
    give(place.store, FLOOD)
    web.answers = [(500, {}), ("close", {})]
    assert once(capsys)[0] == 1
    until(lambda: once(capsys) and place.states() == [("new", "sent", 3)])
    assert len({posted.headers["Idempotency-Key"] for posted in web.posted}) == 1


def test_what_is_refused_or_tried_in_vain_is_given_up_with_its_reason_and_sent_again_when_told(
    place: Place, web: Hook, capsys: pytest.CaptureFixture[str]
) -> None:
    place.declare(ops={"kind": "webhook", "url": web.url, "retry_s": 0.001, "attempts": 2})
    give(place.store, FLOOD + BOTNET)
    web.answers = [(400, {}), (500, {}), (500, {})]
    until(lambda: once(capsys) and sorted(place.states()) == [("new", "failed", 1), ("new", "failed", 2)])
    code, found = status(capsys)
    assert (code, found["channels"][0]["failed"], found["outbox"]) == (1, 2, 0)
    assert sorted(message["reason"].split(":")[0] for message in found["undelivered"]) == ["given up after 2 attempts", "http"]
    assert "answered 400" in " ".join(message["reason"] for message in found["undelivered"])
    code, out, _ = call(capsys, "status")
    assert code == 1
    assert "XXXX" not in out
    refused = next(message for message in found["undelivered"] if message["reason"].startswith("http"))
    assert call(capsys, "retry", refused["id"], "--by", "anna")[1].startswith("1 message will be sent again")
    assert call(capsys, "retry", "--channel", "ops")[1].startswith("1 message ")
    assert once(capsys)[1]["sent"] == 2
    assert status(capsys)[0] == 0
    ((user, details),) = run(
        place.where.alerts, "SELECT user_id, details FROM user_actions WHERE action = 'notify.retry' ORDER BY id LIMIT 1"
    )
    assert (user, details) == ("anna", {"messages": 1})
    code, _, err = call(capsys, "retry", "--channel", "opps")
    assert code == 2
    assert "there is no channel 'opps'" in err
    for wrong in (refused["id"], "nonsense"):
        code, _, err = call(capsys, "retry", wrong)
        assert code == 2
        assert wrong in err


def test_too_many_requests_pause_the_channel(place: Place, web: Hook, capsys: pytest.CaptureFixture[str]) -> None:
    place.declare(ops={"kind": "webhook", "url": web.url, "retry_s": 0.001})
    give(place.store, FLOOD + BOTNET + INTRUSION)
    web.answers = [(429, {"Retry-After": "600"})]
    assert once(capsys)[1] == {"sent": 0, "retried": 1, "failed": 0, "held": 0}
    assert once(capsys)[1] == {"sent": 0, "retried": 0, "failed": 0, "held": 0}
    ((least,),) = run(place.where.alerts, "SELECT min(due_at) > now() + interval '500 seconds' FROM notification_messages")
    assert (least, len(web.posted)) == (True, 1)


def test_the_end_does_not_overtake_the_beginning(place: Place, web: Hook, capsys: pytest.CaptureFixture[str]) -> None:
    place.declare(ops={"kind": "webhook", "url": web.url, "retry_s": 300})
    give(place.store, FLOOD)
    web.answers = [(500, {})]
    once(capsys)
    ((key,),) = run(place.where.alerts, "SELECT id::text FROM incidents")
    with pytest.raises(SystemExit):
        main(["incidents", "resolve", key, "--by", "anna"])
    assert once(capsys)[1]["sent"] == 0  # the first one waits
    run(place.where.alerts, "UPDATE notification_messages SET due_at = now()")
    assert once(capsys)[1]["sent"] == 2
    assert [posted.json["news"] for posted in web.posted] == ["new", "new", "resolved"]


@pytest.fixture
def notifiers(place: Place) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Starts `flowlake notify run` as a process of its own."""
    started: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "ops.cli.main", "notify", "run"],
            cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def until(done: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_two_notifiers_send_each_message_once_and_one_that_hangs_delays_no_other(
    place: Place, web: Hook, notifiers: Callable[[], subprocess.Popen[str]]
) -> None:
    with hook() as slow:
        slow.answers = [("hang", {})] * 100
        place.declare(
            ops={"kind": "webhook", "url": web.url, "per_minute": 1000}, slow={"kind": "webhook", "url": slow.url, "timeout_s": 60}
        )
        run(
            place.where.alerts,
            "INSERT INTO incidents (id, title, priority, first_seen, last_seen) "
            "SELECT gen_random_uuid(), 'Flood ' || i, 'HIGH', now(), now() FROM generate_series(1, 60) i",
        )
        both = [notifiers(), notifiers()]
        until(lambda: len(web.posted) >= 60)
        give(place.store, FLOOD)  # while they run
        until(lambda: len(web.posted) >= 61)
        for process in both:
            process.send_signal(signal.SIGTERM)
        slow.freed.set()
        ends = [process.communicate(timeout=30) for process in both]
    assert [process.returncode for process in both] == [0, 0], ends
    assert len({posted.headers["Idempotency-Key"] for posted in web.posted}) == len(web.posted) == 61


def test_a_notifier_that_is_killed_loses_nothing(place: Place, web: Hook, notifiers: Callable[[], subprocess.Popen[str]]) -> None:
    web.answers = [("hang", {})]
    place.declare(ops={"kind": "webhook", "url": web.url, "timeout_s": 60})
    give(place.store, FLOOD)
    first = notifiers()
    until(lambda: len(web.posted) == 1)
    first.kill()  # the receiver has it, and nobody has written that down
    first.wait()
    web.freed.set()
    notifiers()
    until(lambda: place.states() == [("new", "sent", 1)])
    assert len(web.posted) == 2
    assert len({posted.headers["Idempotency-Key"] for posted in web.posted}) == 1


def test_a_database_that_breaks_off_is_found_again_and_metrics_tell(
    place: Place, web: Hook, notifiers: Callable[[], subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setenv("FLOWLAKE_METRICS__NOTIFY_PORT", str(port))
    place.declare(ops={"kind": "webhook", "url": web.url})
    notifiers()
    ours = "FROM pg_stat_activity WHERE application_name = 'flowlake-notify' AND datname = current_database()"
    until(lambda: run(place.where.alerts, f"SELECT count(*) {ours}") == [(2,)])
    run(place.where.alerts, f"SELECT pg_terminate_backend(pid) {ours}")
    give(place.store, FLOOD)
    until(lambda: len(web.posted) == 1)
    told = 'flowlake_notifications_total{channel="ops",result="sent"} 1.0'
    until(lambda: told in requests.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text)
    assert place.states() == [("new", "sent", 1)]


def test_tables_that_are_not_there_are_named(
    own_database: dict[str, Any],
    settings: Callable[..., Settings],
    home: Path,
    web: Hook,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = prepared(own_database, settings, home, monkeypatch)
    place.declare(ops={"kind": "webhook", "url": web.url})
    run(place.where.alerts, "DROP TABLE notifications CASCADE")
    for command in (["run", "--once"], ["run"], ["status"]):
        code, _, err = call(capsys, *command)
        assert code == 5
        assert "notifications" in err or "no such table" in err
        assert "flowlake" in err.splitlines()[-1]


def test_a_sample_tries_a_channel(place: Place, web: Hook, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWLAKE_NOTIFY__CHANNELS__PAGER__SECRET", "R0UTING")
    place.declare(
        ops={"kind": "webhook", "url": web.url, "format": "ocsf"}, pager={"kind": "pagerduty", "url": web.url},
        away={"kind": "webhook", "url": f"http://127.0.0.1:{free_port()}/"},
    )  # fmt: skip
    code, out, _ = call(capsys, "test", "ops")
    assert (code, out.startswith("ops: sent to http://127.0.0.1:")) == (0, True)
    assert web.posted[0].json["class_uid"] == 2004
    assert call(capsys, "test", "pager")[0] == 0
    assert [posted.json["event_action"] for posted in web.posted[1:]] == ["trigger", "resolve"]
    code, _, err = call(capsys, "test", "away")
    assert code == 5
    assert err.splitlines()[0].startswith("error: channel away: http://127.0.0.1:")
    assert err.splitlines()[0].endswith(": connection refused: nobody listens on that port")
    assert err.splitlines()[1].startswith("  start it, or mend host and port; see the settings of notify.channels.away")
    came = len(web.posted)
    code, out, _ = call(capsys, "test", "pager", "--show")
    assert (code, json.loads(out)["event_action"], len(web.posted)) == (0, "trigger", came)
    assert "R0UTING" not in out
    assert run(place.where.alerts, "SELECT count(*) FROM notification_messages") == [(0,)]


@pytest.mark.parametrize(
    ("channel", "said", "hint"),
    [
        ({"kind": "pagerduty"}, "notify.channels.x.secret is empty", "FLOWLAKE_NOTIFY__CHANNELS__X__SECRET"),
        ({"kind": "slack"}, "notify.channels.x.url is empty", "FLOWLAKE_NOTIFY__CHANNELS__X__URL"),
        ({"kind": "slack", "url": "ftp://h/x"}, "notify.channels.x.url: no http", "config show"),
        ({"kind": "slack", "secret": "s"}, "x.secret: secrets come from the environment only", "FLOWLAKE_NOTIFY__CHANNELS__X__"),
        ({"kind": "pigeon"}, "notify.channels.x: Input tag 'pigeon'", "config show"),
        ({}, "notify.channels.x: its kind is not said", "config show"),
        ({"kind": "email", "to": ["a@b.c"]}, "notify.channels.x.sender is empty", "__SENDER"),
        ({"kind": "email", "sender": "a@b.c"}, "notify.channels.x.to is empty", "__TO"),
        ({"kind": "email", "to": ["a@b.c\nBcc: d@e.f"]}, "notify.channels.x.to", "config show"),
        ({"kind": "email", "host": "mail", "security": "none", "user": "u"}, "notify.channels.x: user: a password", "config show"),
        ({"kind": "email", "to": ["a@b.c"], "sender": "a@b.c", "user": "u"}, "notify.channels.x.secret is empty", "__SECRET"),
        ({"kind": "webhook", "url": "http://h", "kinds": ["SIN_FLOOD"]}, "notify.channels.x.kinds: 'SIN_FLOOD'", "SYN_FLOOD"),
        ({"kind": "webhook", "url": "http://h", "ca": "/no/such.pem"}, "notify.channels.x.ca: /no/such.pem", "PEM"),
        ({"kind": "syslog", "prot": "udp"}, "notify.channels.x.prot: unknown key", "config show"),
        ({"kind": "kafka", "topic": "a b"}, "notify.channels.x.topic", "config show"),
        ({"kind": "webhook", "url": "http://h", "min_priority": "URGENT"}, "notify.channels.x.min_priority", "config show"),
    ],
)  # fmt: skip
def test_a_channel_that_cannot_work_is_named_at_the_start(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, channel: dict[str, Any], said: str, hint: str
) -> None:
    conf = home / "conf.yaml"
    conf.write_text(yaml.safe_dump({"notify": {"channels": {"x": channel}}, "alerts": {"port": 1}}))
    monkeypatch.setenv("FLOWLAKE_CONF", str(conf))
    code, _, err = call(capsys, "run", "--once")
    first, second = err.strip().splitlines()
    assert code == 2
    assert said in first
    assert hint in second


def test_nobody_to_tell_and_no_such_channel(home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    conf = home / "conf.yaml"
    conf.write_text(yaml.safe_dump({"alerts": {"port": 1}}))
    monkeypatch.setenv("FLOWLAKE_CONF", str(conf))
    assert "notify.channels is empty" in call(capsys, "run")[2]
    assert "there is no channel 'x'" in call(capsys, "test", "x")[2]


def test_a_grown_incident_of_more_priority_is_told_to_all(place: Place, web: Hook, capsys: pytest.CaptureFixture[str]) -> None:
    place.declare(ops={"kind": "webhook", "url": web.url}, again={"kind": "webhook", "url": web.url})
    give(place.store, [attack("UDP_SCAN", "6.6.6.6", f"10.0.0.{i}", 0, i) for i in range(1, 6)])
    once(capsys)
    give(place.store, [attack("SSH_BRUTE_FORCE", "6.6.6.6", "10.0.0.5", 5, i) for i in range(5)])
    assert once(capsys)[1]["sent"] == 2
    assert sorted(posted.json["news"] for posted in web.posted) == ["new", "new", "raised", "raised"]
