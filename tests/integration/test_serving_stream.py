"""Models that change while a real stream runs: promoted, refused, rolled back, in the shadow; the registry away and back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from mlflow import MlflowClient
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from infra import metrics
from infra.config import Settings
from infra.kafka import topics
from jobs.scoring import outlook, registry, serving
from jobs.scoring.outlook import ModelView
from jobs.scoring.registry import Training, register
from jobs.sources.packets import query
from schemas.labels import BENIGN
from schemas.packets import FLOWS
from sensors.packets.publisher import PacketPublisher
from sensors.packets.replay import chunks
from sensors.packets.settings import SensorSettings
from tests import registries
from tests.integration.test_meter_stream import batch_flows, capture, closed_flows, predictions, settled, wait_for

if TYPE_CHECKING:
    from pyspark.sql import SparkSession
    from pyspark.sql.streaming import StreamingQuery

pytestmark = [pytest.mark.integration, pytest.mark.spark]

__all__ = ["capture"]  # a fixture

COLUMNS = ("flow_duration", "total_fwd_packets")
POLL_S = 0.3


@pytest.fixture
def ready(settings: Callable[..., Settings], kafka_server: str) -> Iterator[Settings]:
    made = settings(
        kafka={"bootstrap_servers": kafka_server}, meter={"buckets": 2}, sensor={"batch_packets": 800}, scoring={"poll_s": POLL_S}
    )
    topics.ensure(made)
    yield made
    serving.stop()


def put(settings: Settings, estimator: Any, alias: str = "", record: Any = FLOWS) -> str:
    """Register a classifier of two columns; with an alias that takes effect at once."""
    x = np.random.default_rng(1).lognormal(3, 2, (3000, 2)).astype(np.float32)
    fitted = estimator.fit(x, np.where(np.arange(3000) % 2, "SYN_SCAN", BENIGN))
    if isinstance(fitted, LogisticRegression):
        fitted.coef_[:] = np.nan
    version = register(registries.begin(settings), record, fitted, columns=COLUMNS, threshold=0.5, training=Training("a test", {}, {}))
    if alias:
        name(settings, version, alias)
    return version


def name(settings: Settings, version: str, alias: str = "champion") -> None:
    client(settings).set_registered_model_alias(settings.scoring.model_name, alias, version)


def client(settings: Settings) -> MlflowClient:
    uri = registry.tracking_uri(settings)
    return MlflowClient(uri, uri)


class Flowing:
    """A stream, and packets that are sent into it bit by bit."""

    def __init__(self, spark: SparkSession, settings: Settings, packets: Path) -> None:
        self.settings = settings
        self.running: StreamingQuery = query.start(spark, settings)
        self.sensor = PacketPublisher(settings, "tap")
        self._chunks = chunks(packets, settings.section(SensorSettings))
        self._seen: set[str] = set()

    def close(self) -> None:
        self.running.stop()

    def more(self, parts: int = 1) -> pa.Table:
        """Send some packets; the rows that come of them."""
        for _, chunk in zip(range(parts), self._chunks, strict=False):
            self.sensor.publish(chunk)
        self.sensor.flush()
        sent = self.sensor.counters.sent
        wait_for(self.settings, self.running, lambda t: t.get("packets", 0) == sent)
        return self._new()

    def rest(self) -> pa.Table:
        """Send what is left, and its end."""
        for chunk in self._chunks:
            self.sensor.publish(chunk)
        self.sensor.flush()
        sent = self.sensor.counters.sent
        self.sensor.close()
        wait_for(self.settings, self.running, lambda t: settled(t, sent) and t["open"] == 0)
        return self._new()

    def _new(self) -> pa.Table:
        self.running.processAllAvailable()
        _, messages = predictions(self.settings)
        before, self._seen = self._seen, set(messages)
        return pa.concat_tables(pa.ipc.open_stream(value).read_all() for key, value in messages.items() if key not in before)

    def until(self, true: Callable[[ModelView], bool], patience_s: float = 30.0) -> ModelView:
        """Wait until it is told, and the workers are due to ask."""
        end = time.monotonic() + patience_s
        while not (view := next((v for v in outlook.views(self.settings)), None)) or not true(view):
            assert time.monotonic() < end, view
            assert self.running.exception() is None
            time.sleep(0.05)
        time.sleep(POLL_S)
        return view


def versions(rows: pa.Table) -> set[str]:
    return set(rows["model_version"].to_pylist())


def sample(metric: str, **labels: str) -> float:
    return metrics.REGISTRY.get_sample_value(metric, labels) or 0.0


def test_models_change_while_packets_flow(spark: SparkSession, ready: Settings, capture: Path) -> None:
    forest = RandomForestClassifier(3, max_depth=3, random_state=1)
    put(ready, forest, "champion")
    refusals = sample("flowlake_model_refusals_total", record="flows", role="champion")
    with closing(Flowing(spark, ready, capture)) as flow:
        rows = [flow.more(2)]
        assert versions(rows[-1]) == {"1"}
        assert rows[-1]["challenger_version"].null_count == rows[-1].num_rows > 0

        second = put(ready, HistGradientBoostingClassifier(max_iter=5), "champion")
        flow.until(lambda view: view.in_force["champion"] == second)
        rows.append(flow.more())
        assert versions(rows[-1]) == {second}
        assert sample("flowlake_model_in_force", record="flows", role="champion", version=second) == 1

        for wanted, cause in refused_ones(ready):
            name(ready, wanted)
            view = flow.until(lambda view: any(one.version == wanted for one in view.refused))  # noqa: B023 - called at once
            assert cause in view.problems[0], view
            assert view.in_force["champion"] == second
        rows.append(flow.more())
        assert versions(rows[-1]) == {second}
        assert sample("flowlake_model_refusals_total", record="flows", role="champion") >= refusals + 4

        file = Path(ready.path("var/mlflow/mlflow.db"))
        file.rename(file.with_suffix(".away"))
        assert "no model registry" in flow.until(lambda view: bool(view.away)).away
        rows.append(flow.more())
        file.with_suffix(".away").rename(file)
        flow.until(lambda view: not view.away)
        client(ready).delete_registered_model_alias(ready.scoring.model_name, "champion")
        assert flow.until(lambda view: view.gone).problems
        rows.append(flow.more())
        assert versions(rows[-1]) == versions(rows[-2]) == {second}

        name(ready, "1")  # a rollback is a promotion
        name(ready, second, "challenger")
        flow.until(lambda view: view.in_force == {"champion": "1", "challenger": second})
        rows.append(flow.rest())
        assert versions(rows[-1]) == {"1"}
        assert set(rows[-1]["challenger_version"].to_pylist()) == {second}
        assert set(rows[-1]["challenger_label"].to_pylist()) <= {0, 1}
        assert rows[-1]["challenger_score"].null_count == 0
        assert not flow.until(lambda view: not view.refused).problems
    everything = pa.concat_tables(rows)
    assert everything.num_rows == predictions(ready)[0].num_rows
    assert closed_flows(everything).equals(batch_flows(capture)), "each flow once, none lost"


def refused_ones(settings: Settings) -> Iterator[tuple[str, str]]:
    """Versions that cannot score, and what is said of each."""
    assert FLOWS.features is not None
    yield put(settings, LogisticRegression()), "NaN"
    yield put(settings, KNeighborsClassifier(50, algorithm="brute")), "scoring.max_ms_per_1000"
    moved_on = replace(FLOWS, features=replace(FLOWS.features, version="999"))
    yield put(settings, RandomForestClassifier(1), record=moved_on), "feature-schema version 999"
    damaged = put(settings, RandomForestClassifier(1))
    folder = (
        settings.path(settings.scoring.artifact_root)
        / client(settings).get_model_version(settings.scoring.model_name, damaged).tags["artifact_path"]
    )
    (folder / "model.skops").write_bytes(b"PK\x03\x04 and no more")
    yield damaged, "corrupt artefact"
