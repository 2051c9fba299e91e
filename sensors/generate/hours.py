"""What goes on in an office for hours: habits of its hosts, and attacks that take their time."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from schemas.labels import BENIGN
from sensors.generate import benign_habits
from sensors.generate.attack_patient import PATIENT_KINDS, pause
from sensors.generate.benign_habits import OF_CLIENTS, OF_SERVERS, Habit
from sensors.generate.campaigns import Campaign
from sensors.generate.conversation import Context
from sensors.generate.hosts import Host, World
from sensors.generate.scenario import Scenario

#: Seconds that a campaign takes, at least and at most.
_LASTS = (1500.0, 6000.0)
#: Services that the monitor looks at, and a load balancer.
_CHECKS = {"monitor": (8, 20), "balancer": (2, 5)}
#: Clients that are there all the time; others come and go.
_ALWAYS = 0.5


def habits(s: Scenario, world: World) -> list[Campaign]:
    """Every habit of every host, as a benign campaign."""
    rng = random.Random(f"{s.seed}/habits")
    found: list[Campaign] = []

    def add(habit: Habit, host: Host, start: int, end: int) -> None:
        found.append(Campaign(BENIGN, start, f"{s.seed}/habit/{len(found)}", lambda ctx: habit(ctx, host, start, end)))

    for host in world.clients:
        start, end = s.start_ns, s.end_ns
        if rng.random() >= _ALWAYS:
            some = end - start
            start, end = start + int(some * rng.uniform(0, 0.3)), end - int(some * rng.uniform(0, 0.3))
        for habit, share in OF_CLIENTS:
            if rng.random() < share:
                add(habit, host, start, end)
    for host in world.servers:
        for habit, share in OF_SERVERS:
            if rng.random() < share:
                add(habit, host, s.start_ns, s.end_ns)
    for host, (least, most) in ((world.monitor, _CHECKS["monitor"]), (rng.choice(world.servers[1:-1]), _CHECKS["balancer"])):
        for _ in range(rng.randint(least, most)):
            add(benign_habits.service_check, host, s.start_ns, s.end_ns)
    return found


def patient(s: Scenario) -> list[Campaign]:
    """Campaigns of each kind, one after the other, with pauses between so that one goes on for the asked share of the time."""
    found: list[Campaign] = []
    for kind in s.attack_kinds if s.attack_share else ():
        rng = random.Random(f"{s.seed}/patient/{kind}")
        t, i = 0.0, 0
        while True:
            span = min(rng.uniform(*_LASTS), 0.9 * s.duration_s)
            t += rng.uniform(0, 2) * span * (1 / s.attack_share - 1)
            if t + min(span, _LASTS[0]) > s.duration_s and i:
                break
            start = s.start_ns + int(min(t, s.duration_s - span) * 1e9)
            end = min(start + int(span * 1e9), s.end_ns)
            found.append(Campaign(kind, start, f"{s.seed}/patient/{kind}/{i}", _writer(s, kind, start, end)))
            t, i = (end - s.start_ns) / 1e9, i + 1
    return found


def _writer(s: Scenario, kind: str, start: int, end: int) -> Callable[[Context], Iterator[int]]:
    return lambda ctx: PATIENT_KINDS[kind][0](ctx, start, end, pause(ctx, kind, s.slow == "typical"))
