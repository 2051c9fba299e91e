"""Notices for tests, one of them as hostile as an attacker may make it."""

from __future__ import annotations

from typing import Any

from jobs.notifying.notice import Notice

HOSTILE = (
    "<script>alert(1)</script> <!channel> @here &amp; <https://evil.example|click> '; DROP TABLE alerts; -- |a=b\\c| \x1b[2J\x07 "
    "x\r\nBcc: all@example.org\r\n\r\nbody \u202egnp.exe \udcff =cmd|' /C calc'!A0"
)


def notice(**given: Any) -> Notice:
    """A new incident, of two kinds, of one source at one target."""
    values: dict[str, Any] = {
        "id": "11111111-1111-4111-8111-111111111111", "key": "22222222-2222-4222-8222-222222222222", "news": "new", "subject": "incident",
        "subject_id": "22222222-2222-4222-8222-222222222222", "at": "2026-03-01T12:00:00.250Z",
        "title": "SYN scan, then SSH brute force: 203.0.113.7 -> 192.0.2.10", "description": "SYN scan: 1 alert, 30 flows.\nSSH: 20 flows.",
        "priority": "HIGH", "severity": 4, "kinds": ("SYN_SCAN", "SSH_BRUTE_FORCE"), "stages": ("reconnaissance", "break-in"),
        "techniques": ("T1046", "T1110.001"), "sources": ("203.0.113.7",), "targets": ("192.0.2.10",), "alerts": 2, "flows": 50,
        "first_seen": "2026-03-01T11:50:00.000Z", "last_seen": "2026-03-01T11:59:00.000Z", "link": "https://soc.example/i/2222",
    }  # fmt: skip
    return Notice(**{**values, **given})


def hostile(**given: Any) -> Notice:
    """The same, each text of which is :data:`HOSTILE`."""
    texts = dict.fromkeys(("title", "description", "note", "assigned_to", "closed_by"), HOSTILE)
    lists = dict.fromkeys(("kinds", "sources", "targets", "techniques", "stages"), (HOSTILE,))
    return notice(**{**texts, **lists, **given})
