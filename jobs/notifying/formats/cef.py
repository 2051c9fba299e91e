r"""CEF: ArcSight's Common Event Format, version 0 (Implementing ArcSight Common Event Format, version 25).

In the head a backslash and a bar are escaped, in the extension a backslash and an equals sign; a line break is ``\n`` there, and
nothing in the head.
"""

from __future__ import annotations

import re
from ipaddress import ip_address

from jobs.notifying.formats.product import NAME, VENDOR, addresses, milliseconds, version
from jobs.notifying.notice import Notice

#: Priority LOW .. CRITICAL in CEF's 0 .. 10 (low 0-3, medium 4-6, high 7-8, very high 9-10).
_SEVERITIES = (3, 6, 8, 10)
#: Characters of msg and of the other texts (the dictionary of the extension).
_MSG, _TEXT = 1023, 1023


def event(notice: Notice) -> str:
    """One line."""
    head = (VENDOR, NAME, version(), _class(notice), notice.headline, str(0 if notice.news == "test" else _SEVERITIES[notice.degree]))
    extension = " ".join(f"{name}={in_extension(value)}" for name, value in _extension(notice) if value)
    return f"CEF:0|{'|'.join(in_head(value) for value in head)}|{extension}"


def in_head(text: str) -> str:
    """A field of the head."""
    return re.sub(r"\s+", " ", text).strip().replace("\\", "\\\\").replace("|", "\\|")


def in_extension(text: str) -> str:
    """A value of the extension."""
    return text.replace("\\", "\\\\").replace("=", "\\=").replace("\r\n", "\\n").replace("\n", "\\n").replace("\r", "\\n")


def _class(notice: Notice) -> str:
    """Device event class: the first attack type, so that rules of the receiver can tell them apart."""
    return notice.kinds[0] if notice.kinds and notice.subject != "digest" else notice.subject.upper()


def _extension(notice: Notice) -> list[tuple[str, str]]:
    sources, targets = addresses(notice.sources), addresses(notice.targets)
    return [
        ("externalId", notice.id),
        ("rt", str(milliseconds(notice.at))),
        ("start", str(milliseconds(notice.first_seen)) if notice.first_seen else ""),
        ("end", str(milliseconds(notice.last_seen)) if notice.last_seen else ""),
        ("act", notice.news),
        ("outcome", notice.status.lower()),
        ("cnt", str(notice.alerts) if notice.alerts else ""),
        *_address("src", "c6a2", "Source IPv6 Address", sources),
        *_address("dst", "c6a3", "Destination IPv6 Address", targets),
        *_custom(1, "condition" if notice.subject == "condition" else "incident", notice.key),
        *_custom(2, "kinds" if notice.subject == "condition" else "attackTypes", ", ".join(notice.kinds)),
        *_custom(3, "techniques", ", ".join(notice.techniques)),
        *_custom(4, "sources", ", ".join(notice.sources)),
        *_custom(5, "targets", ", ".join(notice.targets)),
        *_custom(6, "priority", notice.priority),
        ("request", notice.link),
        ("msg", (notice.note or notice.description or notice.title)[:_MSG]),
    ]


def _address(key: str, key6: str, label: str, found: list[str]) -> list[tuple[str, str]]:
    """The only address of a side; several are in their custom string. ``src`` and ``dst`` take IPv4 alone."""
    if len(found) != 1:
        return []
    return [(key, found[0])] if ip_address(found[0]).version == 4 else [(key6, found[0]), (f"{key6}Label", label)]


def _custom(number: int, label: str, value: str) -> list[tuple[str, str]]:
    return [(f"cs{number}Label", label), (f"cs{number}", value[:_TEXT])] if value else []
