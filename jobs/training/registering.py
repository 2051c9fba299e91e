"""A fitted model into the registry, with all that it is applied, judged and watched by."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from infra.config import Settings
from jobs.scoring import registry
from jobs.training import heldout
from jobs.training.evaluate import Quality
from jobs.training.fit import Fitted
from jobs.training.labelled import LabelledFlows
from jobs.watching import reference
from schemas.records import RecordType


def register(settings: Settings, record: RecordType, fitted: Fitted, training: registry.Training) -> str:
    """Register a fitted model; its version.

    Raises
    ------
    ModelError
        The registry cannot be reached or written.
    """
    model = fitted.model
    return registry.register(
        settings,
        record,
        fitted.estimator,
        columns=model.columns,
        threshold=model.threshold,
        training=training,
        usual=model.usual,
        attack_types=model.attack_types,
        calibration=model.calibration,
        novelty=model.novelty,
        typer=fitted.typer,
    )


def register_generated(
    settings: Settings,
    record: RecordType,
    fitted: Fitted,
    quality: Quality,
    *,
    data: str,
    fitting: LabelledFlows,
    validating: LabelledFlows,
    seed: int,
    tags: Mapping[str, str],
) -> str:
    """Register a model of generated records; its version.

    Parameters
    ----------
    settings, record, fitted
        What is registered as what, where.
    quality
        How it did on ``validating``.
    data
        A sentence on the records.
    fitting, validating
        What it was fitted to, and held out.
    seed
        Of the fit.
    tags
        Further ones of the version: at least ``data_version``.

    Raises
    ------
    ModelError
        The registry cannot be reached or written.
    """
    model = fitted.model
    with tempfile.TemporaryDirectory(prefix="flowlake-report-") as temp:
        training = registry.Training(
            data=data,
            params={"family": fitted.family, "threshold": model.threshold, "columns": ",".join(model.columns), "seed": seed},
            metrics=quality.metrics("validation"),
            files=[heldout.write(Path(temp), validating, seed=seed), reference.write_profile(Path(temp), model, fitting)],
            tags=tags,
        )
        return register(settings, record, fitted, training)
