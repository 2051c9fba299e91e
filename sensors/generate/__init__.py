"""Labelled traffic made of real frames, from a seed.

``generate(scenario)`` iterates over frames in time order, ``truth(run)`` says what they were. No packet is ever put on a wire.

>>> from sensors.generate import generate, preset, truth
>>> run = generate(preset("demo", duration_s=2, seed=1))
>>> packets = sum(len(frames) for frames in run)
>>> packets == sum(truth(run)["packets"].to_pylist())
True
"""

from __future__ import annotations

import pyarrow as pa

from sensors.generate.run import TrafficGenerator
from sensors.generate.scenario import PRESETS, Scenario, preset
from sensors.generate.truth import TRUTH_SCHEMA, truth_path, write_truth

__all__ = ["PRESETS", "TRUTH_SCHEMA", "Scenario", "TrafficGenerator", "generate", "preset", "truth", "truth_path", "write_truth"]


def generate(scenario: Scenario) -> TrafficGenerator:
    """Start a run: an iterator of :class:`sensors.packets.frames.FrameBatch` in time order, lazily made."""
    return TrafficGenerator(scenario)


def truth(of: TrafficGenerator | Scenario) -> pa.Table:
    """Ground truth (``TRUTH_SCHEMA``) of a run, as far as it has been iterated, or of a whole scenario (generated to its end)."""
    if isinstance(of, Scenario):
        of = TrafficGenerator(of)
        for _ in of:
            pass
    return of.truth()
