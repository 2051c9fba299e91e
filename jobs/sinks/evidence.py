"""From predictions to evidence: the attack-labelled rows of a task, gathered by the alert they belong to.

Runs in the executors, vectorised, so that a flood of 10^5 flows leaves a task as one row. What it yields can
be merged in any order and any number of times (:mod:`jobs.sinks.alertbook`): minima, maxima, sets and
sketches only.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from jobs.sinks import sketch, spans, tops, views
from jobs.sinks.addresses import packed
from jobs.sinks.sketch import Hashes
from jobs.sinks.tops import Vectors
from jobs.suppression.importance import NO_ASSETS, AssetList
from schemas.alerts import (
    EVIDENCE_COLUMNS,
    MANY_FLOWS,
    PARTIAL_SCHEMA,
    PLACE,
    alert_id,
    alert_key,
    evidence_of,
    kind_of,
    severity,
)
from schemas.assets import IMPORTANCES, UNKNOWN
from schemas.labels import AT_ONCE
from schemas.records import AlertRules

_YEAR_1_US, _YEAR_10000_US = -62_135_596_800_000_000, 253_402_300_800_000_000


def attacks(table: pa.Table, rules: AlertRules, min_severity: int = 1, *, assets: bool = False) -> pa.Table:
    """Rows with ``predicted_label`` 1 whose label can reach ``min_severity``, as :func:`schemas.alerts.evidence_of` gives them.

    ``assets``: there are hosts that matter more than others.
    """
    table = evidence_of(table.filter(pc.equal(table["predicted_label"], 1)), rules)
    if min_severity > 1 and table.num_rows:
        found = pc.unique(table["attack_type"]).to_pylist()
        known = rules.by_name
        highest = {t: severity(t, 1.0, MANY_FLOWS, known, len(IMPORTANCES) if assets else UNKNOWN) for t in found}
        kept = [t for t in found if highest[t] >= min_severity]
        table = table.filter(pc.is_in(table["attack_type"], pa.array(kept, pa.string())))
    return table


def bad_addresses(table: pa.Table, columns: Sequence[str] = ("src_ip", "dst_ip")) -> list[str]:
    """Source and target addresses that are neither IPv4 nor IPv6. ``columns``: those that the record type has."""
    chunks = [chunk for name in columns for chunk in table[name].chunks]
    found = pc.unique(pa.concat_arrays(chunks)) if chunks else []
    return [text for text in (value.as_py() for value in found) if not _is_address(text)]


def bad_times(table: pa.Table) -> list[int]:
    """Starts and ends (us since the epoch) outside the years 1 to 9999, which no alert can be about."""
    found: list[int] = []
    for name in ("start_time", "end_time"):
        us = table[name].cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_numpy()
        found += us[(us < _YEAR_1_US) | (us >= _YEAR_10000_US)].tolist()
    return found


def _microseconds(times: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    return np.asarray(times.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_numpy(), np.int64)


def _is_address(text: str) -> bool:
    try:
        packed(text)
    except ValueError:
        return False
    return True


def partials(
    table: pa.Table, rules: AlertRules, episode_s: float, assets: AssetList = NO_ASSETS, features: Vectors | None = None
) -> pa.Table:
    """Evidence of a table of attacks.

    Parameters
    ----------
    table
        As :func:`attacks` gives it; every row is an attack. A flow may be in it several times.
    rules
        Those of the record type.
    episode_s
        Length of an episode in seconds of event time (by the flow's start).
    assets
        How much hosts matter.
    features
        Reads the features of the top flows; ``table`` has a column :data:`schemas.alerts.PLACE` then. None: nothing is to be explained.

    Returns
    -------
    pa.Table
        :data:`schemas.alerts.PARTIAL_SCHEMA`, one row an alert.
    """
    if table.num_rows == 0:
        return PARTIAL_SCHEMA.empty_table()
    columns = {name: table[name].to_pandas() for name in table.column_names if name not in ("start_time", "end_time")}
    frame = pd.DataFrame(columns)
    frame["start"] = _microseconds(table["start_time"])
    frame["end"] = _microseconds(table["end_time"])
    frame["importance"] = _importance(frame, rules, assets)
    kinds = {label: kind_of(label, rules.by_name) for label in frame["attack_type"].unique()}
    frame["kind"] = frame["attack_type"].map(kinds)
    single = (frame["kind"] == "per-flow").to_numpy()
    if PLACE not in frame:
        frame[PLACE] = 0
    rows, few = _grouped(frame[~single], rules, episode_s)
    rows += _single(frame[single], rules)
    found = pa.concat_tables([pa.Table.from_pylist(rows, pa.schema([*PARTIAL_SCHEMA, _PLACED])), few])
    places = found[PLACE].to_numpy()
    found = found.drop_columns(PLACE)
    if features is None:
        return _with(found, "top_flow", [""] * len(places))
    return _with(found, "top_features", features(places))


_PLACED = pa.field(PLACE, pa.int64())


def _with(table: pa.Table, name: str, values: Sequence[Any]) -> pa.Table:
    at = table.schema.get_field_index(name)
    field = table.schema.field(at)
    return table.set_column(at, field, pa.array(values, field.type))


def _importance(frame: pd.DataFrame, rules: AlertRules, assets: AssetList) -> npt.NDArray[np.int8]:
    """Of the host at stake: the target; of what a host does that was broken into (control, theft), the source too."""
    found = assets.importances(frame["dst_ip"].to_numpy())
    if len(assets):
        inside = [name for name, label in rules.by_name.items() if label.stage in _FROM_INSIDE]
        at = np.flatnonzero(frame["attack_type"].isin(inside).to_numpy())
        found[at] = np.maximum(found[at], assets.importances(frame["src_ip"].to_numpy()[at]))
    return found


#: Stages of an attack in which the source is the host that was attacked.
_FROM_INSIDE = frozenset({"control", "theft"})
#: Columns of a row that name an alert.
_HEAD = ["kind", "attack_type", "domain", "sensor_id", "model_version", "src_ip", "dst_ip", "flow_id"]


def _dicts(frame: pd.DataFrame, names: list[str], at: Any = slice(None)) -> list[dict[str, Any]]:
    """Chosen rows and columns as dictionaries of plain Python values (pandas' own takes three times as long)."""
    columns = [frame[name].to_numpy()[at].tolist() for name in names]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _grouped(frame: pd.DataFrame, rules: AlertRules, episode_s: float) -> tuple[list[dict[str, Any]], pa.Table]:
    """Alerts about many flows: those of several flows here as rows, those of one as a table."""
    if frame.empty:
        return [], pa.schema([*PARTIAL_SCHEMA, _PLACED]).empty_table()
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
    looks = views.looks(frame, flows)
    ids = frame["flow_id"].to_numpy()
    texts = {
        "source": frame["src_ip"].to_numpy(),
        "target": frame["dst_ip"].to_numpy(),
        "port": frame["dst_port"].astype(str).to_numpy(),
    }
    hashed = {name: sketch.hashes(values) for name, values in texts.items()}
    several = ends - starts > 1
    few = _of_one_flow(frame, rules, starts[~several], flows, looks, texts, hashed)
    if not several.any():
        return [], few
    first = np.minimum.reduceat(frame["start"].to_numpy(), starts)[several]
    last = np.maximum.reduceat(frame["end"].to_numpy(), starts)[several]
    evidence = np.minimum.reduceat(frame["end"].to_numpy(), starts)[several]
    confidence = np.maximum.reduceat(frame["confidence_score"].to_numpy(), starts)[several]
    importance = np.maximum.reduceat(frame["importance"].to_numpy(), starts)[several]
    heads = _dicts(frame, [*_HEAD, "episode"], starts[several])
    about = _newest(frame, starts[several], ends[several], rules)
    top = _dicts(frame, _TOP, tops.of_groups(frame, flows, starts)[several])
    closed = views.ended(frame)
    rows = []
    for i, (head, a, b) in enumerate(zip(heads, starts[several], ends[several], strict=True)):
        row = {
            **_names(head),
            "id": alert_id(_key(head, rules)).bytes,
            "first_seen": int(first[i]),
            "last_seen": int(last[i]),
            "evidence": int(evidence[i]),
            "confidence": float(confidence[i]),
            "importance": int(importance[i]),
            "flow": about[i],
            **views.seen(looks[a:b][~closed[a:b]], closed[a:b], head["kind"]),
            **_top(top[i]),
        }
        distinct, where = np.unique(flows[a:b], return_index=True)
        row["flows"] = sketch.pack(distinct)
        row["flow_sample"] = sorted(ids[a:b][where[: sketch.SAMPLE_SIZE]].tolist())
        for name, values in texts.items():
            distinct, where = np.unique(hashed[name][a:b], return_index=True)
            named = values[a:b][where] != ""  # records that have no such address are about none
            distinct, where = distinct[named], where[named]
            row[f"{name}s"] = sketch.pack(distinct[: sketch.SKETCH_SIZE])
            row[f"{name}_sample"] = sorted(values[a:b][where[: sketch.SAMPLE_SIZE]].tolist())
            if name in spans.SIDES:
                row[f"{name}_ends"] = spans.ends(values[a:b][where].tolist()) if len(where) > sketch.SAMPLE_SIZE else []
        rows.append(row)
    return rows, few


def _of_one_flow(
    frame: pd.DataFrame,
    rules: AlertRules,
    at: npt.NDArray[np.int64],
    flows: Hashes,
    looks: Hashes,
    texts: Mapping[str, Any],
    hashed: Mapping[str, Hashes],
) -> pa.Table:
    """The same for groups of one row each, at ``at``: most groups of a busy batch are. A column at a time takes a fifth of the time."""
    start, end = frame["start"].to_numpy()[at], frame["end"].to_numpy()[at]
    alone, closed = frame["kind"].isin(AT_ONCE).to_numpy()[at], views.ended(frame)[at]
    columns: dict[str, Any] = {name: frame[name].to_numpy()[at] for name in ("kind", "attack_type", "domain", "sensor_id", "model_version")}
    columns |= {
        "id": [alert_id(_key(head, rules)).bytes for head in _dicts(frame, [*_HEAD, "episode"], at)],
        "first_seen": start,
        "last_seen": end,
        "evidence": end,
        "confidence": frame["confidence_score"].to_numpy()[at],
        "importance": frame["importance"].to_numpy()[at],
        "flows": _packed(flows[at]),
        "looks": pc.if_else(pa.array(alone & ~closed), _packed(looks[at]), pa.scalar(b"", pa.binary())),
        "closed": alone & closed,
        "flow": _newest(frame, at, at + 1, rules),
        "top_flow": frame["flow_id"].to_numpy()[at],
        "top_end": end,
        "top_model": frame["model_version"].to_numpy()[at],
        "top_features": [b""] * len(at),
        PLACE: frame[PLACE].to_numpy()[at],
    }
    for name, values in {**texts, "flow": frame["flow_id"].to_numpy()}.items():
        named = values[at] != ""
        if name in hashed:
            columns[f"{name}s"] = pc.if_else(pa.array(named), _packed(hashed[name][at]), pa.scalar(b"", pa.binary()))
        offsets = np.concatenate([[0], np.cumsum(named)]).astype(np.int32)
        columns[f"{name}_sample"] = pa.ListArray.from_arrays(offsets, pa.array(values[at][named], pa.string()))
    columns |= {f"{side}_ends": [[]] * len(at) for side in spans.SIDES}
    schema = pa.schema([*PARTIAL_SCHEMA, _PLACED])
    return pa.Table.from_arrays([c if isinstance(c := columns[f.name], pa.Array) else pa.array(c, f.type) for f in schema], schema=schema)


def _newest(frame: pd.DataFrame, starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64], rules: AlertRules) -> list[str]:
    """By group: about its newest flow, as JSON, where what is seen repeats; else nothing."""
    out = [""] * len(starts)
    repeated = np.flatnonzero(frame["kind"].to_numpy()[starts] == "repeated")
    if not len(repeated):
        return out
    end, closed = frame["end"].to_numpy(), frame["closed"].to_numpy()
    ids = frame["flow_id"].to_numpy()
    best = [max(range(a, b), key=lambda i: (end[i], closed[i], ids[i])) for a, b in zip(starts[repeated], ends[repeated], strict=True)]
    for i, row, about in zip(repeated.tolist(), best, _dicts(frame, _told(rules), np.array(best)), strict=True):
        out[i] = _json({**about, "end_time": _of_one_length(int(end[row]))})
    return out


def _of_one_length(us: int) -> str:
    """A time whose text sorts as it does."""
    return datetime.fromtimestamp(us // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{us % 1_000_000:06d}Z"


def _told(rules: AlertRules) -> list[str]:
    """Columns that an alert shows of a flow."""
    return list(dict.fromkeys(["flow_id", *rules.details, "closed"]))


def _json(about: Mapping[str, Any]) -> str:
    return json.dumps({name: _plain(value) for name, value in about.items()}, separators=(",", ":"), allow_nan=False)


def _packed(hashes: Hashes) -> pa.Array:
    """Each hash as a sketch of its own (:func:`jobs.sinks.sketch.pack`)."""
    return pa.Array.from_buffers(pa.binary(8), len(hashes), [None, pa.py_buffer(sketch.pack(hashes))]).cast(pa.binary())


def _plain(value: Any) -> Any:
    """A value of a record as JSON has it: what is no number is null, a time is ISO 8601 in UTC."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, datetime | pd.Timestamp):
        return value.isoformat().replace("+00:00", "Z")
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def bad_text(table: pa.Table) -> list[str]:
    """Columns with a text that no alert can hold: missing where an alert needs it, or with a NUL, which PostgreSQL has no place for."""
    found = []
    for field in table.schema:
        if not pa.types.is_string(field.type):
            continue
        column = table[field.name]
        if field.name in EVIDENCE_COLUMNS and column.null_count:
            found.append(f"{field.name} is null")
        elif pc.any(pc.match_substring(column, "\0")).as_py():
            found.append(f"{field.name} holds a NUL")
    return found


def _key(head: Mapping[str, Any], rules: AlertRules) -> str:
    names = ("kind", "attack_type", "domain", "episode", "src_ip", "dst_ip", "flow_id")
    return alert_key(*(head[name] for name in names), namespace=rules.namespace)


def _single(frame: pd.DataFrame, rules: AlertRules) -> list[dict[str, Any]]:
    if frame.empty:
        return []
    flow = frame.groupby("flow_id", sort=False)
    frame = frame.assign(
        first=flow["start"].transform("min"),
        evidence=flow["end"].transform("min"),
        confidence=flow["confidence_score"].transform("max"),
        importance=flow["importance"].transform("max"),
    )
    by_score = frame.assign(score=frame["confidence_score"].fillna(-1.0)).sort_values(["score", "end", "model_version"], kind="stable")
    top = {row["flow_id"]: row for row in _dicts(by_score.drop_duplicates("flow_id", keep="last"), _TOP)}
    looks, closed = views.looks(frame, sketch.hashes(frame["flow_id"].to_numpy())), views.ended(frame)
    places = frame.groupby("flow_id", sort=False).indices
    seen = {flow_id: views.seen(looks[at][~closed[at]], closed[at], "per-flow") for flow_id, at in places.items()}
    # The newest view of the flow names it: the closed record, or the latest snapshot.
    frame = frame.sort_values(["end", "closed"], kind="stable").drop_duplicates("flow_id", keep="last")
    rows = []
    told = _told(rules)
    for head in _dicts(frame, list(dict.fromkeys([*_HEAD, *told, "first", "end", "evidence", "confidence", "importance"]))):
        about = {name: head[name] for name in told}
        rows.append(
            {
                **_names(head),
                "id": alert_id(alert_key("per-flow", "", "", 0, "", "", head["flow_id"], namespace=rules.namespace)).bytes,
                "first_seen": int(head["first"]),
                "last_seen": int(head["end"]),
                "evidence": int(head["evidence"]),
                "confidence": float(head["confidence"]),
                "importance": int(head["importance"]),
                "flows": b"",
                "sources": b"",
                "targets": b"",
                "ports": b"",
                "port_sample": [],
                "source_sample": [head["src_ip"]],
                "target_sample": [head["dst_ip"]],
                "flow_sample": [],
                **{f"{side}_ends": [] for side in spans.SIDES},
                "flow": _json(about),
                **seen[head["flow_id"]],
                **_top(top[head["flow_id"]]),
            }
        )
    return rows


#: Columns that an alert is told of its top flow.
_TOP = ["flow_id", "end", "model_version", PLACE]


def _top(row: Mapping[str, Any]) -> dict[str, Any]:
    names = {"top_flow": "flow_id", "top_end": "end", "top_model": "model_version", PLACE: PLACE}
    return {**{name: row[source] for name, source in names.items()}, "top_features": b""}


def _names(head: Mapping[str, Any]) -> dict[str, Any]:
    return {name: head[name] for name in ("kind", "attack_type", "domain", "sensor_id", "model_version")}
