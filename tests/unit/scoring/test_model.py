"""Scoring: schema, ranges, threshold, types, pickling."""

from __future__ import annotations

import pickle
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier

from infra.errors import ModelError
from jobs.scoring.matrix import feature_matrix
from jobs.scoring.model import ScoringModel
from schemas.features import FEATURE_VERSION
from schemas.flows import PREDICTION_SCHEMA, RECORD_SCHEMA
from schemas.packets import FLOWS
from tests.randomrecords import random_records
from tests.unit.scoring.records import COLUMNS, champion, fitted, labels_of

ROOT = Path(__file__).resolve().parents[3]


def test_scores_are_predictions_of_the_schema() -> None:
    records = random_records(500, seed=9)
    out = champion().score(records)
    assert out.schema.equals(PREDICTION_SCHEMA)
    assert out.num_rows == 500
    assert out.select(RECORD_SCHEMA.names).equals(records)
    p = out.column("confidence_score").to_numpy()
    label = out.column("predicted_label").to_numpy()
    kind = np.array(out.column("attack_type").to_pylist())
    assert np.isfinite(p).all()
    assert (p >= 0).all()
    assert (p <= 1).all()
    assert 0 < p.mean() < 1
    assert np.array_equal(label == 1, p >= 0.5)
    assert np.array_equal(kind == "BENIGN", label == 0)
    assert set(kind[label == 1]) == {"SYN_SCAN", "UDP_FLOOD"}
    assert set(out.column("model_version").to_pylist()) == {"7"}
    assert np.mean(kind == labels_of(records)) > 0.8


def test_confidence_is_one_minus_benign_and_type_the_likeliest_attack() -> None:
    estimator = fitted(n_jobs=1)
    records = random_records(400, seed=2)
    proba = estimator.predict_proba(feature_matrix(records, COLUMNS))
    out = champion(threshold=0.2).score(records)
    benign = list(estimator.classes_).index("BENIGN")
    assert np.array_equal(out.column("confidence_score").to_numpy(), 1.0 - proba[:, benign])
    attacks = np.delete(proba, benign, axis=1)
    names = np.delete(estimator.classes_, benign)
    kind = np.array(out.column("attack_type").to_pylist())
    hit = 1.0 - proba[:, benign] >= 0.2
    assert np.array_equal(kind[hit], names[attacks[hit].argmax(axis=1)])
    assert (proba[hit, benign] > attacks[hit].max(axis=1)).any(), "the sample lacks the interesting case: benign likeliest, still an attack"


def test_threshold_is_inclusive_and_the_models_own() -> None:
    records = random_records(300, seed=4)
    p = champion().score(records).column("confidence_score").to_numpy()
    for threshold in (float(np.sort(p)[150]), 1.0, float(np.nextafter(np.sort(p)[150], 1))):
        label = champion(threshold=threshold).score(records).column("predicted_label").to_numpy()
        assert np.array_equal(label == 1, p >= threshold)


def test_empty_input_gives_empty_output() -> None:
    out = champion().score(random_records(10).slice(0, 0))
    assert out.num_rows == 0
    assert out.schema.equals(PREDICTION_SCHEMA)
    assert champion().score(RECORD_SCHEMA.empty_table()).schema.equals(PREDICTION_SCHEMA)


def test_a_table_of_chunks_in_another_order_with_more_columns_scores_the_same() -> None:
    records = random_records(200, seed=8)
    table = pa.Table.from_batches([records.slice(0, 77), records.slice(77)])
    table = table.select(RECORD_SCHEMA.names[::-1]).append_column("note", pa.array(["x"] * 200))
    model = champion()
    columns = [n for n in PREDICTION_SCHEMA.names if n != "scored_at"]
    assert model.score(table).select(columns).equals(model.score(records).select(columns))


def test_row_by_row_equals_the_batch() -> None:
    records, model = random_records(40, seed=3), champion()
    whole = model.score(records).column("confidence_score").to_pylist()
    assert [model.score(records.slice(i, 1)).column("confidence_score")[0].as_py() for i in range(40)] == whole


@pytest.mark.parametrize("missing", [("flow_duration",), ("src_ip", "closed")])
def test_missing_columns_are_named(missing: tuple[str, ...]) -> None:
    records = random_records(5)
    with pytest.raises(ModelError) as e:
        champion().score(records.select([n for n in records.schema.names if n not in missing]))
    assert all(name in str(e.value) for name in missing)
    assert "\n" not in str(e.value)


def test_never_nan_even_for_nan_infinity_and_null() -> None:
    records = random_records(4)
    strange = pa.array([np.nan, np.inf, -np.inf, None], pa.float64())
    at = records.schema.get_field_index("flow_iat_mean")
    records = records.set_column(at, "flow_iat_mean", strange)
    x = feature_matrix(records, ["flow_iat_mean"])
    top = np.finfo(np.float32).max
    assert x[:, 0].tolist() == [0.0, top, -top, 0.0]
    assert np.isfinite(feature_matrix(records.set_column(at, "flow_iat_mean", pa.array([1e300] * 4)), ["flow_iat_mean"])).all()


def test_text_is_no_feature() -> None:
    with pytest.raises(ModelError, match="src_ip is string"):
        feature_matrix(random_records(3), ["src_ip"])


def test_a_classifier_that_is_not_compiled_scores_too() -> None:
    records = random_records(2000)
    estimator = GradientBoostingClassifier(n_estimators=10).fit(feature_matrix(records, COLUMNS), labels_of(records))
    model = ScoringModel.from_estimator(estimator, FLOWS, columns=COLUMNS, threshold=0.5, feature_version="1", version="h")
    assert model.predictor is estimator
    assert np.mean(np.array(model.score(records).column("attack_type").to_pylist()) == labels_of(records)) > 0.8


@pytest.mark.parametrize("threshold", [0.0, 1.5, float("nan")])
def test_a_threshold_out_of_range_is_refused(threshold: float) -> None:
    with pytest.raises(ModelError, match="threshold"):
        champion(threshold=threshold)


def test_a_model_without_benign_is_refused() -> None:
    records = random_records(200)
    y = np.where(labels_of(records) == "BENIGN", "OTHER", labels_of(records))
    estimator = HistGradientBoostingClassifier(max_iter=2).fit(feature_matrix(records, COLUMNS), y)
    with pytest.raises(ModelError, match="BENIGN"):
        ScoringModel.from_estimator(estimator, FLOWS, columns=COLUMNS, threshold=0.5, feature_version=FEATURE_VERSION, version="1")


def test_a_worker_needs_neither_mlflow_nor_scikit_learn(tmp_path: Path) -> None:
    """The pickled champion scores in a process where importing them fails."""
    model, records = champion(), random_records(100, seed=1)
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(model))
    with pa.OSFile(str(tmp_path / "records.arrow"), "wb") as file, pa.ipc.new_stream(file, records.schema) as writer:
        writer.write_batch(records)
    code = textwrap.dedent(
        """
        import pickle, sys
        sys.modules["mlflow"] = sys.modules["sklearn"] = None  # importing them raises ImportError
        from pathlib import Path
        import pyarrow as pa
        folder = Path(sys.argv[1])
        model = pickle.loads((folder / "model.pkl").read_bytes())
        records = pa.ipc.open_stream((folder / "records.arrow").read_bytes()).read_next_batch()
        print(model.score(records).column("confidence_score").to_pylist())
        """
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(model.score(records).column("confidence_score").to_pylist())


def test_batches_are_scored_as_they_would_be_alone() -> None:
    records = random_records(60)
    model = champion()
    parts = [records.slice(0, 25), records.slice(25, 0), records.slice(25, 35)]
    columns = [n for n in PREDICTION_SCHEMA.names if n != "scored_at"]
    together = model.score_each(parts)
    assert [b.select(columns) for b in together] == [model.score(part).select(columns) for part in parts]
