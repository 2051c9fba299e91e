"""Records that break a rule of their type: without Kafka they go to ``flow_raw_quarantine``, as a stream's go to the lake's quarantine.

The rules are those that a stream looks at (:mod:`jobs.quality.batch`), by the clock of the collector. Alerts are raised of all records:
one that is odd may be an attack none the less.
"""

from __future__ import annotations

import time
from collections import Counter

import pyarrow as pa

from infra.config import Settings
from jobs.quality import derive
from jobs.quality.batch import Checks
from jobs.quality.table import as_json
from jobs.sinks.messages import Message
from schemas.exportedflows import EXPORTED_FLOWS


class DirectQuality:
    """Takes them out.

    Parameters
    ----------
    settings
        Sections ``quality`` (``batch_checks`` turns it off) and what rules read.

    Attributes
    ----------
    counts
        Records that were taken out, by the first rule that they break.
    """

    def __init__(self, settings: Settings) -> None:
        rules = derive.in_batches(EXPORTED_FLOWS, settings) if settings.quality.batch_checks else ()
        self._checks = Checks(EXPORTED_FLOWS, rules, settings.quality)
        self.counts: Counter[str] = Counter()

    def sift(self, records: pa.Table) -> tuple[pa.Table, pa.Table | None]:
        """Records that keep all rules, and rows of ``flow_raw_quarantine`` of those that do not; None: all do."""
        (good,), failed = self._checks.sift([Message(records, "", "", 0, 0, b"", time.time_ns() // 1000)])
        if not failed:
            return records, None
        (bad,) = failed
        self.counts.update(bad.rules)
        rows = bad.message.rows
        about = {
            "received_at": rows["received_time"],
            "id": pa.array([short_id(one) for one in rows["flow_id"].to_pylist()], pa.int64()),
            "flow_id": rows["flow_id"],
            "exporter_ip": rows["exporter_ip"],
            "rule": pa.array(bad.rules, pa.string()),
            "reason": pa.array(bad.reasons, pa.string()),
            "record": pa.array(as_json(rows), pa.string()),
        }
        return good.rows, pa.table(about)


def short_id(flow_id: str) -> int:
    """63 bits of a UUID."""
    return int(flow_id[:8] + flow_id[9:13] + flow_id[14:18], 16) >> 1
