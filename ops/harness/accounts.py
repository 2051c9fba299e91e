"""Whether everything that was sent has arrived, each flow by its identity. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

#: Flow ids as text: 36 characters of a UUID.
Ids = npt.NDArray[np.bytes_]
NO_IDS: Ids = np.empty(0, "S36")
_REASON = "rejected_"
_SHOWN = 3


def rejected_by_reason(total: Mapping[str, int]) -> dict[str, int]:
    """Counters ``rejected_<reason>`` by reason, the largest first."""
    found = {k.removeprefix(_REASON): v for k, v in total.items() if k.startswith(_REASON) and v}
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def unique(parts: Iterable[Ids]) -> Ids:
    """Sorted distinct ids of several arrays."""
    found = list(parts)
    return np.unique(np.concatenate(found)) if found else NO_IDS


@dataclass(frozen=True)
class Check:
    """One line of the accounts: does it close, and when not, what is missing where."""

    name: str
    closes: bool
    text: str


def packets(sent: int, metered: int, rejected: int, waiting: int = 0) -> Check:
    """``sent = metered + rejected``."""
    parts = f"{sent:,} sent = {metered:,} metered + {rejected:,} rejected"
    if sent == metered + rejected and not waiting:
        return Check("packets", True, parts)
    open_ = sent - metered - rejected
    where = f", {waiting:,} of them still wait in the meter" if waiting else ""
    less = f"{open_:,} packets are missing" if open_ > 0 else f"{-open_:,} packets too many"
    return Check("packets", False, f"{parts.replace(' = ', ' ≠ ')}: {less}{where}")


def flows(closed: Ids, store: Ids, name: str, quarantined: Ids = NO_IDS) -> Check:
    """The flows a store holds are the flows that were closed, each once, but for those in the quarantine.

    Parameters
    ----------
    closed
        Distinct ids of the closed records in ``predictions``.
    store
        Ids of all rows of the store; one twice is a fault.
    name
        The store's name, for people.
    quarantined
        Ids of the rows that failed a check.
    """
    held, times = np.unique(store, return_counts=True)
    apart = np.setdiff1d(np.intersect1d(closed, quarantined), held, assume_unique=True)
    missing = np.setdiff1d(closed, np.concatenate([held, apart]))
    foreign = np.setdiff1d(held, closed, assume_unique=True)
    doubled = held[times > 1]
    if not len(missing) and not len(foreign) and not len(doubled):
        kept = f" + {len(apart):,} in the quarantine" if len(apart) else ""
        return Check(name, True, f"{len(closed):,} flows closed = {len(store):,} rows in {name}{kept}, the same ids")
    faults = [
        f"{len(ids):,} {what}, e.g. {', '.join(i.decode() for i in ids[:_SHOWN])}"
        for ids, what in ((missing, "missing"), (foreign, "that were never closed"), (doubled, "more than once"))
        if len(ids)
    ]
    return Check(name, False, f"{name}: {'; '.join(faults)} ({len(closed):,} flows closed, {len(store):,} rows)")


def counted(closed: int, flows_counted: int) -> Check:
    """The distinct closed flows of ``predictions`` are as many as the meter says it closed."""
    if closed == flows_counted:
        return Check("flows", True, f"{closed:,} flows closed, {flows_counted:,} counted by the meter")
    return Check("flows", False, f"{closed:,} distinct closed flows in predictions, the meter counted {flows_counted:,}")
