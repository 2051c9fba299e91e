"""A model as files: a scikit-learn model in MLflow's own layout (skops format: loading runs no code of the file), and its facts.

The facts are what flowlake needs to apply a model: ``feature_version``, ``threshold``, ``columns`` (JSON list) and, unless it was
registered without, ``usual`` (JSON: column -> low, median and high of benign records), ``attack_types`` (JSON: class -> attack type) and
``novelty`` (JSON: kind, columns and threshold of the detector). Calibration, detector and what tells attacks from one another
(:mod:`jobs.scoring.typed`) lie as arrays in ``parts.npz``.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.errors import ModelError, one_line
from infra.log import get
from jobs.scoring import loading
from jobs.scoring.calibration import Calibration
from jobs.scoring.loading import UnreadableError
from jobs.scoring.model import ScoringModel, Usual
from jobs.scoring.names import features_of
from jobs.scoring.novelty import DETECTORS, Novelty
from jobs.scoring.trusted import TRUSTED
from jobs.scoring.typed import Typed, Typer
from schemas.records import RecordType

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion


#: Arrays of a model beside its classifier.
_PARTS = "parts.npz"


def facts_beside(model: ScoringModel) -> dict[str, str]:
    """Facts that a tag has no room for."""
    facts: dict[str, Any] = {"usual": model.usual, "attack_types": model.attack_types}
    if model.novelty is not None:
        facts["novelty"] = {
            "kind": model.novelty.detector.kind,
            "columns": model.novelty.columns,
            "threshold": model.novelty.threshold,
        }
    return {name: json.dumps(fact) for name, fact in facts.items() if fact}


def _arrays(model: ScoringModel) -> dict[str, Any]:
    parts: dict[str, Mapping[str, Any]] = {}
    if model.calibration is not None:
        parts["calibration"] = model.calibration.arrays()
    if model.novelty is not None:
        parts["novelty"] = model.novelty.detector.arrays()
    if isinstance(model.predictor, Typed):
        parts["typer"] = model.predictor.typer.arrays()
    return {f"{name}.{key}": array for name, part in parts.items() for key, array in part.items()}


def save(estimator: Any, model: ScoringModel, folder: Path, facts: dict[str, str]) -> None:
    """Write a fitted classifier, what its ``model`` has beside it, and its facts into a new ``folder``."""
    import mlflow.sklearn
    import numpy
    import sklearn
    import skops

    requirements = [f"{m.__name__.replace('sklearn', 'scikit-learn')}=={m.__version__}" for m in (sklearn, numpy, skops)]
    mlflow.sklearn.save_model(
        estimator,
        str(folder),
        serialization_format="skops",
        skops_trusted_types=list(TRUSTED),
        metadata=facts,
        signature=signature(model),
        pip_requirements=requirements,
    )
    if arrays := _arrays(model):
        numpy.savez_compressed(folder / _PARTS, **arrays)


def signature(model: ScoringModel) -> Any:
    """MLflow's signature: the model's columns in; out, what it writes of each record."""
    from mlflow.models.signature import ModelSignature
    from mlflow.types.schema import ColSpec, DataType, Schema

    columns = [*model.columns, *(model.novelty.columns if model.novelty else ())]
    given = Schema([ColSpec(DataType.float, name) for name in dict.fromkeys(columns)])
    outputs = {"confidence_score": DataType.double, "predicted_label": DataType.integer, "attack_type": DataType.string}
    if model.novelty is not None:
        outputs["novelty_score"] = DataType.double
    return ModelSignature(given, Schema([ColSpec(kind, name) for name, kind in outputs.items()]))


def corrupt(label: str, folder: Path, reason: str) -> ModelError:
    """The error of a model whose files cannot be used."""
    return ModelError(f"{label}: corrupt artefact in {folder}: {reason}")


def load_parts(folder: Path) -> dict[str, dict[str, Any]]:
    """Arrays of a model beside its classifier, by part; empty where it has none.

    Raises
    ------
    UnreadableError
        The file is damaged, or holds what would run code.
    """
    import numpy

    file = folder / _PARTS
    if not file.exists():
        return {}
    parts: dict[str, dict[str, Any]] = {}
    try:
        with numpy.load(file, allow_pickle=False) as arrays:
            for name in arrays.files:
                part, _, key = name.partition(".")
                parts.setdefault(part, {})[key] = arrays[name]
    except Exception as e:  # zipfile's, numpy's, the operating system's
        raise UnreadableError(f"{_PARTS}: {one_line(e)}") from e
    return parts


def facts_of(version: ModelVersion, folder: Path, label: str) -> dict[str, str]:
    """What flowlake needs beside the estimator: the artefact's own metadata, else the version's tags (a model registered by hand).

    Raises
    ------
    UnreadableError
        The artefact's description is damaged.
    ModelError
        Facts are missing.
    """
    metadata = loading.describe(folder).get("metadata") or {}
    if not isinstance(metadata, dict):
        raise UnreadableError("MLmodel: its metadata are no table")
    facts = {**version.tags, **{k: str(v) for k, v in metadata.items()}}
    if missing := [k for k in ("feature_version", "threshold", "columns") if k not in facts]:
        raise ModelError(f"{label}: lacks {', '.join(missing)}", "set them as tags of the model version, or register it by flowlake train")
    return facts


def assemble(
    estimator: Any,
    facts: dict[str, str],
    label: str,
    version: str,
    record: RecordType,
    parts: Mapping[str, Mapping[str, Any]] | None = None,
) -> ScoringModel:
    """The classifier with its facts and ``parts`` (:func:`load_parts`), once they fit together.

    Raises
    ------
    ModelError
        They do not; ``label`` names the model.
    """
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
        return ScoringModel.from_estimator(
            estimator,
            record,
            columns=columns,
            threshold=threshold,
            feature_version=facts["feature_version"],
            version=version,
            usual=_usual(facts, label),
            attack_types=_attack_types(facts),
            calibration=Calibration.of(parts["calibration"]) if parts and "calibration" in parts else None,
            novelty=_novelty(facts, parts or {}, record),
            typer=Typer.of(parts["typer"]) if parts and "typer" in parts else None,
        )
    except (ValueError, KeyError, TypeError) as e:
        raise ModelError(f"{label}: corrupt artefact: {one_line(e)}") from e


def _attack_types(facts: Mapping[str, str]) -> dict[str, str]:
    return {str(of): str(name) for of, name in dict(json.loads(facts.get("attack_types", "{}"))).items()}


def _novelty(facts: Mapping[str, str], parts: Mapping[str, Mapping[str, Any]], record: RecordType) -> Novelty | None:
    if "novelty" not in facts:
        return None
    about = json.loads(facts["novelty"])
    if unknown := [c for c in about["columns"] if c not in features_of(record).names]:
        raise ValueError(f"novelty: unknown columns {', '.join(unknown[:8])}")
    detector, threshold = DETECTORS[about["kind"]](parts["novelty"]), float(about["threshold"])
    if not math.isfinite(threshold):
        raise ValueError(f"novelty: threshold {threshold} is no number")
    return Novelty(detector, tuple(about["columns"]), threshold)


def _usual(facts: Mapping[str, str], label: str) -> dict[str, Usual]:
    """Where benign records lie. A model without it scores as well, so what cannot be read is left out, and told."""
    try:
        found = {str(column): _span(values) for column, values in json.loads(facts.get("usual", "{}")).items()}
    except (ValueError, TypeError, AttributeError) as e:
        get("scoring").warning("usual values of a model are unreadable", model=label, cause=one_line(e))
        return {}
    return {column: span for column, span in found.items() if all(math.isfinite(end) for end in span if end is not None)}


def _span(values: Sequence[Any]) -> Usual:
    """``[low, median, high]``, or ``[low, high]`` where somebody has written no more."""
    low, *median, high = values
    (middle,) = median or [None]
    return Usual(float(low), None if middle is None else float(middle), float(high))


def digest(folder: Path) -> str:
    """SHA-256 over the names and bytes of a folder's files."""
    found = hashlib.sha256()
    for file in sorted(f for f in folder.rglob("*") if f.is_file()):
        found.update(file.relative_to(folder).as_posix().encode() + b"\0" + file.read_bytes())
    return found.hexdigest()
