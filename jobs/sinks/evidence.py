"""From predictions to evidence: the attack-labelled rows of a task, gathered by the alert they belong to.

Runs in the executors, vectorised, so that a flood of 10^5 flows leaves a task as one row. What it yields can be merged in any order and
any number of
times (:mod:`jobs.sinks.alertbook`): minima, maxima, sets and sketches only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from jobs.sinks import sketch
from jobs.sinks.addresses import packed
from jobs.sinks.sketch import Hashes
from schemas.alerts import EVIDENCE_COLUMNS, PARTIAL_SCHEMA, UNKNOWN_SEVERITY, alert_id, alert_key, kind_of
from schemas.labels import BY_NAME

_YEAR_1_US, _YEAR_10000_US = -62_135_596_800_000_000, 253_402_300_800_000_000


def attacks(table: pa.Table, min_severity: int = 1) -> pa.Table:
    """Rows with ``predicted_label`` 1 whose label can reach ``min_severity``, :data:`schemas.alerts.EVIDENCE_COLUMNS` only."""
    table = table.select(list(EVIDENCE_COLUMNS)).filter(pc.equal(table["predicted_label"], 1))
    if min_severity > 1 and table.num_rows:
        found = pc.unique(table["attack_type"]).to_pylist()
        # One degree can be gained by the number of flows (schemas.alerts.severity).
        kept = [t for t in found if min(5, (BY_NAME[t].severity if t in BY_NAME else UNKNOWN_SEVERITY) + 1) >= min_severity]
        table = table.filter(pc.is_in(table["attack_type"], pa.array(kept, pa.string())))
    return table


def bad_addresses(table: pa.Table) -> list[str]:
    """Source and target addresses that are neither IPv4 nor IPv6."""
    found = pc.unique(pa.concat_arrays([*table["src_ip"].chunks, *table["dst_ip"].chunks])) if table.num_rows else []
    return [text for text in (value.as_py() for value in found) if not _is_address(text)]


def bad_times(table: pa.Table) -> list[int]:
    """Starts and ends (us since the epoch) outside the years 1 to 9999, which no alert can be about."""
    found: list[int] = []
    for name in ("start_time", "end_time"):
        us = table[name].cast(pa.int64()).to_numpy()
        found += us[(us < _YEAR_1_US) | (us >= _YEAR_10000_US)].tolist()
    return found


def _is_address(text: str) -> bool:
    try:
        packed(text)
    except ValueError:
        return False
    return True


def partials(table: pa.Table, episode_s: float) -> pa.Table:
    """Evidence of a table of attacks.

    Parameters
    ----------
    table
        Columns :data:`schemas.alerts.EVIDENCE_COLUMNS`; every row is an attack. A flow may be in it several times.
    episode_s
        Length of an episode in seconds of event time (by the flow's start).

    Returns
    -------
    pa.Table
        :data:`schemas.alerts.PARTIAL_SCHEMA`, one row an alert.
    """
    if table.num_rows == 0:
        return PARTIAL_SCHEMA.empty_table()
    columns = {name: table[name].to_pandas() for name in EVIDENCE_COLUMNS if name not in ("start_time", "end_time")}
    frame = pd.DataFrame(columns)
    frame["start"] = table["start_time"].cast(pa.int64()).to_numpy()
    frame["end"] = table["end_time"].cast(pa.int64()).to_numpy()
    kinds = {label: kind_of(label) for label in frame["attack_type"].unique()}
    frame["kind"] = frame["attack_type"].map(kinds)
    single = (frame["kind"] == "per-flow").to_numpy()
    rows, few = _grouped(frame[~single], episode_s)
    return pa.concat_tables([pa.Table.from_pylist(rows + _single(frame[single]), PARTIAL_SCHEMA), few])


#: Columns of a row that name an alert, and those that tell of its one flow.
_HEAD = ["kind", "attack_type", "domain", "sensor_id", "model_version", "src_ip", "dst_ip", "flow_id"]
_FLOW = ["community_id", "protocol", "src_port", "dst_port", "closed"]


def _dicts(frame: pd.DataFrame, names: list[str], at: Any = slice(None)) -> list[dict[str, Any]]:
    """Chosen rows and columns as dictionaries of plain Python values (pandas' own takes three times as long)."""
    columns = [frame[name].to_numpy()[at].tolist() for name in names]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _grouped(frame: pd.DataFrame, episode_s: float) -> tuple[list[dict[str, Any]], pa.Table]:
    """Alerts about many flows: those of several flows here as rows, those of one as a table."""
    if frame.empty:
        return [], PARTIAL_SCHEMA.empty_table()
    frame = frame.assign(
        episode=np.floor_divide(frame["start"].to_numpy(), round(episode_s * 1e6)),
        source=np.where(frame["kind"] == "flood", "", frame["src_ip"]),
        target=np.where(frame["kind"] == "scan", "", frame["dst_ip"]),
    )
    group = frame.groupby(["attack_type", "domain", "episode", "source", "target"], sort=True).ngroup().to_numpy()
    # Within a group by start time: its first row names the sensor and the model.
    order = np.lexsort((frame["start"].to_numpy(), group))
    frame = frame.iloc[order]
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    ends = np.append(starts[1:], len(frame))
    flows = sketch.hashes(frame["flow_id"].to_numpy())
    texts = {
        "source": frame["src_ip"].to_numpy(),
        "target": frame["dst_ip"].to_numpy(),
        "port": frame["dst_port"].astype(str).to_numpy(),
    }
    hashed = {name: sketch.hashes(values) for name, values in texts.items()}
    several = ends - starts > 1
    few = _of_one_flow(frame, starts[~several], flows, texts, hashed)
    if not several.any():
        return [], few
    first = np.minimum.reduceat(frame["start"].to_numpy(), starts)[several]
    last = np.maximum.reduceat(frame["end"].to_numpy(), starts)[several]
    evidence = np.minimum.reduceat(frame["end"].to_numpy(), starts)[several]
    confidence = np.maximum.reduceat(frame["confidence_score"].to_numpy(), starts)[several]
    heads = _dicts(frame, [*_HEAD, "episode"], starts[several])
    rows = []
    for i, (head, a, b) in enumerate(zip(heads, starts[several], ends[several], strict=True)):
        row = {
            **_names(head),
            "id": alert_id(_key(head)).bytes,
            "first_seen": int(first[i]),
            "last_seen": int(last[i]),
            "evidence": int(evidence[i]),
            "confidence": float(confidence[i]),
            "flow": "",
            "flows": sketch.pack(np.unique(flows[a:b])),
        }
        for name, values in texts.items():
            distinct, where = np.unique(hashed[name][a:b], return_index=True)
            row[f"{name}s"] = sketch.pack(distinct[: sketch.SKETCH_SIZE])
            row[f"{name}_sample"] = sorted(values[a:b][where[: sketch.SAMPLE_SIZE]].tolist())
        rows.append(row)
    return rows, few


def _of_one_flow(
    frame: pd.DataFrame, at: npt.NDArray[np.int64], flows: Hashes, texts: Mapping[str, Any], hashed: Mapping[str, Hashes]
) -> pa.Table:
    """The same for groups of one row each, at ``at``: most groups of a busy batch are. A column at a time takes a fifth of the time."""
    start, end = frame["start"].to_numpy()[at], frame["end"].to_numpy()[at]
    columns: dict[str, Any] = {name: frame[name].to_numpy()[at] for name in ("kind", "attack_type", "domain", "sensor_id", "model_version")}
    columns |= {
        "id": [alert_id(_key(head)).bytes for head in _dicts(frame, [*_HEAD, "episode"], at)],
        "first_seen": start,
        "last_seen": end,
        "evidence": end,
        "confidence": frame["confidence_score"].to_numpy()[at],
        "flows": _packed(flows[at]),
        "flow": [""] * len(at),
    }
    for name, values in texts.items():
        columns[f"{name}s"] = _packed(hashed[name][at])
        columns[f"{name}_sample"] = pa.ListArray.from_arrays(np.arange(len(at) + 1, dtype=np.int32), pa.array(values[at], pa.string()))
    arrays = [c if isinstance(c := columns[f.name], pa.Array) else pa.array(c, f.type) for f in PARTIAL_SCHEMA]
    return pa.Table.from_arrays(arrays, schema=PARTIAL_SCHEMA)


def _packed(hashes: Hashes) -> pa.Array:
    """Each hash as a sketch of its own (:func:`jobs.sinks.sketch.pack`)."""
    return pa.Array.from_buffers(pa.binary(8), len(hashes), [None, pa.py_buffer(sketch.pack(hashes))]).cast(pa.binary())


def _key(head: Mapping[str, Any]) -> str:
    return alert_key(head["kind"], head["attack_type"], head["domain"], head["episode"], head["src_ip"], head["dst_ip"], head["flow_id"])


def _single(frame: pd.DataFrame) -> list[dict[str, Any]]:
    if frame.empty:
        return []
    flow = frame.groupby("flow_id", sort=False)
    frame = frame.assign(
        first=flow["start"].transform("min"), evidence=flow["end"].transform("min"), confidence=flow["confidence_score"].transform("max")
    )
    # The newest view of the flow names it: the closed record, or the latest snapshot.
    frame = frame.sort_values(["end", "closed"], kind="stable").drop_duplicates("flow_id", keep="last")
    rows = []
    for head in _dicts(frame, [*_HEAD, *_FLOW, "first", "end", "evidence", "confidence"]):
        about = {
            "flow_id": head["flow_id"],
            "community_id": head["community_id"],
            "protocol": int(head["protocol"]),
            "src_port": int(head["src_port"]),
            "dst_port": int(head["dst_port"]),
            "closed": bool(head["closed"]),
        }
        rows.append(
            {
                **_names(head),
                "id": alert_id(alert_key("per-flow", "", "", 0, "", "", head["flow_id"])).bytes,
                "first_seen": int(head["first"]),
                "last_seen": int(head["end"]),
                "evidence": int(head["evidence"]),
                "confidence": float(head["confidence"]),
                "flows": b"",
                "sources": b"",
                "targets": b"",
                "ports": b"",
                "port_sample": [],
                "source_sample": [head["src_ip"]],
                "target_sample": [head["dst_ip"]],
                "flow": json.dumps(about, separators=(",", ":")),
            }
        )
    return rows


def _names(head: Mapping[str, Any]) -> dict[str, Any]:
    return {name: head[name] for name in ("kind", "attack_type", "domain", "sensor_id", "model_version")}
