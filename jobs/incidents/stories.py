"""Which alerts are one story. Pure: no database.

Two alerts of one observation domain, not further apart in event time than the window, are **related** (:func:`related`) when

1. they are of the same attack type and share the source, or the target where many sources work together (a controller and its bots, a
   flood in several episodes, a password that many hosts guess);
2. one source is behind both, whatever it does: who scans and then guesses passwords is one attacker;
3. floods of any kind hit the same target, unless each comes from a few sources and these are others;
4. a source of one is a source of the other at the same target, however many others there are;
5. the target of one is the source of the other, which begins no earlier: a host that was scanned, guessed at or injected, and then calls
   back to the source of that; or one that was broken into (or was one of a few that were scanned), and then reports to a controller,
   carries data away or attacks others.

A **story** is what hangs together by that: the connected components, of the alerts as they are in the end. So it depends neither on the
order in which evidence came, nor on where batches were cut, nor on how often it came (:mod:`jobs.incidents.store` finds the stories of an
incident afresh when one of its alerts changes). So does the id: it is made from the earliest alert (:func:`story_id`).

Addresses of an alert are those of its ``details``: all of them up to :data:`schemas.alerts.SAMPLE_SIZE`, a sample beyond. Sources count
by themselves as long as they are at most :data:`FEW_SOURCES`: forged ones say nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from schemas.alerts import alert_id
from schemas.labels import Label

#: More sources than this are a crowd or forged: no attacker by which alerts could be one story.
FEW_SOURCES = 3
#: A scan of so many hosts at most was about them, so that what one of them does next belongs to it.
FEW_TARGETS = 8
#: Of these stages many sources work on one target together.
_TOGETHER = frozenset({"break-in", "control", "impact"})
_COMPROMISED = frozenset({"control", "theft"})


@dataclass(frozen=True)
class Sighting:
    """What an alert is related by. Times: us since the epoch; ``few``: its sources, and its targets, are few enough to mean something."""

    id: UUID
    attack_type: str
    stage: str
    domain: str
    first_seen: int
    last_seen: int
    sources: frozenset[str]
    targets: frozenset[str]
    few_sources: bool = True
    few_targets: bool = True

    @property
    def order(self) -> tuple[int, int]:
        """Earliest first; of two at once, the smaller id."""
        return self.first_seen, self.id.int


def sighting(row: Mapping[str, Any], labels: Mapping[str, Label]) -> Sighting:
    """From columns ``id attack_type domain first_seen last_seen src_ip dst_ip details`` of an alert (times in us).

    Details are JSON, in which people may write anything; what is neither a list of texts nor a number is taken as not there.
    """
    details = row["details"]
    single = row["kind"] == "per-flow"
    sources = [row["src_ip"]] if single else _texts(details.get("sources"))
    targets = [row["dst_ip"]] if single else _texts(details.get("targets"))
    label = labels.get(row["attack_type"])
    return Sighting(
        row["id"],
        row["attack_type"],
        label.stage if label else "",
        row["domain"],
        row["first_seen"],
        row["last_seen"],
        frozenset(filter(None, sources)),
        frozenset(filter(None, targets)),
        _number(details.get("distinct_sources")) <= FEW_SOURCES,
        _number(details.get("distinct_targets")) <= FEW_TARGETS,
    )


def _texts(value: Any) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def _number(value: Any) -> float:
    return value if isinstance(value, int | float) else 1


def only_longer(before: Sighting, after: Sighting) -> bool:
    """Whether nothing has changed of an alert by which it is related, but that it was seen later, too."""
    return replace(before, last_seen=after.last_seen) == after and before.last_seen <= after.last_seen


def near(a: Sighting, b: Sighting, window_us: int) -> bool:
    """Whether two alerts of one domain have a host in common, and lie no further apart than the window."""
    return _within(a, b, window_us) and bool((a.sources | a.targets) & (b.sources | b.targets))


def _within(a: Sighting, b: Sighting, window_us: int) -> bool:
    """Of one domain, and no further apart than the window."""
    return a.domain == b.domain and max(a.first_seen, b.first_seen) - min(a.last_seen, b.last_seen) <= window_us


def related(a: Sighting, b: Sighting, window_us: int) -> bool:
    """Whether two alerts are of one story by themselves; see the module."""
    if not _within(a, b, window_us):
        return False
    if a.few_sources and b.few_sources and a.sources & b.sources and (a.attack_type == b.attack_type or (a.stage and b.stage)):
        return True
    if a.targets & b.targets and _at_one_target(a, b):
        return True
    return _goes_on(a, b) or _goes_on(b, a)


def _at_one_target(a: Sighting, b: Sighting) -> bool:
    """Whether they work together, given that they have a target in common."""
    if a.stage and b.stage and a.sources & b.sources:
        return True
    if a.stage == b.stage == "impact":
        return not (a.few_sources and b.few_sources)
    return a.attack_type == b.attack_type and a.stage in _TOGETHER


def _goes_on(first: Sighting, then: Sighting) -> bool:
    """A target of the first is behind the second, which begins no earlier."""
    if then.first_seen < first.first_seen or not then.few_sources or not first.targets & then.sources:
        return False
    if first.stage in ("reconnaissance", "break-in") and then.stage in _COMPROMISED and first.sources & then.targets:
        return True
    if first.stage == "break-in":
        return then.stage in _COMPROMISED | {"reconnaissance", "break-in"}
    return first.stage == "reconnaissance" and first.few_targets and then.stage in _COMPROMISED


def stories(sightings: Iterable[Sighting], window_us: int, joined: Iterable[Sequence[UUID]] = ()) -> list[list[Sighting]]:
    """Connected components, each in the order of time, in the order of their first alerts.

    Parameters
    ----------
    sightings
        The alerts.
    window_us
        Microseconds of event time that may lie between two of one story.
    joined
        Ids that are of one story whatever is related: those that have been found before.
    """
    ones = sorted({s.id: s for s in sightings}.values(), key=lambda s: s.order)
    number = {one.id: i for i, one in enumerate(ones)}
    root = list(range(len(ones)))

    def find(i: int) -> int:
        while root[i] != i:
            root[i] = i = root[root[i]]
        return i

    for group in joined:
        known = [number[key] for key in group if key in number]
        for i in known[1:]:
            root[find(i)] = find(known[0])
    for members in _by_address(ones):
        _join(ones, members, find, root, window_us)
    found: dict[int, list[Sighting]] = defaultdict(list)
    for i, one in enumerate(ones):
        found[find(i)].append(one)
    return list(found.values())  # in the order of time, within and among them, since ``ones`` are


def _by_address(ones: Sequence[Sighting]) -> Iterable[list[int]]:
    """Numbers of those that have an address in common: what has none is not related."""
    of: dict[tuple[str, str], list[int]] = defaultdict(list)
    for i, one in enumerate(ones):
        for address in one.sources | one.targets:
            of[one.domain, address].append(i)
    return of.values()


def _join(ones: Sequence[Sighting], members: Sequence[int], find: Callable[[int], int], root: list[int], window_us: int) -> None:
    """Join the stories of those that are related; with each, its neighbours in time first, so that long chains need few pairs."""
    stories_left = len({find(i) for i in members})
    for gap in range(1, len(members)):
        if stories_left == 1:
            return
        for a, b in zip(members, members[gap:], strict=False):
            mine, others = find(a), find(b)
            if mine != others and related(ones[a], ones[b], window_us):
                root[mine] = others
                stories_left -= 1


def story_id(first: UUID) -> UUID:
    """Id of the incident whose earliest alert has this id: UUIDv5, in the namespace of the alerts."""
    return alert_id(f"incident|{first}")
