"""When which attack happens: the plan of a scenario's campaigns."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sensors.generate.conversation import Context
from sensors.generate.kinds import ATTACK_KINDS, SLOW
from sensors.generate.scenario import Scenario

#: In a mixed scenario: less of the kinds that make a flow of every packet or two, more of those that take many packets for one.
_FLOWS = {"SYN_FLOOD": 0.3, "UDP_FLOOD": 0.3, "SYN_SCAN": 0.4, "CONNECT_SCAN": 0.5, "UDP_SCAN": 0.4, "SLOW_SCAN": 1.5, "EXFILTRATION": 1.6}


@dataclass(frozen=True)
class Campaign:
    """One attack, or a habit of a host: its label, when it begins (ns), and how it is written (:data:`sensors.generate.kinds.Attack`)."""

    label: str
    start: int
    seed: str
    write: Callable[[Context], Iterator[int]]

    def rng(self) -> random.Random:
        """The campaign's own randomness."""
        return random.Random(self.seed)


def plan(s: Scenario) -> list[Campaign]:
    """All campaigns of a scenario, as many packets as its attack share asks for."""
    rng = random.Random(f"{s.seed}/campaigns")
    campaigns = _waves(s, rng) if s.waves else _mixed(s, rng)
    if s.flood_packets:
        third = int(s.duration_s * 1e9) // 3
        campaigns.append(_written("SYN_FLOOD", s.start_ns + third, s.flood_packets, third, f"{s.seed}/flood"))
    return campaigns


def _budgets(s: Scenario) -> dict[str, float]:
    """Packets of each attack kind."""
    total = s.rate * s.duration_s * s.attack_share
    weights = {k: ATTACK_KINDS[k][1] * (1.0 if s.waves else _FLOWS.get(k, 1.0)) for k in s.attack_kinds}
    return {k: total * w / sum(weights.values()) for k, w in weights.items()} if total > 0 else {}


def _waves(s: Scenario, rng: random.Random) -> list[Campaign]:
    """One campaign a kind, one after the other: the first within seconds, slow ones early so that they have time."""
    budgets = _budgets(s)
    duration = s.duration_s * 1e9
    quick = [k for k in budgets if k not in SLOW]
    slow = [k for k in budgets if k in SLOW]
    first = min(2.5e9, 0.1 * duration)
    step = (duration * 0.9 - first) / max(1, len(quick))
    out = []
    for i, kind in enumerate(quick):
        start = first + i * step
        span = min(duration - start, step * rng.uniform(0.8, 1.2))
        out.append(_campaign(s, kind, i, start, span, budgets[kind]))
    for i, kind in enumerate(slow):
        start = first + (0.05 + 0.08 * i) * duration
        out.append(_campaign(s, kind, i, start, (duration - start) * rng.uniform(0.8, 0.95), budgets[kind]))
    return out


def _mixed(s: Scenario, rng: random.Random) -> list[Campaign]:
    """Many campaigns of each kind with sizes over two orders of magnitude, anywhere in the scenario."""
    duration = s.duration_s * 1e9
    out = []
    for kind, budget in _budgets(s).items():
        fewest = ATTACK_KINDS[kind][2]
        left, i = budget, 0
        while left > 0:
            packets = min(max(left, fewest), fewest * rng.lognormvariate(0.7, 0.9), 20_000)
            span = rng.uniform(0.3, 0.9) * duration if kind in SLOW else min(0.5 * duration, rng.lognormvariate(1.6, 0.8) * 1e9)
            start = rng.uniform(0, max(duration * 0.05, duration - span))
            out.append(_campaign(s, kind, i, start, min(span, duration - start), packets))
            left, i = left - packets, i + 1
    return out


def _campaign(s: Scenario, kind: str, i: int, start: float, span: float, packets: float) -> Campaign:
    fewest = ATTACK_KINDS[kind][2]
    return _written(kind, s.start_ns + int(start), max(fewest, int(packets)), max(1, int(span)), f"{s.seed}/{kind}/{i}")


def _written(kind: str, start: int, packets: int, span: int, seed: str) -> Campaign:
    return Campaign(kind, start, seed, lambda ctx: ATTACK_KINDS[kind][0](ctx, start, packets, span))
