"""Compiled code of the sensors made ready before it is needed (the meter's own: :mod:`jobs.sources.packets.warm`)."""

from __future__ import annotations


def sending() -> None:
    """Generate and encode a moment of traffic: the same for the sensor."""
    from sensors.generate import TrafficGenerator, preset
    from sensors.generate.cut import cut_all
    from sensors.packets.encoding import split
    from sensors.packets.replay import ordered
    from sensors.packets.settings import SensorSettings

    run = TrafficGenerator(preset("demo", duration_s=0.5))
    for chunk in ordered(cut_all(run, 192), SensorSettings()):
        for _ in split(chunk.frames, 2):
            pass
