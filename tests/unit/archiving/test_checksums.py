"""Checksums that do not depend on the order of rows, and notice everything else."""

from __future__ import annotations

import math

import pyarrow as pa
import pytest

from jobs.archiving import checksums

ROWS = pa.table({"a": pa.array([1, 2, None, 4]), "b": ["x", None, "", "y"], "c": [0.5, math.nan, -math.inf, None]})


def changed(name: str, values: list[object]) -> pa.Table:
    at = ROWS.column_names.index(name)
    return ROWS.set_column(at, name, pa.array(values, ROWS[name].type))


def test_the_same_rows_in_another_order_and_in_parts() -> None:
    parts = checksums.of(ROWS.slice(2))
    parts.add(checksums.of(ROWS.slice(0, 2)))
    assert parts.json() == checksums.of(ROWS).json()
    assert checksums.of(ROWS.take([3, 1, 0, 2])).json() == checksums.of(ROWS).json()


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (ROWS.slice(1), "3 rows, expected 4"),
        (changed("a", [1, 2, 0, 4]), "column a: nulls is 0, expected 1"),
        (changed("a", [1, 3, None, 4]), "column a: checksum"),
        (changed("b", ["x", "", None, "z"]), "column b: checksum"),
        (changed("c", [0.5, math.nan, math.inf, None]), "column c: checksum"),
        (changed("c", [0.5, 0.25, -math.inf, None]), "column c: checksum"),
        (changed("b", ["y", None, "", "x"]), "checksum of the rows"),
    ],
)
def test_a_difference_is_named(other: pa.Table, said: str) -> None:
    assert said in checksums.difference(checksums.of(ROWS).json(), checksums.of(other).json())


def test_a_float_that_a_database_has_written_out_is_the_same() -> None:
    rows = pa.table({"a": [-4.432889969075447e32, 0.0]})
    told = checksums.of(rows).json()
    told["columns"]["a"]["min"] = -443288996907544700000000000000000
    assert checksums.difference(told, checksums.of(rows).json()) == ""


def test_ends_are_fit_for_json() -> None:
    ends = checksums.of(ROWS).json()["columns"]
    assert (ends["a"]["min"], ends["a"]["max"]) == (1, 4)
    assert (ends["b"]["min"], ends["b"]["max"]) == ("", "y")
    assert (ends["c"]["min"], ends["c"]["max"]) == ("-inf", 0.5)
