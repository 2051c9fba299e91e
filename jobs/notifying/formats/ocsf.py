"""OCSF: a detection finding, class 2004 (schema.ocsf.io/1.3.0/classes/detection_finding)."""

from __future__ import annotations

from typing import Any

from jobs.notifying.formats.product import NAME, VENDOR, address, addresses, milliseconds, version
from jobs.notifying.notice import Notice

OCSF_VERSION = "1.3.0"
_CATEGORY, _CLASS = 2, 2004
#: activity_id: Create, Update, Close, Other.
_ACTIVITIES = {"new": 1, "raised": 2, "grown": 2, "reopened": 2, "resolved": 3}
_ACTIVITY_NAMES = {1: "Create", 2: "Update", 3: "Close"}
_OTHER = 99
#: Priority LOW .. CRITICAL: severity_id.
_SEVERITIES = ((2, "Low"), (3, "Medium"), (4, "High"), (5, "Critical"))
_INFORMATIONAL = (1, "Informational")
#: status_id; a false alarm is resolved, and its detail says so.
_STATUSES = {"OPEN": (1, "New"), "INVESTIGATING": (2, "In Progress"), "RESOLVED": (4, "Resolved"), "FALSE_POSITIVE": (4, "Resolved"),
             "GONE": (4, "Resolved")}  # fmt: skip
#: type_id of an observable that is an address.
_IP_ADDRESS = 2


def finding(notice: Notice) -> dict[str, Any]:
    """One event."""
    activity = _ACTIVITIES.get(notice.news, _OTHER)
    severity, severity_name = _INFORMATIONAL if notice.news == "test" else _SEVERITIES[notice.degree]
    status, status_name = _STATUSES.get(notice.status, (0, "Unknown"))
    found: dict[str, Any] = {
        "category_uid": _CATEGORY,
        "category_name": "Findings",
        "class_uid": _CLASS,
        "class_name": "Detection Finding",
        "activity_id": activity,
        "activity_name": _ACTIVITY_NAMES.get(activity, notice.news.capitalize()),
        "type_uid": _CLASS * 100 + activity,
        "type_name": f"Detection Finding: {_ACTIVITY_NAMES.get(activity, 'Other')}",
        "time": milliseconds(notice.at),
        "severity_id": severity,
        "severity": severity_name,
        "status_id": status,
        "status": status_name,
        "message": notice.headline,
        "metadata": {
            "version": OCSF_VERSION,
            "uid": notice.id,
            "product": {"name": NAME, "vendor_name": VENDOR, "version": version()},
            "log_name": "notifications",
        },
        "finding_info": _info(notice),
    }
    if notice.status in ("FALSE_POSITIVE", "GONE"):
        found["status_detail"] = f"merged into {notice.merged_into}" if notice.merged_into else "false positive"
    if notice.alerts:
        found["count"] = notice.alerts
    if notice.note:
        found["comment"] = notice.note
    if notice.first_seen:
        found |= {"start_time": milliseconds(notice.first_seen), "end_time": milliseconds(notice.last_seen)}
    if evidences := _evidences(notice):
        found["evidences"] = evidences
    if observables := _observables(notice):
        found["observables"] = observables
    if notice.counts or notice.assigned_to or notice.closed_by:
        about = {name: value for name, value in notice.plain().items() if name in ("counts", "assigned_to", "closed_by")}
        found["unmapped"] = about
    return found


def _info(notice: Notice) -> dict[str, Any]:
    info: dict[str, Any] = {
        "uid": notice.key,
        "title": notice.title,
        "desc": notice.description,
        "types": list(notice.kinds),
        "src_url": notice.link,
        # The tactic is not named: a technique belongs to several.
        "attacks": [{"technique": {"uid": technique}} for technique in notice.techniques],
    }
    if notice.first_seen:
        info |= {"first_seen_time": milliseconds(notice.first_seen), "last_seen_time": milliseconds(notice.last_seen)}
    return {name: value for name, value in info.items() if value}


def _evidences(notice: Notice) -> list[dict[str, Any]]:
    """Who and at whom: one where there is one of each, else one a host."""
    sources = [{"src_endpoint": _endpoint(name)} for name in notice.sources]
    targets = [{"dst_endpoint": _endpoint(name)} for name in notice.targets]
    if len(sources) == len(targets) == 1:
        return [{**sources[0], **targets[0]}]
    return [*sources, *targets]


def _endpoint(name: str) -> dict[str, str]:
    return {"ip": found} if (found := address(name)) else {"name": name}


def _observables(notice: Notice) -> list[dict[str, Any]]:
    return [
        {"name": f"evidences.{side}.ip", "type": "IP Address", "type_id": _IP_ADDRESS, "value": ip}
        for side, names in (("src_endpoint", notice.sources), ("dst_endpoint", notice.targets))
        for ip in addresses(names)
    ]
