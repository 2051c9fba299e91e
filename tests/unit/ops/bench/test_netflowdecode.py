"""The bench of decoding flow exports, in small: what it makes is decoded whole, and its books are complete."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.config import load
from ops.bench import exportpeer, netflowdecode
from ops.bench.exportmaterial import kinds

KINDS = kinds(2000, 20)


@pytest.mark.parametrize("name", KINDS)
def test_all_records_of_a_kind_are_decoded(name: str) -> None:
    material = KINDS[name]()
    speed, sessions = netflowdecode._decoded(material, arrow=False)
    assert speed > 0
    accounts = [account for _, account in sessions.accounts()]
    assert sum(account["records"] for account in accounts) == material.records
    assert sum(account["lost"] + account["lost_samples"] + account["waiting_sets"] for account in accounts) == 0
    assert sessions.counts == {}


def test_the_plain_way_makes_the_same_records() -> None:
    material = KINDS["v9"]()
    assert netflowdecode._one_by_one(material) > 0


def test_what_it_says() -> None:
    found = netflowdecode.run(load(), records=1000, exporters=20, with_peer=False, say=lambda _: None)
    assert list(found["records_per_s"]) == list(KINDS)
    assert set(found["one_by_one_per_s"]) == {"v9", "v9, IPv6", "v9, 20 exporters", "IPFIX"}
    assert (found["state"]["exporters"], found["state"]["lost"]) == (20, 0)
    assert found["peer_per_s"] == {}


def test_what_the_peer_reads(tmp_path: Path) -> None:
    exportpeer.write(tmp_path / "datagrams", [b"abc", b""])
    assert (tmp_path / "datagrams").read_bytes() == b"\3\0\0\0abc\0\0\0\0"
