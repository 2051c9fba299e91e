"""An answer to attacks that the classifier is not shown: a panel of detectors, and the score from which a record is an unknown attack.

Two kinds of member, which miss different attacks (``flowlake bench novelty`` compares them with others):

- the distance to benign records, of TCP and of all else separately. Nine in ten UDP flows are one question and its answer; beside
  them every TCP flow would be unusual;
- trees that tell benign TCP flows from attacks of every known kind, on all columns and not the few that tell known kinds best.

What is usual differs from day to day. So the members' scores of benign records come from members fitted to other days (or other runs of
the generator): the threshold allows for the difference.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from jobs.scoring.forest import nodes_of
from jobs.scoring.near import Near
from jobs.scoring.novelty import Novelty
from jobs.scoring.panel import Among, DetectorPanel, Exposed, Seat
from jobs.scoring.trees import Trees
from jobs.training.labelled import LabelledFlows, concat
from jobs.training.threshold import lowest_threshold
from schemas.labels import BENIGN

if TYPE_CHECKING:
    from jobs.training.fit import Choices

Mask = npt.NDArray[np.bool_]
#: The shortest header of a TCP segment, bytes; that of UDP has 8.
_TCP = ("fwd_seg_size_min", 20.0)
#: Of the panel. Trees find more at the same rate of false alarms than distances do; what is no TCP is nearly all benign.
WEIGHTS = {"exposed": 1.0, "near TCP": 0.33, "near others": 0.03}
#: Trees that differ much and are each sure of what they have seen: averages of such order what none has seen.
TREES = {"n_estimators": 60, "max_depth": 18, "min_samples_leaf": 1, "max_features": 0.3}
#: Rank correlation from which one of two columns is enough for a distance.
_ALIKE = 0.98
#: Records of an attack, and benign ones, that are enough to fit to.
ATTACK_ROWS, BENIGN_ROWS = 2_000, 20_000
#: Parts of the days or runs, each scored by members that were fitted to the others.
FOLDS = 5
#: Fewest benign records of a kind that a distance is measured from, and of all that a threshold is chosen by.
_FEWEST, _ENOUGH = 20, 100


def fit(train: LabelledFlows, validation: LabelledFlows, choices: Choices) -> Novelty | None:
    """Fit a panel to all records, and choose its threshold by crossing: every part scored by members that have not seen it.

    Deterministic. The threshold is the lowest at which at most ``choices.novelty_fpr`` of the benign records are taken for attacks, of
    closed records and of snapshots each.

    Parameters
    ----------
    train, validation
        The records; what was not used to fit the classifier is fitted to here.
    choices
        The rate of false alarms, and the seed.

    Returns
    -------
    Novelty
        None where the rate is 0, or the benign records are too few to say what is usual (fewer than 100). A member is left out where
        the rest of some part does not suffice to fit it: a day has all attacks.
    """
    flows = concat([train, validation])
    benign = np.flatnonzero(~flows.attack)
    if choices.novelty_fpr <= 0 or len(benign) < _ENOUGH:
        return None
    seats = seats_of(flows, choices.seed)
    found = {name: np.full(len(benign), -np.inf) for name in seats}
    for rest, part in _crossed(flows, choices.seed):
        out = np.flatnonzero(part[benign])
        x = flows.x[benign[out]]
        others = seats_of(flows.where(rest), choices.seed)
        found = {name: own for name, own in found.items() if name in others}  # how the others judge another day is not known
        for name, own in found.items():
            own[out] = others[name].score(x)
    if not found:
        return None
    scores = list(found.values())
    panel = DetectorPanel.calibrated([seats[name] for name in found], len(flows.columns), scores)
    return Novelty(panel, flows.columns, lowest_threshold(panel.of_members(scores), flows.closed[benign], choices.novelty_fpr))


def _crossed(flows: LabelledFlows, seed: int) -> Iterator[tuple[Mask, Mask]]:
    """Rows to fit to and rows to score, :data:`FOLDS` times: whole groups, or at random where there are fewer than three."""
    names, group = np.unique(flows.group, return_inverse=True)
    parts = min(FOLDS, len(names))
    if len(names) < 3:
        parts, group = FOLDS, np.random.default_rng(seed).integers(0, FOLDS, len(flows))
    for part in range(parts):
        out = np.asarray(group % parts == part)
        yield ~out, out


def seats_of(flows: LabelledFlows, seed: int, only: Sequence[str] = tuple(WEIGHTS)) -> dict[str, Seat]:
    """The members, by name, fitted to labelled records: those for which there are enough of them, of the ones that are asked for."""
    tcp, others = _gates(flows.columns)
    seats: dict[str, Seat] = {}
    for name, gate in (("near TCP", tcp), ("near others", others)):
        benign = flows.x[gate(flows.x) & ~flows.attack]
        if name in only and len(benign) >= _FEWEST:
            some = benign[_drawn(np.arange(len(benign)), BENIGN_ROWS, seed)]
            seats[name] = Seat(Near.fit(some, _telling(some)), gate, WEIGHTS[name])
    judged = flows.where(tcp(flows.x))
    if "exposed" in only and judged.attack.any() and not judged.attack.all():
        seats["exposed"] = Seat(Exposed(_trees(judged, seed)), tcp, WEIGHTS["exposed"])
    return seats


def _gates(columns: Sequence[str]) -> tuple[Among, Among]:
    """Records of TCP, and all others. Without the column that tells them apart, all are taken for TCP."""
    name, least = _TCP
    if name not in columns:
        return Among(0, -np.inf, np.inf), Among(0, np.inf, np.inf)
    at = columns.index(name)
    return Among(at, least, np.inf), Among(at, -np.inf, least)


def _trees(flows: LabelledFlows, seed: int) -> Trees:
    """Trees whose leaves hold the share of attacks. Benign records and attacks weigh the same in sum."""
    from sklearn.ensemble import ExtraTreesClassifier

    from jobs.training.fit import class_weights

    some = np.sort(np.concatenate([_drawn(np.flatnonzero(flows.y == label), _most(label), seed) for label in np.unique(flows.y).tolist()]))
    fitted = ExtraTreesClassifier(random_state=seed, n_jobs=-1, **TREES).fit(
        flows.x[some], flows.attack[some], sample_weight=class_weights(flows.y[some])
    )
    laid = [nodes_of(tree.tree_) for tree in fitted.estimators_]
    return Trees.of([nodes._replace(value=nodes.value[:, 1:], gaps_left=None) for nodes in laid], len(flows.columns))


def _most(label: str) -> int:
    return BENIGN_ROWS if label == BENIGN else ATTACK_ROWS


def _drawn(rows: npt.NDArray[np.int64], most: int, seed: int) -> npt.NDArray[np.int64]:
    """At most so many of the rows, at random."""
    return rows if len(rows) <= most else np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))


def _telling(benign: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Columns for a distance: of those that say the same the first. A column that is constant stays: another value there is news."""
    from scipy.stats import rankdata

    varying = np.flatnonzero(benign.min(axis=0) < benign.max(axis=0))
    if not len(varying):
        return np.arange(benign.shape[1])
    correlation = np.abs(np.atleast_2d(np.corrcoef(rankdata(benign[:, varying], axis=0), rowvar=False)))
    taken: list[int] = []
    for j in range(len(varying)):
        if not (correlation[j, taken] > _ALIKE).any():
            taken.append(j)
    left_out = np.delete(varying, taken)
    return np.setdiff1d(np.arange(benign.shape[1]), left_out)
