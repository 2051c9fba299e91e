"""``flowlake meter`` of captures as people have them: pipes, folders, unreadable files among others, names that are not UTF-8."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from infra.errors import CaptureError, ConfigError
from ops.cli.main import run
from sensors.generate import TrafficGenerator, preset, write_truth
from sensors.packets.pcapwriter import PcapWriter
from tests.unit.metering.test_follow import T0, udp
from tests.unit.sensors.packets import captures as c
from tests.unit.sensors.packets.test_codecs import CODECS

pytestmark = pytest.mark.slow  # a process each

FLOWLAKE = [sys.executable, "-m", "ops.cli.main"]
LATIN1 = os.fsdecode(b"caf\xe9")


def capture(host: int) -> bytes:
    return c.pcap([(T0 + host * 10**9, udp(host))])


def flowlake(*words: str | Path, stdin: bytes | None = b"", **more: object) -> subprocess.CompletedProcess[bytes]:
    given = {"input": stdin} if stdin is not None else {}
    return subprocess.run([*FLOWLAKE, *map(os.fspath, words)], capture_output=True, check=False, timeout=120, **given, **more)  # type: ignore[call-overload, no-any-return]


def sources(table: bytes | str) -> list[str]:
    return [row["Src IP"] for row in csv.DictReader(io.StringIO(table if isinstance(table, str) else table.decode()))]


def records(path: Path) -> list[str]:
    table = pq.read_table(io.BytesIO(path.read_bytes()))  # Arrow takes no name that is not UTF-8
    return list(table["sensor_id"].to_pylist())


@pytest.mark.parametrize("codec", ["", *CODECS])
def test_standard_input_to_standard_output(codec: str) -> None:
    data = capture(1) + capture(2)[24:]
    done = flowlake("meter", "-", "--out", "-", "--json", stdin=CODECS[codec](data) if codec else data)
    assert (done.returncode, sources(done.stdout)) == (0, ["10.0.0.1", "10.0.0.2"])
    assert json.loads(done.stderr)["packets"] == 2, "the summary does not go where the records go"


def test_standard_input_among_files_and_its_sensor(tmp_path: Path) -> None:
    (tmp_path / "-").write_bytes(capture(1))
    (tmp_path / "last.pcap").write_bytes(capture(3))
    done = flowlake("meter", "./-", "-", "last.pcap", "--out", "x.parquet", stdin=capture(2), cwd=tmp_path, env=environment())
    assert done.returncode == 0, done.stderr
    assert records(tmp_path / "x.parquet") == ["-", "stdin", "last"]
    with pytest.raises(ConfigError, match="named 2 times"):
        run(["meter", "-", "-"])
    with pytest.raises(ConfigError, match="--follow -: standard input"):
        run(["meter", "-", "--follow"])


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), **more}


def test_standard_input_that_is_none() -> None:
    for words in (["meter", "-"], ["sensor", "replay", "-"]):
        closed = subprocess.run([*FLOWLAKE, *words], capture_output=True, check=False, timeout=120, preexec_fn=lambda: os.close(0))
        if words[0] == "meter":
            assert (closed.returncode, b"error: standard input: is closed\n" in closed.stderr) == (3, True)
    ours, theirs = pty.openpty()
    try:
        terminal = subprocess.run([*FLOWLAKE, "meter", "-"], stdin=theirs, capture_output=True, check=False, timeout=120)
    finally:
        os.close(ours)
        os.close(theirs)
    assert (terminal.returncode, terminal.stderr.splitlines()[0]) == (3, b"error: standard input: is a terminal")
    for given, said in ((b"", b"is empty"), (b"text", b"neither pcap nor pcapng"), (capture(1)[:20], b"ends within the file header")):
        done = flowlake("meter", "-", stdin=given)
        assert (done.returncode, done.stdout) == (3, b"")
        assert b"error: standard input: " + said in done.stderr


@pytest.mark.parametrize("codec", ["", "zstd"])
@pytest.mark.parametrize("fifo", [False, True])
def test_a_pipe_gives_records_before_its_end_and_a_signal_ends_it_in_order(tmp_path: Path, fifo: bool, codec: str) -> None:
    """A flow closes by the packets behind it, while the pipe stays open; the writer has a moment to say its last after the signal."""
    first = c.pcap([(T0, udp(1)), (T0 + 100 * 10**9, udp(2)), (T0 + 102 * 10**9, udp(2))])
    last = c.pcap([(T0 + 103 * 10**9, udp(3))])[24:]
    pack = CODECS[codec] if codec else bytes
    if fifo:
        os.mkfifo(tmp_path / "pipe")
    words = ["meter", str(tmp_path / "pipe") if fifo else "-"]
    with subprocess.Popen([*FLOWLAKE, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as meter:
        try:
            assert meter.stdin is not None
            assert meter.stdout is not None
            writer = open(tmp_path / "pipe", "wb", buffering=0) if fifo else meter.stdin  # noqa: SIM115
            writer.write(pack(first))
            writer.flush()
            assert meter.stdout.readline().startswith(b"Flow ID,")
            assert b"10.0.0.1" in meter.stdout.readline()
            meter.send_signal(signal.SIGINT)
            writer.write(pack(last))
            writer.flush()
            rest = meter.stdout.read().decode()  # the pipe stays open
            told = meter.stderr.read() if meter.stderr else b""
            assert meter.wait(60) == 0, told
            if fifo:
                writer.close()
        finally:
            meter.kill()
    assert sorted(line.split(",")[1] for line in rest.splitlines()) == ['"10.0.0.2"', '"10.0.0.3"']
    assert told == b"3 flows of 4 packets -> standard output\n"


def test_generated_traffic_through_a_pipe(tmp_path: Path) -> None:
    words = ["sensor", "generate", "--seed", "7", "--duration", "2", "--out"]
    made = flowlake(*words, "-", "--json")
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stderr)["bytes"] == len(made.stdout)
    assert run([*words, str(tmp_path / "x.pcap")]) == 0
    assert made.stdout == (tmp_path / "x.pcap").read_bytes()


def test_unreadable_files_are_named_and_the_others_metered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for host in range(1, 4):
        (tmp_path / f"{host}").write_bytes(capture(host))
    (tmp_path / "bad.pcap").write_text("no capture")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    (tmp_path / "notes").write_text("notes")
    out = tmp_path / "flows" / "x.csv"
    out.parent.mkdir()
    folder = ["meter", str(tmp_path)]
    files = ["meter", *(str(tmp_path / name) for name in ("1", "gone", "2", "bad.pcap", "3"))]
    for words, skipped in ((folder, ["flows", "notes"]), (files, [])):
        with pytest.raises(CaptureError, match="2 capture files of 5 could not be read"):
            run([*words, "--json", "--out", str(out)])
        told = capsys.readouterr()
        summary = json.loads(told.out)
        assert sorted(Path(f["file"]).name for f in summary["failed"]) == ["bad.pcap", "gone"]
        assert sorted(Path(f["file"]).name for f in summary["skipped"]) == skipped
        assert f"unreadable {tmp_path / 'bad.pcap'}: neither pcap nor pcapng (starts with 6e6f2063)\n" in told.err
        assert sources(out.read_text()) == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
        out.unlink()
    for words, why in ((["meter", files[2]], "gone: no such file"), (["meter", files[2], files[4]], "bad.pcap: neither")):
        with pytest.raises(CaptureError, match=why):
            run([*words, "--out", str(out)])
        assert not list(out.parent.iterdir()), "nothing to write"
    capsys.readouterr()


def test_many_skipped_files_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x").write_bytes(capture(1))
    for i in range(20):
        (tmp_path / f"{i}.txt").touch()
    assert run(["meter", str(tmp_path), "--out", str(tmp_path / "x.csv")]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[:1] == [f"skipped {tmp_path}/0.txt: is empty"]
    assert lines[5:6] == ["skipped 15 more: 15: is empty"]


@pytest.mark.parametrize(("encoding", "endings"), [("utf-8", ("csv", "csv.gz", "parquet")), ("ascii", ("parquet",))])
def test_names_that_are_not_utf8(tmp_path: Path, encoding: str, endings: tuple[str, ...]) -> None:
    """Of the capture, the ground truth and the output: all work, and show escaped the same way everywhere."""
    folder = tmp_path / LATIN1
    folder.mkdir()
    made = TrafficGenerator(preset("demo", seed=5, duration_s=1))
    with PcapWriter(folder / f"{LATIN1}.pcap") as out:
        for batch in made:
            out.write(batch)
    write_truth(made.truth(), tmp_path / "truth")
    truth = (tmp_path / "truth").rename(folder / f"{LATIN1}.parquet")
    (folder / f"{LATIN1}-cut").write_bytes(capture(1)[:-3])
    (folder / f"{LATIN1}.cap").write_text("no capture")
    env = environment(PYTHONIOENCODING=encoding)
    for ending in endings:
        written = folder / f"{LATIN1}-flows.{ending}"
        done = flowlake("meter", folder, "--labels", truth, "--out", written, env=env)
        assert done.returncode == 3
        assert written.stat().st_size > 1000
        for name in (".pcap", ".cap", "-cut", ".parquet"):
            assert name == ".pcap" or f"caf\\xe9/caf\\xe9{name}".encode() in done.stderr, name
        assert f"-> {tmp_path}/caf\\xe9/caf\\xe9-flows.{ending}".encode() in done.stderr
        assert b"unexpected" not in done.stderr
        if ending == "parquet":
            assert set(records(written)) == {"caf\\xe9"}
        written.unlink()
    done = flowlake("meter", folder, "--json", "--out", folder / "x.csv", "--sensor", LATIN1, env=env)
    assert json.loads(done.stdout)["truncated"] == [f"{tmp_path}/caf\\xe9/caf\\xe9-cut"]
    assert flowlake("meter", folder / f"{LATIN1}.absent", env=env).stderr.splitlines()[0].endswith(rb"caf\xe9.absent: no such file")
    assert flowlake("sensor", "generate", "--duration", "1", "--out", folder / "made.pcap", env=env).returncode == 0


def test_output_that_is_no_plain_file_is_written_to_and_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.pcap").write_bytes(capture(1))
    fifo = tmp_path / "fo.csv"
    os.mkfifo(fifo)
    reader = subprocess.Popen(["cat", str(fifo)], stdout=subprocess.PIPE)
    try:
        assert run(["meter", str(tmp_path / "x.pcap"), "--out", str(fifo)]) == 0
        out, _ = reader.communicate(timeout=30)
    finally:
        reader.kill()
    assert sources(out) == ["10.0.0.1"]
    assert fifo.is_fifo()


def test_names_as_long_as_the_file_system_allows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.pcap").write_bytes(capture(1))
    longest = tmp_path / ("ü" * 120 + ".csv")
    assert run(["meter", str(tmp_path / "x.pcap"), "--out", str(longest)]) == 0
    assert sources(longest.read_text()) == ["10.0.0.1"]
    longest = tmp_path / ("a" * 250 + ".pcap")
    with PcapWriter(longest):
        pass
    assert longest.is_file()
    for words in (["a" * 300], ["a" * 300, "--follow"]):
        with pytest.raises(CaptureError, match="File name too long"):
            run(["meter", *words, "--out", str(tmp_path / "y.csv")])
    with pytest.raises(CaptureError, match="1 capture file of 2"):
        run(["meter", str(tmp_path / "x.pcap"), "a" * 300, "--out", str(tmp_path / "y.csv")])
    assert sources((tmp_path / "y.csv").read_text()) == ["10.0.0.1"]
