"""The model registry: MLflow, a SQLite file and a folder on one machine, a server by its URI in production.

A version of a registered model is a scikit-learn model in MLflow's own layout (skops format: loading runs no code of the file) with what
flowlake needs to apply it beside it, as metadata of the model and as tags of the version: ``feature_version``, ``threshold``,
``columns`` (JSON list), ``training_data``, ``data_version``, ``sha256``; in the metadata alone ``usual``
(:mod:`jobs.scoring.artefact`). The version with the alias ``scoring.alias`` scores the stream.

MLflow is imported inside the functions: it takes seconds, and workers never need it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shlex
import sqlite3
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra import paths
from infra.config import Settings
from infra.errors import FlowlakeError, ModelError, one_line, without_password
from jobs.scoring import artefact
from jobs.scoring.calibration import Calibration
from jobs.scoring.model import ScoringModel, Usual
from jobs.scoring.names import features_of, model_name
from jobs.scoring.novelty import Novelty
from schemas.records import Features, RecordType

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

EXPERIMENT = "flowlake"
_ARTIFACT = "model"
#: MLflow's variables and Python's warnings are those of the whole process: two threads do not change them at once.
_ONE_AT_A_TIME = threading.RLock()
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # the default waits for minutes on a server that is not there
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "GIT_PYTHON_REFRESH": "quiet",
}


class ModelMissingError(ModelError):
    """There is no registry, or no model with the alias."""


class ModelVersionError(ModelError):
    """The model was trained on another version of the feature table."""


@dataclass(frozen=True)
class Training:
    """What is logged beside a model: parameters, metrics, tables and plots (files), a sentence on the data, and what was read of it."""

    data: str
    params: Mapping[str, object]
    metrics: Mapping[str, float]
    files: Sequence[Path] = ()
    data_version: str = ""


def tracking_uri(settings: Settings) -> str:
    """The configured URI; that of an SQLite file as SQLAlchemy and MLflow read it, a relative one resolved against the project's folder."""
    return paths.registry_uri(settings)


@contextmanager
def _training(features: Features) -> Iterator[None]:
    """What fails inside without another way out is mended by training a model."""
    try:
        yield
    except ModelError as e:
        e.hint = e.hint or features.train
        raise


def check(settings: Settings) -> None:
    """Open the registry, creating a local one; what is wrong with it is better known before a training than after.

    Raises
    ------
    ModelError
        The registry cannot be reached or written.
    """
    with _registry(settings, create=True) as client:
        client.search_registered_models(max_results=1)


def register(
    settings: Settings,
    record: RecordType,
    estimator: Any,
    *,
    columns: Sequence[str],
    threshold: float,
    training: Training,
    promote: bool,
    usual: Mapping[str, Usual] | None = None,
    attack_types: Mapping[str, str] | None = None,
    calibration: Calibration | None = None,
    novelty: Novelty | None = None,
) -> str:
    """Log a fitted classifier and register it as a new version; with ``promote`` it becomes the champion.

    ``usual``, ``attack_types``, ``calibration`` and ``novelty`` are those of :class:`jobs.scoring.model.ScoringModel`.

    Returns
    -------
    The version's number, as text.

    Raises
    ------
    ModelError
        The registry cannot be reached or written, or the model does not fit its columns or threshold.
    """
    model = ScoringModel.from_estimator(
        estimator,
        record,
        columns=columns,
        threshold=threshold,
        feature_version=features_of(record).version,
        version="new",
        usual=usual,
        attack_types=attack_types,
        calibration=calibration,
        novelty=novelty,
    )
    facts = {
        "feature_version": model.feature_version,
        "threshold": repr(model.threshold),
        "columns": json.dumps(list(model.columns)),
        "training_data": training.data,
        "data_version": training.data_version,
    }
    name = model_name(settings, record)
    with _registry(settings, create=True) as client, tempfile.TemporaryDirectory(prefix="flowlake-model-") as temp:
        folder = Path(temp) / _ARTIFACT
        artefact.save(estimator, model, folder, facts | artefact.facts_beside(model))
        run = client.create_run(_experiment(client, settings), run_name=f"train {name}")
        run_id = run.info.run_id
        for key, value in training.params.items():
            client.log_param(run_id, key, value)
        for key, number in training.metrics.items():
            client.log_metric(run_id, key, number)
        for file in training.files:
            client.log_artifact(run_id, str(file))
        client.log_artifacts(run_id, str(folder), _ARTIFACT)
        client.set_terminated(run_id)
        _ensure_registered(client, name)
        tags = {**facts, "sha256": artefact.digest(folder), "artifact_path": f"{run_id}/artifacts/{_ARTIFACT}"}
        source = f"{run.info.artifact_uri}/{_ARTIFACT}"
        version = client.create_model_version(name, source, run_id=run_id, tags=tags, description=training.data)
        if promote:
            client.set_registered_model_alias(name, settings.scoring.alias, version.version)
    return str(version.version)


def load_champion(settings: Settings, record: RecordType) -> ScoringModel:
    """The model that scores a record type, checked against the features that this program computes.

    Raises
    ------
    ModelMissingError
        No registry at the configured place, or no version with the alias.
    ModelVersionError
        The model's feature-schema version is another than ours; the message says which.
    ModelError
        The registry cannot be reached, or the artefact is damaged or unusable.
    """
    return _load(settings, record, lambda client: _champion_version(client, settings, record))


def load_version(settings: Settings, record: RecordType, version: str) -> ScoringModel:
    """The model that has scored a record, by the record's ``model_version``.

    Raises
    ------
    ModelMissingError
        No registry at the configured place, or no such version.
    ModelVersionError, ModelError
        As :func:`load_champion`.
    """
    return _load(settings, record, lambda client: _version(client, settings, record, version))


def _load(settings: Settings, record: RecordType, find: Callable[[MlflowClient], ModelVersion]) -> ScoringModel:
    features = features_of(record)
    with _training(features), _registry(settings, create=False) as client:
        version = find(client)
        label = f"model {version.name} version {version.version}"
        with tempfile.TemporaryDirectory(prefix="flowlake-model-") as temp:
            folder = _fetch(client, version, settings, label, Path(temp))
            digest = version.tags.get("sha256")
            if digest and digest != artefact.digest(folder):
                raise artefact.corrupt(label, folder, "its files are not those that were registered")
            readable = artefact.readable(folder, Path(temp))
            try:
                facts = artefact.facts_of(version, readable, label)
                if facts["feature_version"] != features.version:
                    raise ModelVersionError(
                        f"{label} was trained on feature-schema version {facts['feature_version']}, "
                        f"this flowlake computes version {features.version}",
                        features.train,
                    )
                estimator, parts = artefact.load_estimator(readable), artefact.load_parts(readable)
            except artefact.UnreadableError as e:
                raise artefact.corrupt(label, folder, str(e)) from e
            return artefact.assemble(estimator, facts, label, str(version.version), record, parts)


@contextmanager
def _registry(settings: Settings, *, create: bool) -> Iterator[MlflowClient]:
    """An MLflow client without MLflow's chatter; whatever fails inside is one line."""
    uri = tracking_uri(settings)
    shown = _shown(settings)
    if file := paths.registry_file(settings):
        paths.check_registry(settings)
        _check_sqlite(file, create=create)
    for key, value in _QUIET.items():
        os.environ.setdefault(key, value)
    with _ONE_AT_A_TIME, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow

        for chatty in ("mlflow", "alembic", "alembic.runtime.migration"):
            logging.getLogger(chatty).setLevel(logging.ERROR)
        try:
            yield mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
        except FlowlakeError:
            raise
        except Exception as e:  # MLflow raises its own, SQLAlchemy's, requests' and the operating system's
            reason = one_line(e)
            hint = (
                f"mlflow db upgrade {shlex.quote(without_password(uri))}"
                if "out-of-date database schema" in reason
                else "scoring.tracking_uri names the registry"
            )
            raise ModelError(f"model registry {shown}: {reason}", hint) from e


def _check_sqlite(file: Path, *, create: bool) -> None:
    """Fail at once where MLflow would retry for a minute, and never create a registry by looking for a model."""
    if not file.exists():
        if not create:
            raise ModelMissingError(f"no model registry at {file}")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise ModelError(f"model registry {file}: {e.strerror}", "scoring.tracking_uri names a file that can be written") from e
        return
    try:
        with sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True) as connection:
            connection.execute("PRAGMA schema_version").fetchone()
        connection.close()
    except sqlite3.Error as e:
        raise ModelError(f"model registry {file}: {e}", "move the file away; then train one") from e


def _experiment(client: MlflowClient, settings: Settings) -> str:
    """The experiment's id. A local one whose folder has moved with the project gets a successor: MLflow fixes an experiment's folder."""
    if not _is_local(settings):
        found = client.get_experiment_by_name(EXPERIMENT)
        return str(found.experiment_id if found else client.create_experiment(EXPERIMENT))
    root = settings.path(settings.scoring.artifact_root)
    root.mkdir(parents=True, exist_ok=True)
    place = root.as_uri()
    name = EXPERIMENT
    if (found := client.get_experiment_by_name(name)) and found.artifact_location != place:
        name = f"{EXPERIMENT} {hashlib.sha256(place.encode()).hexdigest()[:8]}"
        found = client.get_experiment_by_name(name)
    return str(found.experiment_id if found else client.create_experiment(name, artifact_location=place))


def _ensure_registered(client: MlflowClient, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name, description="Flow records to attack probability and type (flowlake).")
    except MlflowException as e:
        if e.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _champion_version(client: MlflowClient, settings: Settings, record: RecordType) -> ModelVersion:
    from mlflow.exceptions import MlflowException

    name, alias = model_name(settings, record), settings.scoring.alias
    try:
        return client.get_model_version_by_alias(name, alias)
    except MlflowException as e:
        if e.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise ModelMissingError(f"model registry {_shown(settings)}: no model {name!r} with alias {alias!r}") from e
        raise


def _version(client: MlflowClient, settings: Settings, record: RecordType, version: str) -> ModelVersion:
    from mlflow.exceptions import MlflowException

    name = model_name(settings, record)
    try:
        return client.get_model_version(name, version)
    except MlflowException as e:
        if e.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise ModelMissingError(f"model registry {_shown(settings)}: no version {version[:40]!r} of model {name!r}") from e
        raise


def _fetch(client: MlflowClient, version: ModelVersion, settings: Settings, label: str, temp: Path) -> Path:
    """The model's folder on this machine."""
    if _is_local(settings) and (relative := version.tags.get("artifact_path")):
        folder = settings.path(settings.scoring.artifact_root) / relative  # not MLflow's absolute path: the project may have moved
        if not (folder / "MLmodel").is_file():
            raise ModelError(f"{label}: artefact missing, {folder} holds no MLmodel")
        return folder
    import mlflow

    try:
        where = client.get_model_version_download_uri(version.name, version.version)
        return Path(mlflow.artifacts.download_artifacts(where, dst_path=str(temp), tracking_uri=tracking_uri(settings)))
    except Exception as e:
        raise ModelError(f"{label}: artefact {version.source} cannot be fetched: {one_line(e)}") from e


def _is_local(settings: Settings) -> bool:
    return paths.registry_file(settings) is not None


def _shown(settings: Settings) -> str:
    """The registry as a person reads it: a file by its path, a server by its URI without the password."""
    return str(paths.registry_file(settings) or without_password(settings.scoring.tracking_uri))
