"""Clocks, late packets, ended and silent sensors, shared domains, eviction, accounts: one bucket at a time."""

from __future__ import annotations

import copy
import pickle
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from jobs.metering.bucket import BucketMeter, Emission
from jobs.metering.domains import Domain, JsonDomain
from jobs.metering.envelope import KIND_JSON, Envelope
from jobs.metering.row import END_REASONS
from jobs.metering.settings import MeterSettings
from schemas.wire import CLOCK_END
from sensors.packets.decode import PACKET_DTYPE

S = 1_000_000_000


def packets(*times: float, sport: int = 1000, src: int = 1) -> np.ndarray:
    """UDP packets of one flow (seconds)."""
    out = np.zeros(len(times), PACKET_DTYPE)
    out["ts"] = [round(t * S) for t in times]
    out["src_lo"], out["dst_lo"], out["sport"], out["dport"], out["proto"], out["ipver"] = src, 2, sport, 53, 17, 4
    out["idx"] = np.arange(len(times))
    return out


class Feed:
    """A sensor's messages into one bucket."""

    def __init__(self, meter: BucketMeter, sensor: str = "s", domain: str = "", run: int = 1, partitions: int = 1) -> None:
        self.meter, self.sensor, self.domain, self.run, self.partitions = meter, sensor, domain or sensor, run, partitions
        self.seq = [0] * partitions

    def envelope(self, clock: float, *, partition: int = 0, seen: float = 0, kind: str = "packets", n: int = 0) -> Envelope:
        self.seq[partition] += 1
        ns = CLOCK_END if kind == "end" else round(clock * S)
        return Envelope(
            self.sensor, self.domain, self.run, partition, self.partitions, self.seq[partition], kind, ns, round(seen * 1000), packets=n
        )

    def send(self, clock: float, p: np.ndarray | None = None, *, now: float = 0, **more: object) -> Emission:
        p = packets() if p is None else p
        e = self.envelope(clock, n=len(p), seen=now, **more)  # type: ignore[arg-type]
        if len(p):
            e.max_ts = int(p["ts"].max())
        return self.meter.ingest_decoded([([e], p)], round(now * 1000))


@pytest.fixture
def meter() -> BucketMeter:
    return BucketMeter(0, 1, MeterSettings(buckets=1, interim=False))


def reasons(emission: Emission) -> list[str]:
    return [END_REASONS[r] for r in emission.closed["end_reason"]]


def totals(meter: BucketMeter) -> dict[str, int]:
    row = meter.account_rows()[0]
    return {k: v for k, v in row.items() if isinstance(v, int)}


def test_packets_wait_for_the_clock(meter: BucketMeter) -> None:
    feed = Feed(meter)
    feed.send(10, packets(9, 10, 11))
    assert totals(meter)["waiting"] == 2  # the watermark is strict: a packet at 10 s may have a twin to come
    feed.send(12)
    assert totals(meter)["waiting"] == 0
    assert totals(meter)["metered"] == 3


def test_a_flow_goes_idle_by_the_clock_alone(meter: BucketMeter) -> None:
    feed = Feed(meter)
    feed.send(1, packets(0.5))
    assert reasons(feed.send(60.5)) == []  # exactly 60 s: a packet at that instant would still belong to it
    assert reasons(feed.send(60.500001)) == ["idle"]


def test_every_partition_must_have_spoken(meter: BucketMeter) -> None:
    feed = Feed(meter, partitions=2)
    feed.send(100, packets(1, 2))
    assert totals(meter)["waiting"] == 2
    feed.send(50, partition=1)
    assert totals(meter)["metered"] == 2


def test_a_packet_behind_the_promise_is_late_however_the_batches_are_cut() -> None:
    for together in (True, False):
        meter = BucketMeter(0, 1, MeterSettings(buckets=1, interim=False))
        feed = Feed(meter)
        first, second = feed.envelope(10, n=1), feed.envelope(20, n=1)
        both = np.concatenate([packets(5), packets(9)])
        both["msg"] = [0, 1]
        if together:
            meter.ingest_decoded([([first, second], both)], 0)
        else:
            meter.ingest_decoded([([first], packets(5))], 0)
            meter.ingest_decoded([([second], packets(9))], 0)
        row = totals(meter)
        assert (row["packets"], row["metered"], row["rejected_late"]) == (2, 1, 1)


def test_the_end_closes_what_is_open_and_only_that(meter: BucketMeter) -> None:
    feed = Feed(meter)
    feed.send(1, packets(0.5, sport=1))
    feed.send(100, packets(99, sport=2))
    emission = feed.send(0, kind="end")
    assert sorted(zip(emission.closed["sport"].tolist(), reasons(emission), strict=True)) == [(2, "forced")]
    assert len(meter.table) == 0
    assert totals(meter)["flows"] == 2


def test_a_copy_of_a_message_counts_once(meter: BucketMeter) -> None:
    feed = Feed(meter)
    e, p = feed.envelope(10, n=2), packets(1, 2)
    for _ in range(3):
        meter.ingest_decoded([([Envelope(**vars(e))], p.copy())], 0)
    row = totals(meter)
    assert (row["packets"], row["metered"], row["duplicate_messages"]) == (2, 2, 2)


def test_a_copy_of_the_last_message_is_no_new_sensor(meter: BucketMeter) -> None:
    feed = Feed(meter)
    e = feed.envelope(10, n=1)
    meter.ingest_decoded([([e], packets(1))], 0)
    feed.send(0, kind="end")
    assert len(meter.ingest_decoded([([Envelope(**vars(e))], packets(1))], 0).closed) == 0
    assert totals(meter)["waiting"] == 0
    assert totals(meter)["flows"] == 1


def test_the_same_file_again_with_a_new_run_is_not_late(meter: BucketMeter) -> None:
    Feed(meter, run=1).send(1000, packets(999))
    again = Feed(meter, run=2)
    again.send(10, packets(5))  # the first run never ended: killed
    assert totals(meter)["metered"] == 2
    assert totals(meter).get("rejected_late", 0) == 0


def test_a_sensor_that_died_is_ended_by_the_wall_clock(meter: BucketMeter) -> None:
    feed = Feed(meter)
    feed.send(10, packets(9), now=1000)
    other = Feed(meter, sensor="t")
    assert reasons(other.send(1, now=1100)) == []
    assert reasons(other.send(2, now=1000 + 120.001)) == ["forced"]


def test_two_domains_do_not_disturb_each_other(meter: BucketMeter) -> None:
    old, live = Feed(meter, sensor="old-file"), Feed(meter, sensor="live")
    live.send(1_800_000_000, packets(1_799_999_999))
    old.send(2, packets(1))
    assert len(meter.table) == 2
    assert reasons(live.send(1_800_000_100)) == ["idle"]
    assert len(meter.table) == 1


def test_sensors_of_one_domain_share_flows_and_wait_for_each_other() -> None:
    meter = BucketMeter(0, 1, MeterSettings(buckets=1, interim=False))
    out, back = Feed(meter, "out", "wan"), Feed(meter, "back", "wan")
    reply = packets(1.5)
    reply["src_lo"], reply["dst_lo"], reply["sport"], reply["dport"] = 2, 1, 53, 1000
    meter.ingest_decoded([([out.envelope(5, n=1), back.envelope(1, n=0)], packets(1))], 0)
    back.send(5, reply)
    out.send(0, kind="end")
    assert len(back.send(0, kind="end").closed) == 0  # others may still be starting
    emission = meter.ingest_decoded([], 5001)
    assert emission.closed["nf"].tolist() == [1]
    assert emission.closed["nb"].tolist() == [1]


def in_any_cut(
    log: list[tuple[Envelope, np.ndarray]], now_ms: int = 10**9, join_s: float = 5.0
) -> list[tuple[list[tuple[int, ...]], dict[str, int]]]:
    """Flows and accounts of one partition's messages in one micro-batch, in two, cut at every place, and in one each."""
    cuts = [[], *([i] for i in range(1, len(log))), list(range(1, len(log)))]
    found = []
    for cut in cuts:
        meter = BucketMeter(0, 1, MeterSettings(buckets=1, interim=False, domain_join_s=join_s))
        flows: list[tuple[int, ...]] = []
        for a, b in pairwise([0, *cut, len(log), len(log)]):
            messages = [(Envelope(**vars(e)), p.copy()) for e, p in log[a:b]]
            for i, (_, p) in enumerate(messages):
                p["msg"] = i
            digests = [([e for e, _ in messages], np.concatenate([p for _, p in messages]))] if messages else []
            rows = meter.ingest_decoded(digests, now_ms).closed
            flows += [tuple(int(r[n]) for n in ("start", "last", "nf", "nb", "end_reason")) for r in rows]
        row = Counter[str]()
        for account in meter.account_rows():
            row.update({k: v for k, v in account.items() if isinstance(v, int) and v})
        found.append((sorted(flows), dict(row)))
    return found


def same(found: list[tuple[list[tuple[int, ...]], dict[str, int]]]) -> tuple[list[tuple[int, ...]], dict[str, int]]:
    for other in found[1:]:
        assert other == found[0]
    return found[0]


def entry(
    feed: Feed, clock: float, *times: float, seen: float = 0, kind: str = "packets", partition: int = 0, **more: int
) -> tuple[Envelope, np.ndarray]:
    """A message of ``feed`` with packets at ``times``."""
    e = feed.envelope(clock, seen=seen, kind=kind, n=len(times), partition=partition)
    e.max_ts = round(max(times, default=0) * S)
    return e, packets(*times, **more)


@pytest.mark.parametrize("join_s", [0.0, 5.0])
def test_a_sensor_that_joins_a_running_domain_is_late_by_the_log_and_not_by_the_batch(join_s: float) -> None:
    out, back = Feed(BucketMeter(0, 1, MeterSettings()), "out", "wan"), Feed(BucketMeter(0, 1, MeterSettings()), "back", "wan")
    log = [entry(out, t, t - 0.5, seen=t) for t in range(1, 12)]
    log += [entry(back, 8, 3.0, 11.5, seen=11.1), entry(out, 12, 11.5, seen=12), entry(back, 12, 11.8, seen=12)]
    log += [entry(out, 0, seen=13, kind="end"), entry(back, 0, seen=13, kind="end")]
    flows, row = same(in_any_cut(log, join_s=join_s))
    assert (row["packets"], row["metered"], row["rejected_late"]) == (15, 14, 1)
    assert len(flows) == 1


def test_when_all_sensors_of_a_domain_have_ended_the_next_one_begins_afresh_in_any_cut() -> None:
    out, back = Feed(BucketMeter(0, 1, MeterSettings()), "out", "wan"), Feed(BucketMeter(0, 1, MeterSettings()), "back", "wan")
    log = [
        entry(out, 50, 1, 2, 49, seen=1),
        entry(out, 0, seen=6.5, kind="end"),
        entry(back, 9, 1, 8, seen=7),
        entry(back, 0, seen=20, kind="end"),
    ]
    flows, row = same(in_any_cut(log))
    assert sorted(f[2] for f in flows) == [2, 3]
    assert row["metered"] == 5


def test_sensors_of_a_domain_that_are_started_together_are_waited_for() -> None:
    out, back = Feed(BucketMeter(0, 1, MeterSettings()), "out", "wan"), Feed(BucketMeter(0, 1, MeterSettings()), "back", "wan")
    log = [
        entry(out, 50, 1, 2, 49, seen=1),
        entry(out, 0, seen=1.5, kind="end"),
        entry(back, 9, 1, 8, seen=3),
        entry(back, 0, seen=4, kind="end"),
    ]
    flows, row = same(in_any_cut(log))
    assert [f[2] for f in flows] == [5]
    assert row["metered"] == 5


def test_a_backlog_older_than_the_timeout_is_not_taken_for_dead_sensors() -> None:
    """The stream was stopped for hours: what it reads then is old, and one flow of it is one record."""
    feed = Feed(BucketMeter(0, 1, MeterSettings()))
    log = [entry(feed, t, t - 0.5, seen=t) for t in range(1, 20)]
    flows, row = same(in_any_cut([*log, entry(feed, 0, seen=20, kind="end")], now_ms=10**9))
    assert [f[2] for f in flows] == [19]
    assert "waiting" not in row


def test_two_live_sensors_with_one_id_are_both_metered_and_told() -> None:
    one = Feed(BucketMeter(0, 1, MeterSettings()), run=1)
    two = Feed(BucketMeter(0, 1, MeterSettings()), run=2)
    log = [entry(one, 1, 0.5, seen=1, sport=1)]
    for t in range(2, 20):
        log += [entry(two, t, t - 0.6, seen=t, sport=2), entry(one, t, t - 0.5, seen=t, sport=1)]
    log += [entry(one, 0, seen=20, kind="end"), entry(two, 0, seen=20, kind="end")]
    flows, row = same(in_any_cut(log))
    assert sorted(f[2] for f in flows) == [18, 19]
    assert row["packets"] == row["metered"] == 37
    assert row["shared_id_messages"] == 13  # from five seconds on, and the end


def test_a_sensor_that_was_started_again_is_not_two_sensors() -> None:
    meter = BucketMeter(0, 1, MeterSettings(buckets=1, interim=False))
    one, two = Feed(meter, run=1), Feed(meter, run=2)
    one.send(10, packets(9), now=1000)
    assert reasons(two.send(1, now=1005)) == []
    assert reasons(two.send(2, now=1016)) == ["forced"]  # after 15 s instead of two minutes
    assert "shared_id_messages" not in totals(meter)


def test_a_silent_sensor_that_comes_back_is_metered_again() -> None:
    meter = BucketMeter(0, 1, MeterSettings(buckets=1, interim=False))
    feed = Feed(meter)
    feed.send(10, packets(9), now=1000)
    assert reasons(meter.ingest_decoded([], 1_200_000)) == ["forced"]
    feed.send(11, packets(10), now=1300)
    assert reasons(feed.send(0, kind="end", now=1301)) == ["forced"]
    assert (totals(meter)["packets"], totals(meter)["metered"]) == (2, 2)


def test_json_packets_go_by_their_own_time_and_idle_by_the_wall_clock(meter: BucketMeter) -> None:
    def send(p: np.ndarray, offset: int, now: float) -> Emission:
        e = Envelope("json", "json", 0, 0, 0, offset, KIND_JSON, 0, round(now * 1000), packets=len(p))
        e.max_ts = int(p["ts"].max()) if len(p) else 0
        return meter.ingest_decoded([([e], p)] if len(p) else [], round(now * 1000))

    send(packets(100), 0, 5000)
    send(packets(99), 1, 5000)  # disorder within the lateness
    send(packets(), 2, 5004)
    assert totals(meter)["metered"] == 2
    assert reasons(send(packets(), 3, 5061)) == []
    assert reasons(send(packets(), 4, 5063)) == ["idle"]


def test_a_flood_evicts_single_packets_and_spares_conversations() -> None:
    meter = BucketMeter(0, 1, MeterSettings(buckets=1, interim=False, max_open_flows=100))
    feed = Feed(meter)
    feed.send(2, packets(1.0, 1.5, sport=7))
    flood = packets(*[2 + i * 1e-3 for i in range(1000)])
    flood["src_lo"] = 10 + np.arange(1000)
    emission = feed.send(4, flood)
    assert len(meter.table) == 100
    assert set(reasons(emission)) == {"evicted"}
    assert 7 not in emission.closed["sport"]
    end = feed.send(0, kind="end")
    assert 7 in end.closed["sport"]
    row = totals(meter)
    assert row["flows_evicted"] == 901
    assert row["flows"] == 1001
    assert row["packets"] == row["metered"] == 1002


def test_interim_snapshots_at_doubling_ages_and_counts() -> None:
    meter = BucketMeter(0, 1, MeterSettings(buckets=1, interim_first_s=1.0, interim_first_packets=1_000_000))
    feed = Feed(meter)
    ages = []
    for tenth in range(1, 400):
        emission = feed.send(tenth / 10, packets(tenth / 10 - 0.05))
        if len(emission.interim):
            ages.append(tenth / 10)
    assert ages == [pytest.approx(a, abs=0.11) for a in (1.1, 2.1, 4.1, 8.1, 16.1, 32.1)]
    meter = BucketMeter(0, 1, MeterSettings(buckets=1, interim_first_s=1000.0, interim_first_packets=8))
    feed = Feed(meter)
    counts = []
    for i in range(40):
        emission = feed.send(1 + i * 1e-3 + 1e-6, packets(1 + i * 1e-3))
        counts += emission.interim["nf"].tolist()
    assert counts == [8, 16, 32]


def test_a_silent_flow_is_shown_once_until_its_next_packet() -> None:
    meter = BucketMeter(0, 1, MeterSettings(buckets=1, interim_first_s=1.0, interim_first_packets=8))
    feed = Feed(meter)
    shown = []
    for tenth in range(1, 400):
        emission = feed.send(tenth / 10, packets(tenth / 10 - 0.05) if tenth in (1, 300) else None)
        shown += [(tenth / 10, n) for n in emission.interim["nf"].tolist()]
        meter.table.take_dirty()  # as the end of a batch does
    # one packet: when it is a second old; the second packet, 30 s later: at once, because its age has passed the mark of 2 s
    assert shown == [(pytest.approx(1.1, abs=0.11), 1), (pytest.approx(30.0, abs=0.11), 2)]


def test_fragments_follow_their_first_and_orphans_are_counted(meter: BucketMeter) -> None:
    p = packets(1, 2, 3, 40)
    p["frag"], p["frag_id"] = [1, 2, 2, 2], [9, 9, 8, 9]
    p["sport"], p["dport"] = [1000, 0, 0, 0], [53, 0, 0, 0]
    feed = Feed(meter)
    feed.send(50, p)
    emission = feed.send(0, kind="end")
    assert emission.closed["nf"].tolist() == [2]
    assert totals(meter)["rejected_fragment_orphan"] == 2  # another datagram, and one after the timeout


def _short_flows(start: float, count: int) -> np.ndarray:
    """One packet each of flows not seen before."""
    p = packets(*[start + i * 1e-4 for i in range(count)])
    p["src_lo"] = round(start * 1000) * 100_000 + np.arange(count)
    return p


def test_flows_that_come_and_go_need_no_more_room() -> None:
    meter = BucketMeter(0, 1, MeterSettings(buckets=1, interim=True, interim_first_s=0.2, idle_timeout_s=1))
    feed = Feed(meter)
    rooms = []
    for second in range(1, 40):
        feed.send(second + 0.9, _short_flows(second, 3000))
        meter.table.forget_dirty()
        rooms.append((len(meter.table.rows), len(meter.table._slots.dirty)))
    assert rooms[-1] == rooms[4]


@pytest.mark.parametrize("seconds", range(4, 16))
def test_a_table_grows_however_much_has_changed_since_the_last_state(seconds: int) -> None:
    meter = BucketMeter(0, 1, MeterSettings(buckets=1, interim=True, interim_first_s=0.2, idle_timeout_s=1))
    feed = Feed(meter)
    for second in range(1, seconds):
        feed.send(second + 0.9, _short_flows(second, 3000))
    feed.send(seconds + 5, _short_flows(seconds + 4, 9900))
    assert len(meter.table) == 9900
    assert len(meter.table.take_dirty()) == 9900
    assert len(meter.table.take_dirty()) == 0


@pytest.mark.parametrize(
    "domain",
    [Domain(3, "d", shared=True, watermark=17, max_ts=19), JsonDomain(4, "j", 5, watermark=17, max_ts=19)],
    ids=["sensors", "json"],
)
def test_the_watermark_of_an_earlier_checkpoint_is_found_under_its_former_name(domain: Domain | JsonDomain) -> None:
    """Without it the domain would begin at 0 again, and take packets that were late."""
    before = copy.copy(domain)
    vars(before)["frontier"] = vars(before).pop("watermark")
    after = pickle.loads(pickle.dumps(before))
    assert after == domain
    assert "frontier" not in vars(after)
