"""What is wrong with how the product took an input: nothing, or lines that say what."""

from __future__ import annotations

import math
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from infra.errors import CaptureError
from jobs.metering.batch import Accounts, meter_captures
from schemas.flows import RECORD_SCHEMA
from sensors.packets.capture import CaptureReader
from sensors.packets.codecs import codec_of
from sensors.packets.decode import FRAG_FIRST, FRAG_LATER, REJECT_REASONS, decode, tunnel_name
from sensors.packets.frames import FrameBatch, concat
from sensors.packets.settings import SensorSettings
from tests.oracle import meter as oracle
from tests.oracle.capture import read, write_pcap, write_pcapng
from tests.oracle.compare import NOT_COMPARED, differences
from tests.oracle.meter import Frame
from tests.oracle.parse import Packet, Rejected, parse

FIELDS = [n for n in RECORD_SCHEMA.names if n not in NOT_COMPARED]
#: Frames whole: that a snap length changes nothing is another test's matter.
WHOLE = SensorSettings(snaplen=262_144)
#: Reading a file of a few kB takes milliseconds; one that takes so long hangs, or nearly.
SLOW_S = 20.0


def frame_faults(frames: Sequence[Frame]) -> list[tuple[int, str]]:
    """Decoder against oracle, frame by frame: (position, difference)."""
    joined = np.frombuffer(b"".join(f.data for f in frames), np.uint8)
    offsets = np.cumsum([0, *(len(f.data) for f in frames)], dtype=np.int64)
    wire = np.array([len(f.data) if f.wire is None else f.wire for f in frames], np.uint32)
    ts, links = np.array([f.ns for f in frames], np.int64), np.array([f.link_type for f in frames], np.uint16)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        packets, reasons = decode(joined, offsets, ts, wire, links)
    out = []
    for i, f in enumerate(frames):
        expected, got = by_oracle(f), by_product(packets[i], int(reasons[i]), f.link_type)
        if expected != got:
            out.append((i, f"oracle {_less(expected, got)}, product {_less(got, expected)}"))
    return out


def _less(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    """What of ``a`` is not in ``b``."""
    return {k: v for k, v in a.items() if k not in b or b[k] != v}


def by_oracle(f: Frame) -> dict[str, Any]:
    try:
        p: Packet = parse(f.data, f.link_type, f.wire)
    except Rejected as e:
        return {"rejected": str(e)}
    out: dict[str, Any] = {n: getattr(p, n) for n in ("version", "proto", "l3", "sport", "dport", "header", "payload", "flags", "window")}
    out |= {"ends": (p.src, p.dst), "icmp": p.icmp, "malformed": p.malformed, "vlans": p.vlans, "tunnels": ",".join(p.tunnels)}
    return out | {"fragment": (p.fragment.first, p.fragment.proto << 16 | p.fragment.ident) if p.fragment else None}


def by_product(p: Any, reason: int, link_type: int) -> dict[str, Any]:
    if reason:
        name = REJECT_REASONS[reason]
        return {"rejected": f"{name}_{link_type}" if name == "unknown_link_type" else name}
    size = 4 if p["ipver"] == 4 else 16
    ends = tuple((int(p[f"{e}_hi"]) << 64 | int(p[f"{e}_lo"])).to_bytes(size, "big") for e in ("src", "dst"))
    names = {"version": "ipver", "proto": "proto", "l3": "l3_bytes", "header": "l4_header", "sport": "sport", "dport": "dport"}
    out: dict[str, Any] = {ours: int(p[theirs]) for ours, theirs in names.items()}
    out |= {n: int(p[n]) for n in ("payload", "flags", "window")}
    out |= {"ends": ends, "icmp": (int(p["icmp_type"]), int(p["icmp_code"])), "malformed": bool(p["malformed"])}
    out["vlans"] = tuple(int(p[n]) - 1 for n in ("vlan1", "vlan2", "vlan3") if p[n])
    out["tunnels"] = tunnel_name(int(p["tunnel"]))
    frag = int(p["frag"])
    return out | {"fragment": (frag == FRAG_FIRST, int(p["frag_id"])) if frag in (FRAG_FIRST, FRAG_LATER) else None}


def _metered(path: Path) -> tuple[list[dict[str, Any]], Accounts, list[str]]:
    """Records and accounts of a file, and what is wrong with them in themselves."""
    accounts = Accounts()
    batches = meter_captures([path], sensor_id="oracle", sensor=WHOLE, accounts=accounts)
    rows = [row for batch in batches for row in batch.to_pylist()]
    counted = sum(r["total_fwd_packets"] + r["total_backward_packets"] for r in rows)
    out = [f"{n} is {v}" for r in rows for n, v in r.items() if isinstance(v, float) and not math.isfinite(v)]
    if not accounts.balanced or (accounts.metered, accounts.flows) != (counted, len(rows)):
        out.append(f"accounts do not add up: {accounts}; {counted} packets in {len(rows)} records")
    return rows, accounts, out


def record_faults(frames: Sequence[Frame]) -> list[str]:
    """Records and accounts of the batch meter against the oracle's."""
    expected, rejected = oracle.meter(frames)
    with tempfile.TemporaryDirectory() as folder:
        write = write_pcap if {f.link_type for f in frames} == {1} else write_pcapng
        rows, accounts, out = _metered(write(Path(folder) / "frames", frames))
    if accounts.packets != len(frames) or Counter(accounts.rejected) != rejected:
        out.append(f"{len(frames)} frames; oracle rejects {dict(rejected)}, product {dict(accounts.rejected)} of {accounts.packets}")
    return out + differences(expected, rows, FIELDS)


def _read(path: Path, snaplen: int = 262_144) -> FrameBatch:
    return concat(list(CaptureReader(path, snaplen)))


def file_faults(data: bytes) -> list[str]:
    """A file of these bytes is refused with a CaptureError, or read, metered and accounted for."""
    started, out = time.monotonic(), []
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("error")
        path = Path(folder) / "frames"
        path.write_bytes(data)
        plain = not codec_of(data)
        try:
            expected: list[Frame] | None = read(path) if plain else None
        except ValueError:
            expected = None
        try:
            whole, cut = _read(path), _read(path, 64)
            out = _batch_faults(whole, cut)
            if plain:
                out += _oracle_faults(expected, whole)
            _, accounts, wrong = _metered(path)
            out += wrong
            if accounts.packets != len(whole):
                out.append(f"{len(whole)} packets read, {accounts.packets} accounted for")
        except CaptureError as e:
            if expected is not None:
                out.append(f"refused, but the oracle reads {len(expected)} packets of it: {e}")
            if not str(e) or "\n" in str(e):
                out.append(f"not one line: {str(e)!r}")
        except Exception:
            out.append(traceback.format_exc(limit=-4))
    if time.monotonic() - started > SLOW_S:
        out.append(f"took {time.monotonic() - started:.0f} s")
    return out


def _oracle_faults(expected: Sequence[Frame] | None, got: FrameBatch) -> list[str]:
    """Packets read against those that the oracle reads, which takes a plain file only."""
    if expected is None:
        return [f"{len(got)} packets read of what the oracle takes for no capture file"]
    if len(expected) != len(got):
        return [f"{len(got)} packets, {len(expected)} by the oracle"]
    out = []
    for i, f in enumerate(expected):
        wire = len(f.data) if f.wire is None else f.wire
        if (f.data, f.link_type, wire) != (bytes(got.frame(i)), int(got.link_type[i]), int(got.wire_len[i])):
            out.append(f"packet {i} is not the oracle's {f}")
        if abs(int(got.ts[i]) - f.ns) > 1:  # ticks shorter than a quarter of a ns are counted as such quarters
            out.append(f"packet {i} at {int(got.ts[i])}, by the oracle at {f.ns}")
    return out


def _batch_faults(whole: FrameBatch, cut: FrameBatch) -> list[str]:
    """Times in range; a snap length shortens frames and changes nothing else."""
    if len(whole) != len(cut):
        return [f"{len(whole)} packets, but {len(cut)} with a snap length"]
    out = []
    if len(whole) and not (int(whole.ts.min()) >= 0 and int(whole.ts.max()) <= 1 << 62):
        out.append("a time out of range")
    for name in ("ts", "wire_len", "link_type"):
        if (getattr(whole, name) != getattr(cut, name)).any():
            out.append(f"{name} depends on the snap length")
    if any(bytes(whole.frame(i))[:64] != bytes(cut.frame(i)) for i in range(len(whole))):
        out.append("frames depend on the snap length")
    return out
