"""Flow records with CICFlowMeter's column names, as people and their notebooks expect them.

Columns and order are those of the corrected CIC-IDS2017 files (Liu, Engelen et al., CNS 2022), ``Label`` last; ours follow.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.features import EXTRA_FEATURES, FEATURES
from schemas.flows import IDENTITY_FIELDS
from schemas.labels import UNLABELLED

#: Columns before the features.
LEADING: tuple[str, ...] = ("Flow ID", "Src IP", "Src Port", "Dst IP", "Dst Port", "Protocol", "Timestamp")
LABEL = "Label"

_SHOWN = {"src_ip", "src_port", "dst_ip", "dst_port", "protocol"}
#: Ours, behind CICFlowMeter's, by their snake_case names.
OURS: tuple[str, ...] = (*(f.name for f in IDENTITY_FIELDS if f.name not in _SHOWN), *(f.name for f in EXTRA_FEATURES))
COLUMNS: tuple[str, ...] = (*LEADING, *(f.cic for f in FEATURES), LABEL, *OURS)


def cic_table(records: pa.Table, labels: pa.Array | pa.ChunkedArray | None = None) -> pa.Table:
    """Records (``schemas.flows.RECORD_SCHEMA``) under CICFlowMeter's names.

    ``Timestamp`` is the start in UTC with microseconds, as text (``2017-07-06 12:39:06.818901``); ``labels`` one per record.
    """
    text = {name: records[name].cast(pa.string()) for name in ("src_port", "dst_port", "protocol")}
    flow_id = pc.binary_join_element_wise(records["src_ip"], records["dst_ip"], text["src_port"], text["dst_port"], text["protocol"], "-")
    columns: dict[str, pa.Array | pa.ChunkedArray] = {
        "Flow ID": flow_id,
        "Src IP": records["src_ip"],
        "Src Port": records["src_port"],
        "Dst IP": records["dst_ip"],
        "Dst Port": records["dst_port"],
        "Protocol": records["protocol"],
        "Timestamp": _time_text(records["start_time"]),
        **{f.cic: records[f.name] for f in FEATURES},
        LABEL: pa.repeat(pa.scalar(UNLABELLED), records.num_rows) if labels is None else labels,
        **{name: records[name] for name in OURS},
    }
    return pa.table({name: columns[name] for name in COLUMNS})


def csv_table(table: pa.Table) -> pa.Table:
    """The same with every time as text, for CSV."""
    for i, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            table = table.set_column(i, field.name, _time_text(table.column(i)))
    return table


def _time_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """``2017-07-06 12:39:06.818901``; strftime only once for every second that occurs."""
    return pa.chunked_array([_time_texts(chunk) for chunk in column.chunks], pa.string())


def _time_texts(column: pa.TimestampArray) -> pa.StringArray:
    us = column.cast(pa.timestamp("us")).view(pa.int64()).to_numpy()
    seconds = pa.array(us // 1_000_000).dictionary_encode()
    shown = pc.strftime(seconds.dictionary.view(pa.timestamp("s")), "%Y-%m-%d %H:%M:%S").take(seconds.indices)
    micros = us % 1_000_000
    digits = np.empty((len(us), 7), np.uint8)
    digits[:, 0] = ord(".")
    for i in range(6):
        digits[:, 6 - i] = ord("0") + micros // 10**i % 10
    ends = np.arange(0, (len(us) + 1) * 7, 7, dtype=np.int32)
    return pc.binary_join_element_wise(shown, pa.StringArray.from_buffers(len(us), pa.py_buffer(ends), pa.py_buffer(digits)), "")
