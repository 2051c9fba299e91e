"""What a collector that stores flows itself tells of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from infra.config import Settings
from jobs.sources.netflow.accountmetrics import counter
from jobs.sources.netflow.direct import DirectOutlet
from jobs.sources.netflow.switching import FlowWay
from sensors.netflow.settings import ExporterSensorSettings

if TYPE_CHECKING:
    from jobs.sources.netflow.auto import AutoOutlet


class DirectMaker(Collector):
    """Makes the outlet of one collector (:data:`sensors.netflow.outlet.OutletMaker`), and tells its counts.

    Attributes
    ----------
    outlet
        What writes to PostgreSQL; None: that could not be reached yet.
    auto
        What chooses the way, in mode ``auto``.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._switches = settings.section(ExporterSensorSettings).mode == "auto"
        self.outlet: DirectOutlet | None = None
        self.auto: AutoOutlet | None = None

    def __call__(self, sensor_id: str, domain: str | None, stop: threading.Event) -> DirectOutlet | AutoOutlet:
        if self._switches:
            from jobs.sources.netflow.auto import AutoOutlet  # with the client of Kafka

            self.auto = AutoOutlet(self._settings, sensor_id, domain, stop)
            self.outlet = self.auto.direct
            return self.auto
        self.outlet = DirectOutlet(self._settings, sensor_id, domain, stop)
        return self.outlet

    def counts(self) -> dict[str, int | Mapping[str, int]]:
        """Records stored and refused by PostgreSQL; datagrams not decoded wholly, by reason; losses on the way here; alerts; turns."""
        made = self.outlet
        turns = {"turns": {str(way): self.auto.turns[way] if self.auto else 0 for way in FlowWay}} if self._switches else {}
        if made is None:
            return {"records_stored": 0, "records_refused": 0, "undecoded": {}, "lost_before": {}, "alerts": {}, **turns}
        return {
            "records_stored": made.rows,
            "records_refused": made.rows_refused,
            "undecoded": dict(made.decoder.refused),
            "lost_before": made.tally.lost(),
            "alerts": dict(made.alerts.raised),
            **turns,
        }

    def collect(self) -> Iterator[Metric]:
        """Metrics as of now."""
        made = self.outlet

        def single(name: str, text: str, n: int) -> Metric:
            return counter(name, text, [], {(): n})

        def each(name: str, text: str, label: str, counts: Mapping[str, int]) -> Metric:
            return counter(name, text, [label], {(value,): n for value, n in dict(counts).items()})

        yield single("flowlens_records_stored", "Records in PostgreSQL.", made.rows if made else 0)
        yield single("flowlens_records_refused", "Records that PostgreSQL would not have.", made.rows_refused if made else 0)
        undecoded = made.decoder.refused if made else {}
        yield each("flowlens_datagrams_undecoded", "Datagrams that were not decoded wholly.", "reason", undecoded)
        left_out = made.decoder.dead.left_out if made else 0
        yield single("flowlens_dead_letters_left_out", "Datagrams that were not decoded wholly, and kept nowhere.", left_out)
        odd = made.quality.counts if made else {}
        yield each("flowlens_records_quarantined", "Records that break a rule, by the first one.", "rule", odd)
        yield each("flowlens_alerts_raised", "New alerts.", "attack_type", made.alerts.raised if made else {})
        if made is not None:
            yield from made.tally.metrics()
        if self.auto is not None:
            yield from _of_switching(self.auto)


def _of_switching(auto: AutoOutlet) -> Iterator[Metric]:
    way = GaugeMetricFamily("flowlens_way", "1: where datagrams go now.", labels=["way"])
    turns = CounterMetricFamily("flowlens_way_turns", "How often datagrams went over to a way.", labels=["way"])
    for one in FlowWay:
        way.add_metric([str(one)], float(auto.way is one))
        turns.add_metric([str(one)], auto.turns[one])
    rate = GaugeMetricFamily("flowlens_records_per_second", "Records a second that the way is chosen by.")
    rate.add_metric([], auto.switch.rate)
    held = GaugeMetricFamily("flowlens_exporters_held", "Exporters that go to Kafka since data wait in the stream for a template.")
    held.add_metric([], len(auto.held))
    yield from (way, turns, rate, held)
