"""From capture to alert row at a moderate rate, stage by stage."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from infra.config import Settings
from ops.bench import stream


def run(settings: Settings, *, rate: float, seconds: float, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Send generated traffic at ``rate`` packets per second, each packet at its own capture time, and measure the delays.

    Returns
    -------
    dict
        ``latency_ms`` (capture of the packet that sufficed to the alert's row, p50 and p99), ``stages_ms``, and what
        :func:`ops.bench.stream.run` says.

    Raises
    ------
    FlowlakeError
        A part did not start or ended.
    """
    return stream.run(settings, rate=rate, seconds=seconds, say=say)
