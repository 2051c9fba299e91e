"""What is late is decided packet by packet: the same records and counts however a capture in disorder is read, sent and batched."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest

from jobs.metering.batch import Accounts, meter_captures
from jobs.metering.bucket import BucketMeter
from jobs.metering.digest import Digester, KafkaMessage
from jobs.metering.features import records
from jobs.metering.layout import Digest
from jobs.metering.settings import MeterSettings
from schemas.flows import RECORD_SCHEMA
from schemas.wire import CONTENT_JSON
from sensors.packets.following import Follow
from sensors.packets.settings import SensorSettings
from tests.oracle.capture import write_pcap
from tests.oracle.craft import ethernet, ip, udp
from tests.oracle.meter import Frame
from tests.oracle.parse import UDP
from tests.unit.metering.cases import at
from tests.unit.metering.test_invariance import run_stream

FLOWS, PACKETS = 40, 4000


def frame(seconds: float, flow: int, size: int = 200) -> Frame:
    return Frame(at(seconds), ethernet(ip("10.0.0.1", "10.0.0.2", UDP, udp(1000 + flow, 53, size))))


def halves() -> list[Frame]:
    """Packets of ten seconds, then others of ten seconds that lie twenty seconds before them."""
    half = [frame(20 + 10 * i / PACKETS, i % FLOWS) for i in range(PACKETS)]
    return half + [frame(10 * i / PACKETS, FLOWS + i % FLOWS) for i in range(PACKETS)]


def disorder() -> list[Frame]:
    """Every packet up to three seconds from its place, some of them minutes and hours."""
    rng = random.Random(5)
    far = [0.0] * 60 + [-40.0, -200.0, 5000.0]
    return [frame(500 + i / 100 + rng.uniform(0, 3) + rng.choice(far), i % FLOWS) for i in range(PACKETS)]


@pytest.fixture(scope="module", params=[halves, disorder])
def capture(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pcap(tmp_path_factory.mktemp("disorder") / "x.pcap", request.param())


def batch(capture: Path, accounts: Accounts, **more: object) -> pa.Table:
    return pa.Table.from_batches(meter_captures([capture], sensor_id="s", accounts=accounts, **more), RECORD_SCHEMA).sort_by("flow_id")  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def expected(capture: Path) -> tuple[pa.Table, Counter[str]]:
    accounts = Accounts()
    table = batch(capture, accounts)
    assert accounts.balanced
    assert accounts.rejected["late"] > 100
    return table, accounts.rejected


@pytest.mark.parametrize("snaplen", [64, 192, 65_535])
@pytest.mark.parametrize("batch_packets", [1, 97, 100_000])
def test_by_snap_length_and_batch(capture: Path, expected: tuple, snaplen: int, batch_packets: int) -> None:
    accounts = Accounts()
    assert batch(capture, accounts, sensor=SensorSettings(snaplen=snaplen, batch_packets=batch_packets)).equals(expected[0])
    assert accounts.rejected == expected[1]


@pytest.mark.parametrize("pieces", [2, 7, 100])
def test_while_the_file_grows(capture: Path, expected: tuple, tmp_path: Path, pieces: int) -> None:
    content, path = capture.read_bytes(), tmp_path / "growing.pcap"
    cuts = [*sorted(random.Random(pieces).sample(range(1, len(content)), pieces)), len(content)]
    left = iter(zip([0, *cuts], cuts, strict=False))
    follow = Follow(poll_s=0)

    def grow() -> None:
        a, b = next(left, (0, 0))
        if a == b:
            follow.stop.set()
        with open(path, "ab") as file:
            file.write(content[a:b])

    follow.idle = grow
    accounts = Accounts()
    assert batch(path, accounts, follow=follow).equals(expected[0])
    assert accounts.rejected == expected[1]


@pytest.mark.parametrize(("buckets", "batch_packets", "most", "trouble"), [(1, 100_000, 50, 0.0), (4, 500, 3, 0.0), (3, 97, 12, 0.2)])
def test_through_partitions_and_micro_batches(
    capture: Path, expected: tuple, buckets: int, batch_packets: int, most: int, trouble: float
) -> None:
    got, _ = run_stream(capture, buckets=buckets, batch_packets=batch_packets, most=most, seed=1, trouble=trouble)
    assert got.equals(expected[0])


def test_halves_that_lie_the_wrong_way_round(tmp_path: Path) -> None:
    """The second half is late to the last packet, and told; sorted, all of it is metered, as if it had been captured in order."""
    path = write_pcap(tmp_path / "x.pcap", halves())
    accounts = Accounts()
    assert batch(path, accounts).num_rows == FLOWS
    assert accounts.rejected == {"late": PACKETS}
    ((name, told),) = accounts.disorder.items()
    assert name == str(path)
    assert (told.late, round(told.worst_ns / 1e9)) == (PACKETS, 30)
    sorted_accounts, in_order = Accounts(), Accounts()
    got = batch(path, sorted_accounts, sort=True)
    whole = batch(write_pcap(tmp_path / "y.pcap", sorted(halves(), key=lambda f: f.ns)), in_order)
    assert got.equals(whole)
    assert got.num_rows == 2 * FLOWS
    assert not sorted_accounts.rejected
    assert not sorted_accounts.disorder
    assert not in_order.disorder


def json_log(n: int, partitions: int) -> list[list[KafkaMessage]]:
    """JSON packets on each partition, up to three seconds out of order (two are waited for), and one from the year 1971."""
    rng = random.Random(2)
    lanes: list[list[KafkaMessage]] = [[] for _ in range(partitions)]
    for i in range(n):
        f = frame(i / 10 + rng.uniform(0, 3) - (10**9 if i == 50 else 0), i % 3)
        value = json.dumps({"timestamp": f.ns, "raw_bytes": f.data.hex(), "sensor_id": "probe"}).encode()
        lane = lanes[i % partitions]
        lane.append(KafkaMessage(value, {"content-type": CONTENT_JSON.encode()}, i % partitions, len(lane), 1_000_000 + i * 100))
    return lanes


def metered_json(lanes: list[list[KafkaMessage]], cuts: list[list[int]], buckets: int, now_ms: int) -> tuple[pa.Table, Counter[str]]:
    """The log read in micro-batches that end at ``cuts`` (offsets by partition)."""
    settings = MeterSettings(buckets=buckets)
    meters = [BucketMeter(b, buckets, settings) for b in range(buckets)]
    found, at_ = [], [0] * len(lanes)
    ends = [*cuts, [len(lane) for lane in lanes], None]
    for end in ends:
        digests: list[list[Digest]] = [[] for _ in range(buckets)]
        if end is not None:
            digester = Digester(buckets, round(settings.json_lateness_s * 1e9))
            for lane, a, b in zip(lanes, at_, end, strict=True):
                for message in lane[a:b]:
                    digester.add(message)
            at_ = end
            for b, blob in digester.finish():
                digests[b].append(Digest.decode(blob))
        for b, meter in enumerate(meters):
            emission = meter.ingest(digests[b], now_ms)
            found.append(records(emission.closed, emission.domains, emission.sensors))
    counts: Counter[str] = Counter()
    for meter in meters:
        for row in meter.account_rows():
            counts.update({k: v for k, v in row.items() if isinstance(v, int) and k not in ("bucket", "messages") and v})
    return pa.Table.from_batches(found, RECORD_SCHEMA).sort_by("flow_id"), counts


@pytest.mark.parametrize("partitions", [1, 3])
def test_json_packets_in_any_cut(partitions: int) -> None:
    """Also when the log is hours old, and so every micro-batch long past."""
    lanes = json_log(300, partitions)
    whole = metered_json(lanes, [], 1, now_ms=10**12)
    assert whole[1]["rejected_late"] > 10
    assert whole[1]["packets"] == whole[1]["metered"] + whole[1]["rejected"] == 300
    assert whole[0].num_rows == 3
    rng = random.Random(partitions)
    every = [[k] * partitions for k in range(1, 300 // partitions)]
    uneven = [sorted(rng.randint(0, 300 // partitions) for _ in range(8)) for _ in range(partitions)]
    for cuts, buckets in ((every, 1), (every[50:51], 2), ([list(c) for c in zip(*uneven, strict=True)], 4)):
        assert metered_json(lanes, cuts, buckets, now_ms=10**12) == whole
