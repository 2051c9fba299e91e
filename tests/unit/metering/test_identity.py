"""Identities as columns: the compiled hashes and texts against the standard library's."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import socket
import uuid

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.metering.hashing import blake2b, sha1_short
from jobs.metering.identity import address_texts, community_ids, flow_ids
from jobs.metering.row import ROW_DTYPE
from schemas.cicflowmeter import cic_table
from schemas.flows import RECORD_SCHEMA

_U64 = st.integers(0, 2**64 - 1)


@settings(deadline=None)  # the first example loads compiled code
@given(st.binary(max_size=400), st.integers(1, 64))
def test_blake2b(message: bytes, size: int) -> None:
    h, v, m = np.empty(8, np.uint64), np.empty(16, np.uint64), np.empty(16, np.uint64)
    blake2b(np.frombuffer(message or b"\0", np.uint8), len(message), size, h, v, m)
    assert h.astype("<u8").tobytes()[:size] == hashlib.blake2b(message, digest_size=size).digest()


@pytest.mark.parametrize("length", [127, 128, 129, 256, 257])
def test_blake2b_at_the_ends_of_its_blocks(length: int) -> None:
    test_blake2b.hypothesis.inner_test(bytes(range(256)) * 2, 16)  # type: ignore[attr-defined]
    test_blake2b.hypothesis.inner_test((bytes(range(256)) * 2)[:length], 16)  # type: ignore[attr-defined]


@settings(deadline=None)  # the first example loads compiled code
@given(st.binary(max_size=55))
def test_sha1(message: bytes) -> None:
    h, w = np.empty(5, np.uint32), np.empty(80, np.uint32)
    sha1_short(np.frombuffer(message or b"\0", np.uint8), len(message), h, w)
    assert h.astype(">u4").tobytes() == hashlib.sha1(message, usedforsecurity=False).digest()


def _text(version: int, hi: int, lo: int) -> str:
    return address_texts(np.array([version], np.uint8), np.array([hi], np.uint64), np.array([lo], np.uint64)).to_pylist()[0]


@settings(deadline=None)  # the first example loads compiled code
@given(_U64, _U64)
def test_any_ipv6_address(hi: int, lo: int) -> None:
    packed = hi.to_bytes(8, "big") + lo.to_bytes(8, "big")
    assert _text(6, hi, lo) == socket.inet_ntop(socket.AF_INET6, packed)


@settings(deadline=None)  # the first example loads compiled code
@given(st.lists(st.sampled_from([0, 0, 0, 1, 0xF, 0xA0, 0xFFFF, 0x2001]), min_size=8, max_size=8))
def test_ipv6_addresses_with_runs_of_zeros(groups: list[int]) -> None:
    packed = b"".join(g.to_bytes(2, "big") for g in groups)
    assert _text(6, int.from_bytes(packed[:8], "big"), int.from_bytes(packed[8:], "big")) == socket.inet_ntop(socket.AF_INET6, packed)


@settings(deadline=None)  # the first example loads compiled code
@given(st.integers(0, 2**32 - 1))
def test_any_ipv4_address(lo: int) -> None:
    assert _text(4, 0, lo) == str(ipaddress.IPv4Address(lo))


@settings(deadline=None)  # the first example loads compiled code
@given(st.integers(0, 65535), st.booleans(), _U64, _U64, st.integers(0, 65535), st.integers(0, 65535), st.sampled_from([6, 17, 132, 89]))
def test_community_ids(seed: int, v6: bool, a: int, b: int, sport: int, dport: int, proto: int) -> None:
    """By the specification, with hashlib: seed, lower end, upper end, protocol, a zero, the ports in the same order."""
    size = 16 if v6 else 4
    a, b = (a, b) if v6 else (a & 0xFFFFFFFF, b & 0xFFFFFFFF)
    row = np.zeros(1, ROW_DTYPE)
    for name, value in (("src_lo", a), ("dst_lo", b), ("sport", sport), ("dport", dport), ("proto", proto), ("ipver", 6 if v6 else 4)):
        row[name] = value
    (low, low_port), (high, high_port) = sorted([(a, sport), (b, dport)])
    ports = b"" if proto == 89 else low_port.to_bytes(2, "big") + high_port.to_bytes(2, "big")
    data = seed.to_bytes(2, "big") + low.to_bytes(size, "big") + high.to_bytes(size, "big") + bytes((proto, 0)) + ports
    expected = "1:" + base64.b64encode(hashlib.sha1(data, usedforsecurity=False).digest()).decode()
    assert community_ids(row, seed).to_pylist() == [expected]


def _uuid(domain: str, src: bytes, dst: bytes, sport: int, dport: int, proto: int, start: int, part: int) -> str:
    """The definition, in plain Python: BLAKE2b-128 over domain, key, start time and part, as a UUID of version 8."""
    head = bytes((len(src),)) + sport.to_bytes(2, "big") + dport.to_bytes(2, "big") + bytes((proto,))
    head += start.to_bytes(8, "big", signed=True) + part.to_bytes(4, "big")
    digest = bytearray(hashlib.blake2b(head + src + dst + domain.encode(), digest_size=16).digest())
    digest[6], digest[8] = digest[6] & 0x0F | 0x80, digest[8] & 0x3F | 0x80
    return str(uuid.UUID(bytes=bytes(digest)))


@settings(deadline=None)  # the first example loads compiled code
@given(
    st.lists(st.text(min_size=1, max_size=80), min_size=1, max_size=3),
    st.lists(
        st.tuples(st.booleans(), _U64, _U64, st.integers(0, 65535), st.integers(0, 255), st.integers(0, 2**61), st.integers(0, 2**32 - 1)),
        max_size=6,
    ),
)
def test_flow_ids(domains: list[str], flows: list[tuple[bool, int, int, int, int, int, int]]) -> None:
    rows = np.zeros(len(flows), ROW_DTYPE)
    expected = []
    for i, (v6, hi, lo, port, proto, start, part) in enumerate(flows):
        if not v6:
            hi, lo = 0, lo & 0xFFFFFFFF
        number = i % len(domains)
        for name, value in (("src_hi", hi), ("src_lo", lo), ("sport", port), ("dport", 53), ("proto", proto), ("start", start)):
            rows[name][i] = value
        rows["dst_lo"][i], rows["part"][i], rows["domain"][i], rows["ipver"][i] = 1, part, number, 6 if v6 else 4
        whole = hi.to_bytes(8, "big") + lo.to_bytes(8, "big")
        src, dst = (whole, (1).to_bytes(16, "big")) if v6 else (whole[12:], (1).to_bytes(4, "big"))
        expected.append(_uuid(domains[number], src, dst, port, 53, proto, start, part))
    assert flow_ids(rows, domains).to_pylist() == expected


def test_times_as_text() -> None:
    import pyarrow as pa

    times = [0, 1, 999_999, 1_000_000, 1_499_344_746_818_901, 4_607_000_000_123_456]
    columns = {f.name: pa.array([None] * len(times), f.type) for f in RECORD_SCHEMA}
    columns["start_time"] = pa.array(times, pa.timestamp("us", tz="UTC"))
    shown = cic_table(pa.table(columns))["Timestamp"].to_pylist()
    assert shown[:4] == [
        "1970-01-01 00:00:00.000000",
        "1970-01-01 00:00:00.000001",
        "1970-01-01 00:00:00.999999",
        "1970-01-01 00:00:01.000000",
    ]
    assert shown[4:] == ["2017-07-06 12:39:06.818901", "2115-12-28 18:13:20.123456"]
