"""What a command that sends does first."""

from __future__ import annotations

import logging
from pathlib import Path

from infra import config, log
from infra.config import Settings
from infra.errors import ConfigError


def prepare(conf_file: Path | None, sensor_id: str | None) -> Settings:
    """Settings of a command that sends, with logging set up.

    Raises
    ------
    ConfigError
        A sensor id that is empty or too long.
    """
    settings = config.load(conf_file)
    if sensor_id is not None and not 0 < len(sensor_id) <= 128:
        raise ConfigError(f"--sensor-id {sensor_id[:140]!r} has {len(sensor_id)} characters", "1 to 128")
    log.setup(settings.log)
    if settings.log.level != "debug":
        # The client reports every attempt to reach an absent broker; the sensor says it once, in words.
        logging.getLogger("kafka").setLevel(logging.CRITICAL)
    return settings


def port_of_metrics(settings: Settings, given: int | None) -> int:
    """Where a sensor's metrics are served: as given, else as set; 0: nowhere."""
    return settings.metrics.sensor_port if given is None else given
