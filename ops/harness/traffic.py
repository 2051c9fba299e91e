"""The demo's sensor, as a process of its own: generated traffic, a capture file, or an interface, into ``raw-packets``.

``python -m ops.harness.traffic STATE_FILE JSON``: tells about itself in the state file several times a second. The JSON says what to send
(:class:`Traffic`). It makes itself ready and waits for the file ``send`` beside the state file.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra import config, log
from infra.config import Settings
from infra.errors import FlowlakeError
from ops.harness import kernels, link
from sensors.packets.settings import SensorSettings

if TYPE_CHECKING:
    from sensors.packets.replay import Chunk
    from sensors.publish.counting import Counters

#: The generator's first packet is sent at its own time: so long from the moment it is planned, seconds. Making it ready takes less.
LEAD_S = 0.7
#: The same at a rate that was asked for, which may take longer to plan: a packet sent after its own time counts as delay of the sensor.
LEAD_RATE_S = 6.0
SEND = "send"


@dataclass(frozen=True)
class Traffic:
    """What the demo sends.

    Attributes
    ----------
    kind
        ``generate``, ``replay`` or ``live``.
    name
        Preset, capture file or interface.
    speed
        Times the recorded (or generated) speed; 0: flat out.
    shift_to_now
        Replay only: the file's first packet is now.
    seconds
        Live: how long; generate: seconds of traffic, None: the preset's.
    seed
        Generator seed.
    rate
        Generator: packets per second; None: the preset's.
    truth
        Where the generator's ground truth goes.
    """

    kind: str
    name: str
    speed: float = 1.0
    shift_to_now: bool = False
    seconds: float | None = None
    seed: int | None = None
    rate: float | None = None
    truth: str = ""

    @property
    def timed(self) -> bool:
        """Whether capture times are the wall clock's, so that a latency means something."""
        return self.kind == "live" or (self.speed == 1.0 and (self.kind == "generate" or self.shift_to_now))


class Teller:
    """Writes the state file, at most some times a second."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._last = 0.0

    def tell(self, counters: Counters, state: str = "sending", **more: Any) -> None:
        """Counters of the sensor; always written when the state is another than ``sending``."""
        now = time.monotonic()
        if state == "sending" and now - self._last < 0.2:
            return
        self._last = now
        values = asdict(counters)
        link.write(self._file, {"state": state, "at": time.time(), **values, **more})


def main(file: Path, source: Traffic) -> None:
    """Send; returns when everything is acknowledged by the broker, or it was told to stop.

    Raises
    ------
    CaptureError, BrokerError, ConfigError
        What the sensor raises.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    link.end_with_parent(stop.set)
    settings = config.load()
    log.setup(settings.log)
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    kernels.sending()
    while not (file.parent / SEND).exists():
        if stop.wait(0.02):
            return
    teller = Teller(file)
    if source.kind == "live":
        _live(settings, source, teller, stop)
    else:
        _send(settings, source, teller, stop)


def _live(settings: Settings, source: Traffic, teller: Teller, stop: threading.Event) -> None:
    from sensors.packets.live import LiveSensor

    sensor = LiveSensor(settings, source.name, filter_text=_without_ourselves(settings), duration_s=source.seconds)

    def end() -> None:
        stop.wait()
        sensor.stop()

    threading.Thread(target=end, name="end", daemon=True).start()
    counters = sensor.run(lambda s: teller.tell(s.counters))
    teller.tell(counters, "done")


def _without_ourselves(settings: Settings) -> str:
    """Filter: on loopback the stack's own traffic, sensor to broker to stream, would be captured, and sent, and captured again."""
    ports = [settings.kafka.bootstrap_servers.rpartition(":")[2], *{str(settings.hot.port), str(settings.alerts.port)}]
    return " and ".join(f"not port {port}" for port in ports)


def _send(settings: Settings, source: Traffic, teller: Teller, stop: threading.Event) -> None:
    from sensors.packets.pacing import Pacer
    from sensors.packets.publisher import publishing

    more: dict[str, Any] = {}
    with publishing(settings, stop=stop) as publisher:
        pacer = Pacer(publisher, settings.section(SensorSettings), speed=source.speed, shift_to_now=source.shift_to_now, stop=stop)
        _pump(pacer, settings, source, more, lambda: teller.tell(publisher.counters, **_done(more)), stop)
    teller.tell(publisher.counters, "done", **_done(more))


def _done(more: dict[str, Any]) -> dict[str, Any]:
    """Facts for the state file; a capture file's reader is asked how far it is."""
    reader = more.get("reader")
    if reader is None:
        return {}
    return {"share": reader.bytes_read / reader.size if reader.size else 1.0, "truncated": bool(reader.truncated)}


def _pump(pacer: Any, settings: Settings, source: Traffic, more: dict[str, Any], tick: Any, stop: threading.Event) -> None:
    if source.kind == "replay":
        from sensors.packets.capture import CaptureReader
        from sensors.packets.replay import chunks

        more["reader"] = CaptureReader(Path(source.name), settings.section(SensorSettings).snaplen)
        pacer.send(chunks(more["reader"], settings.section(SensorSettings)), tick)
        return
    from sensors.generate import TrafficGenerator, preset, write_truth
    from sensors.generate.cut import cut_all
    from sensors.packets.replay import ordered

    start = time.time_ns() + int((LEAD_S if source.rate is None else LEAD_RATE_S) * 1e9)
    run = TrafficGenerator(preset(source.name, seed=source.seed, duration_s=source.seconds, rate=source.rate, start_ns=start))
    chunked: Iterable[Chunk] = ordered(cut_all(run, settings.section(SensorSettings).snaplen), settings.section(SensorSettings))
    pacer.send(_from_their_time(chunked, stop) if source.timed else chunked, tick)
    if source.truth:
        write_truth(run.truth(), source.truth)


def _from_their_time(chunks: Iterable[Chunk], stop: threading.Event) -> Iterator[Chunk]:
    """The same chunks, the first one held until its first packet is due: from there on the pacer keeps the packets' own times."""
    waited = False
    for chunk in chunks:
        if not waited and len(chunk.frames):
            stop.wait(max(0.0, (int(chunk.frames.ts[0]) - time.time_ns()) / 1e9))
            waited = True
        yield chunk


if __name__ == "__main__":
    state = Path(sys.argv[1])
    try:
        main(state, Traffic(**json.loads(sys.argv[2])))
    except FlowlakeError as e:
        link.write(state, {**link.read(state), "state": "failed", "error": str(e), "hint": e.hint, "code": e.exit_code})
        sys.exit(e.exit_code)
