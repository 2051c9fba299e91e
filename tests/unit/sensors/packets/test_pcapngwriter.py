"""pcapng files of ours, read back by scapy and by our own reader."""

from __future__ import annotations

from pathlib import Path

import pytest
from scapy.utils import RawPcapNgReader

from infra.errors import CaptureError
from sensors.packets.capture import CaptureReader
from sensors.packets.frames import FrameBatch, concat
from sensors.packets.pcapngwriter import PcapngWriter

NOW = 1_772_366_400_123_456_789


def test_times_lengths_and_link_types_are_kept(tmp_path: Path) -> None:
    frames = [bytes(range(n)) for n in (60, 61, 62, 63)]
    batches = [
        FrameBatch.from_frames(frames[:2], [NOW, NOW + 1], 1, wire_len=[1500, 61]),
        FrameBatch.from_frames(frames[2:3], [NOW + 2], 101),
        FrameBatch.from_frames(frames[3:], [NOW + 3], 1, wire_len=[9]),
    ]
    file = tmp_path / "x.pcapng"
    with PcapngWriter(file) as writer:
        for batch in batches:
            writer.write(batch)
        writer.write(FrameBatch.empty())
    assert (writer.packets, writer.bytes) == (4, file.stat().st_size)
    with RawPcapNgReader(str(file)) as reader:
        found = [(frame, (about.tshigh << 32) + about.tslow, about.wirelen, about.linktype, about.tsresol) for frame, about in reader]
    assert found == [
        (frames[0], NOW, 1500, 1, 10**9),
        (frames[1], NOW + 1, 61, 1, 10**9),
        (frames[2], NOW + 2, 62, 101, 10**9),
        (frames[3], NOW + 3, 63, 1, 10**9),  # no frame is longer than it was on the wire
    ]
    read = concat(list(CaptureReader(file)))
    assert read.ts.tolist() == [NOW, NOW + 1, NOW + 2, NOW + 3]
    assert read.link_type.tolist() == [1, 1, 101, 1]
    assert [read.frame(i) for i in range(4)] == frames


def test_a_file_that_cannot_be_written_is_an_error_and_none_lies_there(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="cannot write"):
        PcapngWriter(tmp_path / "none" / "x.pcapng")
    writer = PcapngWriter(tmp_path / "x.pcapng")
    writer.write(FrameBatch.from_frames([b"a" * 60], [NOW]))
    writer.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert list(tmp_path.iterdir()) == []
