"""Values as people and as programs read them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from ops.dash import spelling


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0, "short", "0"), (9_999, "short", "9,999"), (12_500, "short", "12.5k"), (3_000_000, "", "3M"), (-12_500, "", "-12.5k"),
        (1.5e15, "", "1,500T"), (0.123456, "", "0.123"), (Decimal("12.00"), "", "12"), (Decimal("NaN"), "", "–"), (float("inf"), "", "–"),
        (0, "bytes", "0 B"), (1023, "bytes", "1,023 B"), (1536, "bytes", "1.5 KiB"), (2.5e6, "Bps", "2.38 MiB/s"),
        (1500, "decbytes", "1.5 kB"),
        (218_000, "bps", "218 kbit/s"), (12, "bps", "12 bit/s"), (0.256, "percentunit", "25.6 %"), (1, "percentunit", "100 %"),
        (12.5, "percent", "12.5 %"), (0.53, "ops", "0.53/s"), (0, "s", "0 s"), (0.0042, "s", "4.2 ms"), (90, "s", "1.5 min"),
        (5e-5, "s", "50 µs"),
        (250, "ms", "250 ms"), (200_000, "s", "2.31 d"), (1772323200000, "dateTimeAsIso", "2026-03-01 00:00:00"), (5, "unheard of", "5"),
        (True, "", "yes"), (None, "short", ""), (timedelta(minutes=2), "", "2 min"), ({"a": [1]}, "", '{"a": [1]}'),
        (datetime(2026, 3, 1, 1, tzinfo=timezone(timedelta(hours=1))), "", "2026-03-01 00:00:00"), ("a\x1b[2Jb", "", "a\\x1b[2Jb"),
    ],
)  # fmt: skip
def test_a_value_in_words(value: Any, unit: str, text: str) -> None:
    assert spelling.text(value, unit) == text


def test_long_text_ends_and_says_how_much_is_missing() -> None:
    assert spelling.text("x" * 2500).endswith("x… (500 characters more)")


def test_for_programs_everything_is_json() -> None:
    moment = datetime(2026, 3, 1, tzinfo=UTC)
    values = [
        moment,
        Decimal("1.5"),
        float("nan"),
        UUID(int=1),
        {"a": (moment, {1})},
        timedelta(seconds=2),
        b"x",
        None,
        True,
        moment.date(),
    ]
    told = json.loads(json.dumps(spelling.plain(values), allow_nan=False))
    assert told == [
        "2026-03-01T00:00:00Z", 1.5, None, str(UUID(int=1)), {"a": ["2026-03-01T00:00:00Z", [1]]}, 2.0, "b'x'", None, True, "2026-03-01",
    ]  # fmt: skip
    assert told[-2] is True
