"""CSV files as other systems write them, for the tests of moving in."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from schemas.cicflowcsv import TOP_FEATURES
from schemas.features import ALL_FEATURES

T0 = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
#: The reference's columns: Timestamp, its 20 features by CICFlowMeter's older names, label, confidence.
OLD_NAMES = [
    "Flow Duration",
    "Total Fwd Packets",
    "Total Backward Packets",
    "Total Length of Fwd Packets",
    "Total Length of Bwd Packets",
    "Flow Bytes/s",
    "Flow Packets/s",
    "Flow IAT Mean",
    "Fwd IAT Total",
    "Bwd IAT Total",
    "Fwd PSH Flags",
    "Fwd Header Length",
    "Fwd Packets/s",
    "Min Packet Length",
    "Max Packet Length",
    "Packet Length Mean",
    "Packet Length Std",
    "Packet Length Variance",
    "ACK Flag Count",
    "Average Packet Size",
]
REFERENCE = ("Timestamp", *OLD_NAMES, "Predicted_Label", "Confidence_Score")
_KINDS = {feature.name: feature.kind for feature in ALL_FEATURES}


def row(number: int, **changed: Any) -> dict[str, str]:
    """Row ``number`` of a file, by the reference's names; ``changed`` by theirs, blanks and slashes as ``_``."""
    found = {"Timestamp": (T0 + timedelta(seconds=number, microseconds=number % 7)).replace(tzinfo=None).isoformat()}
    for place, (name, old) in enumerate(zip(TOP_FEATURES, OLD_NAMES, strict=True)):
        value = number * 31 + place
        found[old] = f"{value}.0" if _KINDS[name] == "int" else f"{value / 7:.6f}"
    found |= {"Predicted_Label": str((number % 5 == 0 and 1) or 0), "Confidence_Score": f"{number % 100 / 100:.4f}"}
    for name, value in changed.items():
        wanted = next(old for old in REFERENCE if old.replace(" ", "_").replace("/", "_") == name)
        found[wanted] = str(value)
    return found


def rows(count: int, first: int = 0) -> list[dict[str, str]]:
    return [row(number) for number in range(first, first + count)]


def text(found: Iterable[Mapping[str, str]], names: Sequence[str] = REFERENCE, *, header: bool = True, delimiter: str = ",") -> str:
    """The file's content."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
    if header:
        writer.writerow(names)
    writer.writerows([line[name] for name in REFERENCE] for line in found)
    return out.getvalue()
