"""What is found out about records beyond what exporters say."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


class Lookups:
    """Nothing, so far."""

    def found(self, batch: pa.RecordBatch, columns: Mapping[str, NDArray[np.generic]]) -> dict[str, pa.Array]:
        """Columns of the record type, by name."""
        return {}
