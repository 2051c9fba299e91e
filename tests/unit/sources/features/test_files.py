"""Files of flow features that cannot be sent are told with their names."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.errors import InputError
from jobs.sources.features.files import Featured


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty"),
        (b"a,b,c\n1,2,3\n", r"has no column src_ip \(Src IP\), dst_ip \(Dst IP\), start_time \(Timestamp\); its columns: 'a', 'b', 'c'"),
        (b"Src IP;Dst IP\n::1;::1\n", r"has no column start_time \(Timestamp\)"),
        (b"PAR1 and then nothing", "cannot be read"),
        ("Src IP,Dst IP\n".encode("utf-16"), "UTF-16"),
    ],
)
def test_a_file_that_is_none(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "flows"
    path.write_bytes(content)
    with pytest.raises(InputError, match=told) as failure:
        Featured(path)
    assert str(path) in str(failure.value)
    assert failure.value.hint


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        Featured(tmp_path / "nothing.csv")
    with pytest.raises(InputError, match="is a folder"):
        Featured(tmp_path)


def test_what_is_damaged_is_told_when_it_is_met(tmp_path: Path) -> None:
    path = tmp_path / "flows.parquet"
    table = pa.table({name: ["x"] * 5000 for name in ("Src IP", "Dst IP", "Timestamp")})
    pq.write_table(table, path, compression="none", use_dictionary=False)
    content = bytearray(path.read_bytes())
    content[4:200] = b"\xff" * 196
    path.write_bytes(content)
    with pytest.raises(InputError, match="cannot be read on"):
        list(Featured(path).batches(100))


def test_only_what_a_flow_has_is_sent(tmp_path: Path) -> None:
    path = tmp_path / "flows.csv"
    path.write_text(" Source IP, Destination IP, Timestamp, Label, Fwd Header Length, Fwd Header Length\n::1,::2,2017-07-06 10:00,x,1,2\n")
    (batch,) = Featured(path).batches(10)
    assert batch.schema.names == ["Source IP", "Destination IP", "Timestamp", "Fwd Header Length"]
    assert batch.to_pylist() == [{"Source IP": "::1", "Destination IP": "::2", "Timestamp": "2017-07-06 10:00", "Fwd Header Length": "1"}]
