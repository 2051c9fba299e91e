"""What the recorded meter state of ``tests/data`` has read, and what comes after it: messages of ``raw-packets``, the same every time.

The state was written by revision 66a088b (state version 5, pickled), from :func:`messages` up to :data:`HALF`:

- ``meter-v5-buckets.json.xz``: ``jobs.metering.segments.save`` of each bucket after each :func:`batches` of the first half.
- ``meter-v5-checkpoint.tar.xz``: the meter's checkpoint folder and its note, after the query had read the first half from a broker and was
  stopped (``meter.buckets`` 4, ``spark.shuffle_partitions`` 2, topic prefix :data:`PREFIX`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from jobs.metering.digest import KafkaMessage
from schemas.wire import CLOCK_END, CONTENT_JSON, CONTENT_PACKETS, KIND_END, KIND_PACKETS, Header
from sensors.packets.encoding import EMPTY, split
from sensors.packets.frames import FrameBatch
from tests.oracle.craft import ethernet, ip, udp
from tests.oracle.meter import Frame
from tests.oracle.parse import UDP
from tests.unit.metering.cases import at, bwd, fwd, of

DATA = Path(__file__).parent / "data"
BUCKETS, PARTITIONS = 4, 2
PREFIX = "recorded."
#: Messages of :func:`messages` that the recorded state has read.
HALF = 22
#: When the first message came to the broker, ms.
SEEN_MS = at(0) // 1_000_000


class _Sensor:
    """A sensor of a fixed run: numbers its messages, and promises what it will not send any more."""

    def __init__(self, name: str, domain: str = "") -> None:
        self._headers = {Header.SENSOR: name, Header.RUN: "5", Header.PARTITIONS: str(PARTITIONS), Header.CONTENT_TYPE: CONTENT_PACKETS}
        if domain:
            self._headers[Header.DOMAIN] = domain
        self._seq = [0] * PARTITIONS

    def send(self, frames: list[Frame], clock: int) -> Iterator[tuple[int, bytes, dict[str, str]]]:
        """Frames and the clock after them, a message for each partition."""
        batch = FrameBatch.from_frames([f.data for f in frames], [f.ns for f in frames]) if frames else FrameBatch.empty()
        values = dict.fromkeys(range(PARTITIONS), EMPTY)
        values.update((partition, value) for partition, value, _ in split(batch, PARTITIONS))
        for partition, value in values.items():
            kind = KIND_END if clock == CLOCK_END else KIND_PACKETS
            yield partition, value, {**self._headers, Header.KIND: kind, Header.CLOCK: str(clock), Header.SEQ: str(self._seq[partition])}
            self._seq[partition] += 1


def _fragment(seconds: float, ident: int, offset: int = 0) -> Frame:
    """The first (with ports) or a later fragment of a UDP datagram."""
    data = udp(7000 + ident, 53, 2000)
    body = data[: 8 * 64] if not offset else data[8 * offset : 8 * offset + 256]
    return Frame(at(seconds), ethernet(ip("10.0.3.1", "10.0.3.2", UDP, body, ident=ident, offset=offset, more=True)))


def _json(seconds: float) -> tuple[int, bytes, dict[str, str]]:
    frame = ethernet(ip("10.0.4.1", "10.0.4.2", UDP, udp(4000, 53, 30)))
    body = {"timestamp": at(seconds) / 1e9, "raw_bytes": frame.hex(), "sensor_id": "elsewhere"}
    return 1, json.dumps(body).encode(), {Header.CONTENT_TYPE: CONTENT_JSON}


def _datagrams(since: float, until: float, number: int, host: int) -> list[Frame]:
    """Many flows of a datagram each, as from a scan."""
    step = (until - since) / number
    return [of(since + step * n, f"10.0.5.{host}", f"10.1.{n // 200}.{1 + n % 200}", UDP, 2000 + n, 53, n % 90) for n in range(number)]


def messages() -> list[KafkaMessage]:
    """Everything that is sent, in the order in which it is sent; all that are open in the middle end in the second half."""
    tap, east, west = _Sensor("tap"), _Sensor("east", "edge"), _Sensor("west", "edge")
    talk = [fwd(0, "S", seq=5), bwd(0.1, "SA"), fwd(0.2, "A", 100, seq=6), bwd(0.3, "A", 900), fwd(1.1, "A", 30, seq=106)]
    more = [bwd(11, "A", 400), fwd(11.5, "FA", seq=136), bwd(11.6, "FA"), fwd(11.7, "A", seq=137), fwd(11.8, "S", seq=9)]
    reset = [fwd(0.5, "S", sport=41000), Frame(bwd(0.6, "SA").ns, bwd(0.6, "SA", sport=41000).data)]
    sent = [
        *tap.send([*talk, *reset], at(1.2)),
        *east.send(_datagrams(0, 1, 30, 1), at(1)),
        *west.send(_datagrams(0, 1.5, 20, 2), at(1.5)),
        _json(0.5),
        *tap.send([_fragment(1.5, 1, 64), _fragment(1.6, 2), *_datagrams(2, 3, 200, 3)], at(2.5)),
        *east.send(_datagrams(1.5, 2, 10, 1), CLOCK_END),
        *west.send(_datagrams(2, 4, 20, 2), at(3)),
        _json(2.0),
        *tap.send([fwd(4, "A", 10, seq=116), *_datagrams(5, 6, 60, 4)], at(5.5)),
        *west.send([], at(3.5)),
        *tap.send([], at(5.6)),
        *tap.send([], at(5.7)),
        # ---- HALF: what follows, the recorded state has not read
        *tap.send([_fragment(7, 1), _fragment(7.1, 2, 64), _fragment(7.2, 3, 64), *_datagrams(8, 9, 50, 3)], at(10)),
        *west.send(_datagrams(5, 6, 40, 2), at(6)),
        _json(10.0),
        *tap.send([*more, fwd(12, "RA", sport=41000)], at(13)),
        *tap.send([of(14, "fd00::1", "fd00::2", UDP, 9, 53, 20)], at(15)),
        *west.send([], CLOCK_END),
        *tap.send([], CLOCK_END),
    ]
    offsets = [0] * PARTITIONS
    made = []
    for number, (partition, value, headers) in enumerate(sent):
        kafka = {name: text.encode() for name, text in headers.items()}
        made.append(KafkaMessage(value, kafka, partition, offsets[partition], SEEN_MS + 700 * number))
        offsets[partition] += 1
    assert len(made) > HALF
    return made


def batches(sent: list[KafkaMessage]) -> list[list[KafkaMessage]]:
    """Messages cut into micro-batches."""
    return [sent[n : n + 4] for n in range(0, len(sent), 4)]
