"""Counters of interfaces as rows of their record type."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jobs.flowexport.datagrams import address_text
from jobs.flowexport.duplicates import halves, hashed
from jobs.flowexport.recordtable import FlowCollector
from jobs.uuids import uuid_texts
from schemas.interfacecounters import COUNTS, DUPLEX, SCHEMA

#: What an agent says of what it does not count (sFlow v5, 5.3), and what a signed column cannot hold.
_UNKNOWN = {"u4": np.uint64(2**32 - 1), "u8": np.uint64(2**63)}
_ADMIN_UP, _OPER_UP = 1, 2


def interface_rows(
    counters: NDArray[np.void], exporters: Sequence[bytes], received_us: Sequence[int], collector: FlowCollector
) -> pa.RecordBatch:
    """Rows of :data:`schemas.interfacecounters.SCHEMA`.

    Parameters
    ----------
    counters
        :data:`jobs.flowexport.samples.COUNTER_DTYPE`.
    exporters, received_us
        Address (16 bytes) of each one's agent, and receipt.
    collector
        Who received them.
    """
    n = len(counters)
    times = np.asarray(received_us, np.int64)
    octets = np.frombuffer(b"".join(exporters), np.uint8).reshape(-1, 16)
    high = hashed(*halves(octets), counters["interface"], times)
    status = counters["status"]
    made = {
        "counter_id": uuid_texts(high, hashed(high, counters["in_bytes"], counters["out_bytes"])),
        "received_time": pa.array(times).cast(SCHEMA.field("received_time").type),
        "sensor_id": pa.repeat(collector.sensor_id, n),
        "domain": pa.repeat(collector.domain, n),
        "exporter_ip": pa.array([address_text(address) for address in exporters], pa.string()),
        "interface": pa.array(counters["interface"].astype(np.int64)),
        "interface_type": pa.array(counters["type"].astype(np.int64)),
        "duplex": pa.array([DUPLEX.get(number, "") for number in counters["direction"].tolist()], pa.string()),
        "admin_up": pa.array(status & _ADMIN_UP > 0),
        "oper_up": pa.array(status & _OPER_UP > 0),
        "promiscuous": pa.array(counters["promiscuous"] == 1),
        **{name: _counted(counters[name]) for name in ("speed", *COUNTS)},
    }
    return pa.RecordBatch.from_arrays([made[name] for name in SCHEMA.names], schema=SCHEMA)


def _counted(values: NDArray[np.unsignedinteger]) -> pa.Array:
    return pa.array(values.astype(np.int64), mask=values >= _UNKNOWN[values.dtype.str[1:]])
