"""Checked rows as the records that are scored: what a sender has said, and what stands where it has not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from jobs.sources.features import identity
from jobs.sources.features.cells import FOREIGN, Addresses
from jobs.sources.features.convert import NUMBERS, Checked
from schemas.features import ALL_FEATURES
from schemas.flows import RECORD_SCHEMA

#: Sensor of a flow that nobody has named one for.
NOBODY = "flow-features"
#: What stands where a feature is not known and no model reads it: the meter's value where it is not defined.
_UNDEFINED = {feature.name: -1 for feature in ALL_FEATURES if feature.undefined == "-1"}
_FIXED = {"tcp_state": "", "vlan_ids": "", "tunnel": "", "feature_version": FOREIGN}


def records(checked: Checked, rows: NDArray[np.int64], sensors: Sequence[str], domains: Sequence[str], seed: int) -> pa.RecordBatch:
    """Records (:data:`schemas.flows.RECORD_SCHEMA`) of some rows.

    Parameters
    ----------
    checked
        n rows, those chosen being flows.
    rows
        Which ones, in their order.
    sensors, domains
        What their messages say of each of these rows, where it says nothing itself; empty: they do not either.
    seed
        Of the community ids.
    """
    at = pa.array(rows, pa.int64())
    count = len(rows)
    numbers = {f.name: _filled(checked, f.name, rows) for f in NUMBERS}
    numbers |= {name: checked.numbers[name].values[rows] for name in ("start_time", "end_time")}
    texts = {name: column.take(at) for name, column in checked.texts.items()}
    src, dst = _some(checked.src, rows), _some(checked.dst, rows)
    texts["sensor_id"] = _first(texts["sensor_id"], _said(sensors), NOBODY)
    texts["domain"] = _first(texts["domain"], _said(domains), texts["sensor_id"])
    for name, value in _FIXED.items():
        texts[name] = _first(texts[name], value)
    texts["community_id"] = _first(texts["community_id"], identity.communities(src, dst, numbers, seed))
    wanted = np.asarray(texts["flow_id"].is_null())
    made = identity.flow_ids(texts["domain"].to_pylist(), texts["sensor_id"].to_pylist(), src, dst, numbers, wanted)
    texts["flow_id"] = _first(texts["flow_id"], pa.array(made, pa.string()))
    closed = np.where(checked.closed.known, checked.closed.values, True)[rows]
    texts["end_reason"] = pc.if_else(pa.array(closed), texts["end_reason"], pa.scalar(None, pa.string()))
    found = {**numbers, **texts, "src_ip": src.text, "dst_ip": dst.text, "ip_version": src.version, "closed": closed}
    arrays = [_array(found[f.name], f.type) for f in RECORD_SCHEMA]
    assert all(len(array) == count for array in arrays)
    return pa.RecordBatch.from_arrays(arrays, schema=RECORD_SCHEMA)


def _filled(checked: Checked, name: str, rows: NDArray[np.int64]) -> NDArray:
    column = checked.numbers[name]
    return np.where(column.known, column.values, _UNDEFINED.get(name, 0))[rows]


def _some(addresses: Addresses, rows: NDArray[np.int64]) -> Addresses:
    text = addresses.text.take(pa.array(rows, pa.int64()))
    return Addresses(addresses.version[rows], addresses.high[rows], addresses.low[rows], text, addresses.known[rows])


def _said(names: Sequence[str]) -> pa.Array:
    return pa.array([name or None for name in names], pa.string())


def _first(*choices: pa.Array | str) -> pa.Array:
    return pc.coalesce(*(pa.scalar(choice) if isinstance(choice, str) else choice for choice in choices))


def _array(values: NDArray | pa.Array, kind: pa.DataType) -> pa.Array:
    if isinstance(values, pa.Array):
        return values
    array = pa.array(np.ascontiguousarray(values))
    return array.cast(pa.int64()).view(kind) if pa.types.is_timestamp(kind) else array.cast(kind)
