"""Labelled records for the tests: cheap, with a pattern that a forest finds."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from sklearn.ensemble import RandomForestClassifier

from jobs.scoring.matrix import feature_matrix
from jobs.scoring.model import ScoringModel
from schemas.features import FEATURE_VERSION
from schemas.packets import FLOWS
from tests.randomrecords import random_records

COLUMNS = ("flow_duration", "total_fwd_packets", "flow_iat_mean", "syn_flag_count")


def labels_of(records: pa.RecordBatch) -> np.ndarray:
    """Attacks by two features, str[n]; a tenth of them is noise, so that probabilities lie between 0 and 1."""
    fwd = records.column("total_fwd_packets").to_numpy()
    syn = records.column("syn_flag_count").to_numpy()
    y = np.where(fwd < 50, "BENIGN", np.where(syn < 50, "SYN_SCAN", "UDP_FLOOD"))
    flip = np.random.default_rng(5).random(len(y)) < 0.1
    y[flip] = np.random.default_rng(6).permutation(y)[flip]
    return y


def fitted(n: int = 3000, **parameters: object) -> RandomForestClassifier:
    """A small forest fitted to ``COLUMNS`` of random records."""
    records = random_records(n)
    settings = {"n_estimators": 15, "max_depth": 8, "random_state": 3, **parameters}
    return RandomForestClassifier(**settings).fit(feature_matrix(records, COLUMNS), labels_of(records))


def champion(threshold: float = 0.5, **parameters: object) -> ScoringModel:
    """A champion around :func:`fitted`."""
    return ScoringModel.from_estimator(
        fitted(**parameters), FLOWS, columns=COLUMNS, threshold=threshold, feature_version=FEATURE_VERSION, version="7"
    )
