"""Boosted trees on generated traffic, beside the registry's model: what is there to be found by more columns and another family."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from jobs.metering.settings import MeterSettings
from jobs.scoring.model import ScoringModel
from jobs.training.fit import class_weights
from jobs.training.generated import generated_flows
from jobs.training.labelled import LabelledFlows
from schemas.features import FEATURE_VERSION
from schemas.labels import BENIGN
from schemas.packets import FLOWS

#: Found by trial. With several classes of attacks, a learning rate of 0.2 diverges on weights as uneven as these.
PARAMETERS = {"max_iter": 150, "learning_rate": 0.1, "max_leaf_nodes": 63, "l2_regularization": 1.0, "early_stopping": False}
#: The one class of attacks.
ATTACK = "ATTACK"


def boosted(
    seeds: Sequence[int], *, seconds: float, max_fpr: float, settings: MeterSettings | None, say: Callable[[str], None]
) -> ScoringModel:
    """:func:`fit` to preset ``train``: the last fifth of the seeds chooses the threshold, the others train.

    Parameters
    ----------
    seeds
        Of the generator.
    seconds
        Capture time of each seed.
    max_fpr
        See :func:`fit`.
    settings
        Metering rules.
    say
        Told what is being done.
    """
    flows = generated_flows(seeds, duration_s=seconds, settings=settings, progress=say)
    validating = np.isin(flows.group, [str(s) for s in seeds[-max(1, len(seeds) // 5) :]])
    train = flows.where(~validating)
    say(f"fitting to {len(train):,} records")
    begin = time.monotonic()
    model = fit(train, flows.where(validating), max_fpr)
    say(f"fitted in {time.monotonic() - begin:.0f} s")
    return model


def fit(train: LabelledFlows, validation: LabelledFlows, max_fpr: float) -> ScoringModel:
    """Attack or benign by scikit-learn's ``HistGradientBoostingClassifier`` and all columns.

    Its threshold is the lowest that keeps ``max_fpr`` on the closed and on the open benign flows of ``validation`` each.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    from ops.bench.detection import common_threshold

    estimator = HistGradientBoostingClassifier(random_state=7, **PARAMETERS).fit(
        train.x, np.where(train.attack, ATTACK, BENIGN), sample_weight=class_weights(train.y)
    )
    model = ScoringModel.from_estimator(
        estimator, FLOWS, columns=train.columns, threshold=0.5, feature_version=FEATURE_VERSION, version="boosted"
    )
    p = 1.0 - model.predict(validation.x)[:, model.classes.index(BENIGN)]
    return replace(model, threshold=min(common_threshold(p, validation, max_fpr), 1.0))
