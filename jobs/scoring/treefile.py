"""Compiled trees as arrays of a file, and back: what a file says is checked before a walk follows it."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from jobs.scoring.trees import Nodes, Trees

_NAMES = ("roots", "feature", "threshold", "children", "leaf_row", "cover", "values")


def arrays(trees: Trees) -> dict[str, npt.NDArray[Any]]:
    """Arrays of trees that all add to the same sums and know no missing values."""
    return {name: getattr(trees, name) for name in _NAMES}


def trees_of(found: Mapping[str, npt.NDArray[Any]], columns: int) -> Trees:
    """The inverse of :func:`arrays`, for a matrix of ``columns``.

    Raises
    ------
    ValueError
        The arrays do not fit together, or lead out of bounds.
    KeyError
        One is missing.
    """
    roots, feature, threshold, children, leaf_row, cover, values = (np.asarray(found[name]) for name in _NAMES)
    n = len(feature)
    shapes = {"threshold": (threshold, (n,)), "children": (children, (n, 2)), "leaf_row": (leaf_row, (n,)), "cover": (cover, (n,))}
    if odd := [name for name, (array, shape) in shapes.items() if array.shape != shape]:
        raise ValueError(f"trees: {odd[0]} is not that of {n} nodes")
    if roots.ndim != 1 or not len(roots) or roots[0] != 0 or (np.diff(roots) <= 0).any() or roots[-1] >= n:
        raise ValueError(f"trees: roots do not divide {n} nodes")
    if values.ndim != 2 or (leaf_row < -1).any() or (leaf_row >= len(values)).any():
        raise ValueError("trees: leaves are out of range")
    if not (np.isfinite(threshold).all() and np.isfinite(values).all()):
        raise ValueError("trees: a threshold or a value is no number")
    leaf = leaf_row >= 0
    of_node = np.zeros((n, values.shape[1]))
    of_node[leaf] = values[leaf_row[leaf]]
    each = []
    for begin, end in pairwise([*roots.tolist(), n]):
        part = slice(begin, end)
        ways = children[part].astype(np.int64) - begin
        each.append(Nodes(ways[:, 0], ways[:, 1], leaf[part], feature[part], threshold[part], cover[part], of_node[part]))
    return Trees.of(each, columns)
