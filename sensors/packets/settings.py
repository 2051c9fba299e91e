"""Settings of the packet sensors."""

from __future__ import annotations

from pydantic import Field

from sensors.publish.settings import PublishSettings


class SensorSettings(PublishSettings):
    """Sensors: capture, buffering, flushing."""

    snaplen: int = Field(192, ge=64, le=262144, description="frames are cut to this many bytes")
    batch_packets: int = Field(16_384, ge=1, le=1_000_000, description="packets per flush, over all partitions")
    reorder_ms: int = Field(1000, ge=0, le=60_000, description="replay: packets this far out of order are put right by the sensor")
    live_reorder_ms: int = Field(20, ge=0, le=5_000, description="live: the same, costs this much latency")
    socket_buffer_mb: int = Field(32, ge=1, le=1024, description="live: the kernel's buffer of the packet socket")
