"""How well alerts were grouped into incidents, against what the generator did. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from jobs.training.truth import join_labels
from ops.harness.stores import AlertRow
from schemas.labels import BENIGN


@dataclass(frozen=True)
class Grouping:
    """Incidents against campaigns: a campaign is all that has one true label, which holds of scenarios in waves.

    ``purity``: share of alerts that are of the campaign most of their incident's alerts are of. ``completeness``: share of alerts that
    are in the incident that holds most of their campaign's. None without ground truth. ``false_alerts`` are about benign flows alone, and
    count as a campaign of their own each: they make an incident impure, and need not be together. ``missed``: campaigns
    that no alert is of.
    """

    incidents: int
    campaigns: int = 0
    purity: float | None = None
    completeness: float | None = None
    false_alerts: int = 0
    missed: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"missed": list(self.missed)}


def judge(alerts: Sequence[AlertRow], records: pa.Table, truth: pa.Table | None) -> Grouping:
    """Compare.

    Parameters
    ----------
    alerts
        With their incidents and the ids of some of their flows.
    records
        Closed records (flow key, times).
    truth
        Table of :data:`sensors.generate.truth.TRUTH_SCHEMA`.
    """
    incidents = {alert.incident for alert in alerts if alert.incident}
    if truth is None or not records.num_rows:
        return Grouping(len(incidents))
    labels = dict(zip(records["flow_id"].to_pylist(), join_labels(records, truth).to_pylist(), strict=True))
    there = {label for label in labels.values() if label and label != BENIGN}
    if not incidents:
        return Grouping(0, missed=tuple(sorted(there)))
    of_alert = {alert.id: _campaign(alert, labels) for alert in alerts}
    by_incident: dict[str, Counter[str]] = defaultdict(Counter)
    by_campaign: dict[str, Counter[str]] = defaultdict(Counter)
    for alert in alerts:
        where = alert.incident or f"none of {alert.id}"
        by_incident[where][of_alert[alert.id]] += 1
        by_campaign[of_alert[alert.id]][where] += 1
    false = sum(campaign.startswith(BENIGN) for campaign in of_alert.values())
    return Grouping(
        len(incidents),
        len(by_campaign) - false,
        round(sum(max(of.values()) for of in by_incident.values()) / len(alerts), 4),
        round(sum(max(of.values()) for of in by_campaign.values()) / len(alerts), 4),
        false,
        tuple(sorted(there - set(of_alert.values()))),
    )


def _campaign(alert: AlertRow, labels: Mapping[str, str | None]) -> str:
    """What most of its flows that attacked were of; an alert about benign flows alone is one of its own."""
    found = Counter(label for flow in alert.flows if (label := labels.get(flow)) and label != BENIGN)
    return min(found, key=lambda label: (-found[label], label)) if found else f"{BENIGN} {alert.id}"
