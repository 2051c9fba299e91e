"""Rows as few bytes, and back."""

from __future__ import annotations

import numpy as np
import pytest

from jobs.metering.planes import grow, shrink
from jobs.metering.table import ROW_DTYPE


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
@pytest.mark.parametrize("n", [0, 1, 63, 64, 65, 1000])
def test_rows_survive(n: int, codec: str) -> None:
    rows = np.zeros(n, ROW_DTYPE)
    rows.view(np.uint8)[:] = np.random.default_rng(n).integers(0, 256, n * ROW_DTYPE.itemsize)
    back = grow(shrink(rows, codec), n, ROW_DTYPE, codec)
    assert back.tobytes() == rows.tobytes()
    assert back.flags.writeable


def test_rows_that_are_alike_take_little() -> None:
    rows = np.zeros(10_000, ROW_DTYPE)
    rows["start"] = np.arange(10_000)
    assert len(shrink(rows, "zstd")) < rows.nbytes / 100
