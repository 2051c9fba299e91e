"""The page of an alert, whatever the alert holds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ops.cli import alertpage
from schemas import techniques
from schemas.labels import LABELS

T0 = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ALERT: dict[str, Any] = {
    "id": "0b4c1f6e-3f1c-5d2e-9a53-d5a3a9a0c7de", "attack_type": "SYN_SCAN", "description": "half-open scan", "kind": "scan",
    "src_ip": "10.0.0.1", "dst_ip": None, "first_seen": T0, "last_seen": T0 + timedelta(seconds=90), "created_at": T0, "flow_count": 1200,
    "severity": 3, "confidence": 0.93, "model_version": "7", "sensor_id": "s1", "domain": "d1", "resolved_at": None, "resolved_by": None,
    "record_type": "flows", "action_taken": "none", "incident": None,
    "technique": {"id": "T1046", "name": "Network Service Discovery", "url": "https://x/"},
    "check": "which ports answered", "history": [],
    "details": {"targets": [f"10.0.1.{n}" for n in range(20)], "distinct_targets": 254, "ports": [22, 80], "flow_ids": ["a", "b"]},
}  # fmt: skip
WHY = {
    "flow_id": "f1",
    "base": 0.01,
    "score": 0.93,
    "features": [
        {"feature": "flow_duration", "value": 12, "contribution": 0.1, "usual": [1000, 250000]},
        {"feature": "syn_flag_count", "value": 1.0, "contribution": -0.75, "usual": [2, 4]},
    ],
}


def page(**changed: Any) -> str:
    return "\n".join(alertpage.lines({**ALERT, **changed}))


def test_who_is_one_address_or_a_crowd() -> None:
    assert "who         10.0.0.1 -> 254 targets (10.0.1.0, 10.0.1.1, 10.0.1.2, ...), ports 22, 80" in page()
    single = page(src_ip="2001:db8::1", dst_ip="2001:db8::2", details={"dst_port": 443})
    assert "2001:db8::1 -> 2001:db8::2, port 443" in single
    assert "10.0.0.1 -> many targets" in page(details={})
    crowd = {"targets": [f"10.0.1.{n}" for n in range(20)], "distinct_targets": 2744}
    assert "10.0.0.1 -> about 2,744 targets (" in page(details=crowd)


def test_an_alert_about_other_records_names_no_hosts_and_no_frames() -> None:
    text = page(record_type="readings", src_ip=None, details={"flow_id": "r1", "device": "d7", "value": 3.5, "closed": True, "odd": [1]})
    assert "details     device d7, value 3.5, closed True" in text
    assert not [line for line in text.splitlines() if line.startswith("who")]
    assert "pcap" not in text
    repeated = page(details={"last_flow": {"flow_id": "f", "community_id": "1:abc=", "protocol": 6, "dst_port": 80}, "flow_ids": ["f"]})
    assert "details     community_id 1:abc=, protocol 6" in repeated


def test_the_features_that_did_most_come_first() -> None:
    text = page(details={"why": WHY})
    assert "why: the score of flow f1 is 0.93, 0.01 for any flow" in text
    assert text.index("  -0.750  SYN Flag Count 1 packets, usually 2 to 4 packets") < text.index(
        "  +0.100  Flow Duration 12 us, usually 1 to 250 ms"
    )
    away = {"feature": "idle_max", "value": 9, "contribution": 0.0, "usual": [0, 1]}
    unknown = page(details={"why": {**WHY, "features": [*WHY["features"], away], "others": -0.25}})
    assert unknown.index("   unusual  Idle Max") < unknown.index("  -0.750  SYN Flag Count")
    assert "  -0.250  all other features together" in unknown
    many = {**WHY, "features": [{"feature": f"f{n}", "value": n, "contribution": n} for n in range(20)]}
    assert "and 12 features that did less" in page(details={"why": [many]})


@pytest.mark.parametrize(
    ("details", "said"),
    [
        ({}, "why: not known: the alert holds no explanation of the score"),
        ({"why": {"missing": "model-kind: no forest"}}, "why: not known (model-kind: no forest)"),
        ({"why": "text"}, "why: not known"),
        ({"why": {"features": None}}, "why: not known"),
        ({"why": {"features": [{"feature": "x"}]}}, "+0.000  x"),
        ({"why": {"features": [{"feature": "x", "value": None, "contribution": "much", "usual": "12"}]}}, "x = None"),
    ],
)
def test_an_explanation_that_is_missing_or_odd_is_no_failure(details: dict[str, Any], said: str) -> None:
    assert said in page(details=details)


def test_state_and_what_leads_on() -> None:
    assert "silenced by entry 8" in page(suppressed_by=8)
    text = page()
    assert "state       open" in text
    assert "flowlake alerts pcap 0b4c1f6e --out 0b4c1f6e.pcap" in text
    assert "flowlake alerts resolve 0b4c1f6e" in text
    done = page(
        resolved_at=T0, resolved_by="anna", action_taken="blocked",
        incident={"id": "77aa01d2-3f1c", "title": "Scan", "status": "OPEN", "priority": "LOW", "assigned_to": None},
    )  # fmt: skip
    assert "resolved by anna at 2026-03-01T12:00:00Z: blocked" in done
    assert "Scan  (LOW, OPEN, assigned to nobody)  77aa01d2-3f1c" in done
    assert "flowlake incidents show 77aa01d2" in done
    assert "flowlake alerts resolve" not in done


def test_history_and_the_lack_of_the_right_to_read_it() -> None:
    row = {"timestamp": T0, "user_id": "anna", "what": "resolved by anna"}
    assert "  2026-03-01T12:00:00Z  anna: resolved by anna" in page(history=[row])
    assert "may not read the audit" in page(history=None)
    assert "nobody has changed it" in page()


@pytest.mark.parametrize("hostile", ["\x1b[2J\x1b]0;owned\x07", "a\nstate       resolved", "\u202e\u2028", "x" * 10_000])
def test_hostile_text_stays_in_its_line(hostile: str) -> None:
    evil = {"feature": hostile, "value": hostile, "contribution": 1, "usual": [hostile, hostile]}
    text = page(
        attack_type=hostile, sensor_id=hostile, domain=hostile, model_version=hostile, resolved_at=T0, resolved_by=hostile,
        action_taken=hostile, history=[{"timestamp": T0, "user_id": hostile, "what": hostile}], src_ip=None,
        details={"why": {"flow_id": hostile, "score": hostile, "base": hostile, "features": [evil]}, "sources": [hostile],
                 "targets": [hostile], "ports": [hostile], "flow_ids": [hostile]},
        incident={"id": "i", "title": hostile, "status": "OPEN", "priority": "LOW", "assigned_to": hostile},
    )  # fmt: skip
    assert not [c for c in text if c != "\n" and (ord(c) < 32 or ord(c) == 127 or c == "\u2028")]
    assert [line for line in text.splitlines() if line.startswith("state")] != ["state       resolved"]
    assert max(map(len, text.splitlines())) < 1200


def test_every_technique_of_a_label_has_a_name_and_a_page() -> None:
    used = {label.technique for label in LABELS if label.technique}
    assert used <= set(techniques.NAMES)
    assert techniques.url("T1498.001") == "https://attack.mitre.org/techniques/T1498/001/"
