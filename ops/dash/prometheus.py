"""Panels of metrics, asked of a Prometheus as Grafana asks it: its HTTP API, version 1."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from infra.errors import StoreError, one_line
from ops.dash.span import PageSpan
from ops.views import macros
from ops.views.model import Panel

#: Bytes of an answer that are read at most.
_MOST = 16 << 20


def ask(url: str, panel: Panel, span: PageSpan, step: timedelta, timeout_s: float) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """Columns and rows of a panel: time, series and value of what goes over time, else series and value now.

    Raises
    ------
    StoreError
        Prometheus does not answer, or refuses the question.
    """
    over_time = panel.kind in ("timeseries", "bars_over_time")
    seconds = max(1.0, step.total_seconds())
    query = macros.expand_promql(panel.query, interval=step)
    values: dict[str, object] = {"query": query, "timeout": f"{timeout_s:g}s"}
    if over_time:
        start = span.start.timestamp() // seconds * seconds
        values |= {"start": start, "end": span.end.timestamp(), "step": seconds}
    else:
        values["time"] = span.end.timestamp()
    told = _get(f"{url.rstrip('/')}/api/v1/{'query_range' if over_time else 'query'}?{urlencode(values)}", url, timeout_s)
    result, kind = told["data"]["result"], told["data"]["resultType"]
    if kind in ("scalar", "string"):
        return ("metric", "value"), [("value", _number(result[1]))]
    if over_time:
        rows = [
            (datetime.fromtimestamp(float(at), UTC), _name(panel, series["metric"]), _number(value))
            for series in result
            for at, value in series["values"]
        ]
        return ("time", "metric", "value"), sorted(rows, key=lambda row: row[0])
    return ("metric", "value"), [(_name(panel, series["metric"]), _number(series["value"][1])) for series in result]


def _name(panel: Panel, labels: dict[str, str]) -> str:
    if panel.legend:
        return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda found: labels.get(found[1], ""), panel.legend)
    return ", ".join(f"{name} {value}" for name, value in labels.items() if name != "__name__") or labels.get("__name__", "value")


def _number(text: str) -> float | None:
    value = float(text)
    return value if value == value and abs(value) != float("inf") else None


def _get(address: str, url: str, timeout_s: float) -> Any:
    try:
        with urlopen(Request(address, headers={"Accept": "application/json"}), timeout=timeout_s) as answer:
            return json.loads(answer.read(_MOST))
    except HTTPError as e:
        try:
            said = json.loads(e.read(_MOST)).get("error", "")
        except ValueError:
            said = ""
        raise StoreError(f"Prometheus at {url}: {said or f'status {e.code}'}") from e
    except (OSError, ValueError) as e:
        raise StoreError(f"Prometheus at {url} does not answer: {one_line(e, 120)}", "see FLOWLAKE_DASH__PROMETHEUS") from e
