"""Settings of exported flows: how datagrams are decoded, and what the query holds."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from infra.sections import Section
from jobs.flowexport.rules import DecodeRules

_S = 1_000_000


class ExportedFlowSettings(Section):
    """Exported flows: decoding, duplicates, and the query. Times are seconds of the collector's clock."""

    enabled: bool = Field(False, description="run the queries of exported flows with the others; else only where they are named: --only")
    buckets: int = Field(2, ge=1, le=256, description="hash buckets of the state: of exporters, and of flows that several of them see")
    by_port: bool = Field(False, description="exporters behind one address are told apart by their source port")
    agent_is_exporter: bool = Field(True, description="sFlow: the agent's address is the exporter's; else the datagram's sender is")
    clock_tolerance_s: float = Field(300.0, gt=0, le=1e6, description="an exporter's clock that is further off is wrong: receipt counts")
    template_lifetime_s: float = Field(5400.0, gt=0, le=1e7, description="a template that is not sent again for so long is forgotten")
    waiting_s: float = Field(3600.0, gt=0, le=1e6, description="data wait so long for their template")
    waiting_mb: int = Field(1, ge=0, le=1024, description="and take so much room, of each exporter and domain")
    state_mb: int = Field(256, ge=1, le=65_536, description="what is known of all exporters takes so much room in a bucket, roughly")
    duplicates_s: float = Field(
        300.0, ge=0, le=86_400, description="who reports a flow first owns it until he is silent about it for so long; 0: all count"
    )
    max_claims: int = Field(1_000_000, ge=1000, description="flows with an owner that are remembered at most, over all buckets")
    trigger_ms: int = Field(0, ge=0, description="milliseconds between batches; 0: as fast as possible")
    max_offsets_per_trigger: int = Field(400, ge=0, description="messages a batch at most; 0: no bound")
    starting_offsets: Literal["earliest", "latest"] = Field("earliest", description="where to begin without a checkpoint")
    fail_on_data_loss: bool = Field(False, description="stop when messages were gone before they were read; else count them and go on")

    def rules(self) -> DecodeRules:
        """For the decoder of one bucket."""
        return DecodeRules(
            by_port=self.by_port,
            agent_is_exporter=self.agent_is_exporter,
            clock_tolerance_us=round(self.clock_tolerance_s * _S),
            template_lifetime_us=round(self.template_lifetime_s * _S),
            waiting_us=round(self.waiting_s * _S),
            waiting_bytes=self.waiting_mb << 20,
            most_bytes=self.state_mb << 20,
        )
