"""Kernels and libraries of windows in memory before the first message: compiling takes many seconds on a fresh machine."""

from __future__ import annotations


def cascade() -> int:
    """Send a few slices of two sources the whole way, state and records too. Returns the number of windows."""
    import numpy as np

    from jobs.metering.bucket import Emission
    from jobs.metering.slices import SLICE_DTYPE
    from jobs.windows.bounds import Bounds
    from jobs.windows.cascade import SIZES, WindowCascade
    from jobs.windows.feed import Feed
    from jobs.windows.message import BucketPart
    from jobs.windows.records import records
    from jobs.windows.slots import SECONDS

    feed = Feed(WindowCascade(True, Bounds()))
    found = 0
    for slot in range(SIZES[max(SIZES)]):
        slices = np.zeros(4, SLICE_DTYPE)
        slices["ipver"], slices["proto"], slices["slot"] = 4, 6, slot
        slices["src_lo"], slices["dst_lo"] = (1, 1, 2, 2), (3, 4, 3, 5)
        slices["first"] = slices["last"] = slot * SECONDS * 1_000_000
        slices["nf"] = slices["opened"] = slices["f_syn"] = 1
        clocks = {"warm": (slot + 1) * SECONDS * 1_000_000}
        emission = Emission(np.zeros(0), np.zeros(0), ["warm"], ["warm"], slices=slices, clocks=clocks)
        parts = BucketPart.of(emission, "warm", 0, 1, slot)
        for made in feed.take([BucketPart.decode(part.encode()) for part in parts]):
            found += sum(records(some, size).num_rows for size, some in made.items() if len(some))
    return found
