"""What explains an alert: by its top flow, whatever is cut or repeated, and what is said where there is no explanation."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from infra.config import ROOT
from infra.errors import ModelError
from jobs.scoring.calibration import Calibration
from jobs.scoring.matrix import feature_matrix
from jobs.scoring.model import ScoringModel, Usual
from jobs.scoring.novelty import Novelty, Tails
from jobs.sinks import alertbook, evidence, explainers, messages, storms, tops
from jobs.sinks.alertbook import Alert
from jobs.sinks.explainers import Explainers
from jobs.sinks.reasons import Reasons
from schemas.alerts import WHY_FEATURES
from schemas.features import FEATURE_VERSION
from schemas.packets import FLOWS
from tests.randomrecords import random_records
from tests.sinksdata import T0, flow_id, headers, kafka_rows, table, value
from tests.unit.scoring.records import COLUMNS, champion, labels_of

Rows = list[dict[str, Any]]
MODEL = replace(champion(), usual={"syn_flag_count": Usual(0.0, 0.1, 0.2)})
RULES = FLOWS.alerts
assert RULES is not None


def scored(rows: Rows, model: ScoringModel = MODEL) -> Rows:
    """The rows with the score that the model gives them."""
    result = model.score(table(rows))
    return [{**row, "confidence_score": score} for row, score in zip(rows, result.column("confidence_score").to_pylist(), strict=True)]


def attack(name: object, fwd: int, syn: int = 80, kind: str = "SYN_SCAN", **more: Any) -> dict[str, Any]:
    features = {"total_fwd_packets": fwd, "syn_flag_count": syn, "flow_duration": 10 * fwd, "flow_iat_mean": 1.5 * fwd}
    return {"name": name, "attack_type": kind, **features, **more}


def parts(rows: Rows, per_message: int = 3) -> list[pa.Table]:
    """The evidence of one batch of the sink, out of messages."""
    values = [(value(table(rows[at : at + per_message])), headers()) for at in range(0, len(rows), per_message)]
    decoded, bad = messages.decode(kafka_rows(values), FLOWS, query="alerts")
    assert not bad
    found = evidence.attacks(messages.joined(tops.placed(decoded), FLOWS), RULES)
    return [evidence.partials(found, RULES, 3600, features=tops.vectors(decoded, FLOWS))]


def reasons(by_version: Callable[[str], ScoringModel] = lambda version: MODEL, most: int = 500) -> Reasons:
    return Reasons(Explainers(lambda: MODEL, by_version), FLOWS, most)


def fold(batches: list[Rows], explaining: Reasons, known: dict[UUID, Alert] | None = None) -> dict[UUID, Alert]:
    """Alerts after several batches."""
    known = dict(known or {})
    for rows in batches:
        if not rows:
            continue
        for item in alertbook.gather(parts(rows)):
            whys = explaining.of([item.top]) if item.top and alertbook.unexplained(known.get(item.id), item) else [None]
            change = alertbook.apply(known.get(item.id), item, why=whys[0])
            if change is not None:
                known[item.id] = change.alert
    return known


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first explanation compiles, which takes long on a busy machine."""
    monkeypatch.setattr(explainers, "_PATIENCE_S", 120.0)


def why(alerts: dict[UUID, Alert]) -> dict[str, Any]:
    (alert,) = alerts.values()
    return json.loads(json.dumps(alert.details["why"], allow_nan=False))


def test_an_alert_says_what_drove_the_score_of_its_top_flow() -> None:
    rows = scored([attack(i, fwd) for i, fwd in enumerate((51, 60, 90, 70, 10))])
    best = max(rows, key=lambda row: row["confidence_score"])
    found = why(fold([rows], reasons()))
    assert found["score"] == best["confidence_score"]
    assert found["flow_id"] in {flow_id(row["name"]) for row in rows if row["confidence_score"] == best["confidence_score"]}
    assert (found["model_version"], found["end_time"], "missing" in found) == ("7", "2026-03-01T12:00:00Z", False)
    assert len(found["features"]) == min(WHY_FEATURES, len(COLUMNS))
    shares = [one["contribution"] for one in found["features"]]
    assert [abs(share) for share in shares] == sorted((abs(share) for share in shares), reverse=True)
    assert found["base"] + sum(shares) + found["others"] == pytest.approx(found["score"], abs=3e-6)
    named = {one["feature"]: one for one in found["features"]}
    (name,) = [row["name"] for row in rows if flow_id(row["name"]) == found["flow_id"]]
    assert {key: one["value"] for key, one in named.items()} == {key: rows[name][key] for key in named}
    assert (named["syn_flag_count"]["usual"], named["total_fwd_packets"]["usual"]) == ([0.0, 0.2], None)
    assert (named["syn_flag_count"]["median"], named["total_fwd_packets"]["median"]) == (0.1, None)
    assert isinstance(named["total_fwd_packets"]["value"], int)


def test_a_calibrated_score_is_explained_by_the_classifiers() -> None:
    model = replace(MODEL, calibration=Calibration(np.array([0, 0.3, 1]), np.array([0, 0.7, 1])))
    explaining = Reasons(Explainers(lambda: model, lambda version: model), FLOWS, 5)
    found = why(fold([scored([attack(1, 60)], model)], explaining))
    shares = sum(one["contribution"] for one in found["features"])
    assert found["base"] + shares + found["others"] == pytest.approx(found["raw_score"], abs=3e-6)
    assert found["score"] > found["raw_score"] > 0.3


def test_an_unknown_attack_is_explained_by_what_is_unusual_about_it() -> None:
    """The classifier takes it for benign; the column that weighs least with it may be the one."""
    usual = {name: Usual(0.0, 1.0, 1e9) for name in COLUMNS} | {"flow_iat_mean": Usual(0.0, 0.1, 0.2)}
    rows = scored([attack(1, 5, syn=3, kind="UNKNOWN")])
    assert rows[0]["confidence_score"] < MODEL.threshold
    for novelty, first in ((None, False), (Novelty(Tails(np.zeros((4, 1), np.float32)), COLUMNS, 0.5), True)):
        model = replace(MODEL, usual=usual, novelty=novelty)
        found = why(fold([rows], Reasons(Explainers(lambda: model, lambda version: model), FLOWS, 5)))  # noqa: B023
        names = [one["feature"] for one in found["features"]]
        assert (names[0] == "flow_iat_mean") is first


def test_an_unknown_attack_is_explained_by_columns_that_only_the_detector_reads() -> None:
    away = "bwd_packet_length_max"
    assert away not in COLUMNS
    rows = scored([attack(1, 5, syn=3, kind="UNKNOWN")])
    model = replace(
        MODEL,
        usual={name: Usual(0.0, 1.0, 1e9) for name in COLUMNS} | {away: Usual(-9.0, -8.0, -7.0)},
        novelty=Novelty(Tails(np.zeros((5, 1), np.float32)), (*COLUMNS, away), 0.5),
    )
    found = why(fold([rows], Reasons(Explainers(lambda: model, lambda version: model), FLOWS, 5)))
    first = found["features"][0]
    assert (first["feature"], first["contribution"], first["usual"]) == (away, 0.0, [-9.0, -7.0])
    assert found["base"] + sum(one["contribution"] for one in found["features"]) + found["others"] == pytest.approx(
        found["score"], abs=3e-6
    )


@hypothesis_settings(max_examples=10, deadline=None)
@given(st.data())
def test_any_order_cut_and_repetition_explains_by_the_same_flow(data: st.DataObject) -> None:
    """Floods of one confidence, several views of a flow, per-flow and repeated alerts."""
    rows = [attack(f"s{i}", 51 + i % 4, lasts=i % 3) for i in range(12)]
    rows += [attack(f"f{i}", 70, kind="SYN_FLOOD", src_ip=f"10.1.0.{i}") for i in range(12)]
    rows += [attack(f"b{i}", 55 + c, kind="BOTNET_BEACON", closed=bool(c), lasts=c) for i in range(3) for c in (0, 1)]
    rows += [attack("h", 50 + 9 * c, kind="Heartbleed", closed=bool(c), lasts=c) for c in (0, 1)]
    rows = scored(rows)
    expected = fold([rows], reasons())
    mixed = data.draw(st.permutations(rows)) + data.draw(st.lists(st.sampled_from(rows), max_size=30))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(mixed)), max_size=5)))
    found = fold([mixed[a:b] for a, b in zip([0, *cuts], [*cuts, len(mixed)], strict=True)], reasons())
    assert {key: alert.details["why"] for key, alert in found.items()} == {key: a.details["why"] for key, a in expected.items()}
    for alert in found.values():
        assert alert.details["why"]["score"] == alert.confidence


def test_seen_again_it_is_not_explained_again() -> None:
    rows = scored([attack(i, 60 + i) for i in range(5)])
    known = fold([rows], reasons())
    for item in alertbook.gather(parts(rows)):
        assert not alertbook.unexplained(known[item.id], item)
        assert alertbook.apply(known[item.id], item) is None


def test_a_candidate_keeps_its_top_flow() -> None:
    """What is written to the log and read again."""
    (item,) = alertbook.gather(parts(scored([attack(1, 60)])))
    (again,) = alertbook.gather([alertbook.rows([item])])
    assert again.top == item.top
    assert again.top is not None
    assert len(again.top.features) == 8 * len(FLOWS.features.names)  # type: ignore[union-attr]


def test_values_that_are_no_numbers_are_null() -> None:
    """The scorer takes NaN as 0 and infinity as the largest number; JSON has neither."""
    rows = scored([attack(1, 60, flow_iat_mean=float("nan"))])
    infinite = scored([attack(2, 60, flow_iat_mean=float("inf"), kind="Heartbleed")])
    for some in (rows, infinite):
        found = why(fold([some], reasons()))
        assert [one["value"] for one in found["features"] if one["feature"] == "flow_iat_mean"] in ([None], [])
        assert "missing" not in found


def test_a_score_that_is_no_number_is_not_explained() -> None:
    found = why(fold([[attack(1, 60, confidence_score=float("nan"), kind="Heartbleed")]], reasons()))
    assert (found["score"], found["features"]) == (None, [])
    assert found["missing"].startswith("other-score: ")


def unknown(version: str) -> ScoringModel:
    raise ModelError(f"model registry /some/where: no version {version}")


def linear(version: str) -> ScoringModel:
    records = random_records(300)
    estimator = LogisticRegression(C=1e-9).fit(feature_matrix(records, COLUMNS), labels_of(records))
    return ScoringModel.from_estimator(estimator, FLOWS, columns=COLUMNS, threshold=0.5, feature_version=FEATURE_VERSION, version=version)


@pytest.mark.parametrize(
    ("by_version", "missing"),
    [
        (unknown, "model-missing: version 7 cannot be loaded"),
        (linear, "model-kind: LogisticRegression is a kind of model without exact contributions"),
        (lambda version: champion(max_depth=2), "other-score: the model of this version gives "),
    ],
    ids=["no such model", "of another kind", "another model of the same version"],
)
def test_what_cannot_be_explained_says_why_and_gives_no_numbers(by_version: Callable[[str], ScoringModel], missing: str) -> None:
    found = why(fold([scored([attack(1, 60)])], reasons(by_version)))
    assert found["missing"].startswith(missing)
    assert (found["base"], found["features"], found["others"]) == (None, [], None)
    assert found["flow_id"] == flow_id(1)


def test_what_was_missing_is_explained_when_the_flow_is_seen_again() -> None:
    rows = scored([attack(i, 60 + i) for i in range(5)])
    before = fold([rows], reasons(unknown))
    after = fold([rows], reasons(), before)
    assert "missing" in why(before)
    assert why(after)["features"]
    assert why(after)["flow_id"] == why(before)["flow_id"]


def test_no_more_than_the_bound_are_explained_and_the_others_say_so() -> None:
    (item,) = alertbook.gather(parts(scored([attack(1, 60)])))
    assert item.top is not None
    found = reasons(most=3).of([item.top] * 5)
    assert [bool(one["features"]) for one in found] == [True, True, True, False, False]
    assert found[4]["missing"] == "too-many: more than 3 alerts to explain at once"


def test_features_that_cannot_be_read_leave_the_alert() -> None:
    rows = scored([attack(1, 60)])
    whole = value(table(rows))
    decoded, _ = messages.decode(kafka_rows([(whole, headers())]), FLOWS, query="alerts")
    torn = [replace(message, value=whole[: len(whole) // 2]) for message in decoded]
    found = evidence.attacks(messages.joined(tops.placed(decoded), FLOWS), RULES)
    (item,) = alertbook.gather([evidence.partials(found, RULES, 3600, features=tops.vectors(torn, FLOWS))])
    assert item.top is not None
    assert reasons().of([item.top])[0]["missing"].startswith("features: they could not be read")
    (complete,) = alertbook.gather(parts(rows))
    assert alertbook.merged(item, complete).top == complete.top, "a copy that can be read is preferred"


def test_in_a_storm_no_more_features_are_read_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tops, "MAX_VECTORS", 4)
    rows = [attack(f"h{i}", 60, kind="Heartbleed") for i in range(6)] + [attack(f"s{i}", 60) for i in range(6)]
    items = alertbook.gather(parts(scored(rows)))
    assert len(items) == 7
    assert sum(bool(item.top and item.top.features) for item in items) == 4
    (scan,) = [item for item in items if item.kind == "scan"]
    assert scan.top is not None
    assert scan.top.features, "alerts about many flows come first"


def test_a_storm_is_explained_by_the_top_flow_of_all_that_it_counts() -> None:
    rows = scored([attack(f"b{i}", 51 + i, kind="BOTNET_BEACON", src_ip=f"10.2.0.{i}") for i in range(30)])
    (every,) = parts(rows)
    best = max(row["confidence_score"] for row in rows)
    wanted = None
    for item in alertbook.gather([every]):
        if item.top is not None and item.top.beats(wanted):
            wanted = item.top
    storm = UUID(int=1)
    for cut in (0, 7, 29):
        halves = [storms.fold(part, storm) for part in (every.slice(0, cut), every.slice(cut)) if part.num_rows]
        (item,) = alertbook.gather(halves)
        assert item.top == wanted
        assert item.top is not None
        assert item.top.score == best
        assert reasons().of([item.top])[0]["features"]


def test_a_registry_that_does_not_answer_holds_alerts_back_for_a_moment_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explainers, "_PATIENCE_S", 0.01)
    answer = threading.Event()

    def slow(version: str) -> ScoringModel:
        assert answer.wait(60)
        return MODEL

    kept = Explainers(lambda: slow(""), slow)
    kept.prefetch()
    explaining = Reasons(kept, FLOWS, 500)
    (item,) = alertbook.gather(parts(scored([attack(1, 60)])))
    assert item.top is not None
    assert explaining.of([item.top])[0]["missing"] == "model-missing: it is still being loaded"
    answer.set()
    for thread in threading.enumerate():
        if thread.name == "explainer":
            thread.join(60)
    assert explaining.of([item.top])[0]["features"]


def test_a_model_that_was_not_there_is_looked_for_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def late(version: str) -> ScoringModel:
        asked.append(version)
        return MODEL if len(asked) > 1 else unknown(version)

    kept = Explainers(lambda: MODEL, late)
    assert str(kept.of("7")) == str(kept.of("7")) == "model-missing: version 7 cannot be loaded"
    assert asked == ["7"]
    monkeypatch.setattr(explainers, "_RETRY_S", -1.0)
    assert not isinstance(kept.of("7"), str)
    assert asked == ["7", "7"]


def test_few_models_are_kept() -> None:
    kept = Explainers(lambda: MODEL, unknown)
    for number in range(100):
        assert kept.of(str(number)) == f"model-missing: version {number} cannot be loaded"
    assert len(kept._known) <= 8


def test_tasks_need_no_model() -> None:
    """They run in many processes, each of which would pay for the imports."""
    program = "import sys, jobs.sinks.alerts; print(sorted({'numba', 'sklearn', 'mlflow', 'skops'} & set(sys.modules)))"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert said.stdout == "[]\n"


def test_tops_of_groups_by_hand() -> None:
    rows = evidence.attacks(table([attack(i, 60, confidence_score=c) for i, c in enumerate((0.7, 0.9, 0.9, 0.8))]), RULES)
    hashes = np.array([4, 1, 3, 9], np.uint64)
    frame = rows.select(["confidence_score", "model_version"]).to_pandas().assign(end=[int(T0.timestamp())] * 4)
    assert tops.of_groups(frame, hashes, np.array([0])).tolist() == [2]
    assert tops.of_groups(frame, hashes, np.array([0, 1, 3])).tolist() == [0, 2, 3]
