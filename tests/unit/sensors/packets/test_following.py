"""A growing file gives what the finished one gives; the file is grown by the reader's own idle call, so that no test depends on time."""

from __future__ import annotations

import logging
import os
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from infra.errors import CaptureError, ConfigError
from jobs.sources.packets.commands import sensor as command
from sensors.packets import publisher as publisher_module
from sensors.packets.capture import CaptureReader
from sensors.packets.following import Ending, Follow, Heartbeats
from sensors.packets.frames import FrameBatch, concat
from sensors.packets.replay import Chunk, chunks
from sensors.packets.settings import SensorSettings
from sensors.publish.counting import Counters
from tests.unit.sensors.packets import captures as c

T0 = 1_700_000_000_000_000_000
PACKETS = [(T0 + i * 300_000_000, bytes([i]) * (20 + 7 * i)) for i in range(12)]
US = [(t // 1000, f) for t, f in PACKETS]
CAPTURES = {
    "pcap": c.pcap(PACKETS),
    "pcap, big endian, modified": c.pcap(PACKETS, "modified", ">"),
    "pcap, cat": c.pcap(PACKETS[:5]) + c.pcap(PACKETS[5:], "ns", ">", 101),
    "pcapng": c.section() + c.interface() + b"".join(c.enhanced(t, f) for t, f in US),
    "pcapng, all blocks": c.section()
    + c.interface()
    + b"".join(c.enhanced(t, f, options=c.option(1, b"a comment")) for t, f in US[:4])
    + c.block(0x0BAD, bytes(90))
    + c.simple(b"none")
    + c.section(">")
    + c.interface(113, ">")
    + c.block(5, bytes(20), ">")
    + b"".join(c.enhanced(t, f, ">") for t, f in US[4:])
    + c.block(5, bytes(20), ">"),
}


def cuts(data: bytes, how: str) -> list[bytes]:
    """``data`` in pieces."""
    if how == "bytes":
        return [data[i : i + 1] for i in range(len(data))]
    rng = random.Random(how)
    pieces = []
    while data:
        n = rng.choice((1, 2, 3, 11, 16, 17, 24, 40, 200))
        pieces.append(data[:n])
        data = data[n:]
    return pieces


def growing(path: Path, pieces: list[bytes], end: Callable[[Follow], None] = lambda follow: follow.stop.set()) -> Follow:
    """Follows ``path``, which grows by a piece whenever there is nothing new in it; then ``end`` is called."""
    left = iter(pieces)

    def grow() -> None:
        piece = next(left, None)
        if piece is None:
            end(follow)
            return
        with open(path, "ab") as f:
            f.write(piece)

    follow = Follow(poll_s=0, idle=grow)
    return follow


def packets(batch: FrameBatch) -> list[tuple[int, int, int, bytes]]:
    return [(int(batch.ts[i]), int(batch.wire_len[i]), int(batch.link_type[i]), batch.frame(i)) for i in range(len(batch))]


@pytest.mark.parametrize("how", ["bytes", "odd", "sizes"])
@pytest.mark.parametrize("name", CAPTURES)
def test_in_pieces_as_in_one(tmp_path: Path, name: str, how: str) -> None:
    (tmp_path / "whole").write_bytes(CAPTURES[name])
    expected = packets(concat(list(CaptureReader(tmp_path / "whole"))))
    assert len(expected) >= len(PACKETS)
    reader = CaptureReader(tmp_path / "growing", follow=(follow := growing(tmp_path / "growing", cuts(CAPTURES[name], how))))
    assert packets(concat(list(reader))) == expected
    assert follow.ending == Ending.STOPPED
    assert not reader.truncated
    assert reader.bytes_read == reader.size == len(CAPTURES[name])


@pytest.mark.parametrize("name", CAPTURES)
def test_packets_come_before_the_wait_for_more(tmp_path: Path, name: str) -> None:
    """At looks at the silent file, all packets that are whole in it are already out."""
    data, path = CAPTURES[name], tmp_path / "growing"
    out = 0
    at: list[int] = []
    follow = Follow(poll_s=0)

    def grow() -> None:
        if len(at) >= 40 and len(at) % 5 == 0:  # with fewer bytes it is no capture file yet
            (tmp_path / "so far").write_bytes(data[: len(at)])
            assert out == len(concat(list(CaptureReader(tmp_path / "so far"))))
        if len(at) == len(data):
            follow.stop.set()
            return
        with open(path, "ab") as f:
            f.write(data[len(at) : len(at) + 1])
        at.append(1)

    follow.idle = grow
    logging.disable(logging.WARNING)  # the shorter file is cut within a record nearly every time
    try:
        for batch in CaptureReader(path, follow=follow):
            out += len(batch)
    finally:
        logging.disable(logging.NOTSET)
    assert out >= len(PACKETS)


def test_stopped_within_a_record_is_no_truncation(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for data in (CAPTURES["pcap"], CAPTURES["pcapng"], CAPTURES["pcapng"][:35], c.pcap(PACKETS[:1]) + c.pcap([])[:17]):
        (tmp_path / "x").unlink(missing_ok=True)
        reader = CaptureReader(tmp_path / "x", follow=growing(tmp_path / "x", [data[:-3]]))
        list(reader)
        assert not reader.truncated
        assert not caplog.records


@pytest.mark.parametrize("written", [None, b"", CAPTURES["pcap"][:23], CAPTURES["pcapng"][:3]])
def test_stopped_before_there_is_a_header(tmp_path: Path, written: bytes | None) -> None:
    reader = CaptureReader(tmp_path / "x", follow=growing(tmp_path / "x", [] if written is None else [written]))
    assert list(reader) == []
    assert not reader.truncated


def test_stop_does_not_wait_for_the_end_of_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(CAPTURES["pcap"])
    follow = Follow()
    follow.stop.set()
    assert list(CaptureReader(tmp_path / "x", follow=follow)) == []


def test_silence_ends_it(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(CAPTURES["pcap"][:-3])
    follow = Follow(timeout_s=0.01, poll_s=0.001)
    reader = CaptureReader(path, follow=follow)
    assert len(concat(list(reader))) == len(PACKETS) - 1
    assert follow.ending == Ending.SILENT
    # Nobody said that it is still being written: a cut record is told of.
    assert reader.truncated
    assert reader.missing == 3
    for name, written, what in (
        ("a", None, "no such file, 0.01 s long"),
        ("b", b"", "is empty"),
        ("c", CAPTURES["pcap"][:4], "within the file header"),
    ):
        if written is not None:
            (tmp_path / name).write_bytes(written)
        with pytest.raises(CaptureError, match=what):
            CaptureReader(tmp_path / name, follow=Follow(timeout_s=0.01, poll_s=0.001))


def test_another_file_takes_the_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Log rotation: the file is moved away, its writer goes on for a moment, and a new one begins. Nothing of the first one is lost."""
    path, data = tmp_path / "x", CAPTURES["pcap"]
    steps = iter(("move", "write", "new", "write"))
    written = 700
    path.write_bytes(data[:written])

    def step() -> None:
        nonlocal written
        match next(steps, None):
            case "move":
                path.rename(tmp_path / "x.1")
            case "write":
                with open(tmp_path / "x.1", "ab") as f:
                    f.write(data[written : written + 100])
                written += 100
            case "new":
                path.write_bytes(CAPTURES["pcapng"])

    follow = Follow(poll_s=0, idle=step)
    reader = CaptureReader(path, follow=follow)
    got = packets(concat(list(reader)))
    assert follow.ending == Ending.REPLACED
    assert written == 900 < len(data)
    (tmp_path / "y").write_bytes(data[:900])
    assert got == packets(concat(list(CaptureReader(tmp_path / "y"))))
    assert "another file took its name" in follow.problem
    assert follow.problem in caplog.text


@pytest.mark.parametrize("anew", [b"", CAPTURES["pcap"][:100], c.pcap(PACKETS[::-1])])
def test_truncated_or_written_anew(tmp_path: Path, anew: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """Also when the new contents are longer than what was read."""
    path = tmp_path / "x"
    path.write_bytes(CAPTURES["pcap"][:701])
    steps = iter([anew])
    follow = Follow(poll_s=0, idle=lambda: (path.write_bytes(next(steps)), None)[1])
    reader = CaptureReader(path, follow=follow)
    got = packets(concat(list(reader)))
    assert follow.ending == Ending.CUT
    assert reader.truncated
    assert reader.problem == follow.problem
    assert "701 bytes of it had been read" in caplog.text
    (tmp_path / "y").write_bytes(CAPTURES["pcap"][:701])
    assert got == packets(concat(list(CaptureReader(tmp_path / "y"))))


def test_an_empty_file_may_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.touch()
    (tmp_path / "y").write_bytes(CAPTURES["pcap"])
    steps = iter([lambda: os.replace(tmp_path / "y", path), lambda: None])
    follow = Follow(poll_s=0)
    follow.idle = lambda: next(steps, follow.stop.set)()
    assert len(concat(list(CaptureReader(path, follow=follow)))) == len(PACKETS)


def test_refused(tmp_path: Path) -> None:
    (tmp_path / "gz").write_bytes(b"\x1f\x8b\x08 and so on")
    (tmp_path / "text").write_bytes(b"no")
    os.mkfifo(tmp_path / "pipe")
    for name, what in (
        ("gz", "gzip cannot be followed"),
        ("text", r"neither pcap nor pcapng \(starts with 6e6f\)"),
        ("pipe", "not a plain file"),
        (".", "is a directory"),
        ("gone/x", "no folder"),
        ("a\0b", "null (byte|character)"),
    ):
        with pytest.raises(CaptureError, match=what):
            CaptureReader(tmp_path / name, follow=Follow())


def test_clock_moves_by_packets_alone(tmp_path: Path) -> None:
    """Chunks come as the file grows; while it is silent there is none."""
    data, path = CAPTURES["pcap"], tmp_path / "x"
    follow = growing(path, [data, b"", b"", b""])
    got = list(chunks(CaptureReader(path, follow=follow), SensorSettings(reorder_ms=1000)))
    assert [(len(g.frames), g.clock, g.end) for g in got[:-1]] == [(8, PACKETS[-1][0] - 1_000_000_000, False)]
    assert len(got[-1].frames) == 4
    assert got[-1].end


class Recorder:
    """A publisher without a broker."""

    def __init__(self) -> None:
        self.sensor_id = "s"
        self.counters = Counters()
        self.said: list[Any] = []
        self.in_run = False

    def publish(self, chunk: Chunk) -> None:
        self.counters.received += len(chunk.frames)
        self.counters.sent += len(chunk.frames)
        self.said.append(len(chunk.frames))
        self.in_run = not chunk.end

    def heartbeat(self, clock: int) -> None:
        self.said.append("beat")

    def end(self) -> None:
        self.said.append("end")
        self.in_run = False


def test_heartbeats_only_within_a_run_and_not_too_often() -> None:
    recorder = Recorder()
    beat = Heartbeats(recorder, 3600)
    beat()
    assert recorder.said == []
    recorder.in_run = True
    beat()
    beat()
    assert recorder.said == ["beat"]


def test_sensor_replay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The command sends as the file grows, speaks while it is silent, and sends everything that it has read when it is told to stop."""
    path, data = tmp_path / "x", CAPTURES["pcap"]
    recorder = Recorder()
    stops: list[threading.Event] = []

    @contextmanager
    def publishing(*_: Any, stop: threading.Event) -> Iterator[Recorder]:
        stops.append(stop)
        yield recorder

    @contextmanager
    def signals(end: Callable[[], None]) -> Iterator[None]:
        grow = growing(path, [data[:900], b"", data[900:]], lambda _: end())
        beat = Heartbeats.__call__

        def idle(self: Heartbeats) -> None:
            self._every = 0
            beat(self)
            assert grow.idle is not None
            grow.idle()

        monkeypatch.setattr(Heartbeats, "__call__", idle)
        yield

    monkeypatch.setattr(publisher_module, "publishing", publishing)
    monkeypatch.setattr(command, "handled", signals)
    command.replay([path], speed=None, follow=True, metrics_port=0)
    assert sum(n for n in recorder.said if n not in ("beat", "end")) == len(PACKETS)
    first = next(i for i, n in enumerate(recorder.said) if n != "beat")
    assert first == 0, "nothing is said before the first packet"
    assert recorder.said.count("beat") >= 2
    assert not recorder.in_run
    assert "12 packets sent" in capsys.readouterr().out
    stops[0].set()  # lets the thread that would have given up end now


def test_sensor_replay_refuses(tmp_path: Path) -> None:
    for words, what in (
        ({"files": [tmp_path / "a", tmp_path / "b"], "follow": True}, "2 files"),
        ({"files": [tmp_path], "follow": True}, "a folder"),
        ({"files": [tmp_path / "a"], "follow": True, "loop": 2}, "--loop 2"),
        ({"files": [tmp_path / "a"], "follow_timeout": 1.0}, "without --follow"),
    ):
        with pytest.raises(ConfigError, match=what):
            command.replay(**words)  # type: ignore[arg-type]
