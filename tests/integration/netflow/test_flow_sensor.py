"""The sensor of flow exporters with a real broker: every datagram once, in order, and what is lost is counted."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.config import ROOT, Settings
from infra.process import free_port
from schemas.rawflows import CONTENT_RAW_FLOWS
from sensors.netflow import metrics
from sensors.netflow.sensor import FlowExportSensor
from tests.integration.netflow import flowtopic
from tests.unit.sensors.netflow.runningsensor import Start, port_of, starting
from tests.unit.sensors.netflow.senders import DATA, LOCAL, NOW_US, TEMPLATE, eventually, free_ports, ipfix, send
from tests.unit.sensors.packets.captures import pcap

pytestmark = pytest.mark.integration
SIX = socket.inet_pton(socket.AF_INET6, "::1")
RECORDED = Path(os.environ.get("FLOWLAKE_DATA", "/nonexistent")) / "netflow" / "exporters"


@pytest.fixture
def start() -> Iterator[Start]:
    with starting() as start:
        yield start


def numbered(domain: int, n: int, first: int = 0) -> list[bytes]:
    return [ipfix(domain, TEMPLATE, DATA, sequence=first), *[ipfix(domain, DATA, sequence=first + i) for i in range(1, n)]]


def test_datagrams_arrive_once_in_order(kafka_server: str, settings: Callable[..., Settings], start: Start) -> None:
    ports = free_ports(3)
    own = settings(kafka={"bootstrap_servers": kafka_server}, netflow_sensor={"ports": ports, "workers": 2, "heartbeat_ms": 100})
    flowtopic.create(own, 4)
    sensor = FlowExportSensor(own, "edge", "site", linger_s=30.0)
    running = start(sensor)
    port_of(sensor)
    assert eventually(lambda: sensor.broker.told(time.monotonic()) == "ok", 30)
    assert metrics.health(sensor).status == "healthy"
    sent: dict[tuple[bytes, int], list[bytes]] = {}
    for i in range(12):
        payloads = numbered(i, 200)
        host, address = ("127.0.0.1", LOCAL) if i % 2 else ("::1", SIX)
        sent[(address, send(payloads, ports[i % 3], host))] = payloads
        assert eventually(lambda: sensor.account().received + sensor.listener.kernel_dropped == sum(map(len, sent.values())))
    account = running.end()
    messages = flowtopic.read(own)
    flowtopic.check_promises(messages)
    assert account.kernel_dropped == 0
    assert flowtopic.by_sender(messages) == sent
    assert (account.received, account.sent, account.waiting, account.lost) == (2400, 2400, 0, 0)
    assert {kept for m in messages for kept in m.raw.kept_of} == {1}
    assert {port for m in messages for port in m.raw.listening} == set(ports)
    first = messages[0].headers
    assert (first["content-type"], first["sensor"], first["domain"]) == (CONTENT_RAW_FLOWS, "edge", "site")
    ends = [m.headers for m in messages if m.headers["kind"] == "end"]
    assert {(h["received"], h["dropped"], h["kernel-dropped"]) for h in ends} == {("2400", "0", "0")}
    assert any(m.headers["kind"] == "heartbeat" for m in messages)


def test_a_broker_that_is_killed_and_comes_back(tmp_path: Path, settings: Callable[..., Settings], start: Start) -> None:
    from infra.stack.kafka import Kafka

    broker = Kafka(tmp_path / "kafka", free_port(), heap_mb=256)
    broker.start()
    try:
        own = settings(
            kafka={"bootstrap_servers": broker.bootstrap}, netflow_sensor={"ports": free_ports(1), "buffer_mb": 1, "most_sampling": 2}
        )
        flowtopic.create(own, 2)
        sensor = FlowExportSensor(own, "edge", linger_s=20.0)
        running = start(sensor)
        port, sent = port_of(sensor), 0

        def came() -> int:
            return sensor.account().received + sensor.listener.kernel_dropped

        def export(rounds: int, filler: bytes = b"") -> None:
            nonlocal sent
            for _ in range(rounds):
                send([payload + filler for payload in numbered(1, 100)], port, source="127.0.0.2")
                sent += 100
                assert eventually(lambda so_far=sent: came() == so_far)

        assert eventually(lambda: sensor.broker.told(time.monotonic()) == "ok", 30)
        export(5)
        assert eventually(lambda: sensor.account().sent == sent - sensor.account().kernel_dropped, 30)
        os.kill(broker.daemon.process().pid, signal.SIGKILL)  # type: ignore[union-attr]
        export(5)
        assert sensor.account().thinned == sensor.account().dropped == 0  # it is kept
        assert eventually(lambda: sensor.broker.told(time.monotonic()) == "unreachable", 30)
        export(60, os.urandom(8000))
        full = sensor.account()
        assert min(full.thinned, full.dropped, full.waiting) > 0
        assert metrics.health(sensor).status == "degraded"
        broker.start()
        assert eventually(lambda: sensor.account().waiting == 0, 60)
        export(10)
        account = running.end()
        assert account.received == account.sent + account.thinned + account.dropped
        assert (account.refused, account.unsent, account.limited) == (0, 0, 0)
        assert account.received + account.kernel_dropped == sent
        messages = flowtopic.read(own)
        flowtopic.check_promises(messages)
        assert sum(len(m.raw) for m in messages) == account.sent
        stood_for = sum(kept for m in messages for kept in m.raw.kept_of)
        assert stood_for + sensor.intake.unaccounted == account.received - account.dropped
        last = next(m.headers for m in messages if m.headers["kind"] == "end")
        assert (int(last["dropped"]), int(last["kernel-dropped"])) == (account.dropped, account.kernel_dropped)
    finally:
        broker.stop()


def flowlake(*arguments: str, own: Settings, stdin: int | None = None) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "FLOWLAKE_KAFKA__BOOTSTRAP_SERVERS": own.kafka.bootstrap_servers,
        "FLOWLAKE_KAFKA__TOPIC_PREFIX": own.kafka.topic_prefix,
    }
    words = [sys.executable, "-c", "from ops.cli.main import main; main()", *arguments]
    return subprocess.Popen(words, cwd=ROOT, env=environment, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        text: str = answer.read().decode()
        return text


def answers(url: str) -> bool:
    try:
        return bool(get(url))
    except OSError:
        return False


def test_the_command_listens_and_tells_how_it_does(kafka_server: str, settings: Callable[..., Settings]) -> None:
    own = settings(kafka={"bootstrap_servers": kafka_server})
    flowtopic.create(own, 2)
    (port,), at = free_ports(1), free_port()
    words = ["sensor", "netflow", "--port", str(port), "--address", "127.0.0.1", "--metrics-port", str(at), "--sensor-id", "edge", "--json"]
    command = flowlake(*words, own=own)
    base = f"http://127.0.0.1:{at}"
    assert eventually(lambda: answers(f"{base}/health"), 60)
    assert eventually(lambda: json.loads(get(f"{base}/health"))["status"] == "healthy", 60)
    payloads = numbered(1, 50)
    source = send(payloads, port)
    assert eventually(lambda: 'flowlens_datagrams_received_total{exporter="127.0.0.1"} 50.0' in get(f"{base}/metrics"))
    command.terminate()
    out, err = command.communicate(timeout=60)
    assert command.returncode == 0, err.decode()
    summary = json.loads(out)
    assert (summary["sensor"], summary["ports"], summary["exporters"]) == ("edge", [port], 1)
    assert (summary["datagrams_received"], summary["datagrams_sent"], summary["dropped"], summary["unsent"]) == (50, 50, 0, 0)
    messages = flowtopic.read(own)
    flowtopic.check_promises(messages)
    assert flowtopic.by_sender(messages) == {(LOCAL, source): payloads}


def capture(payloads: list[bytes], port: int) -> bytes:
    """A capture file of datagrams from 10.0.0.1, a millisecond apart."""
    frames = []
    for i, payload in enumerate(payloads):
        udp = struct.pack(">HHHH", 50_000, port, len(payload) + 8, 0) + payload
        head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(udp), i, 0, 64, 17, 0) + bytes([10, 0, 0, 1, 10, 0, 0, 2])
        frames.append(((NOW_US + i * 1000) * 1000, bytes(12) + b"\x08\x00" + head + udp))
    return pcap(frames)


def replayed(own: Settings, *arguments: str) -> tuple[int, dict[str, Any], str]:
    command = flowlake("sensor", "replay-netflow", *arguments, "--json", own=own)
    out, err = command.communicate(timeout=120)
    return command.returncode, json.loads(out) if out else {}, err.decode()


def test_a_signal_ends_the_reading_of_a_pipe(kafka_server: str, settings: Callable[..., Settings]) -> None:
    own = settings(kafka={"bootstrap_servers": kafka_server})
    flowtopic.create(own, 2)
    command = flowlake("sensor", "replay-netflow", "-", "--speed", "0", "--json", own=own, stdin=subprocess.PIPE)
    assert command.stdin is not None
    command.stdin.write(capture(numbered(1, 300), 2055))
    command.stdin.flush()
    assert eventually(lambda: any(len(m.raw) for m in flowtopic.read(own)), 60)
    command.send_signal(signal.SIGINT)  # what writes into it goes on
    assert command.wait(60) == 0
    assert command.stdout is not None
    summary = json.loads(command.stdout.read())
    command.communicate()
    assert (summary["datagrams_sent"], summary["stopped"], summary["truncated"]) == (300, True, [])
    messages = flowtopic.read(own)
    flowtopic.check_promises(messages)
    assert [payload for m in messages for payload in m.payloads] == numbered(1, 300)


@pytest.mark.skipif(not RECORDED.is_dir(), reason="FLOWLAKE_DATA is not set")
def test_captures_of_real_exporters_are_replayed(tmp_path: Path, kafka_server: str, settings: Callable[..., Settings]) -> None:
    own = settings(kafka={"bootstrap_servers": kafka_server})
    flowtopic.create(own, 3)
    recorded: list[bytes] = []
    for file in sorted(RECORDED.glob("*.bin")):
        payloads = recording(file)
        recorded += payloads
        (tmp_path / f"{file.stem}.pcap").write_bytes(capture(payloads, 6343 if "sflow" in file.stem else 2055))
    code, summary, err = replayed(own, str(tmp_path), "--speed", "0")
    assert code == 0, err
    assert (summary["datagrams"], summary["datagrams_sent"], summary["dropped"]) == (len(recorded), len(recorded), 0)
    messages = flowtopic.read(own)
    flowtopic.check_promises(messages)
    assert sorted(payload for m in messages for payload in m.payloads) == sorted(recorded)
    assert summary["runs"] == len(summary["files"]) == 8
    for file in RECORDED.glob("*.bin"):  # each is one stream, or a few: what one sent stays in its order
        of_file = recording(file)
        for partition in range(3):
            here = [p for m in messages if m.partition == partition for p in m.payloads if p in of_file]
            assert here == sorted(here, key=of_file.index)


def recording(file: Path) -> list[bytes]:
    content, at, found, head = file.read_bytes(), 0, [], struct.Struct("<dHH")
    while at < len(content):
        size = head.unpack_from(content, at)[2]
        at += head.size
        found.append(content[at : at + size])
        at += size
    return found


def test_what_a_replay_leaves_out_is_told(tmp_path: Path, kafka_server: str, settings: Callable[..., Settings]) -> None:
    own = settings(kafka={"bootstrap_servers": kafka_server})
    flowtopic.create(own, 1)
    whole, cut = tmp_path / "a.pcap", tmp_path / "b.pcap"
    whole.write_bytes(capture(numbered(1, 30), 9995))
    cut.write_bytes(capture(numbered(2, 30), 9995)[:-5])
    (tmp_path / "bad.pcap").write_text("no capture at all")
    code, summary, err = replayed(own, str(tmp_path), "--speed", "0", "--port", "9995", "--loop", "2")
    assert code == 3
    assert "bad.pcap" in err
    assert (summary["datagrams_sent"], summary["truncated"]) == (2 * 59, [str(cut)])
    times = [at for m in flowtopic.read(own) for at in m.raw.received_us]
    assert len(times) == 118
    assert max(times[:30]) < min(times[30:60])  # the second round
    assert len(set(times)) == 2 * 30 + 29 - 0 or len(times) == 118
    code, summary, err = replayed(own, str(whole))
    assert (code, summary["datagrams_sent"], summary["packets"]) == (0, 0, 30)
    assert "no datagram to UDP port 2055, 4739, 6343; name others with --port" in err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["netflow", "--address", "nowhere"], "--address: .*nowhere.*"),
        (["netflow", "--address", "::", "--address", "127.0.0.1"], "--address: .*takes what comes to 127.0.0.1"),
        (["netflow", "--port", "2055", "--port", "2055"], "--port: .*2055 is named 2 times"),
        (["replay-netflow", "a.pcap", "--speed", "inf"], "--speed inf is not a number"),
        (["replay-netflow", "a.pcap", "--speed", "nan"], "'--speed'"),
        (["replay-netflow", "-", "--loop", "2"], "--loop 2 with a pipe"),
    ],
)
def test_wrong_options_are_told(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ops.cli import main as cli

    with pytest.raises(SystemExit) as ended:
        cli.main(["sensor", *arguments])
    assert ended.value.code == 2
    assert re.search(told, capsys.readouterr().err)
