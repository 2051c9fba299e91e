"""Labelled records that are planted, and models that are fitted to them in no time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from sklearn.tree import DecisionTreeClassifier

from infra.sections import EvaluationSettings
from jobs.evaluation import leaks, splits
from jobs.evaluation.assess import Assessor, Evaluation, assess
from jobs.evaluation.card import CardFacts
from jobs.scoring.model import ScoringModel
from jobs.training.labelled import LabelledFlows
from jobs.training.threshold import choose_threshold
from schemas.features import FEATURE_VERSION
from schemas.packets import FLOWS

#: A name that would be a script, an attribute or a formula where it is not text.
HOSTILE = "<script>alert('1')</script>\"&$x_{\\frac$"
FACTS = CardFacts(
    data=f"labelled records {HOSTILE}.parquet",
    data_version="17",
    records=1200,
    command="flowlake train --records a.parquet",
    rule="most recall",
    seed=7,
    notes=(f"dropped {HOSTILE}",),
)
COLUMNS = ("flow_duration", "total_fwd_packets", "syn_flag_count")


def records(y: Sequence[str], x: Sequence[Sequence[float]] | None = None, **given: Sequence[object]) -> LabelledFlows:
    """Records with these labels; ``x``, ``group``, ``closed``, ``host`` and ``age`` where it matters."""
    n = len(y)
    return LabelledFlows(
        np.array(x if x is not None else [[float(i)] for i in range(n)], np.float32),
        COLUMNS[: len(x[0]) if x is not None else 1],
        np.array(y, dtype=str),
        np.array(given.get("group", [""] * n), dtype=str),
        np.array(given.get("closed", [True] * n), dtype=bool),
        np.array(given.get("host", [""] * n), dtype=str),
        np.array(given.get("age", [0.0] * n), dtype=np.float32),
    )


def site_traffic(n: int = 1200, seed: int = 3, labels: Sequence[str] = ("SYN_SCAN", "UDP_FLOOD", "SLOWLORIS")) -> LabelledFlows:
    """Half benign, half attacks that differ from it and among themselves; three days, 30 hosts, snapshots of several ages."""
    rng = np.random.default_rng(seed)
    kinds = rng.integers(1, len(labels) + 1, n) * (rng.random(n) < 0.5)
    x = rng.normal(size=(n, 3)) + 3.0 * np.column_stack([kinds, -kinds, kinds == 1])
    return records(
        [("BENIGN", *labels)[k] for k in kinds.tolist()],
        x.tolist(),
        group=[f"2026-01-0{d}" for d in rng.integers(1, 4, n)],
        closed=(rng.random(n) < 0.6).tolist(),
        host=[f"10.0.0.{h}" for h in rng.integers(1, 31, n)],
        age=rng.uniform(0.1, 90, n).tolist(),
    )


def small_fit(train: LabelledFlows, validation: LabelledFlows) -> ScoringModel:
    """One tree: quick, and good enough to tell the planted attacks."""
    tree = DecisionTreeClassifier(max_depth=6, min_samples_leaf=5, random_state=1).fit(train.x, train.y)
    model = ScoringModel.from_estimator(tree, FLOWS, columns=train.columns, threshold=0.5, feature_version=FEATURE_VERSION, version="new")
    p_attack, _, _ = model.decide(model.predict(validation.x))
    return replace(model, threshold=choose_threshold(p_attack, validation, 0.05))


def account(flows: LabelledFlows) -> tuple[ScoringModel, Evaluation]:
    """A model of these records, judged in every way."""
    assessor = Assessor(flows, small_fit, EvaluationSettings(), 7, lambda line: None)
    identity = leaks.identities(flows)
    base, leak = assessor.clean(splits.at_random(flows, 7), identity, "drop")
    model = small_fit(flows.where(base.train), flows.where(base.validation))
    return model, assess(assessor, model, base, leak, identity)


def hostile_account() -> tuple[ScoringModel, Evaluation, CardFacts]:
    """A model whose data, labels and days have hostile names."""
    flows = site_traffic()
    names, days = (np.where(of == this, HOSTILE, of).astype(str) for of, this in ((flows.y, "SYN_SCAN"), (flows.group, "2026-01-01")))
    return *account(replace(flows, y=names, group=days)), FACTS
