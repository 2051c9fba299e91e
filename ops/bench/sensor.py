"""Speed of the sensors: replay of a capture file to a broker, live capture of a loopback blast.

Both go the whole way to the broker's acknowledgement. The capture file is made on the spot: TCP and UDP packets of many flows with random
payloads, so that nothing compresses better than real traffic does.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np

from infra import files
from infra.config import Settings, load
from infra.errors import BrokerError, CaptureError, one_line
from sensors.packets.settings import SensorSettings

#: Sends argv[2] UDP datagrams to 127.0.0.1:argv[1] at argv[3] packets a second, from many source ports; prints the seconds it took.
_BLASTER = """
import socket, sys, time
port, count, rate = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
socks = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(64)]
for s in socks:
    s.connect(("127.0.0.1", port))
payload = bytes(range(64))
began = time.perf_counter()
sent = 0
while sent < count:
    for _ in range(min(64, count - sent)):
        try:
            socks[sent & 63].send(payload)
        except ConnectionError:
            pass
        sent += 1
    ahead = sent / rate - (time.perf_counter() - began)
    if ahead > 0:
        time.sleep(ahead)
print(time.perf_counter() - began)
"""


def run(
    json_path: str | Path | None = None,
    *,
    settings: Settings | None = None,
    packets: int = 1_500_000,
    live_packets: int = 200_000,
    live_rate: float = 80_000.0,
) -> dict[str, Any]:
    """Measure replay and live capture; needs a running broker (``settings.kafka``). Topics of its own, deleted afterwards.

    Returns ``replay`` (``packets, seconds, kpps, ...``) and ``live`` (``packets, offered_kpps, captured, sent, dropped, kernel_dropped``,
    or ``skipped`` with the reason), and writes them to ``json_path``.

    Raises
    ------
    BrokerError
        No broker.
    """
    settings = settings or load()
    own = settings.model_copy(update={"kafka": settings.kafka.model_copy(update={"topic_prefix": f"bench-{uuid.uuid4().hex[:8]}."})})
    admin = _topic(own)
    try:
        result = {"replay": replay_speed(own, packets), "live": live_speed(own, live_packets, live_rate)}
    finally:
        admin.delete_topics([own.topic("raw-packets")])
        admin.close()
    if json_path:
        files.replace(json_path, json.dumps(result, indent=2) + "\n")
    return result


def replay_speed(settings: Settings, packets: int) -> dict[str, Any]:
    """Replay a made-up capture file flat out, after a short one that warms the compiled code up."""
    from sensors.packets.publisher import PacketPublisher
    from sensors.packets.replay import chunks

    with tempfile.TemporaryDirectory() as folder:
        warm, file = Path(folder) / "warm.pcap", Path(folder) / "bench.pcap"
        write_capture(warm, 20_000)
        write_capture(file, packets)
        publisher = PacketPublisher(settings, "bench-replay")
        try:
            for chunk in chunks(warm, settings.section(SensorSettings)):
                publisher.publish(chunk)
            publisher.flush()
            before = publisher.counters.bytes
            began = time.perf_counter()
            for chunk in chunks(file, settings.section(SensorSettings)):
                publisher.publish(chunk)
            publisher.flush()
            seconds = time.perf_counter() - began
        finally:
            publisher.close()
        return {
            "packets": packets,
            "seconds": round(seconds, 3),
            "kpps": round(packets / seconds / 1000, 1),
            "mbit_s_on_wire": round((file.stat().st_size - 16 * packets) * 8 / seconds / 1e6, 1),
            "bytes_per_packet_sent": round((publisher.counters.bytes - before) / packets, 1),
        }


def live_speed(settings: Settings, packets: int, rate: float) -> dict[str, Any]:
    """Capture a blast of UDP datagrams on the loopback interface."""
    from sensors.packets.live import LiveSensor

    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)  # somebody must listen, or every datagram is answered by ICMP
    receiver.bind(("127.0.0.1", 0))
    port = receiver.getsockname()[1]
    try:
        sensor = LiveSensor(settings, "lo", filter_text=f"udp dst port {port}", sensor_id="bench-live")
    except CaptureError as e:
        receiver.close()
        return {"skipped": str(e)}
    worker = threading.Thread(target=sensor.run, daemon=True)
    worker.start()
    try:
        time.sleep(1.0)  # connected to the broker
        done = subprocess.run(
            [sys.executable, "-c", _BLASTER, str(port), str(packets), str(rate)], capture_output=True, text=True, check=True, timeout=120
        )
        time.sleep(0.5)
    finally:
        sensor.stop()
        worker.join(60)
        receiver.close()
    counters = sensor.counters
    return {
        "packets": packets,
        "offered_kpps": round(packets / float(done.stdout) / 1000, 1),
        "captured": sensor.captured,
        "sent": counters.sent,
        "dropped": counters.dropped,
        "kernel_dropped": counters.kernel_dropped,
    }


def write_capture(path: Path, packets: int, *, flows: int = 5_000, seed: int = 1) -> None:
    """A pcap file of ``packets`` Ethernet/IPv4 frames, 60 to 1,514 bytes long (mean about 480), ten microseconds apart."""
    rng = np.random.default_rng(seed)
    pool = []
    for i in range(4096):
        flow = int(rng.integers(flows))
        size = int(rng.choice([60, 66, 74, 200, 590, 1514], p=[0.2, 0.25, 0.1, 0.15, 0.1, 0.2]))
        tcp = i % 4 != 0
        source, target = (b"\x0a" + (flow * 7919 % 2**24).to_bytes(3, "big"), b"\xc0\xa8\x00" + bytes([flow % 250 + 1]))
        ip = b"\x45\x00" + (size - 14).to_bytes(2, "big") + bytes(4) + b"\x40" + (b"\x06" if tcp else b"\x11") + bytes(2) + source + target
        ports = (1024 + flow).to_bytes(2, "big") + b"\x01\xbb"
        upper = ports + (rng.bytes(8) + b"\x50\x18\xff\xff" + bytes(4) if tcp else (size - 34).to_bytes(2, "big") + bytes(2))
        frame = (b"\x02" * 12 + b"\x08\x00" + ip + upper + rng.bytes(size))[:size]
        pool.append(len(frame).to_bytes(4, "little") * 2 + frame)
    with path.open("wb") as out:
        out.write(bytes.fromhex("d4c3b2a1 0200 0400 00000000 00000000 00000400 01000000"))
        for first in range(0, packets, 65_536):
            picks = rng.integers(len(pool), size=min(65_536, packets - first))
            times = np.arange(first, first + len(picks), dtype=np.int64) * 10
            seconds, micros = 1_700_000_000 + times // 1_000_000, times % 1_000_000
            head = np.stack([seconds, micros], axis=1).astype("<u4").tobytes()
            out.write(b"".join(head[8 * k : 8 * k + 8] + pool[p] for k, p in enumerate(picks.tolist())))


def _topic(settings: Settings) -> Any:
    from kafka import KafkaAdminClient
    from kafka import errors as kafka_errors
    from kafka.admin import NewTopic

    from infra.kafka.client import client_options
    from schemas.packets import RAW_PACKETS
    from sensors.publish.broker import refused

    name = settings.topic(RAW_PACKETS.name)
    try:
        admin = KafkaAdminClient(**client_options(settings.kafka), bootstrap_timeout_ms=5000)
        partitions = settings.kafka.partitions.get(RAW_PACKETS.name, RAW_PACKETS.partitions)
        admin.create_topics([NewTopic(name, partitions, 1, topic_configs=RAW_PACKETS.config())])
    except kafka_errors.KafkaError as e:
        raise refused(settings.kafka, e) from e
    except ValueError as e:
        raise BrokerError(f"Kafka broker {settings.kafka.bootstrap_servers}: {one_line(e)}") from e
    return admin
