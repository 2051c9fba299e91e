"""PagerDuty: an event of the Events API v2 (developer.pagerduty.com/docs/send-alert-event).

All messages about one incident have one ``dedup_key``: PagerDuty opens one incident, updates it, and closes it when ours is closed.
"""

from __future__ import annotations

from typing import Any

from jobs.notifying.formats.product import NAME
from jobs.notifying.notice import Notice

#: Priority LOW .. CRITICAL in PagerDuty's words.
_SEVERITIES = ("info", "warning", "error", "critical")
_SUMMARY = 1024


def event(notice: Notice, routing_key: str) -> dict[str, Any]:
    """The body of the POST; ``routing_key`` is the integration key of the service."""
    head: dict[str, Any] = {"routing_key": routing_key, "dedup_key": notice.key}
    if notice.over:
        return {**head, "event_action": "resolve"}
    severity = "info" if notice.news == "test" else _SEVERITIES[notice.degree]
    about = {name: value for name, value in notice.plain().items() if name not in ("id", "key", "link")}
    found: dict[str, Any] = {
        **head,
        "event_action": "trigger",
        "client": NAME,
        "payload": {
            "summary": notice.headline[:_SUMMARY],
            "source": ", ".join(notice.targets[:3]) or NAME,
            "severity": severity,
            "timestamp": notice.at,
            "component": ", ".join(notice.targets[:3]) or NAME,
            "group": ", ".join(notice.stages) or notice.subject,
            "class": ", ".join(notice.kinds[:3]) or notice.news,
            "custom_details": about,
        },
    }
    if notice.link:
        found |= {"client_url": notice.link, "links": [{"href": notice.link, "text": "incident"}]}
    return found
