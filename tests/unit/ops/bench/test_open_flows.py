"""The load of the growth bench is what it says."""

from __future__ import annotations

import numpy as np

from ops.bench.open_flows import OPEN, frames_of
from sensors.packets.decode import decode


def test_each_number_is_a_flow_of_its_own() -> None:
    flows = np.unique(np.random.default_rng(1).integers(0, max(OPEN), 5000))
    made = frames_of(flows, np.arange(len(flows)) + 10**18)
    packets, reasons = decode(made.data, made.offsets, made.ts, made.wire_len, made.link_type)
    assert not reasons.any()
    assert not packets["malformed"].any()
    assert len(np.unique(packets[["src_lo", "sport"]])) == len(flows)
    assert set(packets["payload"].tolist()) == {60}
    assert np.array_equal(packets["ts"], made.ts)
