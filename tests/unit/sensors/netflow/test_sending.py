"""Datagrams sent over UDP, or written into a file."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import numpy as np
import pytest

from infra.errors import CaptureError, ConfigError
from infra.process import free_port
from sensors.netflow.recorded import RecordedDatagrams
from sensors.netflow.sending import DatagramFile, SendPace, UdpSender
from sensors.packets.capture import CaptureReader
from sensors.packets.decode import decode


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_datagrams_arrive_in_order(address: str) -> None:
    with socket.socket(socket.AF_INET if address.startswith("1") else socket.AF_INET6, socket.SOCK_DGRAM) as collector:
        collector.bind((address, 0))
        collector.settimeout(5)
        with UdpSender(address, collector.getsockname()[1]) as sender:
            for payload in (b"one", b"two"):
                sender.send(payload, 0)
            assert [collector.recv(100), collector.recv(100)] == [b"one", b"two"]
            assert sender.refused == 0


def test_a_collector_that_is_not_there_is_noticed() -> None:
    with UdpSender("127.0.0.1", free_port()) as sender:
        for _ in range(5):
            sender.send(b"nobody hears", 0)
        assert sender.refused > 0


def test_a_datagram_that_is_too_long_is_told() -> None:
    with UdpSender("127.0.0.1", 2055) as sender, pytest.raises(ConfigError, match=r"127\.0\.0\.1 port 2055: Message too long"):
        sender.send(bytes(70_000), 0)


@pytest.mark.parametrize(("source", "target"), [("192.0.2.1", "192.0.2.9"), ("2001:db8::1", "2001:db8::9")])
def test_a_file_holds_what_a_sensor_would_have_received(tmp_path: Path, source: str, target: str) -> None:
    path = tmp_path / "sent.pcap"
    payloads = [bytes([k % 256]) * (k % 97) for k in range(1200)]
    with DatagramFile(path, source, target, 2055) as file:
        for k, payload in enumerate(payloads):
            file.send(payload, 1_767_225_600_000_000 + k)
    found = list(RecordedDatagrams(path, [2055]))
    assert [d.payload for d in found] == payloads
    assert [d.received_us - 1_767_225_600_000_000 for d in found] == list(range(1200))
    assert {d.listening for d in found} == {2055}
    assert not file.refused
    (frames,) = CaptureReader(path, 2000)
    assert np.all(decode(frames.data, frames.offsets, frames.ts, frames.wire_len, frames.link_type)[1] == 0)


def test_checksums_are_right(tmp_path: Path) -> None:
    """By Scapy, which computes them anew."""
    from scapy.layers.inet import IP, UDP
    from scapy.layers.l2 import Ether

    with DatagramFile(tmp_path / "x.pcap", "192.0.2.1", "192.0.2.9", 2055) as file:
        file.send(b"odd", 0)
    (frames,) = CaptureReader(tmp_path / "x.pcap", 2000)
    sent = Ether(frames.frame(0))
    again = sent.copy()
    del again[IP].chksum, again[UDP].chksum
    assert bytes(again) == bytes(sent)


def test_a_file_that_is_not_whole_has_no_name(tmp_path: Path) -> None:
    def fail() -> None:
        with DatagramFile(tmp_path / "x.pcap", "192.0.2.1", "192.0.2.9", 2055) as file:
            file.send(b"x", 0)
            raise CaptureError("cut")

    with pytest.raises(CaptureError, match="cut"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_pace_that_is_stopped_waits_no_more() -> None:
    stop = threading.Event()
    pace = SendPace(1.0, 1e9, stop)
    assert pace.wait(0)
    stop.set()
    assert not pace.wait(3_600_000_000)
    assert not SendPace(0.0, 1e9, stop).wait(0)


def test_a_pace_begins_anew_with_another_file() -> None:
    pace = SendPace(1.0, 1e9, threading.Event())
    assert pace.wait(3_600_000_000_000)
    pace.begin()
    assert pace.wait(0)
    assert pace.wait(0)
