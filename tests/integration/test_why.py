"""From a registered model to ``details.why`` of an alert in the database and on the topic, for flows and for another record type."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.ensemble import RandomForestClassifier

from infra.config import Settings
from jobs.scoring.matrix import feature_matrix
from jobs.scoring.model import Usual
from jobs.scoring.registry import Training, load_champion, register
from jobs.sinks import alertbook, alerts, postgres
from jobs.sinks.alerts import AlertSink
from jobs.sinks.alertstore import AppliedEvidence
from schemas.packets import FLOWS
from schemas.records import HEADER_RECORD_VERSION, RecordType
from schemas.wire import Header
from tests import registries
from tests.champions import crown
from tests.integration.sinkbench import run
from tests.randomrecords import random_records
from tests.sinksdata import kafka_rows, value
from tests.toy_source.records import READING
from tests.unit.scoring.records import COLUMNS, fitted

pytestmark = pytest.mark.integration
USUAL = {"total_fwd_packets": Usual(0.0, 20.0, 49.0)}


@pytest.fixture
def where(database: dict[str, Any], settings: Callable[..., Settings]) -> Iterator[Settings]:
    made = settings(hot=database, alerts={**database, "min_flows": 1, "escalations": True})
    yield made
    postgres.discard(postgres.kept(made.alerts, "flowlake-alerts"))


def flows(n: int, seed: int) -> pa.Table:
    """Random flows of real addresses and times."""
    made = pa.Table.from_batches([random_records(n, seed)])
    fixed: dict[str, list[Any]] = {
        "src_ip": [f"10.0.0.{i % 3}" for i in range(n)],
        "dst_ip": ["10.9.9.9"] * n,
        "domain": ["d"] * n,
        "flow_id": [f"{seed}-{i}" for i in range(n)],
    }
    for name, values in fixed.items():
        made = made.set_column(made.schema.get_field_index(name), made.schema.field(name), pa.array(values, pa.string()))
    return made


def readings(n: int, seed: int) -> pa.Table:
    rng = np.random.default_rng(seed)
    columns: dict[str, Any] = {"reading_id": [f"{seed}-{i}" for i in range(n)], "sensor_id": ["s"] * n, "device": ["d"] * n}
    for field in READING.schema:
        if field.name not in columns:
            columns[field.name] = pa.array(rng.integers(0, 100, n)).cast(field.type)
    return pa.table(columns, schema=READING.schema)


def put(settings: Settings, record: RecordType) -> None:
    """A champion, of flows or of readings."""
    about = Training("a test", {}, {})
    if record is FLOWS:
        crown(settings, register(registries.begin(settings), FLOWS, fitted(), columns=COLUMNS, threshold=0.5, training=about, usual=USUAL))
        return
    columns = ("zscore", "repeats")
    x = feature_matrix(readings(500, 0), columns)
    forest = RandomForestClassifier(9, max_depth=5, random_state=0).fit(x, np.where(x[:, 1] > 50, "STUCK", "BENIGN"))
    crown(settings, register(settings, READING, forest, columns=columns, threshold=0.5, training=about), READING)


def give(sink: AlertSink, rows: pa.RecordBatch | pa.Table) -> AppliedEvidence:
    """A batch of the sink: scored records as messages, reduced by its task, applied."""
    record = sink.record
    scored = pa.table(load_champion(sink._settings, record).score(rows))
    headers = [(Header.CONTENT_TYPE, record.content_type.encode()), (HEADER_RECORD_VERSION, str(record.version).encode())]
    messages = kafka_rows([(value(scored.slice(at, 20)), headers) for at in range(0, len(scored), 20)])
    (report,) = alerts.task(sink._settings, record)([messages])
    (packed,) = report.column("partials").to_pylist()
    return sink._alerts.apply(alertbook.gather([alertbook.unpack(packed)]))


def whys(where: Settings) -> dict[str, dict[str, Any]]:
    return dict(run(where.alerts, "SELECT id::text, details -> 'why' FROM alerts"))


@pytest.mark.parametrize(("record", "made"), [(FLOWS, flows), (READING, readings)], ids=["flows", "readings"])
def test_an_alert_says_why(where: Settings, record: RecordType, made: Callable[[int, int], pa.Table]) -> None:
    put(where, record)
    sink = AlertSink(where, record)
    sink.prepare()
    sink._explainers.prefetch()
    done = give(sink, made(60, 1))
    assert done.explained == len(done.raised) > 0
    assert done.unexplained == ()
    first = whys(where)
    for why in first.values():
        shares = [one["contribution"] for one in why["features"]]
        assert why["base"] + sum(shares) + why["others"] == pytest.approx(why["score"], abs=3e-6)
        assert why["model_version"] == "1"
    named = {one["feature"]: one["usual"] for why in first.values() for one in why["features"]}
    assert set(named) <= set(load_champion(where, record).columns)
    assert named.get("total_fwd_packets") == ([0.0, 49.0] if record is FLOWS else None)
    told = [json.loads(text) for (text,) in run(where.alerts, "SELECT message FROM alert_outbox ORDER BY seq")]
    assert {message["id"]: message["details"]["why"] for message in told if message["event"] == "raised"} == first
    # The same again, after a restart: nothing is explained, nothing changes.
    again = AlertSink(where, record)
    done = give(again, made(60, 1))
    assert (done.explained, done.changed, done.raised) == (0, 0, ())
    give(again, made(300, 2))
    assert all(why["score"] >= first[key]["score"] for key, why in whys(where).items() if key in first)
    assert max(why["score"] for why in whys(where).values()) == max(
        load_champion(where, record).score(made(300, 2))["confidence_score"].to_pylist()
    )


def test_none_is_explained_where_that_is_switched_off(where: Settings) -> None:
    put(where, FLOWS)
    off = where.model_copy(update={"alerts": where.alerts.model_copy(update={"explained_per_batch": 0})})
    sink = AlertSink(off, FLOWS)
    sink.prepare()
    done = give(sink, flows(60, 1))
    assert done.raised
    assert (done.explained, done.unexplained) == (0, ())
    assert set(whys(where).values()) == {None}
