"""Metrics of the packet source: what the meter did."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

from infra.metrics import REGISTRY

PACKETS = Counter("flowlake_packets", "Packets metered", ["query"], registry=REGISTRY)
FLOWS = Counter("flowlake_flows", "Flow records closed, by end reason", ["query", "reason"], registry=REGISTRY)
SHARED_ID = Counter("flowlake_shared_id_messages", "Messages of a sensor whose id another live one has", ["domain"], registry=REGISTRY)
OPEN_FLOWS = Gauge("flowlake_open_flows", "Flows open now", ["query"], registry=REGISTRY)

# --- sinks
