"""What models of windows find of attacks that take hours: campaigns and windows, how soon, and their false alarms on benign days."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.table import Table

from infra.config import Settings
from infra.errors import ConfigError
from jobs.metering.settings import MeterSettings
from jobs.scoring.model import ScoringModel
from jobs.training.alarms import Who, alarms_of
from jobs.training.generated import labelled_run
from jobs.training.labelled import LabelledFlows
from jobs.training.train import GENERATED, SECONDS, SEEDS
from jobs.training.windowmodels import QUICK, WindowTraining, generated_runs, scored, train_size
from jobs.training.windowruns import Attack, WindowRun, window_run
from ops.bench import families
from ops.bench.place import machine
from ops.bench.tables import table
from schemas.windowrecords import WINDOWS
from schemas.windows import SIZES
from sensors.generate import Scenario, preset

#: What is asked: campaigns found of each kind, at so many false alarms on a benign day.
RECALL, ALARMS_PER_DAY = 0.95, 1.0
_DAY_S = 86_400.0
#: All sizes together, and flows, as rows.
_ALL, _FLOWS = "all", "flows"


@dataclass(frozen=True)
class _Judged:
    """Windows or flows of one run as a model sees them: whose alarm each would be, whether it is one, and its time (seconds).

    ``size``: seconds of the windows; ``flows``.
    """

    size: str
    flows: LabelledFlows
    begin: npt.NDArray[np.float64]
    end: npt.NDArray[np.float64]
    who: list[Who]
    hit: npt.NDArray[np.bool_]

    def alarms(self) -> list[tuple[Who, float, float]]:
        return [(self.who[at], float(self.begin[at]), float(self.end[at])) for at in np.flatnonzero(self.hit).tolist()]

    def of(self, attack: Attack) -> npt.NDArray[np.bool_]:
        """bool[n]: what a flow of the campaign began in, or is."""
        flows = self.flows
        return (flows.host == attack.host) & (flows.y == attack.label) & (self.end >= attack.begin) & (self.begin <= attack.end)


@dataclass(frozen=True)
class JudgedRun:
    """One run of the generator as models see it: its length in seconds, its campaigns, and what each model says."""

    seconds: float
    attacks: tuple[Attack, ...]
    judged: tuple[_Judged, ...]


def run(
    settings: Settings,
    *,
    seeds: Sequence[int],
    quiet_seeds: Sequence[int],
    hours: float = 4.0,
    quick: bool = False,
    flows: bool = False,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Train a model for each size, without registering it, and judge them on traffic that they have not seen.

    Parameters
    ----------
    settings
        Metering rules.
    seeds
        Of runs with attacks at their typical pace: a port in 10 s, a password in 15 s, a report in 60 s.
    quiet_seeds
        Of benign days.
    hours
        Capture time of the runs with attacks.
    quick
        Train on little.
    flows
        Judge a model of flows beside them, fitted as the demonstration's is: boosted trees, preset ``train``.
    say
        Told what is being done.

    Returns
    -------
    dict
        See :func:`judge`; the traffic and the machine.

    Raises
    ------
    ConfigError
        No seeds, or one that is trained on.
    """
    training = QUICK if quick else WindowTraining()
    trained = {*training.seeds, *training.quiet_seeds}
    if not seeds or not quiet_seeds or (seen := sorted(trained & {*seeds, *quiet_seeds})):
        raise ConfigError(
            f"--seeds, --quiet-seeds: {', '.join(map(str, seen)) if seeds and quiet_seeds else 'none'}", "a seed or more not trained on"
        )
    facts, rules = machine(), settings.section(MeterSettings)
    runs = generated_runs(training, rules, say)
    models = {size: train_size(size, runs, WINDOWS[size], progress=say).fitted.model for size in SIZES}
    del runs
    flow_model = (
        families.fitted(GENERATED.family, SEEDS, seconds=SECONDS, max_fpr=GENERATED.max_fpr, settings=rules, say=say) if flows else None
    )

    def shown(scenario: Scenario) -> JudgedRun:
        found = window_run(scenario, rules)
        say(f"seed {scenario.seed}: {found.packets:,} packets, {len(found.attacks)} campaigns")
        judged = look(models, found)
        return judged if flow_model is None else replace(judged, judged=(*judged.judged, by_flows(flow_model, scenario, rules)))

    slow = [shown(preset("slow", seed=seed, duration_s=hours * 3600, slow="typical")) for seed in seeds]
    quiet = [shown(preset("quiet", seed=seed)) for seed in quiet_seeds]
    traffic = {"seeds": list(seeds), "hours": hours, "quiet_seeds": list(quiet_seeds), "trained_on": vars(training)}
    chosen = {str(size): {"threshold": model.threshold, "columns": len(model.columns)} for size, model in models.items()}
    return {"traffic": traffic, "models": chosen, **judge(slow, quiet), "machine": facts}


def look(models: Mapping[int, ScoringModel], run: WindowRun) -> JudgedRun:
    """What models of windows, by size in seconds, say of a run."""
    found = []
    for size, model in models.items():
        windows = run.windows[size]
        p, who = scored(model, windows)
        begin = windows.begin.astype(np.float64)
        found.append(_Judged(str(size), windows.flows, begin, begin + size, who, p >= model.threshold))
    return JudgedRun(run.seconds, run.attacks, tuple(found))


def judge(slow: Sequence[JudgedRun], quiet: Sequence[JudgedRun]) -> dict[str, Any]:
    """What is found in runs with attacks, and what is said of benign ones.

    Returns
    -------
    dict
        ``kinds``: a row for each kind of attack and size, and for all sizes together: campaigns and those found (some window of it is
        taken for an attack), windows and the share found, the share of those whose type is right, seconds from the first packet to the
        end of the first window that is found (median, and 90 of 100 are as fast). ``benign``: false alarms of each size, and of all
        together, in how many days. ``met``: whether the goals are reached by all sizes together. Flows, where they were judged, are
        rows of their own beside the sizes.
    """
    kinds = sorted({attack.label for run in slow for attack in run.attacks})
    names = [one.size for one in quiet[0].judged]
    parts = [(name, (name,)) for name in names] + [(_ALL, tuple(name for name in names if name != _FLOWS))]
    rows = [_row(kind, name, of, slow) for kind in kinds for name, of in parts]
    days = sum(run.seconds for run in quiet) / _DAY_S
    benign = [
        _benign(name, days, [alarm for run in quiet for one in run.judged if one.size in of for alarm in one.alarms()])
        for name, of in parts
    ]
    return {
        "kinds": rows,
        "benign": benign,
        "met": all(row["recall"] >= RECALL for row in rows if row["size"] == _ALL) and benign[-1]["per_day"] <= ALARMS_PER_DAY,
    }


def tables(result: dict[str, Any]) -> Iterator[Table]:
    """By kind and size; benign days."""
    yield table(
        {
            "kind": "kind",
            "size": "window, s",
            "campaigns": "campaigns",
            "recall": "found",
            "windows": "windows",
            "recall_windows": "found",
            "typed": "type right",
            "median_s": "after, s",
            "p90_s": "90 % after",
        },
        result["kinds"],
    )
    yield table({"size": "window, s", "days": "benign days", "alarms": "false alarms", "per_day": "a day"}, result["benign"])


def by_flows(model: ScoringModel, scenario: Scenario, rules: MeterSettings) -> _Judged:
    """What a model of flows says of the same run."""
    flows, span = labelled_run(scenario, rules)
    _, label, kind, _ = model.decide_by(flows.matrix)
    names = np.array(model.verdicts)[kind].tolist()
    who: list[Who] = list(zip(flows.group.tolist(), flows.host.tolist(), names, strict=True))
    return _Judged(_FLOWS, flows, span[:, 0], span[:, 1], who, label == 1)


def _row(kind: str, size: str, of: Sequence[str], runs: Sequence[JudgedRun]) -> dict[str, Any]:
    """One kind of attack, by windows of some sizes."""
    after: list[float] = []
    campaigns = windows = hits = right = 0
    for run in runs:
        for attack in run.attacks:
            if attack.label != kind:
                continue
            ends = []
            for one in run.judged:
                if one.size in of:
                    mask = one.of(attack)
                    found = np.flatnonzero(mask & one.hit)
                    windows, hits = windows + int(mask.sum()), hits + len(found)
                    right += sum(one.who[at][-1] == kind for at in found.tolist())
                    ends += one.end[found].tolist()
            campaigns += 1
            after += [min(ends) - attack.begin] if ends else []
    return {
        "kind": kind,
        "size": size,
        "campaigns": campaigns,
        "recall": _share(len(after), campaigns),
        "windows": windows,
        "recall_windows": _share(hits, windows),
        "typed": _share(right, hits),
        "median_s": round(float(np.median(after)), 1) if after else None,
        "p90_s": round(float(np.quantile(after, 0.9)), 1) if after else None,
    }


def _benign(size: str, days: float, alarms: list[tuple[Who, float, float]]) -> dict[str, Any]:
    count = alarms_of(alarms)
    return {
        "size": size,
        "days": round(days, 3),
        "alarms": count,
        "per_day": round(count / days, 3),
        "of": sorted({who[-1] for who, _, _ in alarms}),
    }


def _share(some: int, of: int) -> float:
    return round(some / of, 4) if of else 0.0
