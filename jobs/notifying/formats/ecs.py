"""Elastic Common Schema 8 (elastic.co/guide/en/ecs/8.17): what it has no field for is below ``flowlake``."""

from __future__ import annotations

from typing import Any

from jobs.notifying.formats.product import NAME, VENDOR, addresses, version
from jobs.notifying.notice import Notice

ECS_VERSION = "8.17.0"


def document(notice: Notice) -> dict[str, Any]:
    """One document."""
    sources, targets = addresses(notice.sources), addresses(notice.targets)
    event = {
        "id": notice.id,
        "kind": "event" if notice.over or notice.news == "test" else "alert",
        "category": [] if notice.subject == "condition" else ["intrusion_detection", "network"],
        "type": ["info"],
        "action": notice.news,
        "module": NAME,
        "dataset": f"{NAME}.{notice.subject}",
        "provider": NAME,
        "severity": notice.severity,
        "created": notice.at,
        "start": notice.first_seen,
        "end": notice.last_seen,
        "reason": notice.title,
        "url": notice.link,
    }
    threat = {
        "framework": "MITRE ATT&CK",
        "technique": {"id": list(notice.techniques)},
    }
    about = {
        name: value
        for name, value in notice.plain().items()
        if name not in ("id", "at", "link", "severity", "sources", "targets", "techniques", "first_seen", "last_seen", "news")
    }
    found: dict[str, Any] = {
        "@timestamp": notice.at,
        "ecs": {"version": ECS_VERSION},
        "message": f"{notice.headline}\n{notice.description}".strip(),
        "event": {name: value for name, value in event.items() if value},
        "observer": {"vendor": VENDOR, "product": NAME, "version": version(), "type": "ids"},
        "rule": {"name": notice.kinds[0] if notice.kinds else notice.subject, "category": ", ".join(notice.stages) or notice.subject},
        "tags": [f"{NAME}-{notice.news}"],
        NAME: about,
    }
    if notice.techniques:
        found["threat"] = threat
    for side, ips in (("source", sources), ("destination", targets)):
        if len(ips) == 1:
            found[side] = {"ip": ips[0], "address": ips[0]}
    ips = list(dict.fromkeys([*sources, *targets]))
    hosts = [name for name in dict.fromkeys([*notice.sources, *notice.targets]) if not addresses((name,))]
    if ips or hosts:
        found["related"] = {name: values for name, values in (("ip", ips), ("hosts", hosts)) if values}
    return found
