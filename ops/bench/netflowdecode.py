"""How many records of flow export a core decodes in a second, beside the plain way of a record at a time, and beside a package of others.

CPU seconds of this one process are counted, so that what else the machine does matters little.
"""

from __future__ import annotations

import struct
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from infra.config import Settings
from jobs.flowexport import state
from jobs.flowexport.datagrams import DatagramBatch
from jobs.flowexport.decoder import decode
from jobs.flowexport.session import ExportSessions
from ops.bench import exportpeer, peer
from ops.bench.exportcollectors import COLLECTORS, measure_collector
from ops.bench.exportmaterial import Material, kinds
from ops.bench.place import machine

Say = Callable[[str], None]

#: Records per second and core, of templates of fixed length.
GOAL = 1_000_000
_FIXED = ("v5", "v9", "IPFIX")
_ROUNDS = 3
_SET = 4
#: What the peer knows.
_PEER = ("v5", "v9", "IPFIX")
#: The slower ways are given less.
_FEWER = 10


def run(settings: Settings, *, records: int, exporters: int = 2000, with_peer: bool = True, say: Say = print) -> dict[str, Any]:
    """Decode datagrams of each kind, several times; the best time counts.

    Parameters
    ----------
    settings
        Where the peer is installed.
    records
        Of each kind; fewer of those that take long.
    exporters
        That send at once, in one of the kinds.
    with_peer
        Whether the package netflow is measured, too, and nfcapd and goflow2 where they are installed.
    say
        Told what is being done.

    Returns
    -------
    dict
        ``records_per_s`` (of CPU) by kind, ``to_arrow_per_s`` with the making of a record batch, ``one_by_one_per_s`` the plain way,
        ``peer_per_s``, ``collectors``: of those that are there, by name and kind, records per second, records and how many of them it
        wrote; ``state``: bytes and ms of what is known of all exporters; ``met``; the machine.

    Raises
    ------
    StackError
        The peer cannot be had, or failed.
    """
    facts = machine()
    python = peer.environment(settings.path(settings.paths.var) / "bench" / "netflow", exportpeer.LOCK) if with_peer else None
    found: dict[str, Any] = {"records_per_s": {}, "to_arrow_per_s": {}, "one_by_one_per_s": {}, "peer_per_s": {}}
    found["collectors"] = {one.name: {} for one in COLLECTORS if with_peer and one.program}
    for name, make in kinds(records, exporters).items():
        material = make()
        say(f"{name}: {material.records:,} records in {len(material.payloads):,} datagrams")
        found["records_per_s"][name], sessions = _decoded(material, arrow=False)
        found["to_arrow_per_s"][name], _ = _decoded(material, arrow=True)
        if material.fields:
            found["one_by_one_per_s"][name] = _one_by_one(material)
        if python is not None and name in _PEER:
            found["peer_per_s"][name] = _peer(python, material)
        _collectors(found["collectors"], name, material)
        if f"{exporters} exporters" in name:
            found["state"] = _state(sessions)
    met = all(found["records_per_s"][name] >= GOAL for name in _FIXED)
    return {**found, "goal_per_s": GOAL, "met": met, "machine": facts}


def _decoded(material: Material, *, arrow: bool) -> tuple[int, ExportSessions]:
    """Records per second, and what is known of the exporters afterwards."""
    batch, best, sessions = material.batch(), float("inf"), ExportSessions()
    for _ in range(_ROUNDS):
        sessions, records = ExportSessions(), 0
        began = time.process_time()
        for piece in decode(batch, sessions):
            records += piece.flows.to_arrow().num_rows if arrow else len(piece.flows)
        best = min(best, time.process_time() - began)
        if records != material.records:
            raise AssertionError(f"{records} of {material.records} records")
    return round(material.records / best), sessions


def _one_by_one(material: Material) -> int:
    """Records per second of the plain way: a dictionary for each, of numbers read one after the other."""
    size = sum(length for _, length in material.fields)
    some = [p for p in material.payloads if p[material.header : material.header + 2] == b"\x01\x00"][: len(material.payloads) // _FEWER]
    made = 0
    began = time.process_time()
    for payload in some:
        at = material.header
        (length,) = struct.unpack_from(">H", payload, at + 2)
        end = at + length
        at += _SET
        while at + size <= end:
            record = {}
            for element, width in material.fields:
                record[element] = int.from_bytes(payload[at : at + width], "big")
                at += width
            made += bool(record)
    return round(made / (time.process_time() - began))


def _peer(python: Path, material: Material) -> int:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "datagrams"
        exportpeer.write(path, material.payloads[: len(material.payloads) // _FEWER])
        said = exportpeer.run(python, path).said
    return round(said["records"] / said["cpu_s"])


def _collectors(found: dict[str, dict[str, Any]], name: str, material: Material) -> None:
    """What collectors of others make of some of the datagrams; of several exporters all would come from one address."""
    protocol = name.partition(",")[0]
    for peer_ in COLLECTORS:
        if peer_.name in found and protocol in peer_.protocols and "exporters" not in name:
            some = material.payloads[: len(material.payloads) // peer_.fewer]
            sent = _records(DatagramBatch.of((p, bytes(16), 2055, 0) for p in some))
            written, cpu_s = measure_collector(peer_, protocol, some)
            rate = round(written / cpu_s) if cpu_s else 0
            found[peer_.name][name] = {"records_per_s": rate, "sent": sent, "written": written}


def _records(batch: DatagramBatch) -> int:
    return sum(len(piece.flows) for piece in decode(batch, ExportSessions()))


def _state(sessions: ExportSessions) -> dict[str, Any]:
    began = time.process_time()
    blob = state.encode(sessions)
    written = time.process_time()
    again = state.decode(blob)
    accounts = [account for _, account in again.accounts()]
    return {
        "exporters": len(again.known),
        "bytes": len(blob),
        "write_ms": round((written - began) * 1000, 1),
        "read_ms": round((time.process_time() - written) * 1000, 1),
        "records": sum(account["records"] for account in accounts),
        "lost": sum(account["lost"] for account in accounts),
    }
