"""The model registry: MLflow, a SQLite file and a folder on one machine, a server by its URI in production.

A version of a registered model is a scikit-learn model in MLflow's own layout (skops format: loading runs no code of the file) with what
flowlake needs to apply it beside it, as metadata of the model and as tags of the version: ``feature_version``, ``threshold``,
``columns`` (JSON list), ``training_data``, ``sha256``. The version with the alias ``scoring.alias`` scores the stream.

MLflow is imported inside the functions: it takes seconds, and workers never need it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shlex
import shutil
import sqlite3
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra import paths
from infra.config import Settings
from infra.errors import FlowlakeError, ModelError, one_line, without_password
from jobs.scoring.model import Champion
from jobs.scoring.names import features_of, model_name
from schemas.records import Features, RecordType

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

EXPERIMENT = "flowlake"
_ARTIFACT = "model"
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


class _UnreadableError(Exception):
    """MLflow cannot read a model's folder."""


@dataclass(frozen=True)
class Training:
    """What is logged beside a model: parameters, metrics, tables and plots (files), and a sentence on the data."""

    data: str
    params: Mapping[str, object]
    metrics: Mapping[str, float]
    files: Sequence[Path] = ()


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
) -> str:
    """Log a fitted classifier and register it as a new version; with ``promote`` it becomes the champion.

    Returns
    -------
    The version's number, as text.

    Raises
    ------
    ModelError
        The registry cannot be reached or written, or the model does not fit its columns or threshold.
    """
    model = Champion.from_estimator(
        estimator, record, columns=columns, threshold=threshold, feature_version=features_of(record).version, version="new"
    )
    facts = {
        "feature_version": model.feature_version,
        "threshold": repr(model.threshold),
        "columns": json.dumps(list(model.columns)),
        "training_data": training.data,
    }
    name = model_name(settings, record)
    with _registry(settings, create=True) as client, tempfile.TemporaryDirectory(prefix="flowlake-model-") as temp:
        folder = Path(temp) / _ARTIFACT
        _save(estimator, folder, facts)
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
        tags = {**facts, "sha256": _digest(folder), "artifact_path": f"{run_id}/artifacts/{_ARTIFACT}"}
        source = f"{run.info.artifact_uri}/{_ARTIFACT}"
        version = client.create_model_version(name, source, run_id=run_id, tags=tags, description=training.data)
        if promote:
            client.set_registered_model_alias(name, settings.scoring.alias, version.version)
    return str(version.version)


def load_champion(settings: Settings, record: RecordType) -> Champion:
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
    features = features_of(record)
    with _training(features), _registry(settings, create=False) as client:
        version = _champion_version(client, settings, record)
        label = f"model {version.name} version {version.version}"
        with tempfile.TemporaryDirectory(prefix="flowlake-model-") as temp:
            folder = _fetch(client, version, settings, label, Path(temp))
            digest = version.tags.get("sha256")
            if digest and digest != _digest(folder):
                raise _corrupt(label, folder, "its files are not those that were registered")
            readable = _readable(folder, Path(temp))
            try:
                facts = _facts(version, readable, label)
                if facts["feature_version"] != features.version:
                    raise ModelVersionError(
                        f"{label} was trained on feature-schema version {facts['feature_version']}, "
                        f"this flowlake computes version {features.version}",
                        features.train,
                    )
                estimator = _load_estimator(readable)
            except _UnreadableError as e:
                raise _corrupt(label, folder, str(e)) from e
            return _assemble(estimator, facts, label, str(version.version), record)


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
    with warnings.catch_warnings():
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


def _save(estimator: Any, folder: Path, facts: dict[str, str]) -> None:
    import mlflow.sklearn
    import numpy
    import sklearn
    import skops

    requirements = [f"{m.__name__.replace('sklearn', 'scikit-learn')}=={m.__version__}" for m in (sklearn, numpy, skops)]
    mlflow.sklearn.save_model(
        estimator,
        str(folder),
        serialization_format="skops",
        skops_trusted_types=["sklearn.tree._tree.Tree"],  # its node indices are what Forest.from_sklearn checks
        metadata=facts,
        pip_requirements=requirements,
    )


def _readable(folder: Path, temp: Path) -> Path:
    """The folder, or a copy of it where MLflow would not find it: of what it loads, it decodes the path."""
    if not paths.ESCAPE.found.search(str(folder)):
        return folder
    paths.check(temp, "TMPDIR", (paths.ESCAPE,))
    return shutil.copytree(folder, temp / "readable")


def _corrupt(label: str, folder: Path, reason: str) -> ModelError:
    return ModelError(f"{label}: corrupt artefact in {folder}: {reason}")


def _load_estimator(folder: Path) -> Any:
    import mlflow.sklearn

    try:
        return mlflow.sklearn.load_model(str(folder))
    except Exception as e:
        raise _UnreadableError(one_line(e)) from e


def _facts(version: ModelVersion, folder: Path, label: str) -> dict[str, str]:
    """What flowlake needs beside the estimator: the artefact's own metadata, else the version's tags (a model registered by hand)."""
    from mlflow.models import Model

    try:
        metadata = Model.load(str(folder)).metadata or {}
    except Exception as e:
        raise _UnreadableError(f"MLmodel: {one_line(e)}") from e
    facts = {**version.tags, **{k: str(v) for k, v in metadata.items()}}
    if missing := [k for k in ("feature_version", "threshold", "columns") if k not in facts]:
        raise ModelError(f"{label}: lacks {', '.join(missing)}", "set them as tags of the model version, or register it by flowlake train")
    return facts


def _assemble(estimator: Any, facts: dict[str, str], label: str, version: str, record: RecordType) -> Champion:
    try:
        columns = tuple(str(c) for c in json.loads(facts["columns"]))
        threshold = float(facts["threshold"])
    except (ValueError, TypeError) as e:
        raise ModelError(f"{label}: columns or threshold unreadable: {one_line(e)}") from e
    if unknown := [c for c in columns if c not in features_of(record).names]:
        raise ModelError(
            f"{label}: unknown columns {', '.join(unknown[:8])}",
            f"its record type {record.name} has others: {features_of(record).names[:8]}",
        )
    if not hasattr(estimator, "predict_proba") or not hasattr(estimator, "classes_"):
        raise ModelError(f"{label}: {type(estimator).__name__} is no classifier with probabilities")
    width = getattr(estimator, "n_features_in_", len(columns))
    if width != len(columns):
        raise ModelError(f"{label}: corrupt: the estimator has {width} columns, its description {len(columns)}")
    try:
        return Champion.from_estimator(
            estimator, record, columns=columns, threshold=threshold, feature_version=facts["feature_version"], version=version
        )
    except ValueError as e:
        raise ModelError(f"{label}: corrupt artefact: {one_line(e)}") from e


def _is_local(settings: Settings) -> bool:
    return paths.registry_file(settings) is not None


def _digest(folder: Path) -> str:
    """SHA-256 over the names and bytes of a folder's files."""
    digest = hashlib.sha256()
    for file in sorted(f for f in folder.rglob("*") if f.is_file()):
        digest.update(file.relative_to(folder).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def _shown(settings: Settings) -> str:
    """The registry as a person reads it: a file by its path, a server by its URI without the password."""
    return str(paths.registry_file(settings) or without_password(settings.scoring.tracking_uri))
