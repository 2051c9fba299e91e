"""The Kafka client's checksums of records come from the C package, not from its own Python (some 10 MB/s)."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import crc32c
lengths = []
compute = crc32c.crc32c
crc32c.crc32c = lambda data: lengths.append(len(data)) or compute(data)
from kafka.record import MemoryRecords, MemoryRecordsBuilder
builder = MemoryRecordsBuilder(magic=2, compression_type=0, batch_size=10_000)
builder.append(timestamp=1, key=None, value=b"v" * 5_000, headers=[])
builder.close()
written = len(lengths)
batch = MemoryRecords(builder.buffer()).next_batch()
assert batch.validate_crc()
print(written, len(lengths), min(lengths) > 5_000)
"""


def test_records_are_checksummed_by_the_package_when_written_and_when_read() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["1", "2", "True"]
