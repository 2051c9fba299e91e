"""Replay and live capture against a real broker: every packet once, in order, with true clocks; outages."""

from __future__ import annotations

import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest
from backports import zstd

from infra.config import ROOT, Settings
from infra.errors import BrokerError, CaptureError
from ops.bench.sensor import write_capture
from schemas.wire import CLOCK_END, CONTENT_PACKETS
from sensors.packets.capture import CaptureReader
from sensors.packets.frames import FrameBatch, concat
from sensors.packets.live import LiveSensor
from sensors.packets.pacing import Pacer
from sensors.packets.publisher import PacketPublisher
from sensors.packets.replay import Chunk, chunks
from tests.integration import sensors_topic as topic

pytestmark = pytest.mark.integration


def packets_of(path: Path) -> Counter[tuple[int, bytes]]:
    batch = concat(list(CaptureReader(path)))
    return Counter((int(batch.ts[i]), batch.frame(i)) for i in range(len(batch)))


def packets_in(messages: list[topic.Message]) -> Counter[tuple[int, bytes]]:
    return Counter(p for m in messages for p in zip(m.table["ts"].to_pylist(), m.table["frame"].to_pylist(), strict=True))


def test_replay_arrives_once_in_order_with_headers(tmp_path: Path, kafka_server: str, settings: Callable[..., Settings]) -> None:
    write_capture(tmp_path / "a.pcap", 40_000)
    own = settings(kafka={"bootstrap_servers": kafka_server})
    topic.create(own, 3)
    publisher = PacketPublisher(own, "probe", "site")
    for chunk in chunks(tmp_path / "a.pcap", own.sensor):
        publisher.publish(chunk)
    assert publisher.close() == 0
    messages = topic.read(own)
    topic.check_promises(messages)
    assert packets_in(messages) == packets_of(tmp_path / "a.pcap")
    first = messages[0].headers
    assert first["content-type"] == CONTENT_PACKETS
    assert (first["sensor"], first["domain"], first["partitions"], first["snaplen"]) == ("probe", "site", "3", "192")
    assert {m.headers["kind"] for m in messages} == {"packets", "end"}
    for last in (m for m in messages if m.headers["kind"] == "end"):
        assert last.clock == CLOCK_END
        assert last.headers["received"] == "40000"
    for m in messages:
        assert all(h % 3 == m.partition for h in m.table["flow_hash"].to_pylist())
    assert publisher.counters.sent == 40_000


def test_large_share_of_one_pair_and_heartbeats(kafka_server: str, settings: Callable[..., Settings]) -> None:
    own = settings(kafka={"bootstrap_servers": kafka_server}, sensor={"snaplen": 65_535})
    topic.create(own, 2)
    publisher = PacketPublisher(own, "big")
    frames = FrameBatch.from_frames([os.urandom(60_000) for _ in range(60)], [1000 + i for i in range(60)])
    publisher.heartbeat(1000)
    publisher.send(frames, 1060)
    publisher.publish(Chunk(FrameBatch.from_frames([b"last"], [2000]), CLOCK_END, 0, True))
    publisher.publish(Chunk(FrameBatch.empty(), CLOCK_END, 1, True))
    assert publisher.close() == 0
    messages = topic.read(own)
    topic.check_promises(messages)
    assert sum(packets_in(messages).values()) == 61
    assert len({m.headers["run"] for m in messages}) == 2


def test_pace_shift_and_stop(tmp_path: Path, kafka_server: str, settings: Callable[..., Settings]) -> None:
    write_capture(tmp_path / "a.pcap", 60_000)  # 0.6 s of traffic
    own = settings(kafka={"bootstrap_servers": kafka_server}, sensor={"heartbeat_ms": 50, "flush_ms": 20})
    topic.create(own, 2)
    publisher = PacketPublisher(own)
    before = time.time_ns()
    pacer = Pacer(publisher, own.sensor, speed=1.0, shift_to_now=True)
    assert pacer.send(chunks(tmp_path / "a.pcap", own.sensor))
    assert time.time_ns() - before >= 500_000_000
    stop = threading.Event()
    stop.set()
    assert not Pacer(publisher, own.sensor, stop=stop).send(chunks(tmp_path / "a.pcap", own.sensor))
    assert publisher.close() == 0
    messages = topic.read(own)
    topic.check_promises(messages)
    times = sorted(t for t, _ in packets_in(messages).elements())
    assert len(times) == 60_000
    assert before <= times[0]
    assert times[-1] - times[0] == 59_999 * 10_000


def test_a_time_far_ahead_is_not_waited_for(tmp_path: Path, kafka_server: str, settings: Callable[..., Settings]) -> None:
    own = settings(kafka={"bootstrap_servers": kafka_server})
    topic.create(own, 1)
    publisher = PacketPublisher(own)
    chunk = Chunk(FrameBatch.from_frames([b"a", b"b"], [10**18, 4 * 10**18]), CLOCK_END, 0, True)
    assert Pacer(publisher, own.sensor, speed=1.0).send([chunk])
    assert publisher.close() == 0
    assert sum(packets_in(topic.read(own)).values()) == 2


def test_no_broker_and_no_topic(kafka_server: str, settings: Callable[..., Settings]) -> None:
    with pytest.raises(BrokerError, match=r"127\.0\.0\.1:1 "):
        PacketPublisher(settings())
    with pytest.raises(BrokerError, match="is not on the broker"):
        PacketPublisher(settings(kafka={"bootstrap_servers": kafka_server}))


def test_broker_killed_and_back_mid_replay(tmp_path: Path, settings: Callable[..., Settings]) -> None:
    from infra.process import free_port
    from infra.stack.kafka import Kafka

    broker = Kafka(tmp_path / "kafka", free_port(), heap_mb=256)
    broker.start()
    try:
        write_capture(tmp_path / "a.pcap", 200_000)
        own = settings(kafka={"bootstrap_servers": broker.bootstrap}, sensor={"buffer_mb": 1, "batch_packets": 4096})
        topic.create(own, 2)
        publisher = PacketPublisher(own)
        waited = threading.Event()

        def send() -> None:
            for i, chunk in enumerate(chunks(tmp_path / "a.pcap", own.sensor)):
                if i == 10:
                    os.kill(broker.daemon.process().pid, signal.SIGKILL)  # type: ignore[union-attr]
                    waited.set()  # whether this very chunk still fits into the buffer is up to what was under way
                publisher.publish(chunk)

        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        assert waited.wait(60)
        sender.join(3)
        assert sender.is_alive()  # back-pressure: it waits for the broker
        assert publisher.counters.buffered_bytes <= 2 << 20
        broker.start()
        sender.join(120)
        assert not sender.is_alive()
        assert publisher.close(60) == 0
        messages = topic.read(own)
        topic.check_promises(messages)
        assert packets_in(messages) == packets_of(tmp_path / "a.pcap")
    finally:
        broker.stop()


@pytest.fixture
def web() -> object:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def _live(settings: Settings, filter_text: str) -> LiveSensor:
    try:
        return LiveSensor(settings, "lo", filter_text=filter_text, sensor_id="live")
    except CaptureError as e:
        if "permission" in str(e):
            pytest.skip(str(e))
        raise


def test_live_capture_of_http(web: int, kafka_server: str, settings: Callable[..., Settings]) -> None:
    own = settings(kafka={"bootstrap_servers": kafka_server})
    topic.create(own, 2)
    sensor = _live(own, f"tcp port {web}")
    worker = threading.Thread(target=sensor.run)
    worker.start()
    began = time.time_ns()
    for _ in range(5):
        with urllib.request.urlopen(f"http://127.0.0.1:{web}/") as reply:
            reply.read()
    time.sleep(0.3)
    ended = time.time_ns()
    sensor.stop()
    worker.join(30)
    messages = topic.read(own)
    topic.check_promises(messages)
    frames = packets_in(messages)
    assert sum(frames.values()) == sensor.captured == sensor.counters.sent
    assert all(began - 10**9 <= t <= ended for t, _ in frames)
    syn = [f for _, f in frames.elements() if f[14 + 20 + 13] & 0x3F == 0x02]
    assert len(syn) == 5  # each packet once, although lo shows it leaving and arriving
    assert all(web in (int.from_bytes(f[34:36], "big"), int.from_bytes(f[36:38], "big")) for _, f in frames)


def test_live_without_broker_drops_the_oldest_and_counts(settings: Callable[..., Settings]) -> None:
    own = settings(sensor={"buffer_mb": 1})
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind(("127.0.0.1", 0))
    port = receiver.getsockname()[1]
    sensor = _live(own, f"udp dst port {port}")
    sensor._linger = 0.5
    worker = threading.Thread(target=sensor.run)
    worker.start()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        for _ in range(8000):
            out.sendto(bytes(200), ("127.0.0.1", port))
    deadline = time.monotonic() + 20
    while sensor.captured + sensor.counters.kernel_dropped < 8000 and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    assert sensor._queue.nbytes <= 1 << 19
    assert sensor._queue.dropped > 0
    sensor.stop()
    worker.join(30)
    receiver.close()
    counters = sensor.counters
    assert counters.received == counters.dropped == sensor.captured
    assert counters.sent == 0


def _flowlake(*arguments: str, bootstrap: str, prefix: str = "", stdin: IO[str] | None = None) -> subprocess.Popen[str]:
    env = {**os.environ, "FLOWLAKE_KAFKA__BOOTSTRAP_SERVERS": bootstrap, "FLOWLAKE_KAFKA__TOPIC_PREFIX": prefix}
    code = "from ops.cli.main import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, env=env, text=True, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def test_command_replays_and_ends_well_on_sigterm(tmp_path: Path, kafka_server: str, settings: Callable[..., Settings]) -> None:
    own = settings(kafka={"bootstrap_servers": kafka_server})
    topic.create(own, 2)
    write_capture(tmp_path / "a.pcap", 3_000)
    cut = tmp_path / "cut.pcap"
    cut.write_bytes((tmp_path / "a.pcap").read_bytes()[:-10])
    command = _flowlake(
        "sensor",
        "replay",
        str(tmp_path / "a.pcap"),
        str(cut),
        "--speed",
        "0",
        "--json",
        bootstrap=kafka_server,
        prefix=own.kafka.topic_prefix,
    )
    out, err = command.communicate(timeout=120)
    assert command.returncode == 0, err
    summary = json.loads(out)
    assert summary["packets_sent"] == 5_999
    assert summary["truncated"] == [str(cut)]
    command = _flowlake(
        "sensor", "replay", str(tmp_path / "a.pcap"), "--speed", "0.001", "--json", bootstrap=kafka_server, prefix=own.kafka.topic_prefix
    )
    deadline = time.monotonic() + 60
    while len({m.headers["run"] for m in topic.read(own)}) < 3:  # the two files above, and this one
        assert time.monotonic() < deadline
        time.sleep(0.3)
    command.terminate()
    out, err = command.communicate(timeout=60)
    assert command.returncode == 0, err
    summary = json.loads(out)
    assert summary["stopped"]
    messages = topic.read(own)
    topic.check_promises(messages)
    assert sum(packets_in(messages).values()) == 5_999 + summary["packets_sent"]


def test_command_replays_folders_and_pipes(tmp_path: Path, kafka_server: str, settings: Callable[..., Settings]) -> None:
    """By the rules of the meter: what is in the folder in the order of capture, unreadable files named, names escaped."""
    write_capture(tmp_path / "a", 3_000)
    captured = (tmp_path / "a").read_bytes()
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / os.fsdecode(b"caf\xe9.pcap.1")).write_bytes(captured)
    (folder / "cap.pcap2.zst").write_bytes(zstd.compress(captured))
    (folder / "bad.pcap").write_text("no capture")
    (folder / "notes").write_text("notes")
    own = settings(kafka={"bootstrap_servers": kafka_server})
    topic.create(own, 2)
    command = _flowlake(
        "sensor", "replay", str(folder), "-", "--json", "--sensor-id", os.fsdecode(b"caf\xe9"),
        bootstrap=kafka_server, prefix=own.kafka.topic_prefix, stdin=(tmp_path / "a").open(),
    )  # fmt: skip
    out, err = command.communicate(timeout=120)
    assert command.returncode == 3, err
    assert f"unreadable {folder}/bad.pcap: neither pcap nor pcapng" in err
    assert "1 capture file of 4 could not be read" in err
    report = json.loads(out)
    assert report["files"] == [f"{folder}/caf\\xe9.pcap.1", f"{folder}/cap.pcap2.zst", "-"]
    assert ([Path(f["file"]).name for f in report["skipped"]], [Path(f["file"]).name for f in report["failed"]]) == (
        ["notes"],
        ["bad.pcap"],
    )
    assert report["packets_sent"] == 9_000
    messages = topic.read(own)
    assert packets_in(messages) == Counter({p: 3 * n for p, n in packets_of(tmp_path / "a").items()})
    assert {m.headers["sensor"] for m in messages} == {"caf\\xe9"}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["sensor", "replay", "no-such-file.pcap"], 3, "no-such-file.pcap"),
        (["sensor", "replay", str(ROOT / "conf" / "local.yaml")], 3, "neither pcap nor pcapng"),
        (["sensor", "live", "nosuch0"], 3, "nosuch0"),
    ],
)
def test_command_failures_are_one_line(arguments: list[str], code: int, words: str) -> None:
    command = _flowlake(*arguments, bootstrap="127.0.0.1:1")
    out, err = command.communicate(timeout=60)
    assert command.returncode == code
    assert words in err
    assert "Traceback" not in err + out
