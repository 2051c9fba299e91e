"""One line a feature: units that people read, whatever is not known left out."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.incidents.wording import feature_line, quantity


@pytest.mark.parametrize(
    ("entry", "line"),
    [
        (("syn_flag_count", 1, 0.214, [0.0, 0.2]), "SYN Flag Count 1 packets, usually 0 to 0.2 packets"),
        (("flow_duration", 1_500_000, -0.05, [0.0, 9e7]), "Flow Duration 1.5 s, usually 0 to 1.5 min"),
        (("flow_bytes_per_sec", 12_345_678.9, 0.1, [40.0, 40.0]), "Flow Bytes/s 12.3 MB/s, usually 40 B/s"),
        (("down_up_ratio", None, 0.0004, None), "Down/Up Ratio undefined"),
        (("fwd_init_win_bytes", 64_240, 0.3, None), "FWD Init Win Bytes 64,240"),
    ],
)
def test_lines(entry: tuple[Any, ...], line: str) -> None:
    assert feature_line(dict(zip(("feature", "value", "contribution", "usual"), entry, strict=True))) == line


def test_the_median_tells_more_than_a_range_that_begins_at_zero() -> None:
    entry = {"feature": "packet_length_mean", "value": 0.0, "contribution": 0.063, "usual": [0.0, 920.0], "median": 151.2}
    assert feature_line(entry) == "Packet Length Mean 0 B, usually 0 to 920 B, median 151 B"
    assert feature_line({**entry, "usual": [0.0, 0.0], "median": 0.0}) == "Packet Length Mean 0 B, usually 0 B"


def test_features_of_other_records_have_their_names() -> None:
    entry = {"feature": "mean_temperature", "value": 21.456, "contribution": 0.5, "usual": [3.0, 19.5]}
    assert feature_line(entry, "readings") == "mean temperature 21.5, usually 3 to 19.5"
    assert feature_line({**entry, "feature": "syn_flag_count"}, "readings").startswith("syn flag count 21.5,")


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(0, "us", "0 us"), (999, "us", "999 us"), (1000, "us", "1 ms"), (3.6e9, "us", "1 h"), (1.0e12, "us", "11.6 d"),
     (1e-7, "ratio", "1e-07"),      (123_456.7, "packets/s", "123,457 packets/s"), (2**60, "B", "1.15e+09 GB"), (-1, "", "-1")],
)  # fmt: skip
def test_quantities(value: float, unit: str, text: str) -> None:
    assert quantity(value, unit) == text
