"""Shapley values of a forest's output, exact, in time linear in the number of its nodes.

The game is that of path-dependent TreeSHAP (Lundberg et al., "From local explanations to global understanding with explainable AI for
trees", Nature Machine Intelligence 2, 2020): a feature that is not known sends a record both ways at its splits, by the shares of the
training records that went there. Algorithm 2 of that paper, as in the package shap, takes O(leaves x depth^2) steps for a record; this is
O(nodes x depth / 2), and no step subtracts what it added before, so it loses no digits in deep trees.

How: a leaf of value ``v`` below splits on features ``j`` adds to feature ``i``, by the multilinear extension of the game (Owen, 1972),

    v x integral over t from 0 to 1 of (o_i - z_i) x product over j != i of (o_j t + z_j (1 - t))

where ``o_j`` is 1 if the record goes towards the leaf at all splits on ``j``, else 0, and ``z_j`` is the share of training records that
do. The integrand is a polynomial in ``t``; a Gauss-Legendre rule of half as many points as features lie on a path gives its integral
exactly. The sums over all leaves below an edge are shared (as Yu et al. do with another basis, "Linear TreeShap", NeurIPS 2022).

A constant added to all leaves changes no contribution, so leaves of value 0 cost nothing, and a subtree of one value is one leaf.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from infra.kernels import allocating_kernel
from jobs.scoring.trees import Trees


@allocating_kernel
def _lay_out(  # type: ignore[no-untyped-def]  # compiled: types are those of the Trees' and the Layout's arrays
    roots, feature, threshold, children, cover, value, ends, via, cut, first, before, share, leaf
):
    """Fill a layout with the nodes that matter; returns their number, the most features on a path, and the sum of the trees' bases."""
    nodes, trees = children.shape[0], roots.shape[0]
    for node in range(nodes - 1, -1, -1):
        a, b = children[node]
        if a != node:  # a subtree of one value becomes a leaf; NaN marks the others
            value[node] = value[a] if value[a] == value[b] else np.nan
    distinct, parent, number = np.zeros(nodes, np.int32), np.full(nodes, -1, np.int64), np.full(nodes, -1, np.int64)
    reach = np.ones(nodes)  # share of the training records that come to the node
    made = most = tree = 0
    base = 0.0
    for node in range(nodes):
        if tree < trees and roots[tree] == node:
            ends[tree] = number[node] = made
            leaf[made] = 0.0 if np.isnan(value[node]) else value[node]
            made += 1
            tree += 1
        at = number[node]
        if at < 0:
            continue
        if not np.isnan(value[node]):
            base += value[node] * reach[at]
            continue
        above = at  # the nearest edge on the way up that splits on the same feature leads into it
        while parent[above] >= 0 and via[parent[above]] != feature[node]:
            above = parent[above]
        known = parent[above] >= 0
        via[at], cut[at], first[at], before[at] = feature[node], threshold[node], made, above if known else -1
        for child in children[node]:
            number[child], parent[made] = made, at
            ratio = cover[child] / cover[node]
            reach[made] = reach[at] * ratio
            share[made] = ratio * share[above] if known else ratio
            distinct[made] = distinct[at] + (0 if known else 1)
            most = max(most, distinct[made])
            leaf[made] = 1.0 if np.isnan(value[child]) else value[child]
            made += 1
    ends[trees] = made
    return made, most, base


@allocating_kernel
def _contribute(x, ends, via, cut, first, before, share, leaf, points, weights, out):  # type: ignore[no-untyped-def]
    """Contributions of each row of ``x`` -> ``out``: the sum over the trees."""
    n, q, trees = x.shape[0], points.shape[0], ends.shape[0] - 1
    largest = 0
    for t in range(trees):
        largest = max(largest, ends[t + 1] - ends[t])
    term = np.empty((largest, q))  # going down: product of the factors of all features on the way; up: sum over the leaves below
    towards = np.empty(largest, np.bool_)  # the record goes this way at all splits on the feature so far
    found = np.empty((out.shape[1], q))
    rest = 1.0 - points
    away = -1.0 / rest
    for i in range(n):
        found[:, :] = 0.0
        for t in range(trees):
            start = ends[t]
            term[0, :] = 1.0
            for node in range(start, ends[t + 1]):
                if first[node] < 0:
                    continue
                goes = 0 if x[i, via[node]] <= cut[node] else 1
                a = first[node] + goes
                b = first[node] + 1 - goes
                za, zb = share[a], share[b]
                here, to, off = np.uint64(node - start), np.uint64(a - start), np.uint64(b - start)  # no index counts from the end
                towards[off] = False
                if before[node] < 0:
                    towards[to] = True
                    for k in range(q):
                        came = term[here, k]
                        term[to, k] = came * (points[k] + rest[k] * za)
                        term[off, k] = came * (rest[k] * zb)
                elif towards[before[node] - start]:
                    towards[to] = True
                    z = share[before[node]]
                    for k in range(q):
                        came = term[here, k] / (points[k] + rest[k] * z)
                        term[to, k] = came * (points[k] + rest[k] * za)
                        term[off, k] = came * (rest[k] * zb)
                else:
                    towards[to] = False
                    za, zb = za / share[before[node]], zb / share[before[node]]
                    for k in range(q):
                        came = term[here, k]
                        term[to, k] = came * za
                        term[off, k] = came * zb
            for node in range(ends[t + 1] - 1, start - 1, -1):
                if first[node] < 0:
                    continue
                a = first[node]
                if x[i, via[node]] <= cut[node]:
                    b = a + 1
                else:
                    a, b = a + 1, a
                here, to, off, f = np.uint64(node - start), np.uint64(a - start), np.uint64(b - start), np.uint64(via[node])
                va, vb, za = leaf[a], leaf[b], share[a]
                if before[node] < 0:
                    for k in range(q):
                        ga, gb = va * term[to, k], vb * term[off, k]
                        term[here, k] = ga + gb
                        found[f, k] += ga * (1.0 - za) / (points[k] + rest[k] * za) + gb * away[k]
                elif towards[before[node] - start]:
                    z = share[before[node]]
                    for k in range(q):
                        ga, gb = va * term[to, k], vb * term[off, k]
                        term[here, k] = ga + gb
                        found[f, k] += ga * (1.0 - za) / (points[k] + rest[k] * za) + gb * away[k]
                        found[f, k] -= (ga + gb) * (1.0 - z) / (points[k] + rest[k] * z)  # what the edge above added for these leaves
                else:
                    for k in range(q):
                        term[here, k] = va * term[to, k] + vb * term[off, k]
        for j in range(out.shape[1]):
            for k in range(q):
                out[i, j] += weights[k] * found[j, k]


@dataclass(frozen=True)
class TreeContributions:
    """Shapley values of one number that a forest gives: the mean over its trees of a value of each leaf.

    Attributes
    ----------
    base
        What the forest gives on average over its training records: the value of the game when no feature is known.
    columns
        Number of columns of a matrix.
    """

    base: float
    columns: int
    _trees: int
    _layout: tuple[npt.NDArray[np.generic], ...]
    _points: npt.NDArray[np.float64]
    _weights: npt.NDArray[np.float64]

    @classmethod
    def of(cls, trees: Trees, leaf_values: npt.NDArray[np.float64]) -> TreeContributions:
        """Prepare the trees of a forest.

        Parameters
        ----------
        trees
            Their ``cover`` says which way records of the training went.
        leaf_values
            float64[leaves]: a value for each row of ``trees.values``.

        Raises
        ------
        ValueError
            A cover or a value is no (positive) number: a damaged file.
        """
        if not (np.isfinite(trees.cover).all() and (trees.cover > 0).all() and np.isfinite(leaf_values).all()):
            raise ValueError("a node holds no weight of training records, or a leaf no value")
        nodes, count = len(trees.children), len(trees.roots)
        leaf = trees.leaf_row >= 0
        value = np.full(nodes, np.nan)
        value[leaf] = leaf_values[trees.leaf_row[leaf]]
        # By node: feature and threshold of its split, the first of its two ends (-1: a leaf), the nearest edge above that splits on
        # the same feature (-1: none). By edge into a node: share of the training records that went this way at all splits on the
        # feature so far. By node: the value of a leaf, 1 elsewhere.
        via, first, before = (np.full(nodes, -1, np.int64) for _ in range(3))
        cut, share, ended = np.zeros(nodes), np.ones(nodes), np.ones(nodes)
        ends = np.zeros(count + 1, np.int64)
        made, most, base = _lay_out(
            trees.roots, trees.feature, trees.threshold, trees.children, trees.cover, value,
            ends, via, cut, first, before, share, ended,
        )  # fmt: skip
        points, weights = np.polynomial.legendre.leggauss(max(1, (most + 1) // 2))  # exact to degree 2n - 1 >= most - 1
        layout = (ends, *(array[:made].copy() for array in (via, cut, first, before, share, ended)))
        return cls(base / count, trees.columns, count, layout, (points + 1) / 2, weights / 2)

    def __call__(self, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Contributions, float64[n, columns], of a finite float32[n, columns] matrix; a row and ``base`` sum to the forest's number."""
        if x.ndim != 2 or x.shape[1] != self.columns or x.dtype != np.float32:
            raise ValueError(f"expected float32[n, {self.columns}], found {x.dtype}{list(x.shape)}")  # _contribute checks no bounds
        out = np.zeros(x.shape)
        _contribute(np.ascontiguousarray(x), *self._layout, self._points, self._weights, out)
        return out / self._trees
