"""The model registry: MLflow, a SQLite file and a folder on one machine, a server by its URI in production.

A version of a registered model is a scikit-learn model in MLflow's own layout (skops format: loading runs no code of the file) with what
flowlake needs to apply it beside it, as metadata of the model and as tags of the version: ``feature_version``, ``threshold``,
``columns`` (JSON list), ``sha256``; what it comes from (``training_data``, ``data_version``, ``threshold_rule``) and the path of its
``card``; in the metadata alone ``usual`` and others (:mod:`jobs.scoring.artefact`). The version with the alias ``scoring.alias`` scores
the stream, that with ``scoring.challenger_alias`` beside it.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.config import Settings
from infra.errors import ModelError
from jobs.scoring import artefact, loading, tracking
from jobs.scoring.calibration import Calibration
from jobs.scoring.model import ScoringModel, Usual
from jobs.scoring.names import features_of, model_name
from jobs.scoring.novelty import Novelty
from jobs.scoring.tracking import ModelMissingError, tracking_uri
from jobs.scoring.typed import Typer
from schemas.records import Features, RecordType

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

__all__ = [
    "ModelMissingError",
    "ModelVersionError",
    "Training",
    "check",
    "load_champion",
    "load_version",
    "marked",
    "register",
    "tracking_uri",
]

_ARTIFACT = "model"
#: Tags of every version that is registered meanwhile (:func:`marked`).
_MARKS: ContextVar[Mapping[str, str]] = ContextVar("marks", default={})  # noqa: B039 - never changed in place


class ModelVersionError(ModelError):
    """The model was trained on another version of the feature table."""


@dataclass(frozen=True)
class Training:
    """What is logged beside a model.

    Attributes
    ----------
    data
        A sentence on the data.
    params, metrics
        Of the run.
    files
        Tables, plots, the card, held-out records (:mod:`jobs.training.heldout`).
    tags
        Further tags of the version: ``data_version`` (such as that of a table, or the checksum of a file), ``threshold_rule`` (how it
        was chosen), ``card`` (name of the file that is the model card).
    """

    data: str
    params: Mapping[str, object]
    metrics: Mapping[str, float]
    files: Sequence[Path] = ()
    tags: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def marked(**tags: str) -> Iterator[None]:
    """Every version that this thread registers meanwhile gets these tags."""
    token = _MARKS.set({**_MARKS.get(), **tags})
    try:
        yield
    finally:
        _MARKS.reset(token)


@contextmanager
def _training(features: Features) -> Iterator[None]:
    """What fails inside without another way out is mended by training a model."""
    try:
        yield
    except ModelError as e:
        e.hint = features.train if e.hint in ("", tracking.MAKE) else e.hint
        raise


def check(settings: Settings) -> None:
    """Open the registry, creating a local one; what is wrong with it is better known before a training than after.

    Raises
    ------
    ModelError
        The registry cannot be reached or written.
    """
    with tracking.opened(settings, create=True) as client:
        client.search_registered_models(max_results=1)
    tracking.check_writable(settings)


def register(
    settings: Settings,
    record: RecordType,
    estimator: Any,
    *,
    columns: Sequence[str],
    threshold: float,
    training: Training,
    usual: Mapping[str, Usual] | None = None,
    attack_types: Mapping[str, str] | None = None,
    calibration: Calibration | None = None,
    novelty: Novelty | None = None,
    typer: Typer | None = None,
) -> str:
    """Log a fitted classifier and register it as a new version. It waits: nothing is scored by it yet.

    ``usual``, ``attack_types``, ``calibration`` and ``novelty`` are those of :class:`jobs.scoring.model.ScoringModel`, ``typer`` is that
    of its ``from_estimator``.

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
        typer=typer,
    )
    facts = {
        "feature_version": model.feature_version,
        "threshold": repr(model.threshold),
        "columns": json.dumps(list(model.columns)),
        "training_data": training.data,
    }
    name = model_name(settings, record)
    with tracking.opened(settings, create=True) as client, tempfile.TemporaryDirectory(prefix="flowlake-model-") as temp:
        folder = Path(temp) / _ARTIFACT
        artefact.save(estimator, model, folder, facts | artefact.facts_beside(model))
        run = client.create_run(tracking.experiment(client, settings), run_name=f"train {name}")
        run_id = run.info.run_id
        _log(client, run_id, training)
        client.log_artifacts(run_id, str(folder), _ARTIFACT)
        client.set_terminated(run_id)
        tracking.ensure_registered(client, name)
        tags = {
            **{key: value for key, value in training.tags.items() if value},
            **_MARKS.get(),
            **facts,
            "sha256": artefact.digest(folder),
            "artifact_path": f"{run_id}/artifacts/{_ARTIFACT}",
        }
        source = f"{run.info.artifact_uri}/{_ARTIFACT}"
        return str(client.create_model_version(name, source, run_id=run_id, tags=tags, description=training.data).version)


def _log(client: MlflowClient, run_id: str, training: Training) -> None:
    for key, value in training.params.items():
        client.log_param(run_id, key, value)
    for key, number in training.metrics.items():
        client.log_metric(run_id, key, number)
    for file in training.files:
        client.log_artifact(run_id, str(file))


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

    def find(client: MlflowClient) -> ModelVersion:
        try:
            return tracking.by_alias(client, settings, record, settings.scoring.alias)
        except ModelMissingError as e:
            if client.search_model_versions(f"name='{model_name(settings, record)}'", max_results=1):
                e.hint = "flowlake models list shows the versions that wait; flowlake models promote puts one in force"
            raise

    return _load(settings, record, find)


def load_version(settings: Settings, record: RecordType, version: str) -> ScoringModel:
    """The model that has scored a record, by the record's ``model_version``.

    Raises
    ------
    ModelMissingError
        No registry at the configured place, or no such version.
    ModelVersionError, ModelError
        As :func:`load_champion`.
    """
    return _load(settings, record, lambda client: tracking.by_number(client, settings, record, version))


def _load(settings: Settings, record: RecordType, find: Callable[[MlflowClient], ModelVersion]) -> ScoringModel:
    features = features_of(record)
    with _training(features), tracking.opened(settings, create=False) as client:
        version = find(client)
        label = f"model {version.name} version {version.version}"
        with tempfile.TemporaryDirectory(prefix="flowlake-model-") as temp:
            folder = tracking.fetch_model(client, version, settings, label, Path(temp))
            digest = version.tags.get("sha256")
            if digest and digest != artefact.digest(folder):
                raise artefact.corrupt(label, folder, "its files are not those that were registered")
            try:
                facts = artefact.facts_of(version, folder, label)
                if facts["feature_version"] != features.version:
                    raise ModelVersionError(
                        f"{label} was trained on feature-schema version {facts['feature_version']}, "
                        f"this flowlake computes version {features.version}",
                        features.train,
                    )
                estimator, parts = loading.estimator(folder), artefact.load_parts(folder)
            except loading.UnreadableError as e:
                raise artefact.corrupt(label, folder, str(e)) from e
            return artefact.assemble(estimator, facts, label, str(version.version), record, parts)
