"""Each way out against a real server on loopback: what arrives, and what becomes of every sort of failure."""

from __future__ import annotations

import email
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email import policy
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from infra.process import free_port
from infra.sections import KafkaSettings
from jobs.notifying.formats import cef, mail, slack
from jobs.notifying.notice import Notice
from jobs.notifying.receivers.deadline import Deadline
from jobs.notifying.receivers.http import HttpReceiver
from jobs.notifying.receivers.kafka import KafkaReceiver
from jobs.notifying.receivers.outcome import Receiver, ReceiverRefused, TryLater
from jobs.notifying.receivers.smtp import SmtpReceiver
from jobs.notifying.receivers.syslog import SyslogReceiver
from tests.integration.notifying.servers import Hook, datagrams, hook, stream
from tests.unit.notifying.notices import hostile, notice

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ssl.SSLContext]:
    """PEM file of a private authority, and a server's context with a certificate of it for 127.0.0.1 and localhost."""
    made = trustme.CA()
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    made.cert_pem.write_to_path(str(path))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    return str(path), context


def refusing(kind: str, host: str, port: int, scheme: str = "http") -> Receiver:
    if kind == "http":
        return HttpReceiver(f"{scheme}://{host}:{port}/T0", slack.message, timeout_s=0.5)
    if kind == "smtp":
        return SmtpReceiver(
            host, port, lambda one: mail.mail(one, "a@b.c", ["d@e.f"]), sender="a@b.c", to=["d@e.f"], security="none", timeout_s=0.5
        )
    return SyslogReceiver(host, port, cef.event, transport="tcp", timeout_s=0.5)


@pytest.mark.parametrize("kind", ["http", "smtp", "syslog"])
def test_a_connection_that_comes_to_nothing_is_told_in_plain_words(kind: str) -> None:
    port = free_port()
    with pytest.raises(TryLater) as closed:
        refusing(kind, "127.0.0.1", port).send(notice())
    assert str(closed.value).endswith(f"127.0.0.1:{port}: connection refused: nobody listens on that port")
    assert "host and port" in closed.value.hint
    with pytest.raises(TryLater) as unknown:
        refusing(kind, "no-such-host.invalid", port).send(notice())
    assert str(unknown.value).endswith(f"no-such-host.invalid:{port}: the name of the host cannot be resolved")
    for one in (closed, unknown):
        assert not re.search(r"Errno|<|object|Error|HTTPConnection", str(one.value))


def test_tls_that_is_none_is_told_in_plain_words(web: Hook) -> None:
    port = int(web.url.split(":")[2].split("/")[0])
    with pytest.raises(TryLater, match=rf"https://127\.0\.0\.1:{port}: no TLS with it: [a-z0-9 ]+$") as refused:
        refusing("http", "127.0.0.1", port, "https").send(notice())
    assert "TLS" in refused.value.hint


# --- HTTP


@pytest.fixture
def web() -> Iterator[Hook]:
    with hook() as server:
        yield server


def post(web: Hook, **given: Any) -> str:
    return HttpReceiver(web.url, given.pop("shape", Notice.plain), **{"timeout_s": 5.0, **given}).send(given.pop("one", notice()))


def test_a_webhook_gets_json_and_the_same_key_at_every_attempt(web: Hook) -> None:
    for _ in range(2):
        assert post(web, secret="t0ken") == "200"
    first, second = web.posted
    assert first.json == notice().plain()
    assert first.headers["Content-Type"] == "application/json; charset=utf-8"
    assert first.headers["Authorization"] == "Bearer t0ken"
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"] == notice().id


def test_hostile_text_arrives_as_text(web: Hook) -> None:
    receiver = HttpReceiver(web.url, slack.message)
    receiver.send(hostile())
    assert web.posted[0].json == slack.message(hostile())
    assert "Bcc" not in web.posted[0].headers


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, -400, -401, -403, -404, -410, -413])
def test_an_answer_says_whether_to_try_again(web: Hook, status: int) -> None:
    later = status > 0  # those that are refused for good stand with a minus
    web.answers, web.body = [(abs(status), {})], b"because \x1b[31m of this\nand that"
    with pytest.raises(TryLater if later else ReceiverRefused, match=rf"answered {abs(status)} .*because .*of this and that") as e:
        post(web)
    assert str(e.value).isprintable()


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), ("0", 0.0), ("999999999", 3600.0), ("soon", None), ("", None), ("-5", None), ("²", None)],
)
def test_retry_after_is_heeded(web: Hook, header: str, seconds: float | None) -> None:
    web.answers = [(429, {"Retry-After": header} if header.isascii() else {})]
    with pytest.raises(TryLater) as e:
        post(web)
    assert e.value.after_s == seconds


def test_retry_after_may_be_a_date(web: Hook) -> None:
    for away, least, most in ((timedelta(seconds=90), 80, 90), (-timedelta(days=1), 0, 0)):
        web.answers = [(503, {"Retry-After": format_datetime(datetime.now(UTC) + away, usegmt=True)})]
        with pytest.raises(TryLater) as e:
            post(web)
        assert e.value.after_s is not None
        assert least <= e.value.after_s <= most


def test_a_webhook_that_hangs_or_hangs_up_is_tried_later(web: Hook) -> None:
    web.answers = [("hang", {}), ("close", {})]
    with pytest.raises(TryLater, match=r"did not answer within 0.3 s"):
        post(web, timeout_s=0.3)
    with pytest.raises(TryLater):
        post(web)
    with pytest.raises(TryLater, match=r"refused"):
        HttpReceiver(f"http://127.0.0.1:{free_port()}/x", Notice.plain).send(notice())
    with pytest.raises(TryLater):
        HttpReceiver("http://no-such-host.invalid/x", Notice.plain).send(notice())


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(web: Hook, status: int) -> None:
    with hook() as other:
        web.answers = [(status, {"Location": other.url})]
        with pytest.raises(ReceiverRefused, match=r"sends on to http://127.0.0.1"):
            post(web, secret="t0ken")
        assert other.posted == []


def test_a_secret_is_in_no_error(web: Hook) -> None:
    path = "/services/T0/B0/XXXX"
    web.body = f"no {path} and no t0ken and no R0UTING".encode()
    web.answers = [(400, {}), (500, {}), ("close", {})]
    for _ in range(3):
        with pytest.raises((ReceiverRefused, TryLater)) as e:
            post(web, secret="t0ken", hide=("R0UTING",))
        assert not re.search(r"XXXX|t0ken|R0UTING", str(e.value))
    away = HttpReceiver(f"http://127.0.0.1:{free_port()}{path}", Notice.plain)
    assert "XXXX" not in away.where
    with pytest.raises(TryLater) as e:
        away.send(notice())
    assert "XXXX" not in str(e.value)


def test_a_certificate_must_be_of_an_authority_that_is_known(authority: tuple[str, ssl.SSLContext]) -> None:
    ca, context = authority
    with hook(context) as server:
        assert post(server, ca=ca) == "200"
        with pytest.raises(TryLater, match="certificate"):
            post(server)


def test_a_server_that_answers_in_drops_is_left(web: Hook) -> None:
    def drip(connection: socket.socket) -> None:
        connection.recv(65_536)
        for byte in b"HTTP/1.1 200 " + b"x" * 50:
            try:
                connection.sendall(bytes([byte]))
            except OSError:
                return
            time.sleep(0.05)

    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        thread = threading.Thread(target=lambda: drip(server.accept()[0]), daemon=True)
        thread.start()
        slow = Deadline(HttpReceiver(f"http://127.0.0.1:{server.getsockname()[1]}/", Notice.plain, timeout_s=0.2), 0.2)
        with pytest.raises(TryLater, match=r"did not come to an end within 0.6 s"):
            slow.send(notice())
        with pytest.raises(TryLater, match="the attempt before"):
            slow.send(notice())
    fine = Deadline(HttpReceiver(web.url, Notice.plain), 10.0)
    assert fine.send(notice()) == "200"
    web.answers = [(400, {})]
    with pytest.raises(ReceiverRefused, match="400"):
        fine.send(notice())


# --- SMTP


class Postbox:
    """An SMTP server: what came, and whom it refuses."""

    def __init__(self) -> None:
        self.mails: list[Envelope] = []
        self.refused: dict[str, str] = {}
        self.answer = "250 taken"

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Envelope, address: str, _options: list[str]) -> str:
        if address in self.refused:
            return self.refused[address]
        envelope.rcpt_tos.append(address)
        return "250 ok"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Envelope) -> str:
        self.mails.append(envelope)
        return self.answer

    def last(self) -> Any:
        content = self.mails[-1].content
        assert isinstance(content, bytes)
        return email.message_from_bytes(content, policy=policy.default)


def let_in(_server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: Any) -> AuthResult:
    known = isinstance(data, LoginPassword) and (data.login, data.password) == (b"flowlake", b"s3cret")
    return AuthResult(success=known, handled=False)


@pytest.fixture(scope="module")
def post_office(authority: tuple[str, ssl.SSLContext]) -> Iterator[tuple[Postbox, int]]:
    """STARTTLS and a login are required."""
    box = Postbox()
    strict = {"require_starttls": True, "auth_required": True, "authenticator": let_in}
    server = Controller(box, hostname="127.0.0.1", port=free_port(), tls_context=authority[1], **strict)
    server.start()
    yield box, server.port
    server.stop()


@pytest.fixture
def postbox(post_office: tuple[Postbox, int]) -> tuple[Postbox, int]:
    box, port = post_office
    box.mails, box.refused, box.answer = [], {}, "250 taken"
    return box, port


def sending(port: int, ca: str, **given: Any) -> SmtpReceiver:
    to = given.pop("to", ["anna@soc.example", "ben@soc.example"])
    values = {"sender": "flowlake@soc.example", "to": to, "ca": ca, "user": "flowlake", "secret": "s3cret", "timeout_s": 5.0}
    return SmtpReceiver("127.0.0.1", port, lambda one: mail.mail(one, "flowlake@soc.example", to), **{**values, **given})


def test_mail_comes_encrypted_logged_in_and_whole(postbox: tuple[Postbox, int], authority: tuple[str, ssl.SSLContext]) -> None:
    box, port = postbox
    assert sending(port, authority[0]).send(hostile()) == "accepted"
    assert box.mails[0].rcpt_tos == ["anna@soc.example", "ben@soc.example"]
    assert box.last()["Message-ID"] == f"<{notice().id}@soc.example>"
    assert "Bcc" not in box.last()
    assert "<script>alert(1)</script>" in str(box.last()["Subject"])


def test_an_address_that_is_refused_keeps_no_other_from_its_mail(
    postbox: tuple[Postbox, int], authority: tuple[str, ssl.SSLContext]
) -> None:
    box, port = postbox
    box.refused = {"ben@soc.example": "550 5.1.1 no such user"}
    assert sending(port, authority[0]).send(notice()) == "not for ben@soc.example: 550 5.1.1 no such user"
    assert box.mails[0].rcpt_tos == ["anna@soc.example"]
    box.refused["anna@soc.example"] = "550 5.1.1 no such user"
    with pytest.raises(ReceiverRefused, match=r"anna@soc\.example: 550"):
        sending(port, authority[0]).send(notice())
    box.refused["anna@soc.example"] = "450 4.2.1 greylisted"
    with pytest.raises(TryLater, match="greylisted"):
        sending(port, authority[0]).send(notice())


def test_what_smtp_refuses_for_good_and_what_for_now(postbox: tuple[Postbox, int], authority: tuple[str, ssl.SSLContext]) -> None:
    box, port = postbox
    ca = authority[0]
    for answer, expected in (("554 5.7.1 spam", ReceiverRefused), ("452 4.3.1 full", TryLater)):
        box.answer = answer
        with pytest.raises(expected, match=answer[:3]):
            sending(port, ca).send(notice())
    with pytest.raises(ReceiverRefused, match=r"does not let flowlake log in: 535") as e:
        sending(port, ca, secret="wr0ng").send(notice())
    assert "wr0ng" not in str(e.value)
    with pytest.raises(ReceiverRefused, match="530"):
        sending(port, ca, security="none", user="").send(notice())
    with pytest.raises(TryLater, match="its certificate is not trusted"):
        sending(port, "").send(notice())  # an authority that nobody knows
    with pytest.raises(TryLater, match="refused"):
        sending(free_port(), ca).send(notice())
    with closing(socket.create_server(("127.0.0.1", 0))) as silent, pytest.raises(TryLater, match=r"did not answer within 0.2 s"):
        sending(silent.getsockname()[1], ca, timeout_s=0.2).send(notice())


def test_a_server_without_encryption_gets_no_password(authority: tuple[str, ssl.SSLContext]) -> None:
    box = Postbox()
    server = Controller(box, hostname="127.0.0.1", port=free_port())
    server.start()
    try:
        with pytest.raises(ReceiverRefused, match="STARTTLS"):
            sending(server.port, authority[0]).send(notice())
        assert box.mails == []
    finally:
        server.stop()


# --- syslog


def unframed(data: bytes) -> bytes:
    length, _, message = data.partition(b" ")
    assert int(length) == len(message)
    return message


def wait_for(came: list[bytes]) -> bytes:
    for _ in range(500):
        if came:
            return came[0]
        time.sleep(0.01)
    raise AssertionError("nothing came")


def test_syslog_by_udp() -> None:
    with datagrams() as (port, receive):
        assert SyslogReceiver("127.0.0.1", port, cef.event).send(hostile()) == "sent"
        message = receive()
    assert re.fullmatch(rb"<131>1 2026-03-01T12:00:00.250Z \S+ flowlake - new - CEF:0\|flowlake\|.*", message)
    assert len(message) <= 2048
    assert message.decode().isprintable()


def test_syslog_by_tcp_counts_its_bytes() -> None:
    with stream() as (port, came):
        SyslogReceiver("127.0.0.1", port, cef.event, transport="tcp").send(notice(title="Überlauf"))
        message = unframed(wait_for(came)).decode()
    assert "Überlauf" in message


def test_syslog_by_tls(authority: tuple[str, ssl.SSLContext]) -> None:
    ca, context = authority
    with stream(context) as (port, came):
        SyslogReceiver("127.0.0.1", port, lambda one: json.dumps(one.plain()), transport="tls", ca=ca).send(notice())
        assert json.loads(unframed(wait_for(came)).partition(b" - new - ")[2]) == notice().plain()
        with pytest.raises(TryLater, match="certificate"):
            SyslogReceiver("127.0.0.1", port, cef.event, transport="tls").send(notice())


def test_syslog_that_is_away_or_breaks_off_is_tried_later() -> None:
    with pytest.raises(TryLater, match="refused"):
        SyslogReceiver("127.0.0.1", free_port(), cef.event, transport="tcp").send(notice())
    with pytest.raises(TryLater):
        SyslogReceiver("no-such-host.invalid", 514, cef.event, transport="udp").send(notice())


# --- Kafka


def test_a_topic_gets_keyed_messages(kafka_server: str, tmp_path: Path) -> None:
    from kafka import KafkaConsumer

    topic = f"notify-{time.monotonic_ns()}"
    receiver = KafkaReceiver(KafkaSettings(bootstrap_servers=kafka_server), topic, Notice.plain, "application/json", 30.0)
    from kafka.admin import KafkaAdminClient, NewTopic

    with closing(KafkaAdminClient(bootstrap_servers=kafka_server)) as admin:
        admin.create_topics([NewTopic(topic, 1, 1)])
    for _ in range(2):
        assert receiver.send(notice()).startswith("partition 0, offset ")
    with closing(
        KafkaConsumer(topic, bootstrap_servers=kafka_server, auto_offset_reset="earliest", consumer_timeout_ms=10_000)
    ) as consumer:
        first = next(consumer)
    assert json.loads(first.value) == notice().plain()
    assert first.key == notice().key.encode()
    assert dict(first.headers)["id"] == notice().id.encode()


def test_a_broker_that_is_away_is_tried_later() -> None:
    receiver = KafkaReceiver(KafkaSettings(bootstrap_servers=f"127.0.0.1:{free_port()}"), "x", Notice.plain, "application/json", 1.0)
    with pytest.raises(TryLater, match="topic x at"):
        receiver.send(notice())
