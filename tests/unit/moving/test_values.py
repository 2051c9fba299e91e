"""Texts as numbers: whole ones to the last digit, and what is none with its reason."""

from __future__ import annotations

import pyarrow as pa
import pytest

from jobs.moving import values

WHOLE = [2**53 + 1, 2**53 + 3, -(2**53) - 1, 2**63 - 1, -(2**63), 10**18 + 7, 7]


@pytest.mark.parametrize("bounds", [None, (-(2.0**63), 2.0**63)])
@pytest.mark.parametrize("beside", ["12.0", " 5", ""])
def test_whole_numbers_are_kept_to_the_last_digit(bounds: tuple[float, float] | None, beside: str) -> None:
    """Also where another cell of the column is none, or is written as a float."""
    problems: values.Problems = {}
    found, changed = values.numbers(pa.array([*map(str, WHOLE), beside]), pa.int64(), problems, undefined=None, bounds=bounds)
    assert (found.to_pylist()[:-1], changed) == (WHOLE, 0)
    assert problems == ({} if beside else {len(WHOLE): values.EMPTY})


@pytest.mark.parametrize("text", [str(2**63), str(-(2**63) - 1), "99999999999999999999999", "1e19"])
def test_what_is_too_large_is_out_of_range(text: str) -> None:
    problems: values.Problems = {}
    found, _ = values.numbers(pa.array([text, str(2**53 + 1)]), pa.int64(), problems, undefined=None, bounds=None)
    assert (found.to_pylist(), problems) == ([0, 2**53 + 1], {0: values.RANGE})
