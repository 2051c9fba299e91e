"""Two lists of records against each other."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import UTC
from ipaddress import ip_address
from typing import Any

#: A digest over the other fields of the key; it has tests of its own.
NOT_COMPARED = frozenset({"flow_id"})


def _norm(name: str, value: Any) -> Any:
    if name in ("src_ip", "dst_ip"):
        return str(ip_address(value))  # one spelling of an address
    if name in ("start_time", "end_time"):
        return value.astimezone(UTC)
    return value


def _identity(record: dict[str, Any]) -> tuple[Any, ...]:
    ends = sorted((_norm("src_ip", record[f"{e}_ip"]), record[f"{e}_port"]) for e in ("src", "dst"))
    times = _norm("start_time", record["start_time"]), _norm("end_time", record["end_time"])
    return (*ends, record["protocol"], *times, record["part"], record["total_fwd_packets"] + record["total_backward_packets"])


def equal(a: Any, b: Any) -> bool:
    """Integers and text exactly, floats to 1e-9 relative."""
    if isinstance(a, float) or isinstance(b, float):
        return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9)
    return bool(a == b)


def differences(expected: Iterable[dict[str, Any]], got: Iterable[dict[str, Any]], fields: Sequence[str] | None = None) -> list[str]:
    """One line for each difference; empty when both hold the same set of records."""
    ours, theirs = sorted(expected, key=_identity), sorted(got, key=_identity)
    if [_identity(r) for r in ours] != [_identity(r) for r in theirs]:
        a, b = [(*_identity(r), r["end_reason"]) for r in ours], [(*_identity(r), r["end_reason"]) for r in theirs]
        return [f"only expected: {r}" for r in a if r not in b] + [f"only got: {r}" for r in b if r not in a] or ["multiplicity"]
    lines = []
    for e, g in zip(ours, theirs, strict=True):
        for name in fields or [n for n in g if n not in NOT_COMPARED]:
            if not equal(_norm(name, e[name]), _norm(name, g[name])):
                lines.append(f"{_identity(e)}: {name}: expected {e[name]!r}, got {g[name]!r}")
    return lines
