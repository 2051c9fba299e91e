"""``flowlake alerts pcap`` with a real broker and a real database: exactly the frames of the flows, read back by scapy and tshark."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition
from kafka.admin import NewTopic
from scapy.layers.inet import IP, TCP, UDP, fragment
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Packet, Raw
from scapy.utils import RawPcapNgReader, RawPcapReader

from infra import config
from infra.config import Settings
from infra.sections import PostgresSettings
from jobs.metering.batch import meter_captures
from jobs.sinks import alertbook, alerts, ask, evidence, hot, postgres
from jobs.sinks.alertstore import AlertStore
from jobs.sinks.migrations import migrate
from jobs.sources.packets.membership import FlowSpan
from jobs.sources.packets.recall import CLOCK_SKEW_MS, Recall
from ops.cli.main import main
from schemas.flows import PREDICTION_SCHEMA
from schemas.network_flows import NETWORK_FLOWS
from schemas.packets import FLOWS, RAW_PACKETS
from schemas.wire import CLOCK_END
from sensors.packets.frames import FrameBatch
from sensors.packets.pcapwriter import PcapWriter
from sensors.packets.publisher import PacketPublisher
from sensors.packets.replay import Chunk
from tests.integration import sensors_topic
from tests.integration.hotstore import empty_database

pytestmark = pytest.mark.integration
#: Written out: Scapy would look for the target's on the network.
MAC = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
BEGAN = 1_772_366_400 * 10**9  # 2026-03-01 12:00 UTC
Frames = list[tuple[int, bytes]]


def at(seconds: float) -> int:
    """Capture time in ns; the last digits are not zero, so that a file of microseconds would show."""
    return BEGAN + round(seconds * 1e9) + 7


def ends(there: bool, inner: bool = False) -> Packet:
    low, high = ("10.1.0.1", "10.1.0.2") if inner else ("10.0.0.1", "10.0.0.2")
    return IP(src=low if there else high, dst=high if there else low)


def spoken(sport: int, dport: int, since: float, count: int) -> Frames:
    """A TCP conversation that is closed by both."""
    flags = ["S", "SA", "A", *["PA"] * count, "FA", "FA", "A"]
    ways = [True, False, True, *(i % 2 == 0 for i in range(count)), True, False, True]
    frames = []
    for i, (flag, way) in enumerate(zip(flags, ways, strict=True)):
        source, target = (sport, dport) if way else (dport, sport)
        segment = TCP(sport=source, dport=target, flags=flag, seq=i) / Raw(b"x" * 20)
        frames.append((at(since + 0.01 * i), bytes(MAC / ends(way) / segment)))
    return frames


def datagrams(since: float) -> Frames:
    """A request in fragments, which come in the wrong order, and its answer."""
    whole = MAC / ends(True) / UDP(sport=5000, dport=53) / Raw(b"y" * 1000)
    whole[IP].id = 77
    parts = [bytes(part) for part in fragment(whole, fragsize=400)]
    answer = bytes(MAC / ends(False) / UDP(sport=53, dport=5000) / Raw(b"z" * 30))
    return [(at(since + 0.01 * i), frame) for i, frame in enumerate([parts[2], parts[0], parts[1], answer])]


def tunnelled(since: float) -> Frames:
    around = MAC / ends(True) / UDP(sport=9999, dport=4789) / VXLAN(vni=5)
    frames = []
    for i, way in enumerate([True, False, True]):
        inside = MAC / ends(way, inner=True) / UDP(sport=1 if way else 2, dport=2 if way else 1) / Raw(b"t" * 9)
        frames.append((at(since + 0.01 * i), bytes(around / inside)))
    return frames


def pinged(since: float) -> Frames:
    ping = IPv6(src="2001:db8::1", dst="2001:db8::2") / ICMPv6EchoRequest(id=3)
    pong = IPv6(src="2001:db8::2", dst="2001:db8::1") / ICMPv6EchoReply(id=3)
    return [(at(since), bytes(MAC / ping)), (at(since + 0.02), bytes(MAC / pong))]


#: Conversation -> its frames. Before and behind "web" there is another one of the same ends; "other" is of the same hosts.
TOLD: dict[str, Frames] = {
    "before": spoken(40000, 80, 0, 4),
    "web": spoken(40000, 80, 100, 6),
    "behind": spoken(40000, 80, 300, 2),
    "other": spoken(40001, 80, 100.005, 5),
    "dns": datagrams(100.001),
    "tunnel": tunnelled(100.002),
    "ping": pinged(100.003),
    "padding": [
        (at(100.0005 + i / 1000), bytes(MAC / IP(src="10.9.0.1", dst=f"10.9.1.{i % 200}") / UDP(sport=i, dport=9))) for i in range(2000)
    ],
}
ALL = sorted((one for frames in TOLD.values() for one in frames), key=lambda one: one[0])
#: Which of them are attacks; the last is of no label that is known, and so an alert a flow.
ATTACKS = {"web": "EXFILTRATION", "dns": "DNS_TUNNEL", "tunnel": "BOTNET_BEACON", "ping": "ODD_PING"}


@dataclass
class Desk:
    """A topic, a database and a configuration file."""

    settings: Settings
    folder: Path
    ids: dict[str, str]

    def publish(self, frames: Sequence[tuple[int, bytes]], sensor: str = "probe", link_type: int = 1, snaplen: int = 262_144) -> None:
        batch = FrameBatch.from_frames([frame for _, frame in frames], [ts for ts, _ in frames], link_type, snaplen=snaplen)
        publisher = PacketPublisher(self.settings, sensor, "site")
        for begin in range(0, len(batch), 300):
            publisher.publish(Chunk(batch.slice(begin, begin + 300), int(batch.ts[begin]), 0, False))
        publisher.publish(Chunk(FrameBatch.empty(), CLOCK_END, 0, True))
        assert publisher.close() == 0


def judged(where: Settings, capture: Path) -> None:
    """Meter all frames, store the flows, and raise an alert for each conversation that is an attack."""
    with PcapWriter(capture) as writer:
        writer.write(FrameBatch.from_frames([frame for _, frame in ALL], [ts for ts, _ in ALL]))
    records = pa.Table.from_batches(list(meter_captures([capture], sensor_id="site")))
    named = {ts // 1000: ATTACKS[name] for name in ATTACKS for ts, _ in TOLD[name]}
    attacks = [named.get(us, "BENIGN") for us in records["start_time"].cast(pa.int64()).to_pylist()]
    scored = {
        "confidence_score": pa.array([0.9] * len(attacks)),
        "predicted_label": pa.array([int(attack != "BENIGN") for attack in attacks], pa.int8()),
        "attack_type": pa.array(attacks),
        "model_version": pa.array(["7"] * len(attacks)),
        "scored_at": records["end_time"],
    }
    known = {**{name: records[name] for name in records.column_names}, **scored}
    columns = {field.name: known.get(field.name, pa.nulls(len(attacks), field.type)) for field in PREDICTION_SCHEMA}
    rows = pa.table(columns).cast(PREDICTION_SCHEMA)
    connection = postgres.connect(where.hot, "test")
    hot.insert(connection, hot.hot_rows(rows, FLOWS), NETWORK_FLOWS, ("q", 0, 0, "x"))
    connection.close()
    store = AlertStore(where.alerts, FLOWS)
    store.apply(alertbook.gather([evidence.partials(evidence.attacks(rows, FLOWS.alerts), FLOWS.alerts, 3600)]))
    postgres.kept(where.alerts, "flowlake-alerts").close()


@pytest.fixture(scope="module")
def stored(postgres_server: PostgresSettings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, Any], str]]:
    """A server, and a database on it with the flows of all frames and the alerts."""
    server = postgres_server.model_dump(include={"host", "port", "user", "password"})
    with empty_database(server) as name:
        made = config.build(hot={**server, "database": name}, alerts={**server, "database": name, "min_flows": 1})
        migrate(hot.component(made, NETWORK_FLOWS))
        migrate(alerts.component(made))
        judged(made, tmp_path_factory.mktemp("metered") / "all.pcap")
        yield server, name


@pytest.fixture
def desk(
    kafka_server: str, stored: tuple[dict[str, Any], str], settings: Callable[..., Settings], home: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Desk]:
    server, template = stored
    with empty_database(server, template) as name:
        made = settings(kafka={"bootstrap_servers": kafka_server}, hot={**server, "database": name}, alerts={**server, "database": name})
        section = {"host": server["host"], "port": server["port"], "user": server["user"], "database": name}
        kafka = {"bootstrap_servers": kafka_server, "topic_prefix": made.kafka.topic_prefix}
        (home / "conf.yaml").write_text(yaml.safe_dump({"hot": section, "alerts": section, "kafka": kafka}))
        monkeypatch.setenv("FLOWLAKE_CONF", str(home / "conf.yaml"))
        for one_of_two in ("HOT", "ALERTS"):
            monkeypatch.setenv(f"FLOWLAKE_{one_of_two}__PASSWORD", server["password"].get_secret_value())
        found = {row["attack_type"]: row["id"] for row in ask.query(made.alerts, "SELECT id::text, attack_type FROM alerts")}
        yield Desk(made, home, {name: found[attack] for name, attack in ATTACKS.items()})


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        main(list(arguments))
    out = capsys.readouterr()
    return int(end.value.code or 0), out.out, out.err


def read(file: Path) -> Frames:
    """What scapy reads from a file of nanoseconds."""
    if file.read_bytes()[:4] == b"\x0a\x0d\x0d\x0a":
        with RawPcapNgReader(str(file)) as reader:
            return [((about.tshigh << 32) + about.tslow, frame) for frame, about in reader]
    with RawPcapReader(str(file)) as reader:
        assert reader.nano
        return [(about.sec * 10**9 + about.usec, frame) for frame, about in reader]


def by_time(frames: Iterable[tuple[int, bytes]]) -> Frames:
    return sorted(frames, key=lambda one: one[0])


def test_exactly_the_frames_of_the_flow_in_both_directions(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    sensors_topic.create(desk.settings, 3)
    desk.publish(ALL)
    for name in ATTACKS:
        for ending in ("pcap", "pcapng"):
            out = desk.folder / f"{name}.{ending}"
            code, said, err = call(capsys, "alerts", "pcap", desk.ids[name][:8], "--out", str(out))
            assert (code, err) == (0, "")
            assert f"{len(TOLD[name])} frames of 1 flow behind alert {desk.ids[name]} -> {out}" in said
            assert read(out) == by_time(TOLD[name]), name
    key = ask.query(desk.settings.alerts, "SELECT incident_id::text AS id FROM alerts WHERE attack_type = 'EXFILTRATION'")[0]["id"]
    alike = ask.query(desk.settings.alerts, "SELECT attack_type FROM alerts WHERE incident_id = %s::uuid", [key])
    names = [name for name, attack in ATTACKS.items() if attack in {row["attack_type"] for row in alike}]
    code, said, err = call(capsys, "incidents", "pcap", key[:8], "--out", str(desk.folder / "story.pcap"), "--json")
    assert (code, err) == (0, "")
    assert read(desk.folder / "story.pcap") == by_time(one for name in names for one in TOLD[name])
    told = json.loads(said)
    assert (told["flows"], told["packets_missing"], told["frames_cut"]) == (len(names), 0, 0)


def test_frames_go_to_standard_output_and_words_to_the_other(desk: Desk, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    sensors_topic.create(desk.settings, 1)
    desk.publish(ALL)
    capfdbinary.readouterr()
    with pytest.raises(SystemExit) as end:
        main(["alerts", "pcap", desk.ids["web"], "--out", "-"])
    said = capfdbinary.readouterr()
    (desk.folder / "piped.pcap").write_bytes(said.out)
    assert (end.value.code, read(desk.folder / "piped.pcap")) == (0, TOLD["web"])
    assert said.err.decode().startswith(f"{len(TOLD['web'])} frames of 1 flow")
    with pytest.raises(SystemExit) as end:
        main(["alerts", "pcap", desk.ids["web"], "--out", "-", "--json"])
    assert (end.value.code, b"exclude each other" in capfdbinary.readouterr().err) == (2, True)


@pytest.mark.skipif(shutil.which("tshark") is None, reason="needs tshark: apt install tshark")
def test_tshark_reads_the_same(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    sensors_topic.create(desk.settings, 1)
    desk.publish(ALL)
    for ending in ("pcap", "pcapng"):
        out = desk.folder / f"web.{ending}"
        assert call(capsys, "alerts", "pcap", desk.ids["web"], "--out", str(out))[0] == 0
        asked = ["tshark", "-r", str(out), "-T", "fields", "-e", "frame.time_epoch", "-e", "frame.len", "-e", "ip.src", "-e", "tcp.srcport"]
        lines = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.splitlines()
        assert [line.split("\t") for line in lines] == [
            [f"{ts // 10**9}.{ts % 10**9:09d}", str(len(frame)), Ether(frame)[IP].src, str(Ether(frame)[TCP].sport)]
            for ts, frame in TOLD["web"]
        ]


def test_what_is_no_longer_there_is_said(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    sensors_topic.create(desk.settings, 1)
    cut = [one for one in ALL if one[0] < at(100.03)]
    desk.publish(cut, sensor="early")
    desk.publish([one for one in ALL if one[0] >= at(100.03)], snaplen=60)
    topic = TopicPartition(desk.settings.topic(RAW_PACKETS.name), 0)
    admin = KafkaAdminClient(bootstrap_servers=desk.settings.kafka.bootstrap_servers)
    gone = next(m.headers for m in sensors_topic.read(desk.settings) if m.headers["sensor"] == "probe")
    early = sum(m.headers["sensor"] == "early" for m in sensors_topic.read(desk.settings))
    assert gone["seq"] == "0"
    admin.delete_records({topic: early})
    out = desk.folder / "web.pcap"
    code, said, err = call(capsys, "alerts", "pcap", desk.ids["web"], "--out", str(out))
    left = [one for one in TOLD["web"] if one[0] >= at(100.03)]
    assert (code, f"{len(left)} frames of 1 flow" in said) == (0, True)
    assert read(out) == [(ts, frame[:60]) for ts, frame in left]
    assert f"{len(TOLD['web']) - len(left)} packets are not in the topic: without any frame 0 flows, with fewer than counted 1 flow" in err
    assert "the topic begins at 20" in err
    assert f"{len(left)} frames are not whole" in err
    admin.delete_records({topic: -1})
    admin.close()
    code, _, err = call(capsys, "alerts", "pcap", desk.ids["web"], "--out", str(desk.folder / "none.pcap"))
    assert (code, "none of the frames of alert" in err, "it begins at 20" in err) == (5, True, True)
    assert not (desk.folder / "none.pcap").exists()


def test_a_capture_that_was_replayed_twice_gives_each_frame_once(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    sensors_topic.create(desk.settings, 2)
    desk.publish(ALL)
    desk.publish(ALL)
    out = desk.folder / "web.pcap"
    code, _, err = call(capsys, "alerts", "pcap", desk.ids["web"], "--out", str(out))
    assert (code, f"{len(TOLD['web'])} frames were sent again" in err) == (0, True)
    assert read(out) == TOLD["web"]
    code, _, err = call(capsys, "alerts", "pcap", desk.ids["web"], "--out", str(out))
    assert (code, "is there already" in err) == (2, True)
    code, said, err = call(capsys, "alerts", "pcap", desk.ids["web"], "--out", str(out), "--force", "--limit", "3")
    assert (code, "3 frames" in said, "there are more frames: reading ended at --limit 3" in err) == (0, True, True)
    assert set(read(out)) < set(TOLD["web"])
    for place, why in (("nowhere/x.pcap", "no such folder"), (".", "a folder")):
        code, _, err = call(capsys, "alerts", "pcap", desk.ids["web"], "--out", str(desk.folder / place), "--force")
        assert (code, why in err) == (2, True)


def test_several_link_types_go_into_pcapng(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    sensors_topic.create(desk.settings, 1)
    half = TOLD["web"][::2]
    desk.publish([one for one in ALL if one not in half])
    desk.publish([(ts, frame[14:]) for ts, frame in half], sensor="tap", link_type=101)
    code, _, err = call(capsys, "alerts", "pcap", desk.ids["web"], "--out", str(desk.folder / "web.pcap"))
    assert (code, "link types 1, 101, and a pcap file holds one" in err, "web.pcapng" in err) == (2, True, True)
    assert not list(desk.folder.glob("*web.pcap*"))
    code, _, err = call(capsys, "alerts", "pcap", desk.ids["web"], "--out", str(desk.folder / "web.pcapng"))
    assert (code, err) == (0, "")
    assert read(desk.folder / "web.pcapng") == [(ts, frame[14:] if (ts, frame) in half else frame) for ts, frame in TOLD["web"]]


def test_messages_of_other_times_are_not_read(desk: Desk) -> None:
    """The broker's time of a message is what is sought by; JSON packets are frames too, and what is no message of ours is counted."""
    admin = KafkaAdminClient(bootstrap_servers=desk.settings.kafka.bootstrap_servers)
    name = desk.settings.topic(RAW_PACKETS.name)
    admin.create_topics([NewTopic(name, 1, 1)])
    admin.close()
    ms, frames = BEGAN // 10**6, TOLD["web"]
    producer = KafkaProducer(bootstrap_servers=desk.settings.kafka.bootstrap_servers)

    def send(value: bytes, when: int) -> None:
        producer.send(name, value, timestamp_ms=when, headers=[("content-type", b"application/json")]).get(10)

    def packet(one: tuple[int, bytes]) -> bytes:
        return json.dumps({"timestamp": str(one[0]), "raw_bytes": one[1].hex(), "sensor_id": "site"}).encode()

    send(packet(frames[0]), ms - 2 * CLOCK_SKEW_MS)
    send(b"no json", ms)
    for one in frames[1:4]:
        send(packet(one), ms + 100_000)
    send(packet(frames[4]), ms + 200_000 + 2 * CLOCK_SKEW_MS)
    producer.close()
    span = FlowSpan("10.0.0.2", 80, "10.0.0.1", 40000, 6, frames[0][0] // 1000, frames[-1][0] // 1000, frozenset({"site"}), len(frames))
    recall = Recall(desk.settings, [span], ms + 200_000, 100, print)
    got = [(int(batch.ts[i]), batch.frame(i)) for batch in recall.frames() for i in range(len(batch))]
    assert sorted(got) == frames[1:4]
    assert (recall.found.messages, recall.found.unreadable, recall.found.begins_ms) == (4, 1, None)


def test_flows_that_are_not_stored_yet_are_found_by_what_the_alert_says(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    sensors_topic.create(desk.settings, 1)
    desk.publish(ALL)
    ask.query(desk.settings.hot, "DELETE FROM network_flows")
    out = desk.folder / "ping.pcap"
    code, _, err = call(capsys, "alerts", "pcap", desk.ids["ping"], "--out", str(out))
    assert (code, "what the alerts say of their newest" in err) == (0, True)
    assert read(out) == TOLD["ping"]
    ask.query(desk.settings.alerts, "UPDATE alerts SET details = details - 'last_flow' WHERE id = %s::uuid", [desk.ids["web"]])
    code, _, err = call(capsys, "alerts", "pcap", desk.ids["web"], "--out", str(desk.folder / "web.pcap"))
    assert (code, "no store holds the flows behind alert" in err) == (5, True)


def test_no_broker_and_no_topic_are_told(desk: Desk, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ("alerts", "pcap", desk.ids["web"], "--out", str(desk.folder / "web.pcap"))
    code, _, err = call(capsys, *arguments)
    assert (code, "is not on the broker" in err) == (4, True)
    monkeypatch.setattr("jobs.sources.packets.recall._BOOTSTRAP_MS", 300)
    monkeypatch.setenv("FLOWLAKE_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1")
    code, _, err = call(capsys, *arguments)
    assert (code, "the Kafka broker at 127.0.0.1:1" in err, "flowlake up" in err) == (4, True, True)
