"""Settings that the sensors of all sources have."""

from __future__ import annotations

import socket

from pydantic import Field

from infra.sections import Section


class PublishSettings(Section):
    """What every sensor has: who it is, and what waits for the broker."""

    id: str = Field("", max_length=128, description="name of this sensor in records and metrics; empty: the host's name")
    domain: str = Field("", description="observation domain; the sensor id when empty")
    flush_ms: int = Field(100, ge=5, le=10_000, description="at most this long between capture and sending")
    heartbeat_ms: int = Field(1000, ge=50, le=60_000, description="at most this long without telling the clock to every partition")
    buffer_mb: int = Field(64, ge=1, le=8192, description="bound of what waits for the broker")

    @property
    def name(self) -> str:
        """The sensor's id: as configured, else the host's name, so that sensors on two hosts are two sensors."""
        return self.id or socket.gethostname()[:128] or "sensor"
