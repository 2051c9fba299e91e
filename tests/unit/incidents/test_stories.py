"""Which alerts are one story: the rule, and that neither order nor cuts change what it finds."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any
from uuid import uuid5

import pytest

from jobs.incidents.stories import Sighting, only_longer, related, sighting, stories, story_id
from schemas.alerts import NAMESPACE
from schemas.labels import BY_NAME

MINUTE = 60_000_000
WINDOW = 30 * MINUTE


def seen(attack: str, source: str | list[str], target: str | list[str], at: float = 0, lasts: float = 1, **more: Any) -> Sighting:
    """An alert at a minute."""
    sources, targets = ([x] if isinstance(x, str) else x for x in (source, target))
    name = f"{attack}|{sources}|{targets}|{at}"
    first = round(at * MINUTE)
    return Sighting(
        uuid5(NAMESPACE, name), attack, BY_NAME[attack].stage, more.pop("domain", "d"), first, first + round(lasts * MINUTE),
        frozenset(sources), frozenset(targets), **more,
    )  # fmt: skip


SCAN = seen("SYN_SCAN", "6.6.6.6", [f"10.0.0.{i}" for i in range(20)], few_targets=False)
NARROW = seen("SYN_SCAN", "6.6.6.6", "10.0.0.1")
GUESS = seen("SSH_BRUTE_FORCE", "6.6.6.6", "10.0.0.1", 5)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        pytest.param(SCAN, GUESS, id="a scan, then a break-in of the same source"),
        pytest.param(SCAN, seen("BOTNET_BEACON", "10.0.0.1", "6.6.6.6", 5), id="a scan, and a scanned host calls back"),
        pytest.param(NARROW, seen("BOTNET_BEACON", "10.0.0.1", "7.7.7.7", 5), id="one host scanned, and it beacons"),
        pytest.param(GUESS, seen("EXFILTRATION", "10.0.0.1", "7.7.7.7", 9), id="broken into, and carries data away"),
        pytest.param(GUESS, seen("CONNECT_SCAN", "10.0.0.1", "10.0.0.9", 9), id="broken into, and scans others"),
        pytest.param(seen("BOTNET_BEACON", "10.0.0.1", "7.7.7.7"), seen("BOTNET_BEACON", "10.0.0.2", "7.7.7.7", 3), id="bots"),
        pytest.param(
            seen("SYN_FLOOD", ["1.1.1.1"], "10.0.0.1", few_sources=False),
            seen("HTTP_FLOOD", ["2.2.2.2"], "10.0.0.1", 9),
            id="two floods of one target",
        ),
        pytest.param(
            seen("HTTP_FLOOD", ["1.1.1.1", "2.2.2.2"], "10.0.0.1", few_sources=False),
            seen("WEB_INJECTION", "2.2.2.2", "10.0.0.1"),
            id="one of the sources of a flood injects at its target",
        ),
        pytest.param(seen("DNS_TUNNEL", "10.0.0.1", "8.8.8.8"), seen("EXFILTRATION", "10.0.0.1", "7.7.7.7"), id="one host inside"),
        pytest.param(NARROW, seen("SYN_SCAN", "6.6.6.6", "10.0.0.1", 30.9), id="just within the window"),
    ],
)
def test_one_story(a: Sighting, b: Sighting) -> None:
    assert related(a, b, WINDOW)
    assert related(b, a, WINDOW)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        pytest.param(SCAN, seen("BOTNET_BEACON", "10.0.0.1", "7.7.7.7", 5), id="one of many scanned hosts beacons elsewhere"),
        pytest.param(NARROW, seen("BOTNET_BEACON", "10.0.0.1", "6.6.6.6", -9), id="it called before it was scanned"),
        pytest.param(GUESS, seen("WEB_INJECTION", "6.6.6.7", "10.0.0.1", 5), id="two attackers of one server, by different means"),
        pytest.param(NARROW, seen("SYN_SCAN", "6.6.6.6", "10.0.0.1", 31.1), id="too long after"),
        pytest.param(NARROW, seen("SYN_SCAN", "6.6.6.6", "10.0.0.1", 5, domain="other"), id="another network"),
        pytest.param(NARROW, seen("SYN_SCAN", "6.6.6.7", "10.0.0.1", 5), id="two scanners"),
        pytest.param(seen("SYN_FLOOD", ["6.6.6.6"], "10.9.9.9", few_sources=False), SCAN, id="a forged source"),
        pytest.param(seen("SLOWLORIS", "1.1.1.1", "10.0.0.1"), seen("SYN_FLOOD", "2.2.2.2", "10.0.0.1"), id="two hosts at one target"),
        pytest.param(GUESS, seen("SYN_FLOOD", [], "10.0.0.1", 5), id="a flood of the same target"),
    ],
)
def test_two_stories(a: Sighting, b: Sighting) -> None:
    assert not related(a, b, WINDOW)
    assert not related(b, a, WINDOW)


def _many(seed: int) -> list[Sighting]:
    rng = random.Random(seed)
    kinds = [label for label in BY_NAME if label != "BENIGN"]
    hosts = [f"10.0.0.{i}" for i in range(30)]
    return [seen(rng.choice(kinds), rng.choice(hosts), rng.sample(hosts, rng.choice((1, 1, 4))), rng.uniform(0, 600)) for _ in range(120)]


@pytest.mark.parametrize("seed", range(20))
def test_neither_order_nor_cuts_change_the_stories(seed: int) -> None:
    rng = random.Random(seed)
    alerts = _many(seed)
    whole = stories(alerts, WINDOW)
    brute = {frozenset(s.id for s in story) for story in _components(alerts)}
    assert {frozenset(s.id for s in story) for story in whole} == brute
    assert 1 < len(whole) < len(alerts)
    for _ in range(3):
        rng.shuffle(alerts)
        cut = rng.randrange(1, len(alerts))
        before = stories(alerts[:cut], WINDOW)
        again = stories(alerts, WINDOW, [[s.id for s in story] for story in before])
        assert again == whole
        assert [story_id(story[0].id) for story in again] == [story_id(story[0].id) for story in whole]


def _components(alerts: list[Sighting]) -> list[list[Sighting]]:
    """All pairs, a flood fill."""
    left, out = list(alerts), []
    while left:
        story, edge = [left[0]], [left.pop(0)]
        while edge:
            one = edge.pop()
            near = [x for x in left if related(one, x, WINDOW)]
            left = [x for x in left if x not in near]
            story, edge = story + near, edge + near
        out.append(story)
    return out


def test_an_id_is_that_of_the_earliest_alert() -> None:
    (story,) = stories([GUESS, NARROW], WINDOW)
    assert [s.id for s in story] == [NARROW.id, GUESS.id]
    assert story_id(story[0].id) == story_id(NARROW.id) != story_id(GUESS.id)


def test_what_was_only_seen_longer_is_the_same_but_for_its_end() -> None:
    assert only_longer(NARROW, replace(NARROW, last_seen=NARROW.last_seen + 1))
    assert only_longer(NARROW, NARROW)
    for other in (
        replace(NARROW, last_seen=NARROW.last_seen - 1),
        replace(NARROW, first_seen=NARROW.first_seen - 1),
        replace(NARROW, targets=NARROW.targets | {"10.0.0.2"}),
        replace(NARROW, few_targets=False),
        replace(NARROW, attack_type="UDP_SCAN"),
    ):
        assert not only_longer(NARROW, other)


@pytest.mark.parametrize("wrong", [{"sources": "6.6.6.6", "targets": None}, {"distinct_sources": "many", "targets": [1, None]}])
def test_details_that_somebody_has_written_stop_nothing(wrong: dict[str, Any]) -> None:
    row = {"id": NARROW.id, "kind": "scan", "attack_type": "SYN_SCAN", "domain": "d", "first_seen": 0, "last_seen": 1}
    found = sighting({**row, "src_ip": "6.6.6.6", "dst_ip": None, "details": wrong}, BY_NAME)
    assert (found.sources, found.targets, found.few_sources) == (frozenset(), frozenset(), True)
