"""The topic of flows that were computed elsewhere, and what its messages may be."""

from __future__ import annotations

from schemas.topics import DAY_MS, TopicSpec

FLOW_FEATURES = TopicSpec(
    "flow-features",
    3,
    DAY_MS,
    "flows computed elsewhere, in CICFlowMeter's columns or ours: JSON objects or an Arrow stream a message",
)
#: Registered media type of Arrow's IPC stream (IANA, 2021).
CONTENT_ARROW = "application/vnd.apache.arrow.stream"
