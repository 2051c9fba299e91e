"""Records that break a rule of their type: without Kafka they go to ``flow_raw_quarantine``, as a stream's go to the lake's quarantine.

The rules are those that a stream looks at (:mod:`jobs.quality.batch`), by the clock of the collector. Alerts are raised of all records:
one that is odd may be an attack none the less.
"""

from __future__ import annotations

import json
import time
from collections import Counter

import numpy as np
import pyarrow as pa

from infra.config import Settings
from jobs.quality import derive
from jobs.quality.batch import failures, told
from jobs.quality.vectorised import TimeBounds
from schemas.exportedflows import EXPORTED_FLOWS
from schemas.rules import NotNull

#: Rules that one row's reason names at most.
_REASONS = 5
_SCHEMA = pa.schema([
    ("received_at", pa.timestamp("us", tz="UTC")),
    ("id", pa.int64()),
    ("flow_id", pa.string()),
    ("exporter_ip", pa.string()),
    ("rule", pa.string()),
    ("reason", pa.string()),
    ("record", pa.string()),  # JSON
])  # fmt: skip


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
        every = derive.constraints(EXPORTED_FLOWS, settings) if settings.quality.batch_checks else ()
        # that there is no null the decoder has seen to
        self._rules = [one for one in every if not one.nightly and not isinstance(one, NotNull)]
        self._quality = settings.quality
        self.counts: Counter[str] = Counter()

    def sift(self, records: pa.Table) -> tuple[pa.Table, pa.Table | None]:
        """Records that keep all rules, and rows of ``flow_raw_quarantine`` of those that do not; None: all do."""
        bad = failures(records, self._rules, TimeBounds.of(self._quality, time.time_ns() // 1000))
        if not bad:
            return records, None
        any_of = np.logical_or.reduce(list(bad.values()))
        rows = []
        for at in np.flatnonzero(any_of).tolist():
            broken = [rule for rule, mask in bad.items() if mask[at]]
            self.counts[broken[0].name] += 1
            one = records.slice(at, 1).to_pylist()[0]
            rows.append({
                "received_at": one["received_time"],
                "id": short_id(one["flow_id"]),
                "flow_id": one["flow_id"],
                "exporter_ip": one["exporter_ip"],
                "rule": broken[0].name,
                "reason": "; ".join(told(rule, records, at) for rule in broken[:_REASONS]),
                "record": json.dumps(one, default=str),
            })  # fmt: skip
        return records.filter(pa.array(~any_of)), pa.Table.from_pylist(rows, schema=_SCHEMA)


def short_id(flow_id: str) -> int:
    """63 bits of a UUID."""
    return int(flow_id[:8] + flow_id[9:13] + flow_id[14:18], 16) >> 1
