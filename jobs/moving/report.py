"""What a migration did, in numbers that add up."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any


@dataclass
class StoreCounts:
    """Rows of a file and a store: ``written`` are new, ``there`` were there, ``earlier`` a run before had done, ``refused``: rejected."""

    written: int = 0
    there: int = 0
    earlier: int = 0
    refused: int = 0


@dataclass
class FileReport:
    """One file. ``lines`` are those of this run: from ``resumed_at`` bytes on, up to the size that the file had at the start."""

    path: str
    resumed_at: int = 0
    lines: int = 0
    rows: int = 0
    headers: int = 0
    blank: int = 0
    outside: int = 0
    left_bytes: int = 0
    rejects_file: str = ""
    first_us: int | None = None
    last_us: int | None = None
    reasons: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    extra: tuple[str, ...] = ()
    stores: dict[str, StoreCounts] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def rejected(self) -> int:
        """Lines that became no row."""
        return sum(self.reasons.values())

    @property
    def closes(self) -> bool:
        """Every line is accounted for, and every row in every store."""
        lines = self.rows + self.headers + self.blank + self.outside + self.rejected
        return lines == self.lines and all(s.written + s.there + s.earlier == self.rows for s in self.stores.values())

    def told(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "file": self.path,
            "resumed_at_byte": self.resumed_at,
            "lines": self.lines,
            "rows": self.rows,
            "headers": self.headers,
            "blank": self.blank,
            "outside_of_time": self.outside,
            "rejected": self.rejected,
            "rejected_by_reason": dict(self.reasons.most_common()),
            "rejects_file": self.rejects_file,
            "unfinished_last_line_bytes": self.left_bytes,
            "first": shown(self.first_us),
            "last": shown(self.last_us),
            "labels": dict(self.labels.most_common()),
            "notes": dict(self.notes),
            "columns_left_out": list(self.extra),
            "stores": {
                name: {"written": s.written, "already_there": s.there, "by_an_earlier_run": s.earlier} for name, s in self.stores.items()
            },
            "closes": self.closes,
            "seconds": round(self.seconds, 3),
            "rows_per_second": round(self.rows / self.seconds) if self.seconds else 0,
        }


def shown(us: int | None) -> str | None:
    """A time in ISO 8601."""
    if us is None:
        return None
    return datetime.fromtimestamp(us / 1e6, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
