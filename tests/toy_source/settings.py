"""Settings of the source: the section ``readings``."""

from __future__ import annotations

from pydantic import Field

from sensors.publish.settings import PublishSettings


class ReadingsSettings(PublishSettings):
    """Readings: the sensor that sends them, and the query that judges them."""

    batch_lines: int = Field(500, ge=1, description="lines a message at most")
    trigger_ms: int = Field(0, ge=0, description="milliseconds between batches; 0: as fast as possible")
