"""The package netflow (bitkeks) as the peer of the decoder of flow export."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path

from ops.bench.processes import Measured, measure

LOCK = Path(__file__).with_name("netflow.lock")

#: Parses the datagrams of the file argv[1], each behind its length; flows are counted, their times taken without the file's.
_PROGRAM = """
import json, sys, time
from netflow import parse_packet
content, at, datagrams = open(sys.argv[1], "rb").read(), 0, []
while at < len(content):
    size = int.from_bytes(content[at : at + 4], "little")
    datagrams.append(content[at + 4 : at + 4 + size])
    at += 4 + size
templates, flows = {"netflow": {}, "ipfix": {}}, 0
began = time.process_time()
for datagram in datagrams:
    flows += len(parse_packet(datagram, templates).flows)
print(json.dumps({"records": flows, "cpu_s": time.process_time() - began}))
"""


def write(path: Path, payloads: Iterable[bytes]) -> None:
    """Datagrams as the program reads them."""
    path.write_bytes(b"".join(struct.pack("<I", len(p)) + p for p in payloads))


def run(python: Path, datagrams: Path) -> Measured:
    """Parse a file of datagrams.

    Raises
    ------
    StackError
        It failed.
    """
    program = python.parent.parent / "parse.py"
    program.write_text(_PROGRAM, encoding="utf-8")
    return measure([str(python), str(program), str(datagrams)])
