"""Settings of the meter."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from infra.sections import Section

#: Bound of the meter's times (years), so that sums of them and capture times fit 64 bits of nanoseconds.
MOST_SECONDS = 1e9


class MeterSettings(Section):
    """Flow metering. Times are seconds of event time unless said otherwise."""

    buckets: int = Field(8, ge=1, le=1024, description="hash buckets of the open-flow state")
    active_timeout_s: float = Field(120.0, gt=0, le=MOST_SECONDS, description="a flow this old is closed and goes on as its next part")
    idle_timeout_s: float = Field(60.0, gt=0, le=MOST_SECONDS, description="a flow without a packet for so long is closed")
    tcp_linger_s: float = Field(3.0, ge=0, le=MOST_SECONDS, description="what comes this long after FIN or RST still belongs to the flow")
    fragment_timeout_s: float = Field(30.0, gt=0, le=MOST_SECONDS, description="how far fragments may be from their first one")
    max_waiting_fragments: int = Field(
        16_384, ge=1, description="fragments of a domain that wait in a bucket for their first one; older ones are orphans"
    )
    interim_first_s: float = Field(
        0.2, ge=0, le=MOST_SECONDS, description="age at which an open flow is first emitted as an interim snapshot"
    )
    interim_first_packets: int = Field(8, ge=1, description="or its packet count; both double from there")
    interim: bool = Field(True, description="emit interim snapshots of open flows, to be scored too")
    community_id_seed: int = Field(0, ge=0, le=65535, description="seed of the community ids; the same in every tool that joins by them")
    max_open_flows: int = Field(2_000_000, ge=1, description="bound over all buckets; the oldest are evicted beyond it")
    json_lateness_s: float = Field(2.0, ge=0, le=MOST_SECONDS, description="JSON packets carry no clock: this much disorder is waited for")
    domain_join_s: float = Field(
        5.0, ge=0, le=MOST_SECONDS, description="wall clock: a configured domain waits so long for its sensors before its time runs"
    )
    sensor_timeout_s: float = Field(120.0, gt=0, le=MOST_SECONDS, description="wall clock: a sensor silent for so long is taken as ended")
    trigger_ms: int = Field(0, ge=0, description="0: as fast as possible")
    max_offsets_per_trigger: int = Field(2000, ge=0, description="messages a batch at most; 0: no bound")
    starting_offsets: Literal["earliest", "latest"] = Field("earliest", description="where to begin without a checkpoint")
    fail_on_data_loss: bool = Field(False, description="stop when messages were gone before they were read; else count them and go on")
