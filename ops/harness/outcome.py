"""What a trial shows while it runs, and what it came to."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from infra.names import printable
from ops.harness import latency
from ops.harness.accounts import Check, rejected_by_reason
from ops.harness.grouping import Grouping
from ops.harness.quality import Detection
from ops.harness.stores import AlertRow, IncidentRow
from ops.harness.traffic import Traffic

_SENSOR = ("received", "sent", "dropped", "kernel_dropped", "messages", "bytes", "runs", "truncated")


@dataclass
class Now:
    """What the view shows: numbers as of now. Delays in ms, memory in MiB, times in seconds."""

    phase: str = "starting"
    seconds: float = 0.0
    sent: int = 0
    share: float | None = None
    totals: dict[str, int] = field(default_factory=dict)
    lag: dict[str, int] = field(default_factory=dict)
    alerts: list[AlertRow] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)
    delays: dict[str, dict[str, Any]] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)


@dataclass
class Outcome:
    """What a trial came to."""

    source: Traffic
    sent: dict[str, Any]
    totals: dict[str, int]
    closed: pa.Table
    checks: list[Check]
    alerts: list[AlertRow]
    incidents: list[IncidentRow]
    rows: dict[str, int]
    detection: Detection
    grouping: Grouping
    delays: dict[str, dict[str, Any]]
    delay_values: list[float]
    phases: dict[str, float]
    memory_peak_mb: int
    memory_parts_mb: dict[str, int]
    model_version: str
    seconds: float
    behind: str = ""
    truth: pa.Table | None = None

    @property
    def closes(self) -> bool:
        """Whether all accounts close."""
        return all(check.closes for check in self.checks)

    def as_dict(self) -> dict[str, Any]:
        """The report: what every reader can rely on first, the rest behind it."""
        t = self.totals
        return {
            "packets_sent": int(self.sent.get("sent", 0)),
            "packets_metered": t.get("metered", 0),
            "packets_rejected": t.get("rejected", 0),
            "flows_closed": self.closed.num_rows,
            "lake_rows": self.rows.get("lake", 0),
            "hot_rows": self.rows.get("hot", 0),
            "alert_rows": self.rows["alerts"],
            "latency_ms": latency.percentiles(self.delay_values),
            "quality": self.detection.ratios(),
            "seconds": self.seconds,
            "closes": self.closes,
            "checks": [vars(check) for check in self.checks],
            "behind": self.behind,
            "incident_rows": len(self.incidents),
            "grouping": self.grouping.as_dict(),
            "source": {**vars(self.source), "name": printable(self.source.name)},
            "sensor": {name: self.sent.get(name) for name in _SENSOR},
            "rejected_by_reason": rejected_by_reason(t),
            "flows_by_end": {k.removeprefix("flows_"): v for k, v in sorted(t.items()) if k.startswith("flows_") and v},
            "alerts_by_kind": dict(sorted(Counter(a.attack_type for a in self.alerts).items())),
            "stages_ms": self.delays,
            "detection": self.detection.as_dict(),
            "model_version": self.model_version,
            "phases_s": self.phases,
            "memory_peak_mb": self.memory_peak_mb,
            "memory_parts_mb": self.memory_parts_mb,
        }
