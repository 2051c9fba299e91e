"""The model registry: a real MLflow store (SQLite and a folder), what comes back, and what may be wrong with it."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier, RandomForestClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression

from infra import config
from infra.config import Settings
from infra.errors import ModelError
from infra.sections import ScoringSettings
from jobs.scoring import registry, tracking
from jobs.scoring.calibration import Calibration
from jobs.scoring.matrix import feature_matrix
from jobs.scoring.model import Usual
from jobs.scoring.novelty import Novelty, Tails
from jobs.scoring.registry import ModelMissingError, ModelVersionError, Training, load_champion, register
from jobs.scoring.typed import Typer
from schemas.flows import PREDICTION_SCHEMA
from schemas.packets import FLOWS
from tests import registries
from tests.champions import crown
from tests.randomrecords import random_records
from tests.unit.scoring.records import COLUMNS, champion, fitted, labels_of

TRAINING = Training(data="random records", params={"n": 3000}, metrics={"held_out_f1": 0.5})


def at(folder: Path, **changes: str) -> Settings:
    """Settings whose registry lies in ``folder``."""
    places = {"tracking_uri": f"sqlite:///{folder / 'mlflow.db'}", "artifact_root": str(folder / "artifacts")}
    return config.build(scoring=ScoringSettings(**(places | changes)))


def put(settings: Settings, promote: bool = True, **changes: object) -> str:
    arguments = {"columns": COLUMNS, "threshold": 0.375, "training": TRAINING} | changes
    version = register(settings, FLOWS, fitted(), **arguments)  # type: ignore[arg-type]
    return crown(settings, version) if promote else version


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry with one champion; tests that spoil it work on copies."""
    folder = tmp_path_factory.mktemp("registry")
    assert put(at(folder)) == "1"
    return folder


@pytest.fixture
def copy(origin: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(origin, tmp_path / "moved"))


def test_what_was_registered_comes_back(origin: Path) -> None:
    records = random_records(300, seed=1)
    loaded = load_champion(at(origin), FLOWS)
    assert (loaded.version, loaded.threshold, loaded.columns) == ("1", 0.375, COLUMNS)
    assert loaded.score(records).column("confidence_score").equals(champion().score(records).column("confidence_score"))
    client = MlflowClient(at(origin).scoring.tracking_uri)
    version = client.get_model_version_by_alias(at(origin).scoring.model_name, at(origin).scoring.alias)
    assert client.get_run(version.run_id).data.metrics == {"held_out_f1": 0.5}


def test_a_version_is_found_by_its_number_with_the_usual_ranges_of_its_training(origin: Path, copy: Path) -> None:
    usual = {"flow_duration": Usual(0.0, 3e5, 1.5e6), "syn_flag_count": Usual(0.0, 0.0, 0.2)}
    assert put(at(copy), promote=False, usual=usual) == "2"
    assert registry.load_version(at(copy), FLOWS, "2").usual == usual
    first = registry.load_version(at(copy), FLOWS, "1")
    assert (first.version, first.usual) == ("1", {}), "registered without"
    assert load_champion(at(copy), FLOWS).version == "1"
    for unknown in ("3", "0", "-1", "x", "", "1' OR '1'='1"):
        with pytest.raises(ModelMissingError, match="no version"):
            registry.load_version(at(copy), FLOWS, unknown)


def test_what_a_model_has_beside_its_classifier_comes_back(copy: Path) -> None:
    records = random_records(300, seed=1)
    more = {
        "attack_types": {"SYN_SCAN": "PORT_SCAN"},
        "calibration": Calibration(np.array([0, 0.4, 1]), np.array([0, 0.6, 1])),
        "novelty": Novelty(Tails.fit(feature_matrix(records, COLUMNS[:2])), COLUMNS[:2], 0.3),
    }
    version = put(at(copy), **more)
    loaded, whole = load_champion(at(copy), FLOWS), replace(champion(0.375), version=version, **more)  # type: ignore[arg-type]
    columns = [name for name in PREDICTION_SCHEMA.names if name != "scored_at"]
    assert loaded.score(records).select(columns).equals(whole.score(records).select(columns))
    assert set(loaded.score(records)["attack_type"].to_pylist()) >= {"UNKNOWN", "PORT_SCAN"}


def test_what_tells_attacks_apart_comes_back(copy: Path) -> None:
    """A classifier that knows attacks alone, with the kinds beside it; a file whose kinds are damaged is refused."""
    records = random_records(400, seed=2)
    x, y = feature_matrix(records, COLUMNS), labels_of(records)
    attacks = y != "BENIGN"
    typer = Typer.from_sklearn(RandomForestClassifier(4, random_state=1).fit(x[attacks], y[attacks]), y[attacks].tolist())
    votes = [("a", HistGradientBoostingClassifier(max_iter=4)), ("b", ExtraTreesClassifier(4, random_state=0))]
    blend = VotingClassifier(votes, voting="soft").fit(x, np.where(attacks, "ATTACK", "BENIGN"))
    version = crown(at(copy), register(at(copy), FLOWS, blend, columns=COLUMNS, threshold=0.375, training=TRAINING, typer=typer))
    loaded = load_champion(at(copy), FLOWS)
    assert (loaded.version, loaded.classes) == (version, ("BENIGN", "SYN_SCAN", "UDP_FLOOD"))
    p = loaded.predict(x)
    np.testing.assert_allclose(p[:, 0], blend.predict_proba(x)[:, 1], rtol=0, atol=1e-12)
    assert (np.array(loaded.verdicts)[loaded.decide(p)[2]] == y).mean() > 0.8
    (parts,) = (file for file in copy.rglob("parts.npz"))
    with np.load(parts) as found:
        arrays = dict(found)
    arrays["typer.children"] = arrays["typer.children"] + 10_000
    np.savez(parts, **arrays)
    MlflowClient(at(copy).scoring.tracking_uri).delete_model_version_tag(at(copy).scoring.model_name, version, "sha256")
    with pytest.raises(ModelError, match="corrupt artefact"):
        load_champion(at(copy), FLOWS)


@pytest.mark.parametrize("spoiled", [{"novelty.quantiles": np.array([[object()]])}, {"novelty.other": np.zeros((2, 2))}, b"no archive"])
def test_parts_that_are_none_or_hold_code_are_refused(copy: Path, spoiled: object) -> None:
    version = put(at(copy), novelty=Novelty(Tails.fit(np.zeros((9, 1), np.float32)), COLUMNS[:1], 0.7))
    client = MlflowClient(at(copy).scoring.tracking_uri)
    name = at(copy).scoring.model_name
    client.delete_model_version_tag(name, version, "sha256")
    (parts,) = copy.rglob("parts.npz")
    if isinstance(spoiled, bytes):
        parts.write_bytes(spoiled)
    else:
        np.savez(parts, **spoiled)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="corrupt artefact"):
        load_champion(at(copy), FLOWS)


def test_usual_ranges_that_cannot_be_read_stop_no_scoring(tmp_path: Path) -> None:
    settings = at(tmp_path)
    put(settings)
    client = MlflowClient(settings.scoring.tracking_uri)
    for text, found in (
        ("{", {}),
        ("[1]", {}),
        ('{"flow_duration": [1]}', {}),
        ('{"a": [0, 1], "b": [0, NaN], "c": [0, 2, 9]}', {"a": (0.0, None, 1.0), "c": (0.0, 2.0, 9.0)}),
    ):
        client.set_model_version_tag(settings.scoring.model_name, "1", "usual", text)
        assert load_champion(settings, FLOWS).usual == found


def test_a_registry_lies_where_it_was_told_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a URL gives a meaning is a part of the name here."""
    home = tmp_path / "ü %2F%25?a=b#c&d;e:f@g"
    monkeypatch.setenv("FLOWLAKE_HOME", str(home))
    settings = config.build()
    assert put(settings) == "1"
    assert load_champion(settings, FLOWS).version == "1"
    assert put(settings, promote=False) == "2", "opened a second time"
    assert (home / "var" / "mlflow" / "mlflow.db").is_file()
    assert list(tmp_path.iterdir()) == [home]
    monkeypatch.setattr("tempfile.tempdir", str(home))
    assert load_champion(settings, FLOWS).version == "1", "nor does a temporary folder of such a name matter"


def test_a_registry_that_moved_with_its_project_works_and_takes_new_versions(copy: Path) -> None:
    settings = at(copy)
    assert load_champion(settings, FLOWS).version == "1"
    assert put(settings, promote=False) == "2"
    assert load_champion(settings, FLOWS).version == "1"
    assert put(settings) == "3"
    assert load_champion(settings, FLOWS).version == "3"
    assert len(list((copy / "artifacts").glob("*/artifacts/model/MLmodel"))) == 3  # nothing was written to the old place


def test_a_relative_uri_lies_under_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, origin: Path) -> None:
    monkeypatch.setenv("FLOWLAKE_HOME", str(tmp_path))
    shutil.copytree(origin, tmp_path / "var" / "mlflow")
    monkeypatch.chdir("/")
    assert load_champion(config.build(), FLOWS).version == "1"


def test_no_registry_and_none_is_made_by_looking(tmp_path: Path) -> None:
    with pytest.raises(ModelMissingError, match="no model registry at") as e:
        load_champion(at(tmp_path), FLOWS)
    assert "flowlake train" in e.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_registry_is_made_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = at(tmp_path)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "search_registered_models", killed)
        with pytest.raises(KeyboardInterrupt):
            registry.check(settings)
    assert list(tmp_path.iterdir()) == []

    def late(source: Path, file: Path) -> None:
        """Another program was first."""
        shutil.copyfile(source, file)
        with tracking.opened(settings, create=False) as client:
            client.create_experiment(tracking.EXPERIMENT)
        raise FileExistsError

    with monkeypatch.context() as patch:
        patch.setattr(tracking.os, "link", late)
        registry.check(settings)
    with tracking.opened(settings, create=False) as client:
        assert client.get_experiment_by_name(tracking.EXPERIMENT) is not None, "what the other has made is left as it is"
    assert [file.name for file in tmp_path.glob("mlflow.db*")] == ["mlflow.db"]

    def none(*_: object) -> None:
        """A file system without links."""
        raise PermissionError

    elsewhere = at(tmp_path / "elsewhere")
    with monkeypatch.context() as patch:
        patch.setattr(tracking.os, "link", none)
        registry.check(elsewhere)
    assert [file.name for file in (tmp_path / "elsewhere").glob("mlflow.db*")] == ["mlflow.db"]


def test_an_experiment_that_another_program_makes_meanwhile_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = registries.begin(at(tmp_path))
    with tracking.opened(settings, create=True) as client:
        made = tracking.experiment(client, settings)
        asked = iter([None])
        real = client.get_experiment_by_name
        monkeypatch.setattr(client, "get_experiment_by_name", lambda name: next(asked, real(name)))
        assert tracking.experiment(client, settings) == made


def test_no_champion(copy: Path) -> None:
    with pytest.raises(ModelMissingError, match="no version of model 'flowlake-flows' is canary yet") as e:
        load_champion(at(copy, alias="canary"), FLOWS)
    assert "flowlake models promote" in e.value.hint, "one waits"
    with pytest.raises(ModelMissingError, match="no version of model 'other'") as e:
        load_champion(at(copy, model_name="other"), FLOWS)
    assert "flowlake train" in e.value.hint


def test_another_feature_version_is_refused_and_both_are_named(copy: Path) -> None:
    assert FLOWS.features is not None
    moved_on = replace(FLOWS, features=replace(FLOWS.features, version="2"))  # the program moves on, the model stays
    with pytest.raises(ModelVersionError, match="feature-schema version 1, this flowlake computes version 2"):
        load_champion(at(copy), moved_on)


@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "MLmodel", "folder"])
def test_a_damaged_artefact_is_refused(copy: Path, damage: str) -> None:
    model = next((copy / "artifacts").glob("*/artifacts/model"))
    file = model / "model.skops"
    raw = bytearray(file.read_bytes())
    if damage == "flip":
        raw[len(raw) // 2] ^= 1
        file.write_bytes(raw)
    elif damage == "cut":
        file.write_bytes(raw[: len(raw) // 2])
    elif damage == "remove":
        file.unlink()
    elif damage == "MLmodel":
        (model / "MLmodel").write_text("not: [yaml")
    else:
        shutil.rmtree(model)
    with pytest.raises(ModelError, match=r"model flowlake-flows version 1: (corrupt artefact|artefact missing)") as e:
        load_champion(at(copy), FLOWS)
    assert "\n" not in str(e.value)
    assert "flowlake train" in e.value.hint


@pytest.mark.parametrize("content", [b"not a database, but long enough to be taken for one" * 20, b"SQLite format 3\0" + b"\xff" * 2000])
def test_a_registry_that_is_no_database(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "mlflow.db").write_bytes(content)
    for use in (lambda settings: load_champion(settings, FLOWS), put):
        with pytest.raises(ModelError, match="model registry"):
            use(at(tmp_path))


def test_a_registry_where_none_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="model registry"):
        put(at(tmp_path / "file"))


def test_a_server_that_is_not_there() -> None:
    settings = config.build(scoring=ScoringSettings(tracking_uri="http://user:secret@127.0.0.1:9"))
    with pytest.raises(ModelError, match=r"model registry http://127\.0\.0\.1:9") as e:
        load_champion(settings, FLOWS)
    assert "secret" not in str(e.value) + e.value.hint


def test_a_registry_that_cannot_be_written_is_known_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = registries.begin(at(tmp_path))
    registry.check(settings)
    assert list((tmp_path / "artifacts").iterdir()) == []
    monkeypatch.setattr(tracking, "_WAIT_S", 0.05)
    with closing(sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")  # as somebody who writes, or a file system that is read-only
        with pytest.raises(ModelError, match="database is locked"):
            registry.check(settings)
    (tmp_path / "artifacts").rmdir()
    (tmp_path / "artifacts").write_text("")
    with pytest.raises(ModelError, match="files of models") as e:
        registry.check(settings)
    assert "scoring.artifact_root" in e.value.hint


def test_a_training_whose_registry_is_away_says_so_before_the_work() -> None:
    from jobs.training.train import train

    settings = config.build(scoring=ScoringSettings(tracking_uri="http://127.0.0.1:9"))
    done: list[str] = []
    with pytest.raises(ModelError, match=r"model registry http://127\.0\.0\.1:9"):
        train(settings, seeds=(1, 2, 3), seconds=1.0, progress=done.append)
    assert done == []


def test_a_model_registered_by_hand_needs_its_tags(copy: Path) -> None:
    """Any scikit-learn classifier, logged with MLflow alone; tags say how to apply it."""
    settings = at(copy)
    records = random_records(500)
    estimator = LogisticRegression().fit(feature_matrix(records, COLUMNS) / 1e3, labels_of(records))
    client = MlflowClient(registry.tracking_uri(settings), registry.tracking_uri(settings))
    folder = copy / "by-hand"
    mlflow.sklearn.save_model(estimator, str(folder), serialization_format="skops")
    version = client.create_model_version("flowlake-flows", folder.as_uri()).version
    client.set_registered_model_alias("flowlake-flows", "champion", version)
    with pytest.raises(ModelError, match="lacks feature_version, threshold, columns"):
        load_champion(settings, FLOWS)
    for key, value in {"feature_version": "1", "threshold": "0.5", "columns": '["flow_duration", "no_such_feature"]'}.items():
        client.set_model_version_tag("flowlake-flows", version, key, value)
    with pytest.raises(ModelError, match="unknown columns no_such_feature"):
        load_champion(settings, FLOWS)
    client.set_model_version_tag("flowlake-flows", version, "columns", '["flow_duration"]')
    with pytest.raises(ModelError, match="4 columns, its description 1"):
        load_champion(settings, FLOWS)
    client.set_model_version_tag("flowlake-flows", version, "columns", str(list(COLUMNS)).replace("'", '"'))
    client.set_model_version_tag("flowlake-flows", version, "threshold", "high")
    with pytest.raises(ModelError, match="threshold unreadable"):
        load_champion(settings, FLOWS)
    client.set_model_version_tag("flowlake-flows", version, "threshold", "0.5")
    assert load_champion(settings, FLOWS).score(records).num_rows == 500


def test_training_registers_a_first_model_scores_and_a_champion_stays(tmp_path: Path) -> None:
    from jobs.models.newcomer import Settled, ensure_champion, settle
    from jobs.models.request import PromotionRequest
    from jobs.training.train import GENERATED, train

    settings = at(tmp_path)
    small = {"seeds": (1, 2, 3), "seconds": 6.0, "ways": (), "choices": replace(GENERATED, family="forest")}
    first = train(settings, **small)  # type: ignore[arg-type]
    assert (first.version, first.beside) == ("1", "")
    assert settle(settings, FLOWS, "1", PromotionRequest()) == Settled(True, "the first one")
    second = train(settings, **small)  # type: ignore[arg-type]
    assert second.version == "2"
    assert "on the held-out records, champion 1 has" in second.beside
    assert settle(settings, FLOWS, "2", PromotionRequest()) == Settled(False, "champion 1 stays")
    assert second.model.threshold == first.model.threshold
    assert second.quality == first.quality
    assert ensure_champion(settings).version == "1"
    client = MlflowClient(registry.tracking_uri(settings), registry.tracking_uri(settings))
    run = client.get_run(client.get_model_version("flowlake-flows", "1").run_id)
    assert run.data.metrics["held_out_closed_recall"] == first.quality["held_out_closed"].recall
    tags = client.get_model_version("flowlake-flows", "1").tags
    assert tags["threshold_rule"] in first.card
    assert Path(client.download_artifacts(run.info.run_id, tags["card"], str(tmp_path))).read_text(encoding="utf-8") == first.card
    assert {f.path for f in client.list_artifacts(run.info.run_id)} == {
        "card.html",
        "classes.csv",
        "confusion.csv",
        "data.json",
        "evaluation.json",
        "held_out.parquet",
        "model",
        "profile.json",
    }
