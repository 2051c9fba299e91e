"""*Flows*: the rows of an address or between two, in a range of time. Links lead here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ops.views.model import Field, Panel, Variable, View
from ops.views.subjects import Subject
from ops.views.traffic import PROTOCOL, section

VARIABLES = (
    Variable("source", "Source", "an address; empty: any"),
    Variable("target", "Target", "an address; empty: any"),
)
_LIMIT = 500


def view(subjects: Sequence[Subject]) -> View:
    """The view."""
    panels = tuple(panel for subject in subjects if subject.column("src_ip") for panel in _panels(subject))
    return View(
        "flows", "Flows", "Flows of an address, or between two. An alert leads here.", panels, span="1h", refresh="", variables=VARIABLES
    )


def _among(column: str, variable: str) -> str:
    """Condition: the address that was typed, if one was."""
    return f"(${{{variable}:sqlstring}} = '' OR {column} = nullif(${{{variable}:sqlstring}}, '')::inet)"


def _panels(subject: Subject) -> Iterator[Panel]:
    source, target = subject.column("src_ip"), subject.column("dst_ip")
    asked = [_among(source, "source"), *([_among(target, "target")] if target else [])]
    condition = f"$__timeFilter({subject.time}) AND {subject.sensors} AND {' AND '.join(asked)}"
    yield Panel(
        f"{subject.name}_found", "Found", "stat", "hot",
        f"SELECT count(*) AS found FROM (SELECT 1 FROM {subject.table} WHERE {condition} LIMIT 100000) counted",
        "In the range; no further than 100,000 are counted.",
        (Field("found", "number", "short"),), section=section(subject), width=24, height=3,
    )  # fmt: skip
    columns = {
        "time": (subject.time, Field("time", "time")),
        "source": (f"host({source})", Field("source", "text")),
        **({"target": (f"host({target})", Field("target", "text"))} if target else {}),
    }
    if subject.has("dst_port"):
        columns["port"] = ("dst_port", Field("port", "number"))
    if subject.has("protocol"):
        columns["protocol"] = (PROTOCOL, Field("protocol", "text"))
    if subject.has("flow_duration"):
        columns["duration"] = ("round(flow_duration / 1e6, 3)", Field("duration", "number", "s"))
    if subject.has("total_length_fwd_packets", "total_length_bwd_packets"):
        columns["bytes_out"] = ("total_length_fwd_packets", Field("bytes_out", "number", "bytes"))
        columns["bytes_in"] = ("total_length_bwd_packets", Field("bytes_in", "number", "bytes"))
    if subject.scored:
        columns["kind"] = ("attack_type", Field("kind", "text"))
        columns["confidence"] = ("round(confidence_score::numeric, 3)", Field("confidence", "number", "percentunit"))
    if subject.has("sensor_id"):
        columns["sensor"] = ("sensor_id", Field("sensor", "text"))
    key = subject.hot.key[-1]
    columns["id"] = (f"{key}::text", Field("id", "text"))
    listed = ", ".join(f"{sql} AS {name}" for name, (sql, _) in columns.items())
    yield Panel(
        f"{subject.name}_rows", subject.title, "table", "hot",
        f"SELECT {listed} FROM {subject.table} WHERE {condition} ORDER BY {subject.time} DESC LIMIT {_LIMIT}",
        f"The newest {_LIMIT} of the range. All of them: flowlake flows.",
        tuple(column for _, column in columns.values()), section=section(subject), width=24, height=18,
    )  # fmt: skip
