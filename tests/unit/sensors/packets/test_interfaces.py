"""pcapng interfaces: packets of one that is not described, and very many of them."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from sensors.packets import formats
from sensors.packets.capture import CaptureReader
from sensors.packets.frames import concat
from tests.unit.sensors.packets import captures as c
from tests.unit.sensors.packets.test_capture import read


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("described", "packet", "told"),
    [
        (1, "enhanced", "a packet of interface 7, which is not among those described, interface 0, the only one"),
        (3, "enhanced", "a packet of interface 7, which is not among those described, the 3 interfaces (0 to 2)"),
        (0, "enhanced", "a packet of interface 7 without the description of any interface"),
        (2, "obsolete", "a packet of interface 7, which is not among those described, the 2 interfaces (0 to 1)"),
        (0, "simple", "a simple packet, of interface 0, without the description of any interface"),
    ],
)
def test_a_packet_of_an_interface_that_is_not_described(tmp_path: Path, order: str, described: int, packet: str, told: str) -> None:
    """Told as what it is, with what is read before it kept."""
    before = c.section(order) + c.interface(1, order) + c.enhanced(1, b"aa", order)
    start = c.section(order) + b"".join(c.interface(1, order) for _ in range(described))
    made = {
        "enhanced": c.enhanced(2, b"bb", order, number=7),
        "obsolete": c.obsolete(2, b"bb", order, number=7),
        "simple": c.simple(b"bb", order),
    }
    got, reader = read(tmp_path / "x", before + start + made[packet])
    assert got == [(1000, b"aa")]
    assert reader.truncated
    assert f"{told} at byte {len(before + start)}; the packets before it are used" in reader.problem


def test_many_interfaces_are_kept_in_few_arrays(tmp_path: Path) -> None:
    interfaces, arrays = formats.Interfaces(), set()
    keep = []  # so that no id is used again
    for link in range(100_000):
        assert interfaces.add(struct.pack("<HHI", link % 300, 0, 0), "<")
        if id(interfaces.link) not in arrays:
            arrays.add(id(interfaces.link))
            keep.append(interfaces.link)
    assert len(interfaces) == 100_000
    assert len(arrays) < 20
    data = c.section() + b"".join(c.interface(n % 300) for n in range(3000)) + c.enhanced(1, b"aa", number=2999) + c.enhanced(2, b"b")
    (tmp_path / "x").write_bytes(data)
    assert concat(list(CaptureReader(tmp_path / "x"))).link_type.tolist() == [2999 % 300, 0]


def test_no_file_can_have_interfaces_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "MOST_INTERFACES", 5)
    got, reader = read(tmp_path / "x", c.section() + c.interface() * 5 + c.enhanced(1, b"aa") + c.interface() + c.enhanced(2, b"bb"))
    assert got == [(1000, b"aa")]
    assert "more than 5 interfaces" in reader.problem
