"""Purity and completeness of incidents, on alerts made by hand."""

from __future__ import annotations

from dataclasses import replace

from ops.harness.grouping import judge
from ops.harness.stores import AlertRow
from tests.unit.ops.demo import cases


def alerts(*given: tuple[int, str]) -> list[AlertRow]:
    """Each about one closed flow, by its number, in an incident."""
    ids = cases.closed()["flow_id"].to_pylist()
    return [replace(cases.alert(n, "X", 1.0), id=f"a{n}", incident=incident, flows=(ids[n],)) for n, incident in given]


ATTACKS = [n for n, label in enumerate(cases.TRUTH) if label != "BENIGN"]
BENIGN = cases.TRUTH.index("BENIGN")


def test_one_incident_a_campaign() -> None:
    labels = {cases.TRUTH[n] for n in ATTACKS}
    found = judge(alerts(*((n, cases.TRUTH[n]) for n in ATTACKS)), cases.closed(), cases.truth())
    assert (found.incidents, found.campaigns, found.purity, found.completeness, found.false_alerts) == (len(labels), len(labels), 1, 1, 0)
    assert found.missed == ()


def test_two_campaigns_in_one_incident_are_impure() -> None:
    first = ATTACKS[0]
    other = next(n for n in ATTACKS if cases.TRUTH[n] != cases.TRUTH[first])
    found = judge(alerts((first, "i"), (other, "i")), cases.closed(), cases.truth())
    assert (found.incidents, found.purity, found.completeness) == (1, 0.5, 1.0)
    assert set(found.missed) == {cases.TRUTH[n] for n in ATTACKS} - {cases.TRUTH[first], cases.TRUTH[other]}


def test_campaigns_without_an_alert_are_named() -> None:
    assert judge([], cases.closed(), cases.truth()).missed == tuple(sorted({cases.TRUTH[n] for n in ATTACKS}))


def test_a_false_alert_beside_an_attack_is_impure() -> None:
    found = judge(alerts((ATTACKS[0], "i"), (BENIGN, "i")), cases.closed(), cases.truth())
    assert (found.purity, found.completeness, found.false_alerts) == (0.5, 1.0, 1)


def test_without_truth_incidents_are_counted() -> None:
    assert judge(alerts((ATTACKS[0], "i")), cases.closed(), None).purity is None
