"""Fitting: which features, which family of classifiers, which threshold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from infra.errors import ModelError
from jobs.scoring.explain import Explainer, usual_values
from jobs.scoring.model import ScoringModel
from jobs.scoring.names import features_of
from jobs.scoring.typed import ATTACK, Typer
from jobs.training import families, unseen
from jobs.training.calibrating import calibrate
from jobs.training.heldout import cap
from jobs.training.labelled import LabelledFlows, concat
from jobs.training.threshold import choose_threshold
from schemas.features import FEATURE_NAMES, REDUNDANT_FEATURES
from schemas.labels import BENIGN
from schemas.packets import FLOWS
from schemas.records import RecordType

#: Features a model may choose from. Ports, addresses and times are no features of the table; duplicates are left out.
CANDIDATES: tuple[str, ...] = tuple(n for n in FEATURE_NAMES if n not in REDUNDANT_FEATURES)

#: The forest that tells attacks from one another.
TYPER: dict[str, Any] = {"n_estimators": 40, "min_samples_leaf": 1}
#: Benign validation records below which a small false-positive rate cannot be judged by them: training records are used too, each
#: scored by an estimator that was fitted to others.
FEW_BENIGN = 5_000
#: Parts of the records for that.
PARTS = 4
#: Of families whose recall is less than this below the best, the cheapest is taken.
MARGIN = 0.0002
#: Records that families are compared on at most; the one that is taken is fitted to all.
COMPARED = 100_000
#: What the detector of unknown attacks may add to the false-positive rate, unless another rate is asked for.
NOVELTY_FPR = 0.0002
#: Records whose contributions the importance of a column is the mean of, of each label.
_EXPLAINED = 100


@dataclass(frozen=True)
class Choices:
    """What a training may vary.

    Attributes
    ----------
    features
        Number of columns the model gets.
    max_correlation
        Two columns whose rank correlation exceeds it (either sign) count as one.
    max_fpr
        False-positive rate that the threshold is to keep on records to come.
    novelty_fpr
        False-positive rate that the detector of unknown attacks may add (:mod:`jobs.training.unseen`); 0: none is fitted.
    seed
        Seed of every random choice.
    family
        Name in :data:`jobs.training.families.FAMILIES`; or :data:`jobs.training.families.AUTO`: all are fitted, and the cheapest
        is taken of those that find the most of the validation's attacks.
    cross
        Whether training records choose the threshold too, where the benign ones of the validation are few (:data:`FEW_BENIGN`).
    """

    features: int = 80
    max_correlation: float = 0.98
    max_fpr: float = 0.001
    novelty_fpr: float = NOVELTY_FPR
    seed: int = 7
    family: str = families.AUTO
    cross: bool = True


@dataclass(frozen=True)
class Fitted:
    """A fitted classifier, ready to be judged and registered.

    Attributes
    ----------
    estimator
        Attack or benign, of scikit-learn.
    typer
        Tells attacks from one another; None where there is one kind.
    model
        Both, with threshold and calibration.
    family
        That of the estimator.
    importance
        By column of ``model.columns``, its mean share of P(attack), either sign, over some records of every label; in sum 1.
    notes
        How the family was chosen, and what the threshold rests on.
    """

    estimator: Any
    typer: Typer | None
    model: ScoringModel
    family: str
    importance: tuple[float, ...]
    notes: tuple[str, ...] = ()


def fit(
    train: LabelledFlows,
    validation: LabelledFlows,
    choices: Choices,
    attack_types: Mapping[str, str] | None = None,
    record: RecordType = FLOWS,
    *,
    progress: Callable[[str], None] = lambda line: None,
) -> Fitted:
    """Choose features and fit on ``train``; calibrate and choose the threshold on ``validation``. Deterministic.

    ``attack_types`` names what alerts call a label, for labels with another name there; ``record`` is what the rows are. ``progress`` is
    told what is being done: with many records each line stands for minutes.

    Raises
    ------
    ModelError
        ``train`` lacks benign flows or attacks, or every column is constant.
    ConfigError
        There is no such family.
    """
    if not train.attack.any() or train.attack.all():
        have = ", ".join(np.unique(train.y).tolist()) or "nothing"
        raise ModelError(f"training needs {BENIGN} flows and at least one attack; found {have}")
    if choices.novelty_fpr:
        progress("fitting what looks for unknown attacks")
    novelty = unseen.fit(train, validation, choices)
    columns = choose_features(train, choices)
    cross = choices.cross and int((~validation.attack).sum()) < FEW_BENIGN
    data = concat([train, validation]) if cross else train
    told = columns if novelty is None else tuple(dict.fromkeys([*columns, *novelty.columns]))  # alerts of unknown attacks name them
    usual = usual_values(data.matrix(told)[~data.attack], told)
    data, validation = data.select(columns), validation.select(columns)
    judged = data if cross else validation
    family, notes = choices.family, list[str]()
    if family == families.AUTO:
        family, estimator, p_attack, said = _best_family(data, judged, choices, cross, progress)
        notes.append(said)
    else:
        progress(f"fitting the classifier ({family})")
        estimator, p_attack = _scored(data, judged, family, choices.seed, cross)
    if cross:
        notes.append(f"few benign records to choose a threshold by: all were fitted to, it is by {PARTS} models of a part each left out")
    calibration = calibrate(p_attack, judged.attack)
    if calibration is not None:
        p_attack = calibration.of_attack(p_attack)
    typer = _typer(data, choices.seed)
    kinds = typer.kinds if typer is not None else estimator.classes_.tolist()
    model = ScoringModel.from_estimator(
        estimator,
        record,
        columns=columns,
        threshold=choose_threshold(p_attack, judged, choices.max_fpr),
        feature_version=features_of(record).version,
        version="new",
        usual=usual,
        attack_types={kind: name for kind, name in (attack_types or {}).items() if kind in kinds and name != kind},
        calibration=calibration,
        novelty=novelty,
        typer=typer,
    )
    return Fitted(estimator, typer, model, family, _importance(model, data, choices.seed), tuple(notes))


def _detector(data: LabelledFlows, family: str, seed: int) -> Any:
    """Attack or benign. The class of the attacks has their name where all have the same."""
    names = np.unique(data.y[data.attack])
    y = np.where(data.attack, names[0] if len(names) == 1 else ATTACK, BENIGN)
    return families.fitted(family, seed, data.x, y, class_weights(data.y))


def _typer(data: LabelledFlows, seed: int) -> Typer | None:
    """Which attack, fitted to attacks alone."""
    from sklearn.ensemble import RandomForestClassifier

    attacks = data.where(data.attack)
    if len(np.unique(attacks.y)) < 2:
        return None
    share = families.TREE_ROWS / len(attacks)
    forest = RandomForestClassifier(random_state=seed, n_jobs=-1, max_samples=share if share < 1 else None, **TYPER)
    return Typer.from_sklearn(forest.fit(attacks.x, attacks.y, sample_weight=class_weights(attacks.y)), attacks.y.tolist())


def _p_attack(estimator: Any, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    compact = families.compact(estimator)
    return np.asarray(compact.predict_proba(x)[:, 1 - estimator.classes_.tolist().index(BENIGN)])


def _out_of_fold(data: LabelledFlows, family: str, seed: int) -> npt.NDArray[np.float64]:
    """P(attack) float64[n] of every record by an estimator that was fitted to the other parts, labels spread evenly."""
    rng, part = np.random.default_rng(seed), np.zeros(len(data), np.int64)
    for label in np.unique(data.y):
        rows = rng.permutation(np.flatnonzero(data.y == label))
        part[rows] = np.arange(len(rows)) % PARTS
    found = np.zeros(len(data))
    for one in range(PARTS):
        out = part == one
        if not out.any() or not data.attack[~out].any() or data.attack[~out].all():
            continue  # so few that a part has all of a kind: their score stays 0
        found[out] = _p_attack(_detector(data.where(~out), family, seed), data.x[out])
    return found


def _scored(data: LabelledFlows, judged: LabelledFlows, family: str, seed: int, cross: bool) -> tuple[Any, npt.NDArray[np.float64]]:
    """An estimator of a family, and P(attack) float64[n] of the records ``judged``, by estimators that were not fitted to them."""
    estimator = _detector(data, family, seed)
    return estimator, _out_of_fold(data, family, seed) if cross else _p_attack(estimator, judged.x)


def _best_family(
    data: LabelledFlows, judged: LabelledFlows, choices: Choices, cross: bool, progress: Callable[[str], None]
) -> tuple[str, Any, npt.NDArray[np.float64], str]:
    """The cheapest of the families that find the most: :func:`_scored` of it, and how each did."""
    found: dict[str, tuple[float, float]] = {}
    fitted: dict[str, tuple[Any, npt.NDArray[np.float64]]] = {}
    some = (
        data
        if cross or len(data) <= COMPARED
        else data.capped(cap(np.unique(data.y, return_counts=True)[1].tolist(), COMPARED), choices.seed)
    )
    for i, name in enumerate(families.FAMILIES, 1):
        progress(f"fitting the classifier ({name}, {i} of {len(families.FAMILIES)} families to choose from)")
        estimator, p_attack = fitted[name] = _scored(some, judged, name, choices.seed, cross)
        hits = p_attack[judged.attack] >= choose_threshold(p_attack, judged, choices.max_fpr)
        found[name] = (float(hits.mean()) if len(hits) else 0.0, families.cost(estimator).steps)
    most = max(recall for recall, _ in found.values())
    best = min((name for name in found if found[name][0] >= most - MARGIN), key=lambda name: found[name][1])
    told = ", ".join(f"{name} {recall:.2%} at {steps:,.0f} steps a record" for name, (recall, steps) in found.items())
    if len(some) < len(data):
        progress(f"fitting the classifier ({best}) to all {len(data):,} records")
        fitted[best] = _scored(data, judged, best, choices.seed, cross)
        told += f" (fitted to {len(some):,} of the records; the one taken, to all)"
    return best, *fitted[best], f"family {best}: attacks found at the same false-positive rate: {told}"


def _importance(model: ScoringModel, data: LabelledFlows, seed: int) -> tuple[float, ...]:
    some = data.capped(_EXPLAINED, seed)
    share = np.abs(Explainer(model).contributions(some.x)).mean(axis=0)
    total = share.sum()
    return tuple((share / total if total else share).tolist())


def class_weights(y: npt.NDArray[np.str_]) -> npt.NDArray[np.float64]:
    """Weight of every row, float64[n], mean 1.

    Benign flows and attacks weigh the same in sum, whatever the sample's mixture; among attacks a label's weight grows with the
    square root of its number, so that floods, a flow a packet, do not drown the rare kinds and these do not outweigh them either.
    """
    labels, index, counts = np.unique(y, return_inverse=True, return_counts=True)
    weight = np.sqrt(counts.astype(np.float64))
    attacks = labels != BENIGN
    weight[attacks] *= 0.5 / weight[attacks].sum()
    weight[~attacks] = 0.5
    return (weight / counts)[index] * len(y)


def choose_features(train: LabelledFlows, choices: Choices) -> tuple[str, ...]:
    """The most important columns, no two of which say the same.

    Seven of the usual twenty importances are duplicates or functions of others; they share the importance of one piece of
    information. So columns are taken in the order of their importance, leaving out any whose rank correlation with one already
    taken exceeds ``choices.max_correlation``.
    """
    from sklearn.ensemble import RandomForestClassifier

    flows = train.capped(3000, choices.seed)  # importances need no more
    varying = np.flatnonzero(flows.x.min(axis=0) < flows.x.max(axis=0))
    if not len(varying):
        raise ModelError("every feature of the training flows is constant", "train on more, and more varied, traffic")
    x = flows.x[:, varying]
    forest = RandomForestClassifier(30, max_depth=14, min_samples_leaf=2, random_state=choices.seed, n_jobs=-1).fit(x, flows.y)
    importance = forest.feature_importances_
    correlation = np.abs(_rank_correlation(x))
    taken: list[int] = []
    for j in np.argsort(-importance, kind="stable"):
        if len(taken) == choices.features:
            break
        if importance[j] > 0 and not (correlation[j, taken] > choices.max_correlation).any():
            taken.append(int(j))
    return tuple(train.columns[varying[j]] for j in taken)


def _rank_correlation(x: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Spearman's rank correlation of the columns, float64[k, k]."""
    from scipy.stats import rankdata

    return np.atleast_2d(np.corrcoef(rankdata(x, axis=0), rowvar=False))
