"""Decision trees laid end to end as flat arrays, traversed by one compiled loop.

Forests (:mod:`jobs.scoring.forest`), boosted trees (:mod:`jobs.scoring.boosted`) and isolation forests (:mod:`jobs.scoring.isolation`)
differ in what a leaf holds and in what is made of the sum. The walk is the same, and so are the checks of what a file says.

Sixteen rows go down a tree in step, because the steps of different rows do not wait for each other: half the time of one row after the
other. What a step needs of a node lies together, 16 bytes: the column, the threshold, both children. The threshold is rounded down to the
float32 below it, which no float32 value can tell from the float64 that scikit-learn compares with; and trees are summed in their order: so
the bits are scikit-learn's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt

_BLOCK = 16  # rows in step; 8 and 32 are slower


@numba.njit(cache=True, nogil=True)
def _walk(x, roots, depths, nodes, cuts, leaf_row, values, column, out):  # type: ignore[no-untyped-def]  # compiled: arrays of Trees
    n = x.shape[0]
    width = values.shape[1]
    whole = n - n % _BLOCK
    at = np.empty(_BLOCK, dtype=np.int32)
    left = np.uint32(2)  # indices without a sign: none counts from the end
    for t in range(roots.shape[0]):  # tree by tree: its nodes stay in the cache while the rows pass
        for start in range(0, whole, _BLOCK):
            for k in range(_BLOCK):  # so many each time, which the compiler unrolls
                at[k] = roots[t]
            for _ in range(depths[t]):  # a row that has reached its leaf stays there: the leaf is its own child
                for k in range(_BLOCK):
                    node = np.uint32(at[k])
                    at[k] = nodes[node, left + np.uint32(x[start + k, np.uint32(nodes[node, 0])] > cuts[node, 1])]
            for k in range(_BLOCK):
                row = leaf_row[at[k]]
                for c in range(width):
                    out[start + k, column[t] + c] += values[row, c]
        for i in range(whole, n):
            last = np.uint32(roots[t])
            for _ in range(depths[t]):
                last = np.uint32(nodes[last, left + np.uint32(x[i, np.uint32(nodes[last, 0])] > cuts[last, 1])])
            for c in range(width):
                out[i, column[t] + c] += values[leaf_row[last], c]


@numba.njit(cache=True, nogil=True)
def _walk_with_gaps(  # type: ignore[no-untyped-def]
    x, roots, feature, threshold, children, gaps_left, leaf_row, values, column, out
):
    """The same for rows in which a value may be missing (NaN), which goes the way that was learned for it."""
    width = values.shape[1]
    for t in range(roots.shape[0]):
        for i in range(x.shape[0]):
            node = roots[t]
            while leaf_row[node] < 0:
                value = x[i, feature[node]]
                left = gaps_left[node] if np.isnan(value) else value <= threshold[node]
                node = children[node, 0] if left else children[node, 1]
            for c in range(width):
                out[i, column[t] + c] += values[leaf_row[node], c]


@numba.njit(cache=True, nogil=True)
def _distinct(words, first, which):  # type: ignore[no-untyped-def]
    """Rows of ``words`` (uint32[n, k]) that occur for the first time -> ``first``; the place among them of every row -> ``which``."""
    n, k = words.shape
    size = 1024
    while size < 2 * n:
        size *= 2
    table = np.full(size, -1, np.int64)
    found = 0
    for i in range(n):
        h = np.uint64(0xCBF29CE484222325)
        for j in range(k):
            h = (h ^ np.uint64(words[i, j])) * np.uint64(0x100000001B3)  # FNV-1a over words (Fowler, Noll, Vo)
        h ^= h >> np.uint64(32)
        slot = np.int64(h & np.uint64(size - 1))
        while table[slot] >= 0:
            j = 0
            while j < k and words[first[table[slot]], j] == words[i, j]:
                j += 1
            if j == k:
                break
            slot = (slot + 1) & (size - 1)
        if table[slot] < 0:
            table[slot] = found
            first[found] = i
            found += 1
        which[i] = table[slot]
    return found


class Nodes(NamedTuple):
    """One tree as a library has it: arrays by node, of which those at leaves are not looked at, but ``value`` and ``cover``."""

    left: npt.NDArray[Any]
    right: npt.NDArray[Any]
    leaf: npt.NDArray[np.bool_]
    feature: npt.NDArray[Any]
    threshold: npt.NDArray[Any]
    cover: npt.NDArray[Any]
    value: npt.NDArray[Any]  # [nodes, width]
    gaps_left: npt.NDArray[np.bool_] | None = None  # whether a missing value goes left


@dataclass(frozen=True)
class Trees:
    """Trees and what their leaves hold.

    Attributes
    ----------
    roots : int32[trees]
        Index of each tree's first node.
    depths : int32[trees]
        Longest way from the root to a leaf, in steps.
    feature : int32[nodes]
        Column compared at the node; 0 at a leaf.
    threshold : float64[nodes]
    children : int32[nodes, 2]
        Next node where the feature is <= the threshold, and where it is not; a leaf's are the leaf.
    leaf_row : int32[nodes]
        Row of the leaf in ``values``; -1 elsewhere.
    cover : float64[nodes]
        Weight of the training records that came to the node; explanations need it (:mod:`jobs.scoring.explain`).
    values : float64[leaves, width]
        What a leaf adds to the sum.
    column : int32[trees]
        First column of the sum that a tree adds to.
    columns
        Number of columns of the matrix.
    gaps_left : bool[nodes], optional
        Whether a missing value (NaN) goes left. None: there may be none.
    """

    roots: npt.NDArray[np.int32]
    depths: npt.NDArray[np.int32]
    feature: npt.NDArray[np.int32]
    threshold: npt.NDArray[np.float64]
    children: npt.NDArray[np.int32]
    leaf_row: npt.NDArray[np.int32]
    cover: npt.NDArray[np.float64]
    values: npt.NDArray[np.float64]
    column: npt.NDArray[np.int32]
    columns: int
    gaps_left: npt.NDArray[np.bool_] | None = None
    _nodes: npt.NDArray[np.int32] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_nodes", _packed(self))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_nodes"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.__post_init__()

    @classmethod
    def of(cls, trees: Sequence[Nodes], columns: int, column: Sequence[int] = ()) -> Trees:
        """Lay out trees of a matrix of ``columns``; ``column``: what each adds to, the first for all unless given.

        Raises
        ------
        ValueError
            Node or column indices of a tree are out of range: a damaged or malicious file, which scikit-learn would follow out of bounds.
        """
        if not trees:
            raise ValueError("there are no trees")
        ends = np.cumsum([0, *(len(tree.left) for tree in trees)])
        leaves = np.cumsum([0, *(int(tree.leaf.sum()) for tree in trees)])
        if ends[-1] >= 2**31:
            raise ValueError(f"{ends[-1]:,} nodes are too many")
        for tree in trees:
            check(tree, columns)
        gaps = [tree.gaps_left for tree in trees if tree.gaps_left is not None]
        return cls(
            roots=ends[:-1].astype(np.int32),
            depths=np.array([_depth(tree) for tree in trees], dtype=np.int32),
            feature=_joined([np.where(tree.leaf, 0, tree.feature) for tree in trees], np.int32),
            threshold=_joined([np.where(tree.leaf, 0.0, tree.threshold) for tree in trees], np.float64),
            children=_joined([_children(tree) + at for tree, at in zip(trees, ends, strict=False)], np.int32),
            leaf_row=_joined([_leaf_rows(tree, at) for tree, at in zip(trees, leaves, strict=False)], np.int32),
            cover=_joined([tree.cover for tree in trees], np.float64),
            values=_joined([tree.value[tree.leaf] for tree in trees], np.float64),
            column=np.array(column or [0] * len(trees), dtype=np.int32),
            columns=columns,
            gaps_left=np.concatenate(gaps) if len(gaps) == len(trees) else None,
        )

    def sums(self, x: npt.NDArray[np.float32], width: int, begin: npt.NDArray[np.float64] | None = None) -> npt.NDArray[np.float64]:
        """What the leaves add up to, float64[n, width], for a float32[n, columns] matrix; from ``begin`` (float64[width]) on.

        Rows that are the same go through the trees once: in a flood or a scan nearly all are.
        """
        if x.ndim != 2 or x.shape[1] != self.columns or x.dtype != np.float32:
            raise ValueError(f"expected float32[n, {self.columns}], found {x.dtype}{list(x.shape)}")  # _walk checks no bounds
        if int(self.column.max()) + self.values.shape[1] > width:
            raise ValueError(f"the trees have more than {width} sums")
        x = np.ascontiguousarray(x)
        first, which = distinct_rows(x)
        found = len(first)
        if found < len(x):
            x = x[first]
        out = np.zeros((found, width))
        if begin is not None:
            out += begin
        leaves = (self.leaf_row, self.values, self.column)
        if self.gaps_left is not None and np.isnan(x).any():
            _walk_with_gaps(x, self.roots, self.feature, self.threshold, self.children, self.gaps_left, *leaves, out)
        else:
            _walk(x, self.roots, self.depths, self._nodes, self._nodes.view(np.float32), *leaves, out)
        return out if found == len(which) else out[which]


def distinct_rows(x: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows of a float32[n, columns] matrix that occur for the first time, int64[k]; of every row its place among them, int64[n]."""
    first, which = np.empty(len(x), np.int64), np.empty(len(x), np.int64)
    found = _distinct(np.ascontiguousarray(x).view(np.uint32), first, which)
    return first[:found], which


def check(tree: Nodes, columns: int) -> None:
    """Whatever a file says, a walk stays inside the arrays and ends: children are numbered after their parent, as scikit-learn does.

    Raises
    ------
    ValueError
        Indices of nodes or of columns are out of range, or a threshold is no number.
    """
    inner = np.flatnonzero(~tree.leaf)
    ends = np.column_stack([tree.left, tree.right]).astype(np.int64)[inner]
    feature = tree.feature[inner]
    if np.isnan(tree.threshold[inner]).any():
        raise ValueError("a threshold of a tree is out of range: it is no number")
    if (
        not len(tree.left)
        or (ends <= inner[:, None]).any()
        or (ends >= len(tree.left)).any()
        or (feature < 0).any()
        or (feature >= columns).any()
    ):
        raise ValueError("node indices of a tree are out of range")


def _packed(trees: Trees) -> npt.NDArray[np.int32]:
    """int32[nodes, 4]: column, threshold (the bits of a float32), both children."""
    with np.errstate(over="ignore"):
        cut = trees.threshold.astype(np.float32)
    above = cut > trees.threshold
    cut[above] = np.nextafter(cut[above], np.float32(-np.inf))
    return np.ascontiguousarray(np.column_stack([trees.feature, cut.view(np.int32), trees.children]), np.int32)


def _children(tree: Nodes) -> npt.NDArray[np.int64]:
    itself = np.arange(len(tree.left))
    return np.column_stack([np.where(tree.leaf, itself, way) for way in (tree.left, tree.right)]).astype(np.int64)


def _leaf_rows(tree: Nodes, first: int) -> npt.NDArray[np.int64]:
    return np.where(tree.leaf, np.cumsum(tree.leaf) - 1 + first, -1)


def _depth(tree: Nodes) -> int:
    """Longest way from the root to a leaf, counted: the number in a file may lie."""
    level, depth = np.zeros(1, dtype=np.int64), 0
    while len(level := level[~tree.leaf[level]]):
        level = np.unique(np.concatenate([tree.left[level], tree.right[level]]).astype(np.int64))
        depth += 1
    return depth


def _joined(parts: Sequence[npt.NDArray[Any]], kind: Any) -> npt.NDArray[Any]:
    return np.ascontiguousarray(np.concatenate(parts), dtype=kind)
