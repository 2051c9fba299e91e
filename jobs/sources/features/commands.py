"""``flowlake features send``."""

from __future__ import annotations

import json
import logging
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from infra.console.options import ConfFile, Json
from infra.errors import ConfigError

SensorId = Annotated[
    str | None, typer.Option("--sensor-id", help="Name of the meter in records; default: features.id, else the host's.", show_default=False)
]
Domain = Annotated[
    str | None, typer.Option("--domain", help="Observation domain of the flows; default: the sensor id.", show_default=False)
]


def send(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="CSV (also .gz, .zst) or Parquet, columns named as CICFlowMeter does or ours.")
    ],
    sensor_id: SensorId = None,
    domain: Domain = None,
    conf_file: ConfFile = None,
    as_json: Json = False,
) -> None:
    """Send flows that another meter has computed to the topic flow-features.

    The query features checks and scores them: flowlake stream --only features, or features.enabled. What is no flow is in the topic
    dead-letter then, with the reason. Sent twice, flows are stored once.

    Example:  flowlake features send flows.csv --sensor-id cicflowmeter-1
    """
    from infra import config, log
    from infra.console.signals import handled
    from jobs.sources.features.sensor import FeatureSensor, open_file
    from jobs.sources.features.settings import FlowFeaturesSettings

    settings = config.load(conf_file)
    if sensor_id is not None and not 0 < len(sensor_id) <= 128:
        raise ConfigError(f"--sensor-id {sensor_id[:140]!r} has {len(sensor_id)} characters", "1 to 128")
    log.setup(settings.log)
    logging.getLogger("kafka").setLevel(logging.CRITICAL)  # what it reports at every attempt is told once, in words
    featured = open_file(file)
    sensor = FeatureSensor(settings, featured, sensor_id, domain)
    began = time.monotonic()
    with handled(sensor.stop):
        counters = sensor.run()
    seconds = time.monotonic() - began
    if as_json:
        told = {
            "sensor": sensor_id or settings.section(FlowFeaturesSettings).name,
            "flows_sent": counters.sent,
            "messages": counters.messages,
        }
        print(json.dumps({**told, "bytes": counters.bytes, "lines_left_out": featured.left_out, "seconds": round(seconds, 3)}))
    else:
        print(f"{counters.sent:,} flows sent in {counters.messages:,} messages, {seconds:.1f} s")
    if featured.left_out and not as_json:
        print(f"left out: {featured.left_out:,} lines with another number of fields than the first", file=sys.stderr)
