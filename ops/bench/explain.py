"""How many scores a core explains in a second, by the champion's forest, and how many the package shap does with the same trees."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from infra.config import Settings
from infra.errors import StackError
from jobs.metering.settings import MeterSettings
from jobs.scoring.boosted import Boosted
from jobs.scoring.explain import Explainer
from jobs.scoring.forest import Forest
from jobs.scoring.model import ScoringModel
from jobs.scoring.typed import Typed
from ops.bench.place import machine
from schemas.features import FEATURE_NAMES
from schemas.labels import BENIGN

Matrix = npt.NDArray[np.float64]

#: A seed that trains no model of ours, and seconds of its traffic.
_SEED, _SECONDS = 1007, 10.0
_ROUNDS = 7


def run(settings: Settings, *, flows: int, with_peer: bool = True, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Explain attacks of generated traffic by the champion; one is trained first where there is none.

    Parameters
    ----------
    settings
        Registry and metering rules.
    flows
        Attacks that are explained, again and again in several rounds.
    with_peer
        Whether shap explains them too.
    say
        Told what is being done.

    Returns
    -------
    dict
        See :func:`compare`; the machine.
    """
    from jobs.models.newcomer import ensure_champion
    from jobs.training.generated import generated_flows

    facts = machine()
    champion = ensure_champion(settings, say)
    data = generated_flows([_SEED], duration_s=_SECONDS, settings=settings.section(MeterSettings), progress=say)
    attacks = data.where(data.attack)
    chosen = attacks.where(np.random.default_rng(0).permutation(len(attacks))[:flows])
    features = np.zeros((len(chosen), len(FEATURE_NAMES)))
    features[:, [FEATURE_NAMES.index(name) for name in chosen.columns]] = chosen.x
    return {**compare(champion, features, with_peer=with_peer), "machine": facts}


def compare(champion: ScoringModel, features: Matrix, *, with_peer: bool = True) -> dict[str, Any]:
    """Explain records by us and by shap, in turns.

    Parameters
    ----------
    champion
        Its trees are compiled.
    features
        float64[n, k], the record type's features.
    with_peer
        Whether shap explains them too, of a forest: of boosted trees it explains log-odds.

    Returns
    -------
    dict
        ``model``: its size; ``flowlake``: explanations per second of processor time, all at once and one after the other, and how far base
        and contributions are from the score at most (``residual``); ``shap``: the same, how far its contributions are from ours at most
        (``difference``), and ``ratio`` of the speeds.

    Raises
    ------
    StackError
        shap is not installed, or the model is not made of trees.
    """
    whole, benign = champion.predictor, champion.classes.index(BENIGN)
    trees: Any = whole
    if isinstance(whole, Typed):
        trees, benign = whole.detector, 1 - whole.attack
    if not isinstance(trees, Forest | Boosted):
        raise StackError(f"model {champion.version} is neither a forest nor boosted trees", "flowlake train --promote trains one")
    explainer = Explainer(champion)
    ours = explainer.explain(features)  # compiles
    found = np.array([one.contributions for one in ours])
    residual = max(abs(one.base + one.contributions.sum() - one.raw) for one in ours)
    explain: dict[str, Callable[[Matrix], Any]] = {"flowlake": explainer.explain}
    model = {
        "trees": len(trees.trees.roots),
        "nodes": len(trees.trees.children),
        "depth": int(trees.trees.depths.max()),
        "columns": trees.columns,
    }
    result: dict[str, Any] = {"explained": len(features), "model": model, "flowlake": {"residual": residual}}
    if with_peer and isinstance(trees, Forest):
        at = [FEATURE_NAMES.index(name) for name in champion.columns]
        peer = _shap(trees, benign)
        explain["shap"] = lambda some: peer.shap_values(some[:, at].astype(np.float32), check_additivity=False)
        result["shap"] = {"difference": float(np.abs(explain["shap"](features) - found).max())}
    for size, name in ((len(features), "per_second"), (1, "one_by_one_per_second")):
        for who, rate in _rates(explain, features, size).items():
            result[who][name] = round(rate)
    if "shap" in result:
        result["ratio"] = {
            name: round(result["flowlake"][name] / result["shap"][name], 1) for name in ("per_second", "one_by_one_per_second")
        }
    return result


def _rates(explain: dict[str, Callable[[Matrix], Any]], features: Matrix, size: int) -> dict[str, float]:
    """Records per second of processor time, in batches of ``size``: the median of some rounds, in which all take their turn."""
    seconds: dict[str, list[float]] = {name: [] for name in explain}
    some = features[: max(size, min(len(features), 100))]
    for _ in range(_ROUNDS):
        for name, function in explain.items():
            begin = time.thread_time()
            for at in range(0, len(some), size):
                function(some[at : at + size])
            seconds[name].append(time.thread_time() - begin)
    return {name: len(some) / statistics.median(times) for name, times in seconds.items()}


def _shap(forest: Forest, benign: int) -> Any:
    """The explainer of shap for the same trees and the one number that is explained, P(attack)."""
    try:
        import shap
    except ImportError as e:
        raise StackError("shap is not installed", "pip install shap, or measure with --no-peer") from e
    ends = [*forest.trees.roots[1:].tolist(), len(forest.trees.children)]
    each = [_tree(forest, slice(start, end), benign) for start, end in zip(forest.trees.roots.tolist(), ends, strict=True)]
    return shap.TreeExplainer({"trees": each}, feature_perturbation="tree_path_dependent")


def _tree(forest: Forest, nodes: slice, benign: int) -> dict[str, Any]:
    leaf = forest.trees.leaf_row[nodes] >= 0
    children = np.where(leaf[:, None], -1, forest.trees.children[nodes] - nodes.start)
    values = np.where(leaf, 1.0 - forest.leaf_proba[forest.trees.leaf_row[nodes], benign], 0.0) / len(forest.trees.roots)
    return {
        "children_left": children[:, 0],
        "children_right": children[:, 1],
        "children_default": children[:, 1],
        "features": np.where(leaf, -2, forest.trees.feature[nodes]),
        "thresholds": forest.trees.threshold[nodes],
        "values": values[:, None],
        "node_sample_weight": forest.trees.cover[nodes],
    }
