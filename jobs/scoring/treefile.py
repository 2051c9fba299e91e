"""Compiled trees as arrays of a file, and back: what a file says is checked before a walk follows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from jobs.scoring.trees import Nodes, Trees

_NAMES = ("roots", "feature", "threshold", "children", "leaf", "value")


def arrays(trees: Trees) -> dict[str, npt.NDArray[Any]]:
    """Arrays of trees whose leaves hold one number each and that know no missing values."""
    leaf = trees.leaf_row >= 0
    value = np.zeros(len(leaf))
    value[leaf] = trees.values[trees.leaf_row[leaf], 0]
    return dict(zip(_NAMES, (trees.roots, trees.feature, trees.threshold, trees.children, leaf, value), strict=True))


def trees_of(found: Mapping[str, npt.NDArray[Any]], columns: int) -> Trees:
    """The inverse of :func:`arrays`, for a matrix of ``columns``.

    Raises
    ------
    ValueError
        The arrays do not fit together, or lead out of bounds.
    """
    roots, feature, threshold, children, leaf, value = (np.asarray(found[name]) for name in _NAMES)
    n = len(feature)
    shapes = {"threshold": (threshold, (n,)), "children": (children, (n, 2)), "leaf": (leaf, (n,)), "value": (value, (n,))}
    if odd := [name for name, (array, shape) in shapes.items() if array.shape != shape]:
        raise ValueError(f"trees: {odd[0]} is not that of {n} nodes")
    if roots.ndim != 1 or not len(roots) or roots[0] != 0 or (np.diff(roots) <= 0).any() or roots[-1] >= n:
        raise ValueError(f"trees: roots do not divide {n} nodes")
    if not (np.isfinite(threshold).all() and np.isfinite(value).all()):
        raise ValueError("trees: a threshold or a value is no number")
    each = []
    for begin, end in zip(roots, [*roots[1:], n], strict=True):
        part = slice(int(begin), int(end))
        ways = children[part].astype(np.int64) - int(begin)
        each.append(
            Nodes(ways[:, 0], ways[:, 1], leaf[part].astype(bool), feature[part], threshold[part], np.ones(len(ways)), value[part, None])
        )
    return Trees.of(each, columns)
