"""Ground truth: one row per generated conversation, counted from what was emitted."""

from __future__ import annotations

import socket
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from infra.files import PartialFile
from schemas.labels import NAMES

_US = pa.timestamp("us", tz="UTC")
#: ``src_*`` is the initiator; ICMP has ports 0; times are of the first and last emitted packet.
TRUTH_SCHEMA = pa.schema(
    [
        pa.field("src_ip", pa.string(), nullable=False),
        pa.field("dst_ip", pa.string(), nullable=False),
        pa.field("src_port", pa.int32(), nullable=False),
        pa.field("dst_port", pa.int32(), nullable=False),
        pa.field("protocol", pa.int16(), nullable=False),
        pa.field("start_time", _US, nullable=False),
        pa.field("end_time", _US, nullable=False),
        pa.field("label", pa.string(), nullable=False),
        pa.field("packets", pa.int64(), nullable=False),
        pa.field("fwd_packets", pa.int64(), nullable=False),
        pa.field("bwd_packets", pa.int64(), nullable=False),
    ]
)


def truth_table(flows: np.ndarray) -> pa.Table:
    """Flow rows (``FLOW_DTYPE[n]``) as a table of ``TRUTH_SCHEMA``, by start time; conversations without an emitted packet are left out."""
    flows = flows[flows["fwd"] + flows["bwd"] > 0]
    flows = flows[np.argsort(flows["first"], kind="stable")]
    columns = [
        _addresses(flows["version"], flows["src_hi"], flows["src_lo"]),
        _addresses(flows["version"], flows["dst_hi"], flows["dst_lo"]),
        pa.array(flows["src_port"].astype(np.int32)),
        pa.array(flows["dst_port"].astype(np.int32)),
        pa.array(flows["protocol"].astype(np.int16)),
        pa.array(flows["first"] // 1000).cast(_US),
        pa.array(flows["last"] // 1000).cast(_US),
        pa.DictionaryArray.from_arrays(flows["label"].astype(np.int32), pa.array(NAMES)).cast(pa.string()),
        pa.array(flows["fwd"] + flows["bwd"]),
        pa.array(flows["fwd"].copy()),
        pa.array(flows["bwd"].copy()),
    ]
    return pa.table(columns, schema=TRUTH_SCHEMA)


def truth_path(capture: str | Path) -> Path:
    """``x.pcap`` -> ``x.truth.parquet``, beside it."""
    path = Path(capture)
    return path.with_name(
        path.name.removesuffix(".gz").removesuffix(path.suffix if path.suffix != ".gz" else Path(path.stem).suffix) + ".truth.parquet"
    )


def write_truth(table: pa.Table, path: str | Path) -> None:
    """Write the truth as Parquet (zstd)."""
    with PartialFile(path) as partial:  # Arrow opens names in UTF-8 alone
        pq.write_table(table, partial.file, compression="zstd")


def _addresses(version: np.ndarray, high: np.ndarray, low: np.ndarray) -> pa.Array:
    """Addresses as text, string[n]; each distinct one is formatted once."""
    index = np.empty(len(low), np.int32)
    four = version == 4
    distinct, index[four] = np.unique(low[four], return_inverse=True)
    text = [socket.inet_ntop(socket.AF_INET, value.to_bytes(4)) for value in distinct.tolist()]
    six = np.flatnonzero(~four)
    seen: dict[tuple[int, int], int] = {}
    for i, pair in zip(six.tolist(), zip(high[six].tolist(), low[six].tolist(), strict=True), strict=True):
        at = seen.get(pair)
        if at is None:
            at = seen[pair] = len(text)
            text.append(socket.inet_ntop(socket.AF_INET6, pair[0].to_bytes(8) + pair[1].to_bytes(8)))
        index[i] = at
    return pa.DictionaryArray.from_arrays(index, pa.array(text, pa.string())).cast(pa.string())
