"""Ways of holding records out. Each gives folds: what to fit to, what to choose the threshold on, what to judge by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from jobs.training.labelled import LabelledFlows
from schemas.labels import BENIGN

Rows = npt.NDArray[np.int64]
#: Further ways beside the one that gives the model: leaving out days, hosts, kinds of attack.
Way = Literal["day", "host", "attack"]
WAYS: tuple[Way, ...] = get_args(Way)
#: Folds of the split by host.
HOST_FOLDS = 5
#: Of what is not held out, the share that chooses the threshold.
VALIDATION = 0.25


@dataclass(frozen=True)
class Fold:
    """Row numbers of one training: int64, rising, no row in two of them. ``name`` says what is held out."""

    name: str
    train: Rows
    validation: Rows
    test: Rows


def at_random(flows: LabelledFlows, seed: int) -> Fold:
    """Rows 60 : 20 : 20, of every label alike. A label of one or two rows goes to the training."""
    rng = np.random.default_rng(seed)
    parts: tuple[list[Rows], list[Rows], list[Rows]] = ([], [], [])
    for label in np.unique(flows.y):
        rows = rng.permutation(np.flatnonzero(flows.y == label))
        fifth = max(round(len(rows) / 5), 1) if len(rows) > 2 else 0
        for part, some in zip(parts, np.split(rows, [len(rows) - 2 * fifth, len(rows) - fifth]), strict=True):
            part.append(some)
    train, validation, test = (np.sort(np.concatenate(part)) if part else np.zeros(0, np.int64) for part in parts)
    return Fold("random", train, validation, test)


def by_day(flows: LabelledFlows, seed: int) -> Iterator[Fold]:
    """Every day (:attr:`LabelledFlows.group`) held out once; rows without one are in no fold."""
    dated = np.flatnonzero(flows.group != "")
    for day in np.unique(flows.group[dated]).tolist():
        out = flows.group[dated] == day
        yield _fold(day, dated[~out], dated[out], seed)


def by_host(flows: LabelledFlows, seed: int) -> Iterator[Fold]:
    """A fifth of the hosts (:attr:`LabelledFlows.host`) held out at a time, labels spread as evenly as hosts allow.

    No host is on both sides. Rows without one are in no fold.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    known = np.flatnonzero(flows.host != "")
    hosts = len(np.unique(flows.host[known]))
    if hosts < 2:
        return
    folds = StratifiedGroupKFold(min(HOST_FOLDS, hosts), shuffle=True, random_state=seed)
    spread = np.unique(flows.y[known], return_inverse=True)[1]
    for i, (rest, out) in enumerate(folds.split(known, spread, flows.host[known]), 1):
        if len(rest) and len(out):
            yield _fold(f"hosts {i}", known[rest], known[out], seed)


def without_attack(flows: LabelledFlows, base: Fold, families: Mapping[str, str]) -> Iterator[Fold]:
    """Every kind of attack left out of training and validation once; judged by all of its rows and the benign test rows of ``base``.

    ``families`` names the kind of a label where it is another than the label: variants of one attack are left out together, as one
    would give the other away.
    """
    kind = np.array([families.get(v, v) for v in flows.y.tolist()], dtype=str)
    benign = base.test[flows.y[base.test] == BENIGN]
    for name in np.unique(kind[flows.attack]).tolist():
        left_out = (kind == name) & flows.attack
        rows = np.flatnonzero(left_out)
        yield Fold(name, base.train[~left_out[base.train]], base.validation[~left_out[base.validation]], np.sort(np.append(rows, benign)))


def _fold(name: str, rest: Rows, test: Rows, seed: int) -> Fold:
    inner = np.random.default_rng(seed).random(len(rest)) >= VALIDATION
    return Fold(name, rest[inner], rest[~inner], test)
