"""What a collector that stores flows itself tells of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from infra.config import Settings
from jobs.sources.netflow.direct import DirectOutlet


class DirectMaker(Collector):
    """Makes the outlet of one collector (:data:`sensors.netflow.outlet.OutletMaker`), and tells its counts.

    Attributes
    ----------
    outlet
        None: PostgreSQL could not be reached yet.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.outlet: DirectOutlet | None = None

    def __call__(self, sensor_id: str, domain: str | None, stop: threading.Event) -> DirectOutlet:
        self.outlet = DirectOutlet(self._settings, sensor_id, domain, stop)
        return self.outlet

    def counts(self) -> dict[str, int | Mapping[str, int]]:
        """Records stored and refused by PostgreSQL; datagrams that were not decoded wholly, by reason."""
        made = self.outlet
        if made is None:
            return {"records_stored": 0, "records_refused": 0, "undecoded": {}}
        return {"records_stored": made.rows, "records_refused": made.rows_refused, "undecoded": dict(made.decoder.refused)}

    def collect(self) -> Iterator[Metric]:
        """Metrics as of now."""
        made = self.outlet
        stored = CounterMetricFamily("flowlens_records_stored", "Records in PostgreSQL.")
        stored.add_metric([], made.rows if made else 0)
        refused = CounterMetricFamily("flowlens_records_refused", "Records that PostgreSQL would not have.")
        refused.add_metric([], made.rows_refused if made else 0)
        undecoded = CounterMetricFamily("flowlens_datagrams_undecoded", "Datagrams that were not decoded wholly.", labels=["reason"])
        for reason, n in dict(made.decoder.refused if made else {}).items():
            undecoded.add_metric([reason], n)
        yield from (stored, refused, undecoded)
