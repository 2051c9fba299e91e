"""What says whether the records of an alert suffice for one, where one flow does: looks at open flows, and ends of flows. Vectorised."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from jobs.sinks import sketch
from jobs.sinks.sketch import Hashes
from schemas.alerts import MAX_LOOKS
from schemas.labels import AT_ONCE

_TCP = 6  # https://www.iana.org/assignments/protocol-numbers


def looks(frame: pd.DataFrame, flows: Hashes) -> Hashes:
    """A hash of each look at a flow, uint64[n]: of the flow's, and when it ended."""
    return flows ^ (frame["end"].to_numpy().astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))  # an odd number: one to one


def ended(frame: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Rows that are taken for the last of their flows: closed records, and looks at flows that do not say when they end.

    Other protocols than TCP have no end but a minute of silence; nobody waits so long for it.
    """
    return frame["closed"].to_numpy(np.bool_) | (frame["protocol"].to_numpy() != _TCP)


def seen(looks: Hashes, closed: npt.NDArray[np.bool_], kind: str) -> dict[str, Any]:
    """Columns ``looks`` and ``closed`` of :data:`schemas.alerts.PARTIAL_SCHEMA`, for an alert of this kind."""
    alone = kind in AT_ONCE
    return {"looks": sketch.pack(np.unique(looks)[:MAX_LOOKS]) if alone else b"", "closed": alone and bool(closed.any())}
