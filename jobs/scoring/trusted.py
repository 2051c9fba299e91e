"""Types that a model's file may hold beyond those that skops knows to be harmless, and the check of what they hold.

skops builds objects of scikit-learn's estimators, NumPy's arrays and Python's plain values; any other type must be named here, or the
file is refused. Those named are three, all scikit-learn's own. Building one calls no code of the file.

``sklearn.tree._tree.Tree``
    Nodes of a tree of a forest. It checks types and sizes of its arrays, not the indices in them.
``sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor``
    Nodes of a boosted tree and bits of categories: attributes that are set, no check.
``sklearn.utils._bunch.Bunch``
    A dictionary whose keys are attributes too: the names of the classifiers in a vote.

What makes them harmless is :func:`check_trees`: scikit-learn would follow an index wherever it points, in memory that is not its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from jobs.scoring.boosted import nodes_of_predictor
from jobs.scoring.forest import nodes_of
from jobs.scoring.trees import check

#: Their names, for skops.
TRUSTED = (
    "sklearn.tree._tree.Tree",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.utils._bunch.Bunch",
)


def check_trees(estimator: Any) -> None:
    """Look at every tree in an estimator, however deep it lies.

    Raises
    ------
    ValueError
        Node or column indices of one are out of range: a damaged or malicious file.
    """
    from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor
    from sklearn.tree._tree import Tree

    for thing, columns in _parts(estimator, 0, set()):
        if isinstance(thing, Tree):
            check(nodes_of(thing), min(columns, int(thing.n_features)))
        elif isinstance(thing, TreePredictor):
            check(nodes_of_predictor(thing.nodes), columns)


def _parts(thing: Any, columns: int, seen: set[int]) -> Iterator[tuple[Any, int]]:
    """Whatever an object is made of, with the columns that the nearest estimator around it has."""
    if id(thing) in seen or isinstance(thing, (str, bytes, int, float, type(None))):
        return
    seen.add(id(thing))
    yield thing, columns
    inside: list[Any] = []
    if isinstance(thing, dict):
        inside = list(thing.values())
    elif isinstance(thing, (list, tuple, set)) or (isinstance(thing, np.ndarray) and thing.dtype == object):
        inside = list(np.ravel(thing)) if isinstance(thing, np.ndarray) else list(thing)
    elif hasattr(thing, "__dict__"):
        columns = int(getattr(thing, "n_features_in_", columns))
        inside = list(vars(thing).values())
    for part in inside:
        yield from _parts(part, columns, seen)
