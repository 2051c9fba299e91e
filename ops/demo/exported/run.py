"""``flowlake demo --source netflow``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from infra.config import Settings
from infra.console.signals import stoppable
from ops.demo.exported import report
from ops.demo.options import DemoOptions
from ops.harness.exported.routers import routers, with_own_ports
from ops.harness.exported.trial import ExportTrial
from ops.harness.place import Place

#: Of generated traffic.
_SECONDS, _SEED = 20.0, 1


def run(settings: Settings, where: Place, options: DemoOptions, console: Any) -> tuple[dict[str, Any], bool]:
    """Run it, tell a person; the report, and whether all accounts close.

    Raises
    ------
    FlowlakeError
        A part did not start or ended.
    """

    def say(text: str) -> None:
        console.print(text, markup=False)

    own = with_own_ports(settings)
    trial = ExportTrial(own, where, routers(), lambda: _capture(where, options, say), say)
    with stoppable():
        try:
            outcome = trial.run()
        finally:
            stopped = trial.stop(keep=options.keep)
    values = report.write(outcome, where, options.page)
    report.summary(console, outcome, own, where, stopped, options.page)
    return values, outcome.closes


def _capture(where: Place, options: DemoOptions, say: Any) -> Path:
    """The capture that was named; else generated traffic."""
    if options.pcap is not None:
        return options.pcap
    from sensors.generate import generate, preset
    from sensors.packets.pcapwriter import PcapWriter

    path = where.base / "traffic.pcap"
    seconds = options.seconds or _SECONDS
    start = time.time_ns() - round(seconds * 1e9)  # a router reports what has been
    scenario = preset("demo", seed=_SEED if options.seed is None else options.seed, duration_s=seconds, start_ns=start)
    packets = 0
    with PcapWriter(path) as out:
        for batch in generate(scenario):
            out.write(batch)
            packets += len(batch)
    say(f"{packets:,} packets of traffic generated")
    return path
