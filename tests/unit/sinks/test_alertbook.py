"""From attack-labelled rows to alerts: identity, exact counts under repetition and disorder, severity, bounded details."""

from __future__ import annotations

import random
from typing import Any
from uuid import UUID, uuid5

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.sinks import alertbook, evidence, sketch
from jobs.sinks.alertbook import Alert
from schemas.alerts import MANY_FLOWS, NAMESPACE, SAMPLE_SIZE, SKETCH_SIZE, alert_id, alert_key, kind_of, severity
from schemas.labels import BY_NAME
from schemas.packets import FLOWS
from tests.sinksdata import flow_id, table

Rows = list[dict[str, Any]]


def fold(batches: list[Rows], known: dict[UUID, Alert] | None = None, **options: Any) -> dict[UUID, Alert]:
    """Alerts after several batches, each as two tasks would hand it over."""
    known = dict(known or {})
    for rows in batches:
        found = evidence.attacks(table(rows), FLOWS.alerts)
        half = found.num_rows // 2
        parts = [evidence.partials(found.slice(0, half), FLOWS.alerts, 3600), evidence.partials(found.slice(half), FLOWS.alerts, 3600)]
        for item in alertbook.gather(parts):
            change = alertbook.apply(known.get(item.id), item, **options)
            if change is not None:
                known[item.id] = change.alert
    return known


def one(alerts: dict[UUID, Alert]) -> Alert:
    (alert,) = alerts.values()
    return alert


def flood(n: int, first: int = 0, **more: Any) -> Rows:
    return [
        {"name": i, "attack_type": "SYN_FLOOD", "src_ip": f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}", "at": i / 1000, **more}
        for i in range(first, first + n)
    ]


def test_a_flood_is_one_alert_of_its_target() -> None:
    alert = one(fold([flood(500)]))
    assert (alert.kind, alert.flow_count, alert.severity) == ("flood", 500, 5)
    assert (alert.address("source"), alert.address("target")) == (None, "10.0.0.2")
    assert alert.details["distinct_sources"] == 500
    assert len(alert.details["sources"]) == SAMPLE_SIZE
    assert alert.last_seen - alert.first_seen == 499_000


def test_identity_by_kind() -> None:
    """Two sources, two targets: floods by target, scans by source, brute force by both, others by flow."""
    types, sources, targets = ("UDP_FLOOD", "SYN_SCAN", "SSH_BRUTE_FORCE", "DNS_TUNNEL"), ("1.1.1.1", "2.2.2.2"), ("3.3.3.3", "4.4.4.4")
    rows = [{"name": f"{t}{s}{d}", "attack_type": t, "src_ip": s, "dst_ip": d} for t in types for s in sources for d in targets]
    alerts = fold([rows])
    found = sorted((a.attack_type, a.address("source") or "", a.address("target") or "", a.flow_count) for a in alerts.values())
    assert found == [
        *[("DNS_TUNNEL", s, d, 1) for s in ("1.1.1.1", "2.2.2.2") for d in ("3.3.3.3", "4.4.4.4")],
        *[("SSH_BRUTE_FORCE", s, d, 1) for s in ("1.1.1.1", "2.2.2.2") for d in ("3.3.3.3", "4.4.4.4")],
        *[("SYN_SCAN", s, "", 2) for s in ("1.1.1.1", "2.2.2.2")],
        *[("UDP_FLOOD", "", d, 2) for d in ("3.3.3.3", "4.4.4.4")],
    ]


def test_episode_domain_and_type_part_alerts() -> None:
    rows = flood(1) + flood(1, 1, at=3600) + flood(1, 2, domain="d2") + flood(1, 3, attack_type="UDP_FLOOD")
    assert sorted(a.flow_count for a in fold([rows]).values()) == [1, 1, 1, 1]


def test_benign_rows_raise_nothing() -> None:
    assert fold([[{"name": 1}, {"name": 2, "closed": False}]]) == {}


def test_a_flow_counts_once_however_often_it_is_seen() -> None:
    open_rows = flood(30, closed=False)
    closed = flood(30, lasts=5)
    alert = one(fold([open_rows, open_rows[:7], closed[10:], open_rows, closed, closed]))
    assert alert.flow_count == 30
    assert alert.last_seen - alert.first_seen == 29_000 + 5_000_000


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(st.data())
def test_any_order_and_repetition_comes_to_the_same(data: st.DataObject) -> None:
    rows: Rows = flood(40, lasts=1) + [
        {"name": f"scan{i}", "attack_type": "SYN_SCAN", "dst_ip": f"10.9.0.{i}", "dst_port": i, "confidence_score": i / 50}
        for i in range(40)
    ]
    rows += [{"name": f"bot{i}", "attack_type": "BOTNET_BEACON", "closed": c, "lasts": 1 + c} for i in range(5) for c in (False, True)]
    expected = fold([rows])
    mixed = data.draw(st.permutations(rows)) + data.draw(st.lists(st.sampled_from(rows), max_size=60))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(mixed)), max_size=6)))
    batches = [mixed[a:b] for a, b in zip([0, *cuts], [*cuts, len(mixed)], strict=True)]
    found = fold(batches)
    assert found.keys() == expected.keys()
    for key, alert in found.items():
        want = expected[key]
        for name in ("attack_type", "flow_count", "severity", "first_seen", "last_seen"):
            assert getattr(alert, name) == getattr(want, name), name
        assert alert.confidence == pytest.approx(want.confidence)
        # When it was raised depends on what came first, and only that.
        assert {k: v for k, v in alert.details.items() if k != "evidence_time"} == {
            k: v for k, v in want.details.items() if k != "evidence_time"
        }


def test_nothing_new_is_no_change() -> None:
    known = fold([flood(10)])
    (item,) = alertbook.gather([evidence.partials(evidence.attacks(table(flood(10)), FLOWS.alerts), FLOWS.alerts, 3600)])
    assert alertbook.apply(one(known), item) is None


def test_the_closed_record_names_a_per_flow_alert() -> None:
    snapshot = {"name": "f", "attack_type": "Heartbleed", "closed": False, "lasts": 1}
    closed = {"name": "f", "attack_type": "Infiltration", "lasts": 9}
    for batches in ([[snapshot], [closed]], [[closed], [snapshot]], [[closed, snapshot]]):
        alert = one(fold(batches))
        assert (alert.attack_type, alert.details["closed"], alert.flow_count) == ("Infiltration", True, 1)
        assert alert.details["flow_id"] == flow_id("f")


def test_what_repeats_is_one_alert_a_source_and_target_and_tells_of_its_newest_flow() -> None:
    flows = [{"name": i, "attack_type": "BOTNET_BEACON", "at": 60 * i, "lasts": 1} for i in range(30)]
    flows.append({"name": 29, "attack_type": "BOTNET_BEACON", "at": 60 * 29, "lasts": 1, "closed": False})
    orders = [[flows], [[flow] for flow in flows], [[flow] for flow in reversed(flows)], [flows[::2], flows[1::2], flows]]
    found = [one(fold(batches)) for batches in orders]
    assert [alert.flow_count for alert in found] == [30] * 4
    for alert in found:
        alert.details.pop("evidence_time")  # of the packet that sufficed: another in another order
    assert all(alert.details == found[0].details for alert in found[1:])
    newest = found[0].details["last_flow"]
    assert (newest["flow_id"], newest["closed"], newest["protocol"]) == (flow_id(29), True, 6)
    assert len(found[0].details["flow_ids"]) == SAMPLE_SIZE
    assert set(found[0].details["flow_ids"]) <= {flow_id(i) for i in range(30)}


def test_unknown_label_is_an_alert_per_flow_of_severity_3() -> None:
    alert = one(fold([[{"attack_type": "Heartbleed"}]]))
    assert (alert.kind, alert.severity, alert.attack_type) == ("per-flow", 3, "Heartbleed")
    assert kind_of("BENIGN", BY_NAME) == "per-flow"


def test_severity() -> None:
    assert severity("SYN_SCAN", 0.9, 1, BY_NAME) == 2
    assert severity("SYN_SCAN", 0.9, MANY_FLOWS, BY_NAME) == 3
    assert severity("SYN_SCAN", 0.5, 1, BY_NAME) == 1
    assert severity("SYN_FLOOD", 0.99, 10**6, BY_NAME) == 5


def test_severity_never_falls_and_min_severity_holds_messages_back() -> None:
    scan = [{"name": i, "attack_type": "SYN_SCAN", "dst_ip": "10.1.1.1", "dst_port": i} for i in range(MANY_FLOWS)]
    known = fold([scan[:5]], min_severity=3)
    assert one(known).severity == 2
    (item,) = alertbook.gather([evidence.partials(evidence.attacks(table(scan), FLOWS.alerts), FLOWS.alerts, 3600)])
    change = alertbook.apply(one(known), item, min_severity=3)
    assert change is not None
    assert change.notify
    assert change.alert.severity == 3
    assert evidence.attacks(table(scan[:5]), FLOWS.alerts, min_severity=4).num_rows == 0  # not even its thousandth flow could make it 4


def test_memory_is_bounded_and_the_count_goes_on() -> None:
    alert = one(fold([flood(100, 100 * i) for i in range(10)], max_flows=300))
    assert alert.flow_count == 1000
    assert len(alert.known) <= 300
    assert alert.base_count == 700


def test_sketch_is_exact_below_its_size_and_close_above() -> None:
    small = np.unique(sketch.hashes([str(i) for i in range(SKETCH_SIZE - 1)]))
    assert sketch.estimate(small) == SKETCH_SIZE - 1
    large = np.unique(sketch.hashes([str(i) for i in range(100_000)]))[:SKETCH_SIZE]
    assert sketch.estimate(large) == pytest.approx(100_000, rel=0.15)  # five standard errors
    assert (sketch.union(large, small) == large).all()
    assert (sketch.unpack(sketch.pack(large)) == large).all()


def test_sample_does_not_depend_on_order() -> None:
    values = [f"10.0.0.{i}" for i in range(200)]
    expected = sketch.sample(values)
    random.Random(1).shuffle(values)
    assert sketch.sample([*sketch.sample(values[:90]), *values[90:], *values[:90]]) == expected
    assert len(expected) == SAMPLE_SIZE


def test_message_has_the_contract_and_the_key_is_the_source() -> None:
    alert = one(fold([[{"name": "x", "attack_type": "BOTNET_BEACON", "src_ip": "10.7.7.7"}]]))
    sent = alertbook.message(alert)
    assert sent["id"] == str(alert.id)
    assert (sent["src_ip"], sent["dst_ip"], sent["severity"], sent["timestamp"]) == ("10.7.7.7", "10.0.0.2", 4, "2026-03-01T12:00:00Z")
    assert alertbook.key(alert) == "10.7.7.7"
    assert alertbook.key(one(fold([flood(2)]))) == "10.0.0.2"


def test_partials_of_nothing() -> None:
    assert evidence.partials(evidence.attacks(table([]), FLOWS.alerts), FLOWS.alerts, 60).num_rows == 0
    assert isinstance(evidence.partials(evidence.attacks(table(flood(3)), FLOWS.alerts), FLOWS.alerts, 60), pa.Table)


def test_ids_are_version_5_uuids() -> None:
    assert alert_id("scan|x|ä") == uuid5(NAMESPACE, "scan|x|ä")


def test_one_flow_says_the_same_as_the_same_flow_twice() -> None:
    rows = [
        {"name": i, "attack_type": kind, "src_ip": f"10.0.0.{i}", "dst_ip": f"10.1.0.{i}", "dst_port": i, "at": i, "lasts": i}
        for i, kind in enumerate(("SYN_SCAN", "UDP_FLOOD", "SSH_BRUTE_FORCE", "SYN_SCAN"))
    ]
    once, twice = (
        evidence.partials(evidence.attacks(table(r), FLOWS.alerts), FLOWS.alerts, 3600).sort_by("id") for r in (rows, rows + rows)
    )
    assert once.num_rows == 4
    assert once.to_pylist() == twice.to_pylist()


def test_times_that_no_date_can_tell_are_found() -> None:
    rows = evidence.attacks(table([{"name": i, "attack_type": "DNS_TUNNEL"} for i in range(2)]), FLOWS.alerts)
    assert evidence.bad_times(rows) == []
    far = pa.array([0, 1 << 62], pa.int64()).cast(pa.timestamp("us", tz="UTC"))
    assert evidence.bad_times(rows.set_column(rows.schema.get_field_index("end_time"), "end_time", far)) == [1 << 62]


@pytest.mark.parametrize(
    ("attack_type", "given_before"),
    [
        ("SSH_BRUTE_FORCE", "bb371384-b969-59c6-872f-11360fe66e83"),
        ("SYN_SCAN", "ed4f55be-e439-5ac1-b313-27514c05b919"),
        ("SYN_FLOOD", "29dec612-ba34-577a-92c8-67e949512add"),
        ("Heartbleed", "499a788d-ba2d-55e6-82f2-824df99480dc"),
    ],
)
def test_ids_are_those_of_earlier_versions(attack_type: str, given_before: str) -> None:
    key = alert_key(kind_of(attack_type, BY_NAME), attack_type, "d1", 7, "10.0.0.1", "10.0.0.2", "f1")
    assert alert_id(key) == UUID(given_before)


@pytest.mark.parametrize("count", [1, 3])
def test_records_without_a_target_are_about_none(count: int) -> None:
    rows = [{"name": n, "attack_type": "SYN_SCAN", "dst_ip": "", "at": n} for n in range(count)]
    details = one(fold([rows])).details
    assert (details["sources"], details["distinct_sources"]) == (["10.0.0.1"], 1)
    assert (details["targets"], details["distinct_targets"]) == ([], 0)
