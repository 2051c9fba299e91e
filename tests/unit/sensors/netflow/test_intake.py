"""Pressure, limits and drops: what is given up is counted, and what is kept stands for it."""

from __future__ import annotations

import struct

import pytest
from pydantic import ValidationError

from jobs.flowexport.decoder import decode
from jobs.flowexport.rawmessages import datagrams_of
from jobs.flowexport.session import ExportSessions
from schemas import rawflows
from sensors.netflow.encoding import RawFlowEncoder
from sensors.netflow.exporters import RateMeter, SendingExporter
from sensors.netflow.pressure import Thinning, sampling
from sensors.netflow.settings import ExporterSensorSettings
from sensors.netflow.streams import raw_datagram
from sensors.netflow.waiting import DATAGRAM_BYTES
from tests.unit.flowexport import wire
from tests.unit.sensors.netflow.senders import DATA, NOW_US, TEMPLATE, IntakeBench, ipfix, sender, some

SIZE = len(ipfix(1, DATA)) + DATAGRAM_BYTES


def until_one_is_skipped(bench: IntakeBench) -> int:
    """Send datagrams of exporter 0 until some of them have none that stands for them; how many there were."""
    for came in range(1, 1000):
        bench.take(some(1, who=0))
        if bench.intake.unaccounted:
            return came
    raise AssertionError("the queue of the test is too large")


def test_without_pressure_all_are_kept_as_they_came() -> None:
    bench = IntakeBench()
    sent = some(1000)
    bench.take(sent)
    assert bench.kept() == sent
    assert (bench.counts.received, bench.counts.kept, bench.intake.unaccounted) == (1000, 1000, 0)
    assert bench.counts.bytes == sum(len(d.payload) for d in sent)


def test_under_pressure_one_stands_for_several() -> None:
    bench = IntakeBench(bound=1000 * SIZE)
    sent = some(3000)
    for at in range(0, 3000, 100):
        bench.take(sent[at : at + 100])
    kept, counts = bench.kept(), bench.counts
    assert [d.kept_of for d in kept[:490]] == [1] * 490  # half of the queue
    assert counts.thinned > 1000
    assert counts.dropped == 0
    assert (counts.received, counts.kept) == (3000, len(kept))
    assert counts.kept + counts.thinned == 3000
    assert sum(d.kept_of for d in kept) + bench.intake.unaccounted == 3000


def test_a_full_queue_drops_and_says_so() -> None:
    bench = IntakeBench(bound=1000 * SIZE, most_sampling=2)
    for _ in range(30):
        bench.take(some(100))
    kept, counts = bench.kept(), bench.counts
    assert counts.dropped > 1000
    assert counts.received == 3000 == counts.kept + counts.thinned + counts.dropped
    assert sum(d.kept_of for d in kept) + bench.intake.unaccounted == 3000 - counts.dropped
    assert 890 <= len(kept) <= 901
    ((_, exporter),) = bench.intake.exporters
    assert (exporter.received, exporter.kept, exporter.thinned, exporter.dropped) == (3000, counts.kept, counts.thinned, counts.dropped)


def test_templates_come_through_as_long_as_there_is_any_room() -> None:
    bench = IntakeBench(bound=1000 * SIZE, most_sampling=2)
    lesson = raw_datagram(ipfix(1, TEMPLATE), sender(1), 5000, 4739, NOW_US)
    for _ in range(40):
        bench.take([*some(99), lesson])
    kept = [d for d in bench.kept() if d.payload == lesson.payload]
    assert len(kept) == 40
    assert {d.kept_of for d in kept} == {1}


def test_a_flood_of_templates_is_thinned_and_dropped_like_any_other() -> None:
    bench = IntakeBench(bound=1000 * SIZE, exporter_rate=100.0)
    lesson = raw_datagram(ipfix(1, TEMPLATE), sender(1), 5000, 4739, NOW_US)
    bench.take([lesson] * 5000)
    kept = bench.kept()
    assert 200 < len(kept) < 1000
    assert sum(d.kept_of for d in kept) + bench.intake.unaccounted == 5000
    bench.take([lesson._replace(sender=sender(i // 10)) for i in range(2000)])  # of many exporters
    assert bench.counts.dropped > 500
    assert len(bench.kept()) <= 1010


def test_data_of_options_come_through() -> None:
    """Without the rate of a sampler, its flows could not be scaled."""
    bench = IntakeBench(bound=1000 * SIZE, most_sampling=4096)
    define = ipfix(1, (3, struct.pack(">HHHHHHH", 300, 2, 1, 302, 4, 305, 4)))
    rate = ipfix(1, (300, bytes(8)))
    other = ipfix(2, (300, bytes(8)))
    bench.take([raw_datagram(define, sender(1), 5000, 4739, NOW_US)])
    for _ in range(100):
        bench.take([*some(30), *(raw_datagram(payload, sender(1), 5000, 4739, NOW_US) for payload in (rate, other))])
    kept = bench.kept()
    assert sum(d.payload == rate for d in kept) == 100
    assert sum(d.payload == other for d in kept) < 50  # of a domain in which 300 are flows
    assert bench.counts.dropped == 0


def test_when_the_pressure_is_gone_the_next_stands_for_the_rest() -> None:
    bench = IntakeBench(bound=100 * SIZE)
    came = until_one_is_skipped(bench)
    before = bench.kept()
    left = bench.intake.unaccounted
    lesson = raw_datagram(ipfix(1, TEMPLATE), sender(0), 5000, 4739, NOW_US)
    bench.take([lesson, *some(3, who=0)])
    assert [d.kept_of for d in bench.kept()] == [1, left + 1, 1, 1]
    assert sum(d.kept_of for d in before) + left == came
    assert bench.intake.unaccounted == 0


def test_streams_stand_for_themselves_alone() -> None:
    bench = IntakeBench(bound=1000 * SIZE)
    for _ in range(100):
        bench.take([d for domain in (1, 2) for d in some(10, domain=domain)])
    kept = bench.kept()
    assert bench.counts.thinned > 500
    bench.take([*some(1, domain=1), *some(1, domain=2)])  # each stands for the rest of its own
    kept += bench.kept()
    for d in kept[-2:]:
        assert sum(other.kept_of for other in kept if other.stream == d.stream) == 1001


def test_gaps_are_no_pattern() -> None:
    """Two kinds of datagrams in turn: each keeps its share of the total."""
    thinning = Thinning()
    totals = [0, 0]
    for i in range(100_000):
        totals[i % 2] += thinning.keep(8)
    assert sum(totals) + thinning.skipped == 100_000
    assert totals[0] == pytest.approx(50_000, rel=0.1)  # some six times the spread


def test_n_by_depth() -> None:
    of = [sampling(depth / 100, 0.5, 0.9, 64) for depth in range(101)]
    assert set(of[:50]) == {1}
    assert of[50] == 2
    assert of == sorted(of)
    assert of[90] == of[100] == 64
    assert sampling(0.99, 0.5, 0.9, 5) == 5


def test_an_exporter_above_its_limit_is_thinned_and_the_others_are_not() -> None:
    bench = IntakeBench(exporter_rate=100.0)
    for second in range(20):
        start = NOW_US + second * 1_000_000
        bench.take(some(1000, who=1, at_us=start, step_us=1000))
        bench.take(some(50, who=2, at_us=start, step_us=20_000))
    kept = bench.kept()
    loud = [d for d in kept if d.sender == sender(1)]
    assert len(kept) - len(loud) == 20 * 50
    assert 20 * 80 < len(loud) < 20 * 200
    exporters = dict(bench.intake.exporters)
    assert sum(d.kept_of for d in loud) + exporters[sender(1)].skipped == 20_000
    assert bench.counts.limited == exporters[sender(1)].thinned == 20_000 - len(loud)
    assert bench.counts.thinned == exporters[sender(2)].thinned == 0


def test_a_rate() -> None:
    meter = RateMeter()
    assert meter.rate(NOW_US) == 0.0
    for i in range(20_000):
        meter.add(NOW_US + i * 2000)  # 500 a second, 40 s
    end = NOW_US + 40_000_000
    assert meter.rate(end) == pytest.approx(500, rel=0.02)
    assert meter.rate(end + 5_000_000) < 350
    assert meter.rate(end + 600_000_000) == pytest.approx(0, abs=1)
    for _ in range(9000):
        meter.add(end)
    assert meter.least >= 9000  # at once


def test_a_clock_that_is_set_back_makes_no_rate() -> None:
    meter = RateMeter()
    for i in range(1000):
        meter.add(NOW_US + i * 100_000)
    for i in range(1000):
        meter.add(NOW_US - 3_600_000_000 + i * 100_000)
    assert meter.least == pytest.approx(10, abs=1)


def test_options_templates_are_bounded() -> None:
    exporter = SendingExporter()
    for domain in range(16):
        for number in range(300, 310):
            exporter.hear(raw_datagram(ipfix(domain, (3, struct.pack(">HHHHH", number, 1, 1, 302, 4))), sender(1), 1, 4739, NOW_US))
    vital = 0
    for domain in range(16):
        for number in range(300, 310):
            at_us = NOW_US + 1_000_000 * (1000 * domain + number)
            vital += exporter.vital(raw_datagram(ipfix(domain, (number, bytes(4))), sender(1), 1, 4739, at_us))
    assert vital == 128  # of 160


def test_two_thousand_exporters_at_once() -> None:
    bench = IntakeBench(bound=10_000 * SIZE)
    sent = [d for i in range(10) for who in range(2000) for d in some(1, who=who, domain=i % 2, at_us=NOW_US + i * 100_000)]
    for at in range(0, len(sent), 256):
        bench.take(sent[at : at + 256])
    kept, exporters = bench.kept(), dict(bench.intake.exporters)
    assert len(exporters) == 2000
    assert {e.received for e in exporters.values()} == {10}
    for who in (0, 777, 1999):
        mine, exporter = [d for d in kept if d.sender == sender(who)], exporters[sender(who)]
        assert len(mine) == exporter.kept
        assert sum(d.kept_of for d in mine) + exporter.skipped + exporter.dropped == 10
        assert [d.received_us for d in mine] == sorted(d.received_us for d in mine)


def test_exporters_are_bounded() -> None:
    bench = IntakeBench(bound=100 * SIZE, most_exporters=10)
    came = until_one_is_skipped(bench)
    left = bench.intake.unaccounted
    bench.kept()
    for who in range(1, 26):
        bench.take(some(1, who=who))
        bench.take(some(1, who=1))
    exporters = bench.intake.exporters
    assert len(exporters) == 10
    assert exporters.forgotten == 16
    assert sender(1) in dict(exporters)
    assert exporters.unaccounted == left == bench.intake.unaccounted
    assert bench.counts.received == came + 50


def test_scaled_totals_of_the_decoder_are_those_of_all_datagrams() -> None:
    bench, sessions = IntakeBench(bound=200 * SIZE), ExportSessions()
    packets, wanted = 0, 0
    for i in range(2000):
        payload = wire.v5([wire.v5_record(packets=10), wire.v5_record(packets=3)], sequence=2 * i)
        bench.take([raw_datagram(payload, sender(1), 5000, 2055, NOW_US)])
        wanted += 13
        if i % 500 == 499:
            for _, value, _ in RawFlowEncoder().split(bench.kept(), 12):
                for decoded in decode(datagrams_of([rawflows.decode(value)]), sessions):
                    packets += sum(decoded.flows.to_arrow()["scaled_packets"].to_pylist())
    assert bench.counts.kept < 1000
    assert packets == wanted - 13 * (bench.counts.dropped + bench.intake.unaccounted)


def test_a_queue_gives_back_its_room() -> None:
    bench = IntakeBench()
    bench.take(some(10))
    bench.take(some(5))
    assert bench.queue.depth > 0
    assert len(bench.queue.get(1, 0)) == 10
    assert len(bench.queue.get(1, 0)) == 5
    assert bench.queue.get(1, 0.001) == []
    assert bench.queue.depth == 0


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"addresses": ["localhost"]}, "localhost"),
        ({"addresses": ["::", "::"]}, ":: is named 2 times"),
        ({"addresses": ["192.0.2.1", "::"]}, ":: takes what comes to 192.0.2.1, too"),
        ({"addresses": ["192.0.2.1", "0.0.0.0"]}, "0.0.0.0 takes what comes to 192.0.2.1, too"),
        ({"ports": [2055, 2055]}, "2055 is named 2 times"),
        ({"ports": []}, "ports"),
        ({"ports": [0]}, "greater than or equal to 1"),
        ({"sample_from": 0.9, "drop_from": 0.5}, "drop_from 0.5 is not above sample_from 0.9"),
    ],
)
def test_settings_that_make_no_sense(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        ExporterSensorSettings.model_validate(wrong)
