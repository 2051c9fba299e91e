"""What a channel is told: one message, before it takes the shape that a receiver wants. Pure.

Its words may come from an attacker (a title names hosts, a note what somebody pasted). They are cleaned here of what no receiver should
see, control characters and lone surrogates; what has a meaning in a format (HTML, Slack's mrkdwn, CEF) is escaped where it is made.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, Literal

from infra.names import valid_text
from infra.plurals import counted
from schemas.incidents import PRIORITIES

#: Version of our JSON.
VERSION = 1
#: ``new``, ``raised`` (in priority), ``grown`` (an update that a channel asked for), ``reopened``, ``resolved`` (also: a false alarm, or
#: merged into another), ``digest`` (of what was held back), ``test``.
News = Literal["new", "raised", "grown", "reopened", "resolved", "digest", "test"]
#: Characters of a title, a description, a note.
MAX_TITLE, MAX_TEXT = 300, 4000
#: Names in a list.
MAX_NAMES = 20


@dataclass(frozen=True)
class Notice:
    """One message about an incident, an alert, a condition of the platform, or what was held back.

    ``id`` is that of the message, the same at every attempt; ``key`` that of all messages about one thing. Times: ISO 8601, UTC.
    ``severity``: 1 .. 5, the highest of the alerts. ``counts``, in a digest: ``kinds``, ``priorities`` and ``sources`` by name.
    """

    id: str
    key: str
    news: News
    subject: str  # incident, alert, condition, digest, test
    at: str
    title: str
    subject_id: str = ""
    description: str = ""
    priority: str = "LOW"
    before: str = ""
    severity: int = 1
    status: str = "OPEN"
    assigned_to: str = ""
    closed_by: str = ""
    note: str = ""
    merged_into: str = ""
    kinds: tuple[str, ...] = ()
    stages: tuple[str, ...] = ()
    techniques: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    alerts: int = 0
    flows: int = 0
    first_seen: str = ""
    last_seen: str = ""
    link: str = ""
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, most in (("title", MAX_TITLE), ("assigned_to", 100), ("closed_by", 100)):
            object.__setattr__(self, name, line(getattr(self, name), most))
        for name in ("description", "note"):
            object.__setattr__(self, name, lines(getattr(self, name), MAX_TEXT))
        for name in ("kinds", "stages", "techniques", "sources", "targets"):
            object.__setattr__(self, name, tuple(line(str(value), 100) for value in getattr(self, name)[:MAX_NAMES]))

    @property
    def degree(self) -> int:
        """Of the priority: 0 (LOW) .. 3 (CRITICAL)."""
        return PRIORITIES.index(self.priority)

    @property
    def over(self) -> bool:
        """Nobody has to do anything about it any more."""
        return self.news == "resolved"

    @property
    def headline(self) -> str:
        """One line: what is new, how urgent, what it is about."""
        return f"[{self.priority}] {self.what}: {self.title}" if self.subject != "digest" else f"[{self.priority}] {self.title}"

    @property
    def what(self) -> str:
        """What is new, in words."""
        noun = "Test" if self.news == "test" else {"alert": "Alert", "condition": "Condition"}.get(self.subject, "Incident")
        if self.news == "resolved":
            if self.subject == "condition":
                return "Condition is over"
            closed = {"RESOLVED": "resolved", "FALSE_POSITIVE": "was a false alarm"}.get(self.status, "is no more")
            return f"{noun} {'merged into another' if self.merged_into else closed}"
        return {
            "new": f"New {noun.lower()}", "raised": f"{noun} more urgent, was {self.before}", "grown": f"{noun} goes on",
            "reopened": f"{noun} opened again",
        }.get(self.news, noun)  # fmt: skip

    def facts(self) -> list[tuple[str, str]]:
        """What a person wants to know, by name; without what is not known."""
        found = [
            ("Priority", f"{self.priority} (was {self.before})" if self.before else self.priority),
            ("Status", self.status.replace("_", " ").lower() if self.subject != "digest" else ""),
            ("Assigned to", self.assigned_to),
            ("Closed by", self.closed_by),
            ("Merged into", self.merged_into),
            ("Kinds", ", ".join(self.kinds)),
            ("Sources", ", ".join(self.sources)),
            ("Targets", ", ".join(self.targets)),
            ("Evidence", f"{counted(self.alerts, 'alert')}, {counted(self.flows, 'flow')}" if self.alerts else ""),
            ("Seen", f"{self.first_seen} to {self.last_seen}" if self.first_seen else ""),
            ("MITRE ATT&CK", ", ".join(self.techniques)),
            ("Note", self.note),
            *((name.capitalize(), ", ".join(f"{key} {count:,}" for key, count in of.items())) for name, of in self.counts.items()),
            ("Id", self.subject_id),
            ("Look", self.link or (f"flowlake incidents show {self.subject_id}" if self.subject == "incident" else "")),
        ]
        return [(name, value) for name, value in found if value]

    def plain(self) -> dict[str, Any]:
        """Our JSON, version :data:`VERSION`; what is empty is left out."""
        values = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        return {"version": VERSION, **{name: value for name, value in values.items() if value not in ("", [], {}, None)}}

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Notice:
        """Inverse of :meth:`plain`."""
        known = {f.name for f in fields(cls)}
        values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in body.items() if name in known}
        return cls(**values)


def line(text: str, most: int) -> str:
    """One line, of so many characters at most: without anything that is no text, such as line breaks, terminal escapes, text direction."""
    return _cut(re.sub(r"\s+", " ", _printable(text, "")).strip(), most)


def lines(text: str, most: int) -> str:
    """As :func:`line`, but ends of lines stay."""
    return _cut(_printable(text.replace("\r\n", "\n"), "\n").strip(), most)


def _printable(text: str, kept: str) -> str:
    return "".join(c if c in kept or c.isprintable() else " " for c in valid_text(text))


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."


def iso(at: datetime) -> str:
    """A moment as text, in UTC, to the millisecond."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def names(values: Any) -> tuple[str, ...]:
    """A list of JSON as names; of anything else nothing."""
    return tuple(str(value) for value in values) if isinstance(values, Sequence) and not isinstance(values, str) else ()
