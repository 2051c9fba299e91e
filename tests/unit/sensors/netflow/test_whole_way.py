"""Recorded datagrams, from a socket through the queue and a message to the decoder: the same records as without all that."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import pytest

from jobs.flowexport.datagrams import DatagramBatch
from jobs.flowexport.decoder import decode
from jobs.flowexport.rawmessages import datagrams_of
from jobs.flowexport.session import ExportSessions
from schemas import rawflows
from sensors.netflow.encoding import RawFlowEncoder
from sensors.netflow.intake import DatagramIntake
from sensors.netflow.settings import ExporterSensorSettings
from sensors.netflow.waiting import DatagramQueue
from tests.unit.sensors.netflow.senders import LOCAL, ROOMY, eventually, free_ports, listening, send

DATA = Path(os.environ.get("FLOWLAKE_DATA", "")) / "netflow"
there = DATA.is_dir() and "FLOWLAKE_DATA" in os.environ
pytestmark = pytest.mark.skipif(not there, reason="FLOWLAKE_DATA is not set")
CASES = json.loads((DATA / "expected.json").read_text(encoding="utf-8")) if there else []
RECORDINGS = sorted(path.name for path in (DATA / "exporters").glob("*.bin")) if there else []
_HEAD = struct.Struct("<dHH")


def recording(name: str) -> list[bytes]:
    content, at, found = (DATA / "exporters" / name).read_bytes(), 0, []
    while at < len(content):
        _, _, size = _HEAD.unpack_from(content, at)
        at += _HEAD.size
        found.append(content[at : at + size])
        at += size
    return found


def rows(batches: list[DatagramBatch]) -> list[dict[str, Any]]:
    """Records, without the number of the datagram in its batch."""
    sessions, found = ExportSessions(), []
    for batch in batches:
        for decoded in decode(batch, sessions):
            found += decoded.flows.to_arrow().drop_columns("datagram").to_pylist()
    return found


def through_the_sensor(payloads: list[bytes]) -> list[DatagramBatch]:
    """Sent to a listener that is there, and back out of the messages of 12 partitions."""
    settings, queue = ExporterSensorSettings(addresses=("::",), ports=free_ports(1)), DatagramQueue(ROOMY)
    intake = DatagramIntake(settings, queue)
    with listening(settings, intake.take):
        for start in range(0, len(payloads), 200):  # no more at once than any kernel's buffer takes
            send_from(payloads[start : start + 200], settings.ports[0])
            assert eventually(lambda start=start: intake.counts.received == min(start + 200, len(payloads)))
    assert intake.counts.kept == len(payloads)
    sent = queue.get(ROOMY, 0)
    return [datagrams_of([rawflows.decode(value)]) for _, value, _ in RawFlowEncoder().split(sent, 12)]


def send_from(payloads: list[bytes], port: int) -> None:
    send(payloads, port)


def same_without(batches: list[DatagramBatch], payloads: list[bytes]) -> DatagramBatch:
    """The datagrams that were sent, with the times of receipt and the ports that they got."""
    got = {}
    for batch in batches:
        for i in range(len(batch)):
            payload = batch.data[batch.offsets[i] : batch.offsets[i + 1]]
            got.setdefault(payload, []).append((batch.ports[i], batch.received_us[i]))
    return DatagramBatch.of([(payload, LOCAL, *got[payload].pop(0)) for payload in payloads])


def said(row: dict[str, Any]) -> str:
    return repr(sorted((name, str(value)) for name, value in row.items()))


@pytest.mark.parametrize("case", CASES, ids=lambda c: c["name"].strip())
def test_vendors(case: dict[str, Any]) -> None:
    payloads = [(DATA / name).read_bytes() for name in case["datagrams"]]
    batches = through_the_sensor(payloads)
    found, wanted = rows(batches), rows([same_without(batches, payloads)])
    assert sorted(map(said, found)) == sorted(map(said, wanted))
    assert sum(map(len, batches)) == len(payloads)


@pytest.mark.parametrize("name", RECORDINGS)
def test_real_exporters(name: str) -> None:
    payloads = recording(name)
    batches = through_the_sensor(payloads)
    assert sum(map(len, batches)) == len(payloads)
    found, wanted = rows(batches), rows([same_without(batches, payloads)])
    assert sorted(map(said, found)) == sorted(map(said, wanted))
    assert bool(found) == (name != "ovs-ipfix.bin")  # whose templates were not recorded
