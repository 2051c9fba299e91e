"""Rows squeezed, expanded and turned into columns."""

from __future__ import annotations

import numpy as np
import pytest

from jobs.metering.row import ROW_DTYPE
from jobs.metering.words import columns, expand, squeeze
from sensors.packets.decode import PACKET_DTYPE


def rows_of(n: int, dtype: np.dtype, zeros: float) -> np.ndarray:
    """Random rows, with a share of zero words."""
    rows = np.zeros(n, dtype)
    rng = np.random.default_rng(n)
    words = rng.integers(0, 1 << 32, n * dtype.itemsize // 4, dtype=np.uint32)
    rows.view(np.uint32)[:] = np.where(rng.random(len(words)) < zeros, 0, words)
    return rows


@pytest.mark.parametrize("codec", [None, "lz4", "zstd"])
@pytest.mark.parametrize("zeros", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("dtype", [ROW_DTYPE, PACKET_DTYPE], ids=["flows", "packets"])
@pytest.mark.parametrize("n", [0, 1, 2, 1000])
def test_rows_survive(n: int, dtype: np.dtype, zeros: float, codec: str | None) -> None:
    rows = rows_of(n, dtype, zeros)
    back = expand(squeeze(rows, codec), n, dtype, codec)
    assert back.tobytes() == rows.tobytes()
    assert back.flags.writeable


def test_zeros_take_a_bit_each() -> None:
    rows = np.zeros(1000, ROW_DTYPE)
    rows["start"] = np.arange(1000) + 1
    assert len(squeeze(rows)) == 1000 * 4 * (-(-ROW_DTYPE.itemsize // 4 // 32) + 1)
    assert len(squeeze(rows, "zstd")) < 5000


@pytest.mark.parametrize("n", [0, 1, 9, 11, 100])
def test_another_number_of_rows_is_refused(n: int) -> None:
    data = squeeze(rows_of(10, ROW_DTYPE, 0.5))
    with pytest.raises(ValueError, match=f"words are not {n} rows"):
        expand(data, n, ROW_DTYPE)


@pytest.mark.parametrize("data", [b"", b"\xff" * 4, b"\xff" * 640])
def test_bytes_cut_short_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="words are not 1 rows"):
        expand(data, 1, ROW_DTYPE)


@pytest.mark.parametrize("n", [0, 1, 31, 32, 33, 500])
def test_columns_are_the_fields(n: int) -> None:
    rows = rows_of(n, ROW_DTYPE, 0.3)
    found = columns(rows)
    assert list(found) == list(ROW_DTYPE.names or ())
    for name, column in found.items():
        assert column.dtype == rows[name].dtype
        assert np.array_equal(column, rows[name]), name


def test_a_number_of_rows_that_cannot_be_takes_no_memory() -> None:
    with pytest.raises(ValueError, match="words are not 1000000000000 rows"):
        expand(squeeze(rows_of(10, ROW_DTYPE, 0.5)), 10**12, ROW_DTYPE)
