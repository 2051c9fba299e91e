"""What models of windows find of attacks that take hours: campaigns and windows, how soon, and their false alarms on benign days."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.table import Table

from infra.config import Settings
from infra.errors import ConfigError
from jobs.metering.settings import MeterSettings
from jobs.scoring.model import ScoringModel
from jobs.training.alarms import Who, alarms_of
from jobs.training.windowmodels import WindowTraining, generated_runs, scored, train_size
from jobs.training.windowruns import Attack, LabelledWindows, WindowRun, window_run
from ops.bench.place import machine
from ops.bench.tables import table
from schemas.records import Features, RecordType
from schemas.topics import TopicSpec
from schemas.windows import SIZES, WINDOW_NAMES, WINDOW_SCHEMA, WINDOW_VERSION
from sensors.generate import preset

#: What is asked: campaigns found of each kind, at so many false alarms on a benign day.
RECALL, ALARMS_PER_DAY = 0.95, 1.0
#: What is trained on and judged by with ``quick``.
QUICK = WindowTraining(seeds=tuple(range(1001, 1011)), quiet_seeds=tuple(range(2001, 2007)))
_DAY_S = 86_400.0
#: All sizes together, as a row.
_ALL = "all"


@dataclass(frozen=True)
class _Flagged:
    """Windows of one run and size that a model takes for an attack: whose alarm each is, and from when to when (seconds)."""

    windows: LabelledWindows
    hit: npt.NDArray[np.bool_]
    who: list[Who]
    size: int

    def alarms(self) -> Iterator[tuple[Who, int, int]]:
        for at in np.flatnonzero(self.hit).tolist():
            begin = int(self.windows.begin[at])
            yield self.who[at], begin, begin + self.size

    def of(self, attack: Attack) -> npt.NDArray[np.bool_]:
        """bool[n]: windows in which a flow of the campaign began."""
        flows, begin = self.windows.flows, self.windows.begin
        return (flows.host == attack.host) & (flows.y == attack.label) & (begin + self.size > attack.begin) & (begin <= attack.end)


def run(
    settings: Settings,
    *,
    seeds: Sequence[int],
    quiet_seeds: Sequence[int],
    hours: float = 4.0,
    quick: bool = False,
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
    models = {size: train_size(size, runs, _record(size), progress=say).fitted.model for size in SIZES}
    del runs
    slow, quiet = [], []
    for seed in seeds:
        slow.append(window_run(preset("slow", seed=seed, duration_s=hours * 3600, slow="typical"), rules))
        say(f"slow {seed}: {slow[-1].packets:,} packets, {len(slow[-1].attacks)} campaigns")
    for seed in quiet_seeds:
        quiet.append(window_run(preset("quiet", seed=seed), rules))
        say(f"quiet {seed}: {quiet[-1].packets:,} packets")
    traffic = {"seeds": list(seeds), "hours": hours, "quiet_seeds": list(quiet_seeds), "trained_on": vars(training)}
    return {"traffic": traffic, **judge(models, slow, quiet), "machine": facts}


def judge(models: Mapping[int, ScoringModel], slow: Sequence[WindowRun], quiet: Sequence[WindowRun]) -> dict[str, Any]:
    """What models of windows, by size, find in runs with attacks, and what they say of benign ones.

    Returns
    -------
    dict
        ``models``: threshold and columns of each. ``kinds``: a row for each kind of attack and size, and for all sizes together:
        campaigns and those found (some window of it is taken for an attack), windows and the share found, the share of those whose type
        is right, seconds from the first packet to the end of the first window that is found (median, and 90 of 100 are as fast).
        ``benign``: false alarms of each size, and of all together, in how many days. ``met``: whether the goals are reached by all
        sizes together.
    """
    found = [(run, [_flagged(model, run, size) for size, model in models.items()]) for run in slow]
    kinds = sorted({attack.label for run in slow for attack in run.attacks})
    rows = [_row(kind, size, found) for kind in kinds for size in (*map(str, models), _ALL)]
    days = sum(run.seconds for run in quiet) / _DAY_S
    alarms = [[list(_flagged(model, run, size).alarms()) for run in quiet] for size, model in models.items()]
    benign = [_benign(str(size), days, [alarm for of in one for alarm in of]) for size, one in zip(models, alarms, strict=True)]
    benign.append(_benign(_ALL, days, [alarm for one in alarms for of in one for alarm in of]))
    return {
        "models": {str(size): {"threshold": model.threshold, "columns": len(model.columns)} for size, model in models.items()},
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


def _flagged(model: ScoringModel, run: WindowRun, size: int) -> _Flagged:
    windows = run.windows[size]
    p, who = scored(model, windows)
    return _Flagged(windows, p >= model.threshold, who, size)


def _row(kind: str, size: str, runs: Sequence[tuple[WindowRun, list[_Flagged]]]) -> dict[str, Any]:
    """One kind of attack, by windows of one size or of all."""
    after: list[float] = []
    campaigns = windows = hits = right = 0
    for run, by_size in runs:
        for attack in run.attacks:
            if attack.label != kind:
                continue
            first = np.inf
            for one in by_size:
                if size not in (_ALL, str(one.size)):
                    continue
                of = one.of(attack)
                hit = np.flatnonzero(of & one.hit)
                windows, hits = windows + int(of.sum()), hits + len(hit)
                right += sum(one.who[at][-1] == kind for at in hit.tolist())
                if len(hit):
                    first = min(first, float(one.windows.begin[hit].min()) + one.size - attack.begin)
            campaigns += 1
            after += [first] if np.isfinite(first) else []
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


def _benign(size: str, days: float, alarms: list[tuple[Who, int, int]]) -> dict[str, Any]:
    count = alarms_of(alarms)
    return {
        "size": size,
        "days": round(days, 3),
        "alarms": count,
        "per_day": round(count / days, 3),
        "of": sorted({who[-1] for who, _, _ in alarms}),
    }


def _record(size: int) -> RecordType:
    """Windows of one size as something that is scored: no message of it is ever written."""
    return RecordType(
        name=f"windows_{size}",
        version=1,
        schema=WINDOW_SCHEMA,
        key="window_id",
        event_time="window_start",
        topic=TopicSpec(f"windows-{size}", 1, 1, "windows that are judged by a benchmark"),
        content_type="",
        features=Features(WINDOW_NAMES, WINDOW_VERSION, f"flowlake-windows-{size}", "flowlake bench windows-detection fits its own"),
    )


def _share(some: int, of: int) -> float:
    return round(some / of, 4) if of else 0.0
