"""Real sockets on this machine: what is sent is received, whole and in order, and what the kernel drops is counted."""

from __future__ import annotations

import errno
import logging
import os
import socket
import threading
import time

import pytest

from infra.errors import ConfigError
from sensors.netflow.draining import Drain, Drained
from sensors.netflow.settings import ExporterSensorSettings
from sensors.netflow.sockets import open_sockets
from sensors.netflow.workers import FlowListener
from tests.unit.sensors.netflow.senders import LOCAL, eventually, free_ports, listening, send


def listens(ports: tuple[int, ...], addresses: tuple[str, ...] = ("::",), workers: int = 1) -> ExporterSensorSettings:
    return ExporterSensorSettings(addresses=addresses, ports=ports, workers=workers)


class Ear:
    """Everything that was handed on, by listening port."""

    def __init__(self) -> None:
        self.came: list[tuple[int, bytes, bytes, int, int]] = []
        self.threads: set[str] = set()
        self._lock = threading.Lock()

    def __call__(self, drained: Drained) -> None:
        with self._lock:
            self.came += [(drained.listening, *row) for row in zip(*drained.columns, strict=True)]
            self.threads.add(str(threading.get_ident()))


def test_three_ports_and_both_families() -> None:
    ports, ear = free_ports(3), Ear()
    began = time.time_ns() // 1000
    with listening(listens(ports), ear) as listener:
        assert listener.working
        assert sorted(one.port for one in listener.sockets) == sorted(ports)
        sources = [send([b"one", b"", b"x" * 65_000], port, host) for port in ports for host in ("127.0.0.1", "::1")]
        assert eventually(lambda: len(ear.came) == 18)
    ended = time.time_ns() // 1000
    assert not listener.working
    for i, source in enumerate(sources):
        port, address = ports[i // 2], LOCAL if i % 2 == 0 else socket.inet_pton(socket.AF_INET6, "::1")
        mine = [row for row in ear.came if row[3] == source and row[0] == port]
        assert [payload for _, payload, _, _, _ in mine] == [b"one", b"", b"x" * 65_000]
        assert {sender for _, _, sender, _, _ in mine} == {address}
        times = [at for *_, at in mine]
        assert times == sorted(times)
        assert began - 1000 <= times[0] <= times[-1] <= ended + 1000
    assert listener.kernel_dropped == 0


def test_an_ipv4_address_alone() -> None:
    (port,), ear = free_ports(1), Ear()
    with listening(listens((port,), ("127.0.0.1",)), ear):
        send([b"a", b"b"], port, source="127.0.0.7")
        assert eventually(lambda: len(ear.came) == 2)
    assert [(at, payload, sender) for at, payload, sender, _, _ in ear.came] == [(port, p, LOCAL[:15] + b"\x07") for p in (b"a", b"b")]


def test_a_machine_without_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its kernel refuses such sockets; this one's does not, so the refusal alone is made up."""
    (port,), ear, real = free_ports(1), Ear(), socket.socket

    def without(family: int, kind: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
        return real(family, kind)

    with monkeypatch.context() as patch:
        patch.setattr(socket, "socket", without)
        with pytest.raises(ConfigError, match="listening on ::1: Address family not supported"):
            open_sockets(["::1"], [port], 1, 65_536)
        listener = FlowListener(listens((port,)), ear)
        listener.start()
    send([b"a"], port)
    listener.stop()
    assert [(payload, sender) for _, payload, sender, _, _ in ear.came] == [(b"a", LOCAL)]


def test_workers_share_a_port_and_keep_the_order_of_each_exporter() -> None:
    (port,), ear = free_ports(1), Ear()
    with listening(listens((port,), workers=3), ear) as listener:
        assert [one.port for one in listener.sockets] == [port] * 3
        sources = [send([b"%d" % i for i in range(100)], port, source=f"127.0.0.{who}") for who in range(1, 31)]
        assert eventually(lambda: len(ear.came) == 3000)
    assert len(ear.threads) > 1
    for who, source in enumerate(sources, 1):
        payloads = [p for _, p, sender, sport, _ in ear.came if sport == source and sender == LOCAL[:15] + bytes([who])]
        assert payloads == [b"%d" % i for i in range(100)]


def test_the_kernel_s_drops_are_counted_by_socket() -> None:
    ((quiet, loud),) = open_sockets(["127.0.0.1"], [0, 0], 1, 65_536)
    send([bytes(1000)] * 2000, loud.port)
    drain, came, more = Drain(), 0, True
    while more:
        some, more = drain.take(loud)
        came += len(some) if some else 0
    assert 0 < came < 2000
    assert loud.dropped() == 2000 - came
    assert quiet.dropped() == 0
    assert drain.take(quiet) == (None, False)
    loud.close()
    quiet.close()
    assert loud.dropped() == 2000 - came  # also when it is closed


def test_many_are_taken_by_one_call() -> None:
    ((one,),) = open_sockets(["::1"], [0], 1, 4 << 20)
    send([b"%d" % i for i in range(600)], one.port, "::1")
    drain, sizes, payloads = Drain(), [], []
    more = True
    while more:
        some, more = drain.take(one)
        assert some is not None
        sizes.append(len(some))
        payloads += some.columns[0]
    one.close()
    assert sizes == [256, 256, 88]
    assert payloads == [b"%d" % i for i in range(600)]


def test_a_small_buffer_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        ((one,),) = open_sockets(["127.0.0.1"], [0], 1, 1 << 40)
    one.close()
    assert one.buffer_bytes < 1 << 40
    assert "net.core.rmem_max" in caplog.text


def test_what_was_asked_for_is_given() -> None:
    ((one,),) = open_sockets(["127.0.0.1"], [0], 1, 100_000)
    one.close()
    assert one.buffer_bytes == 100_000


def test_a_port_that_is_taken() -> None:
    """By another sensor of ours, too, which would allow sharing it."""
    ((other,),) = open_sockets(["::"], [0], 1, 65_536)
    listener = FlowListener(listens((other.port,)), Ear())
    with pytest.raises(ConfigError, match=f"UDP port {other.port} of ::: Address already in use") as e:
        listener.start()
    assert "ss -lunp" in e.value.hint
    other.close()


def test_an_address_of_another_machine() -> None:
    with pytest.raises(ConfigError, match=r"192\.0\.2\.1"):
        open_sockets(["192.0.2.1"], [0], 1, 65_536)


def test_what_was_received_before_a_promise_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a socket holds more than is taken at a time, the promise waits for it."""
    (port,), ear, promises, broken = free_ports(1), Ear(), [0], []

    def slow(drained: Drained) -> None:
        promises.append(listener.heard_us)
        broken.extend(at for at in drained.columns[3] if at < max(promises))
        ear(drained)

    monkeypatch.setattr("sensors.netflow.workers._ROUNDS", 1)
    with listening(listens((port,)), slow) as listener:
        assert eventually(lambda: listener.heard_us > 0)
        for _ in range(5):
            send([b"x"] * 600, port)
        assert eventually(lambda: len(ear.came) + listener.kernel_dropped == 3000)
        newest = max(at for *_, at in ear.came)
        assert eventually(lambda: listener.heard_us > newest)
    assert not broken
    assert len(set(promises)) > 2


def test_a_failure_ends_the_work_and_is_told() -> None:
    (port,) = free_ports(1)

    def broken(_: Drained) -> None:
        raise RuntimeError("no room")

    listener = FlowListener(listens((port,)), broken)
    listener.start()
    send([b"x"], port)
    assert eventually(lambda: not listener.working)
    with pytest.raises(RuntimeError, match="no room"):
        listener.stop()


def test_what_has_come_before_the_end_is_taken() -> None:
    (port,), ear = free_ports(1), Ear()
    with listening(listens((port,)), ear) as listener:
        send([b"%d" % i for i in range(500)], port)
    assert [payload for _, payload, *_ in ear.came] == [b"%d" % i for i in range(500)]
    assert listener.kernel_dropped == 0


def test_of_more_than_the_buffer_takes_nothing_is_lost_silently() -> None:
    (port,), ear, busy = free_ports(1), Ear(), threading.Event()

    def slow(drained: Drained) -> None:
        busy.wait(20)
        ear(drained)

    settings = listens((port,)).model_copy(update={"socket_buffer_mb": 4})
    with listening(settings, slow) as listener:
        send([bytes(10)] * 20_000, port)
        busy.set()
    assert 4096 < len(ear.came) < 20_000  # what lay in the buffer when it was told to stop is taken, all of it
    assert len(ear.came) + listener.kernel_dropped == 20_000
