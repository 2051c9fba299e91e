"""A sensor that ends and begins again: its lives are told apart however the messages are cut into batches of the meter."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest

from jobs.metering.bucket import BucketMeter
from jobs.metering.envelope import Envelope
from jobs.metering.settings import MeterSettings
from jobs.windows.cascade import SIZES, WindowCascade
from jobs.windows.feed import Feed
from jobs.windows.message import BucketPart
from jobs.windows.summary import Summaries
from tests.unit.metering.test_bucket import Feed as Sensor
from tests.unit.metering.test_bucket import entry
from tests.unit.windows.test_windows import gathered

Log = list[tuple[Envelope, np.ndarray]]
BUCKETS = 2


def run(number: int, begin: float, seen: float, *, domain: str = "") -> Iterator[tuple[Envelope, np.ndarray]]:
    """Messages of one run of a sensor over two partitions: a packet every two seconds of forty, and the ends."""
    sensor = Sensor(BucketMeter(0, 1, MeterSettings()), run=number, partitions=2, domain=domain)
    for step in range(0, 40, 8):
        times = [begin + step + i for i in range(0, 8, 2)]
        yield entry(sensor, begin + step + 8, *times, seen=seen + step / 10, sport=number)
        yield entry(sensor, begin + step + 8, begin + step + 1, seen=seen + step / 10, sport=number + 100, partition=1)
    for partition in range(2):
        yield entry(sensor, 0, seen=seen + 5, kind="end", partition=partition)


def windows(log: Log, cut: list[int]) -> tuple[dict[int, Summaries], dict[str, int]]:
    """Windows of messages that are cut into batches of a meter of two buckets, and what was late."""
    meters = [BucketMeter(b, BUCKETS, MeterSettings(interim=False), slice_s=5) for b in range(BUCKETS)]
    feed, found, offset = Feed(WindowCascade()), [], 0
    ends = [0, *cut, *[len(log)] * 5]  # batches that hold the wall clock alone come last
    for version, (a, b) in enumerate(pairwise(ends)):
        envelopes = [Envelope(**vars(e)) for e, _ in log[a:b]]
        for bucket, meter in enumerate(meters):
            some = [packets.copy() for _, packets in log[a:b]]
            for message, packets in enumerate(some):
                packets["msg"] = message
            mine = [p for e, p in zip(envelopes, some, strict=True) if e.partition == bucket]
            digests = [(envelopes, np.concatenate([log[0][1][:0], *mine]))] if envelopes else []
            emission = meter.ingest_decoded(digests, round(log[-1][0].seen_ms))
            for part in BucketPart.of(emission, "q", bucket, BUCKETS, version):
                offset += 1
                found += feed.take([BucketPart.decode(part.encode()).share(0, 1, offset)])
    assert all(not len(meter.table) for meter in meters)
    return gathered(found), dict(feed.cascade.accounts.get(log[0][0].domain, {}))


def cuts(log: Log) -> list[list[int]]:
    """Into one batch, two, three, and one of each message."""
    rng = np.random.default_rng(1)
    some = [sorted(rng.choice(range(1, len(log)), 2, replace=False).tolist()) for _ in range(20)]
    return [[], *([i] for i in range(1, len(log))), *some, list(range(1, len(log)))]


def lives(begins: tuple[int, ...], domain: str = "") -> Log:
    """Runs of a sensor, one behind the other."""
    return [message for number, begin in enumerate(begins) for message in run(number + 1, begin, 100.0 + 10 * number, domain=domain)]


def same_in_any_cut(log: Log) -> tuple[dict[int, Summaries], dict[str, int]]:
    whole, accounts = windows(log, [])
    for found, counted in (windows(log, cut) for cut in cuts(log)):
        assert counted == accounts
        for size in SIZES:
            assert np.array_equal(found[size].rows, whole[size].rows)
            assert np.array_equal(found[size].items, whole[size].items)
    return whole, accounts


@pytest.mark.parametrize(("begins", "late"), [((10_080, 10), 0), ((10_080, 10, 5_050), 0), ((10_080, 10_140), 25), ((10, 9000, 4000), 0)])
@pytest.mark.parametrize("domain", ["", "wan"])
def test_lives_of_a_domain_are_told_apart_in_any_cut(begins: tuple[int, ...], late: int, domain: str) -> None:
    whole, accounts = same_in_any_cut(lives(begins, domain))
    assert accounts.get("late", 0) == late
    assert {int(slot) // 36 for slot in whole[180].rows["begin"]} == {begin // 180 for begin in begins}


@pytest.mark.parametrize(("slice_s", "metered"), [(0, [50, 50]), (5, [25, 50])])
def test_without_windows_no_life_waits(slice_s: int, metered: list[int]) -> None:
    log = lives((10_080, 10))
    meter = BucketMeter(0, 1, MeterSettings(interim=False), slice_s=slice_s)
    packets = [some for _, some in log]
    for message, some in enumerate(packets):
        some["msg"] = message
    found = []
    for digests in ([([e for e, _ in log], np.concatenate(packets))], []):
        meter.ingest_decoded(digests, log[-1][0].seen_ms)
        found.append(meter.account_rows()[0]["metered"])
    assert found == metered
