"""Generated traffic as a capture file, made before anything is measured: making packets costs more than sending them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from infra.config import Settings
from sensors.packets.settings import SensorSettings

#: A line of progress every so many packets.
_TELL = 2_000_000


def write(
    settings: Settings,
    file: Path,
    *,
    preset: str,
    rate: float,
    seconds: float,
    whole: bool = False,
    say: Callable[[str], None] = print,
) -> int:
    """Write the preset's traffic to ``file``, frames whole or cut at the sensor's snap length; returns the number of packets.

    Raises
    ------
    CaptureError
        The file cannot be written.
    """
    from sensors.generate import TrafficGenerator
    from sensors.generate import preset as scenario
    from sensors.generate.cut import cut
    from sensors.packets.pcapwriter import PcapWriter

    told = 0
    with PcapWriter(file) as writer:
        for batch in TrafficGenerator(scenario(preset, duration_s=seconds, rate=rate)):
            writer.write(batch if whole else cut(batch, settings.section(SensorSettings).snaplen))
            if writer.packets - told >= _TELL:
                told = writer.packets
                say(f"{told:,} packets generated")
    return writer.packets
