"""Pure functions: a line to a reading, and readings of a device to the features of records. No Spark, no Kafka."""

from __future__ import annotations

import json
import math
import uuid
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

_NAMESPACE = uuid.UUID("0f0c2a52-6f0e-5b8e-9f6a-3f2f6a3c9d11")
_LATEST = 253_402_300_800 * 1_000_000  # the year 10000, us


@dataclass(frozen=True)
class Reading:
    """One reading: the device's name, time (us since the epoch), value."""

    device: str
    time_us: int
    value: float


def parse(line: bytes) -> Reading:
    """A reading from a line of JSON: ``{"device": "boiler-1", "time": "2026-03-01T12:00:00Z", "value": 21.5}``.

    Raises
    ------
    ValueError
        It is none; the text says why, beginning with a short code.
    """
    try:
        given = json.loads(line)
    except ValueError as e:
        raise ValueError(f"json: {e}") from e
    if not isinstance(given, dict):
        raise ValueError(f"json: {type(given).__name__}, not an object")
    try:
        device, moment, value = str(given["device"]), datetime.fromisoformat(str(given["time"])), float(given["value"])
    except KeyError as e:
        raise ValueError(f"field: {e.args[0]} is missing") from e
    except (ValueError, TypeError) as e:
        raise ValueError(f"field: {e}") from e
    if not device or not math.isfinite(value):
        raise ValueError(f"field: device {device[:50]!r} or value {value} cannot be used")
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    time_us = round((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1e6)
    if not 0 <= time_us < _LATEST:
        raise ValueError(f"field: time {given['time']} is out of range")
    return Reading(device, time_us, value)


@dataclass(frozen=True)
class History:
    """What is remembered of a device: count, mean and sum of squared differences (Welford 1962), the last reading, its repetitions."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0
    last: float = 0.0
    last_us: int = 0
    repeats: int = 0

    def plain(self) -> dict[str, Any]:
        """For the state store."""
        return asdict(self)


def judge(history: History, reading: Reading) -> tuple[History, dict[str, Any] | None]:
    """The history after a reading, and its record; None for one that is not newer than the last: it was seen before."""
    if history.count and reading.time_us <= history.last_us:
        return history, None
    std = math.sqrt(history.squares / (history.count - 1)) if history.count > 1 else 0.0
    away = reading.value - history.mean if history.count else 0.0
    repeats = history.repeats + 1 if history.count and reading.value == history.last else 0
    record = {
        "reading_id": str(uuid.uuid5(_NAMESPACE, f"{reading.device}|{reading.time_us}")),
        "device": reading.device,
        "reading_time": reading.time_us,
        "value": reading.value,
        "mean": history.mean,
        "std": std,
        "zscore": away / std if std else 0.0,
        "delta": reading.value - history.last if history.count else 0.0,
        "repeats": repeats,
        "gap_s": (reading.time_us - history.last_us) / 1e6 if history.count else 0.0,
    }
    count = history.count + 1
    mean = history.mean + (reading.value - history.mean) / count
    squares = history.squares + (reading.value - history.mean) * (reading.value - mean)
    return replace(history, count=count, mean=mean, squares=squares, last=reading.value, last_us=reading.time_us, repeats=repeats), record
