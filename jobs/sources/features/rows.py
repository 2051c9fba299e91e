"""Rows of messages, before anything is made of them: by the columns of a flow record, values as the sender gave them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


class NoFlows(ValueError):
    """A message that holds no flows; the text is the dead letter's reason (``code: what``)."""


@dataclass
class GivenRows:
    """Rows of one message or of several.

    Attributes
    ----------
    columns
        Record column -> values, as text, numbers, booleans or times; null where the sender says nothing.
    source : ndarray of int64
        For each row, the number of the message that it came in.
    raw
        Rows (by their numbers) as they came, to be put aside.
    wrong
        Row -> why it is no flow whatever its values.
    """

    columns: dict[str, pa.Array]
    source: NDArray[np.int64]
    raw: Callable[[Sequence[int]], bytes]
    wrong: dict[int, str] = field(default_factory=dict)
