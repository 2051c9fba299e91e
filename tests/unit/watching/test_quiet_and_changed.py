"""The goal of the watching, on generated traffic and several seeds: a quiet week is quiet, a change is an alarm in its first hour."""

from __future__ import annotations

import numpy as np
import pytest

from infra.sections import DriftSettings
from jobs.watching import judging, measures
from jobs.watching.judging import FEW, HourCounts, JudgedHour
from jobs.watching.reference import SERVED, Reference
from tests import watchingdata

pytestmark = pytest.mark.slow  # weeks of traffic

COLUMNS = (
    "flow_duration", "total_fwd_packets", "total_backward_packets", "total_length_fwd_packets", "fwd_packet_length_max",
    "bwd_packet_length_mean", "flow_bytes_per_sec", "flow_packets_per_sec", "flow_iat_mean", "bwd_iat_mean", "syn_flag_count",
    "down_up_ratio",
)  # fmt: skip
HOURS = 168
#: Three in the morning is the quietest hour: what is looked for there is looked for in some 150 rows.
CHANGES = [
    (shift, share, hour)
    for shift, share in (("one way", 1.0), ("latency", 1.0), ("mtu", 1.0), ("new", 0.5))
    for hour in (HOURS + 3, HOURS + 15)
]


class SimulatedWeek:
    """A week that was served, and hours after it."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        drawn = [watchingdata.matrix(COLUMNS, watchingdata.draw(self.rng, hour)) for hour in range(HOURS)]
        self.edges = measures.edges({name: np.concatenate([one[name] for one in drawn]) for name in COLUMNS})
        counts = [measures.count(one, self.edges) for one in drawn]
        self.reference = Reference(
            "flows", "1", "1", SERVED, tuple(map(str, range(HOURS))), np.arange(HOURS), np.array([len(one[COLUMNS[0]]) for one in drawn]),
            self.edges, {name: np.array([one[name] for one in counts]) for name in self.edges},
        )  # fmt: skip

    def hour(self, number: int, shift: str = "", share: float = 1.0, scale: float = 1.0) -> HourCounts:
        values = watchingdata.matrix(COLUMNS, watchingdata.draw(self.rng, number, shift, share, scale))
        return HourCounts(number, len(values[COLUMNS[0]]), measures.count(values, self.edges))

    def judge(self, hours: list[HourCounts]) -> list[JudgedHour]:
        return judging.judge(self.reference, hours, DriftSettings())


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_quiet_week_is_quiet_and_a_change_is_an_alarm_in_its_first_hour(seed: int) -> None:
    week = SimulatedWeek(seed)
    following = week.judge([week.hour(number) for number in range(HOURS, 2 * HOURS)])
    assert [(one.hour, [found.measure for found in one.alarms]) for one in following if one.alarms] == []
    assert min(one.rows for one in following) < 250 < 700 < max(one.rows for one in following), "nights and days"
    missed = [(shift, hour) for shift, share, hour in CHANGES if not week.judge([week.hour(hour, shift, share)])[0].alarms]
    assert [change for change in missed if change[0] in ("mtu", "new")] == []
    assert len(missed) <= 2, "latency moves a few features, and an hour of the night has few rows: such hours may pass"


def test_an_hour_of_few_rows_is_counted_and_not_judged() -> None:
    week = SimulatedWeek(4)
    (one,) = week.judge([week.hour(HOURS + 3, "one way", scale=0.1)])
    assert one.rows < 100
    assert {found.state for found in one.findings} == {FEW}
    assert all(found.distance for found in one.findings if not found.measure.startswith("missing"))


def test_what_is_small_and_stays_is_an_alarm_and_what_passes_is_none() -> None:
    week = SimulatedWeek(5)
    name, at = "feature:flow_duration", HOURS + 9
    quiet, other = week.hour(at), week.hour(at, "new", 1.0)

    def mixed(hour: int, share: float) -> HourCounts:
        counts = dict(quiet.counts)
        like = week.reference.pooled(name, hour)
        shares = (1 - share) * like / like.sum() + share * other.counts[name] / other.counts[name].sum()
        counts[name] = np.round(shares * 3000).astype(np.int64)
        return HourCounts(hour, 3000, counts)

    def state(hours: list[HourCounts]) -> list[tuple[str, str]]:
        return [next((found.state, found.reason) for found in one.findings if found.measure == name) for one in week.judge(hours)]

    share = next(share for share in np.linspace(0.02, 0.9, 200) if state([mixed(at, share)])[0][0] == "odd")
    stays = [mixed(at + n, share if n in (0, 2, 3) else 0.0) for n in range(4)]
    assert [one for one, _ in state(stays)] == ["odd", "ok", "odd", "alarm"]
    assert state(stays)[-1][1] == "sustained"
    passes = [mixed(at + n, share if n in (0, 1) else 0.0) for n in range(4)]
    assert {one for one, _ in state(passes)} == {"odd", "ok"}
