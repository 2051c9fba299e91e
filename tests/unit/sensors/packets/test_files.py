"""Which capture files a folder holds: by content, in the order of capture; what is skipped, and what fails, is named."""

from __future__ import annotations

import gzip
import os
import socket
from pathlib import Path

import pytest
from backports import zstd

from infra.errors import CaptureError, ConfigError
from sensors.packets.files import find_captures, natural, reasons, stem, told
from tests.unit.sensors.packets import captures as c

T0 = 1_700_000_000 * 10**9


def capture(seconds: int) -> bytes:
    return c.pcap([(T0 + seconds * 10**9, b"frame")])


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


@pytest.mark.parametrize(
    "rotated",
    [
        ["cap.pcap", *(f"cap.pcap{i}" for i in range(1, 12))],  # tcpdump -C
        [f"cap.pcap{i:02}" for i in range(12)],  # tcpdump -C -W
        [f"cap-20260101-1{i}0000.pcap" for i in range(10)],  # tcpdump -G
        [f"cap_{i:05}_2026010100000{i}.pcapng" for i in range(1, 9)],  # dumpcap -b
        ["cap.pcap.1", "cap.pcap.2.zst", "cap.pcap.10.gz"],
        ["no-ending", "some.thing", "x"],
    ],
)
def test_rotated_captures_in_order(tmp_path: Path, rotated: list[str]) -> None:
    """By name where times say nothing; by the time of the first packet where they do."""
    for name in rotated:
        (tmp_path / name).write_bytes(capture(0))
    assert names(find_captures([tmp_path]).files) == rotated
    for i, name in enumerate(rotated):
        (tmp_path / name).write_bytes(capture(100 - i))
    assert names(find_captures([tmp_path]).files) == rotated[::-1]


def test_natural_order_takes_any_digits() -> None:
    assert sorted(["a10", "a2", "a", "a²", "b", "10", "9"], key=natural) == ["9", "10", "a", "a2", "a10", "a²", "b"]


def test_content_decides(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a").write_bytes(capture(1))
    (folder / "b.txt").write_bytes(gzip.compress(capture(2)))
    (folder / "c.pcapng.zst").write_bytes(zstd.compress(c.section() + c.interface() + c.enhanced(T0 // 1000 + 3 * 10**6, b"x")))
    (folder / "nothing.pcap").write_bytes(c.pcap([]))  # a capture of no packet
    (folder / "empty.pcap").touch()
    (folder / "notes.txt").write_text("no capture")
    (folder / "notes.gz").write_bytes(gzip.compress(b"no capture"))
    (folder / ".hidden.pcap").write_bytes(capture(0))
    (folder / "sub").mkdir()
    outside.write_bytes(capture(4))
    (folder / "link").symlink_to(outside)
    os.mkfifo(folder / "fifo")
    (folder / "device").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "socket"))
        found = find_captures([folder])
    assert names(found.files) == ["nothing.pcap", "a", "b.txt", "c.pcapng.zst", "link"]
    assert {p.file.name: p.why for p in found.skipped} == {
        ".hidden.pcap": "hidden",
        "device": "not a plain file",
        "empty.pcap": "is empty",
        "fifo": "not a plain file",
        "notes.gz": "neither pcap nor pcapng (starts with 6e6f2063)",
        "notes.txt": "neither pcap nor pcapng (starts with 6e6f2063)",
        "socket": "not a plain file",
        "sub": "a folder",
    }
    assert found.failed == []


def test_what_should_be_a_capture_and_cannot_be_read_fails(tmp_path: Path) -> None:
    (tmp_path / "good").write_bytes(capture(1))
    (tmp_path / "text.pcap").write_text("no capture")
    (tmp_path / "folder.pcap1").mkdir()
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "short").write_bytes(capture(1)[:10])
    os.mkfifo(tmp_path / "fifo.pcap.zst")
    found = find_captures([tmp_path])
    assert names(found.files) == ["good"]
    assert {p.file.name: p.why for p in found.failed} == {
        "fifo.pcap.zst": "not a plain file",
        "folder.pcap1": "a folder",
        "gone": "a link to nothing",
        "loop": "Too many levels of symbolic links",
        "short": "ends within the file header (10 bytes)",
        "text.pcap": "neither pcap nor pcapng (starts with 6e6f2063)",
    }
    (tmp_path / "good").unlink()
    with pytest.raises(CaptureError, match=r"fifo\.pcap\.zst: not a plain file; 5 more cannot be read either"):
        find_captures([tmp_path])


def test_folders_without_captures(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no capture file in it \(it is empty\)"):
        find_captures([tmp_path])
    for i in range(3):
        (tmp_path / f"{i}.txt").write_text("text")
    (tmp_path / "sub").mkdir()
    with pytest.raises(ConfigError, match=r"no capture file in it \(3: neither pcap nor pcapng, 1: a folder\)"):
        find_captures([tmp_path])


def test_standard_input_once() -> None:
    assert find_captures([Path("-")]).pipes
    with pytest.raises(ConfigError, match="standard input is named 2 times"):
        find_captures([Path("-"), Path("-")])


def test_names_of_sensors(tmp_path: Path) -> None:
    for name, sensor in {
        "cap.pcap": "cap",
        "cap.pcap.gz": "cap",
        "cap.pcapng.zst": "cap",
        "cap.pcap3": "cap",
        "cap.pcap.3": "cap",
        "cap.pcap.3.lz4": "cap",
        "office.2026.pcap": "office.2026",
        "10.0.0.1": "10.0.0",
        "cap": "cap",
        ".pcap": ".pcap",
        "-": "stdin",
    }.items():
        assert stem(Path(name)) == sensor
    latin1 = Path(os.fsdecode(b"caf\xe9.pcap"))
    assert stem(latin1) == r"caf\xe9"
    (tmp_path / latin1).write_text("")
    (tmp_path / "x").write_bytes(capture(0))
    found = find_captures([tmp_path])
    assert told(found.skipped) == [{"file": f"{tmp_path}/caf\\xe9.pcap", "reason": "is empty"}]
    assert reasons(found.skipped) == "1: is empty"


def test_rotated_captures_of_the_field(flowlake_data: Path) -> None:
    found = find_captures([flowlake_data / "cases/rot", flowlake_data / "cases/rot2"])
    assert names(found.files) == ["cap.pcap", "cap.pcap1", "cap.pcap2", "cap.pcap00", "cap.pcap01"]
    assert (found.skipped, found.failed) == ([], [])


def test_other_files_with_the_like_in_their_names_are_skipped(tmp_path: Path) -> None:
    for name in ("site.capacity.csv", "dns.pcap.sha256", "dns.pcap.csv", "x.dmp.json"):
        (tmp_path / name).write_text("hi")
    (tmp_path / "x").write_bytes(capture(1))
    found = find_captures([tmp_path])
    assert (names(found.files), len(found.skipped), found.failed) == (["x"], 4, [])


def test_endings_in_any_case() -> None:
    assert [stem(Path(name)) for name in ("X.PCAP.GZ", "x.Pcap.zst", "x.PCAP.3.GZ")] == ["X", "x", "x"]
