"""What the writer of alerts keeps in memory is bounded, in alerts and in flows."""

from __future__ import annotations

import uuid

import numpy as np
import pytest

from infra.sections import AlertSettings
from jobs.sinks import alertstore
from jobs.sinks.alertbook import Alert
from jobs.sinks.alertstore import AlertStore
from schemas.packets import FLOWS


def scan(flows: int) -> Alert:
    return Alert(uuid.uuid4(), kind="scan", segments=[np.arange(flows, dtype=np.uint64)])


def test_the_least_recent_alerts_are_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alertstore, "_KEPT_ALERTS", 3)
    store = AlertStore(AlertSettings(), FLOWS)
    alerts = [scan(1) for _ in range(4)]
    store._remember(alerts[:3])
    store._remember([alerts[0]])  # changed again: the most recent now
    store._remember([alerts[3]])
    assert list(store._kept) == [alerts[2].id, alerts[0].id, alerts[3].id]


def test_flows_are_counted_once_an_alert(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alertstore, "_KEPT_FLOWS", 100)
    store = AlertStore(AlertSettings(), FLOWS)
    grown = scan(40)
    store._remember([grown])
    grown = Alert(grown.id, kind="scan", segments=[*grown.segments, np.arange(40, 60, dtype=np.uint64)])
    store._remember([grown])
    store._remember([scan(40)])
    assert (len(store._kept), store._kept_flows) == (2, 100)
    store._remember([scan(1)])
    assert grown.id not in store._kept
    assert store._kept_flows == 41


def test_alerts_of_one_flow_need_no_memory() -> None:
    store = AlertStore(AlertSettings(), FLOWS)
    store._remember([Alert(uuid.uuid4(), kind="per-flow")])
    assert not store._kept
