"""``flowlake meter`` and ``sensor generate`` where files are in the way, disks full, or Ctrl-C is pressed: nothing half done stays."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.errors import CaptureError, ConfigError
from ops.cli.main import run
from sensors.generate import TrafficGenerator, generate, preset, write_truth
from sensors.packets.pcapwriter import PcapWriter

pytestmark = pytest.mark.slow  # a process each

FLOWLAKE = [sys.executable, "-m", "ops.cli.main"]


@pytest.fixture(scope="module")
def traffic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A capture of some hundred flows, its truth beside it."""
    path = tmp_path_factory.mktemp("traffic") / "t.pcap"
    made = TrafficGenerator(preset("demo", seed=5, duration_s=3))
    with PcapWriter(path) as out:
        for batch in made:
            out.write(batch)
    write_truth(made.truth(), path.with_name("truth.parquet"))
    return path


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A capture whose metering takes seconds."""
    path = tmp_path_factory.mktemp("long") / "long.pcap"
    with PcapWriter(path) as out:
        for batch in generate(preset("bench", seed=1, duration_s=12, rate=30_000)):
            out.write(batch)
    return path


def bounded() -> None:
    """No file may grow beyond 20 kB: a disk that is full."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


def test_what_is_read_is_not_overwritten(traffic: Path, tmp_path: Path) -> None:
    capture, truth = tmp_path / "in.csv", tmp_path / "truth.parquet"
    capture.write_bytes(traffic.read_bytes())
    truth.write_bytes(traffic.with_name("truth.parquet").read_bytes())
    (tmp_path / "link.csv").symlink_to(capture)
    before = capture.read_bytes(), truth.read_bytes()
    for out in (capture, tmp_path / "link.csv", truth):
        with pytest.raises(ConfigError, match="is what is read"):
            run(["meter", str(capture), "--labels", str(truth), "--out", str(out)])
    with pytest.raises(ConfigError, match="the same file"):
        run(["sensor", "generate", "--out", str(capture), "--truth", str(capture)])
    assert (capture.read_bytes(), truth.read_bytes()) == before


def test_a_folder_is_no_file_and_a_link_stays_one(traffic: Path, tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(ConfigError, match="a folder"):
        run(["meter", str(traffic), "--out", str(tmp_path / "folder.csv")])
    (tmp_path / "link.csv").symlink_to(tmp_path / "real.csv")
    assert run(["meter", str(traffic), "--out", str(tmp_path / "link.csv")]) == 0
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "real.csv").stat().st_size > 10_000
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder.csv", "link.csv", "real.csv"]


@pytest.mark.parametrize("name", ["flows.csv", "flows.csv.gz", "flows.parquet", "made.pcap"])
def test_a_full_disk_is_told_and_leaves_what_was_there(name: str, traffic: Path, tmp_path: Path) -> None:
    target = tmp_path / name
    target.write_text("before")
    made = ["sensor", "generate", "--duration", "5", "--seed", "1"] if name == "made.pcap" else ["meter", str(traffic)]
    done = subprocess.run([*FLOWLAKE, *made, "--out", str(target)], capture_output=True, text=True, preexec_fn=bounded, check=False)
    assert (done.returncode, done.stderr.splitlines()[0]) == (3, f"error: cannot write {target}: File too large")
    assert target.read_text() == "before"
    assert list(tmp_path.iterdir()) == [target]


def test_standard_output_that_takes_nothing(traffic: Path) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run([*FLOWLAKE, "meter", str(traffic)], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 3
    assert done.stderr.startswith("error: cannot write to standard output: No space left on device\n")
    reader = subprocess.Popen([*FLOWLAKE, "meter", str(traffic)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert reader.stdout is not None
    reader.stdout.close()  # as `head` does
    assert reader.stderr is not None
    assert (reader.stderr.read(), reader.wait(60)) == (b"", 141)


@pytest.mark.parametrize(
    ("number", "code", "said"), [(signal.SIGTERM, 143, ""), (signal.SIGHUP, 129, ""), (signal.SIGINT, 130, "interrupted\n")]
)
def test_a_signal_leaves_nothing_half_written(number: signal.Signals, code: int, said: str, long: Path, tmp_path: Path) -> None:
    meter = subprocess.Popen([*FLOWLAKE, "meter", str(long), "--out", str(tmp_path / "z.csv.gz")], stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 60
    while not list(tmp_path.glob(".z.csv.gz.*.partial")) and time.monotonic() < until:
        time.sleep(0.01)
    time.sleep(0.1)  # in the midst of it, and long before its end on a machine that is busy with other things
    meter.send_signal(number)
    _, told = meter.communicate(timeout=60)
    assert (meter.returncode, told) == (code, said)
    assert not list(tmp_path.iterdir())


def test_a_capture_cut_short_by_a_signal_says_so(tmp_path: Path) -> None:
    argv = [*FLOWLAKE, "sensor", "generate", "--preset", "bench", "--rate", "20000", "--duration", "600", "--out", str(tmp_path / "k.pcap")]
    made = subprocess.Popen(argv, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    until = time.monotonic() + 60
    while not any(p.stat().st_size for p in tmp_path.glob(".k.pcap.*.partial")) and time.monotonic() < until:
        time.sleep(0.01)
    made.send_signal(signal.SIGINT)
    _, told = made.communicate(timeout=60)
    assert (made.returncode, told) == (130, "stopped by a signal before its end\n")
    assert run(["meter", str(tmp_path / "k.pcap"), "--out", str(tmp_path / "k.csv")]) == 0  # what there is, is whole


def test_labels_that_do_not_fit(traffic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = pq.read_table(traffic.with_name("truth.parquet"))
    other = tmp_path / "other.parquet"

    def meter(column: str, values: pa.Array) -> int:
        pq.write_table(truth.set_column(truth.column_names.index(column), column, values), other)
        return run(["meter", str(traffic), "--labels", str(other), "--out", str(tmp_path / "x.csv")])

    n = len(truth)
    for column, values in (
        ("src_port", pa.array(["x"] * n)),
        ("start_time", pa.array(["x"] * n)),
        ("src_ip", pa.array([None] * n, pa.string())),
    ):
        with pytest.raises(CaptureError, match=f"ground truth {other}"):
            meter(column, values)
    with pytest.raises(CaptureError, match="no such file"):
        run(["meter", str(traffic), "--labels", str(tmp_path / "absent.parquet"), "--out", str(tmp_path / "x.csv")])
    capsys.readouterr()
    assert meter("src_ip", pa.array(["192.0.2.1"] * n)) == 0  # another capture's
    assert f"warning: 0 of {n} flows are in the ground truth" in capsys.readouterr().err
    assert meter("src_ip", truth["src_ip"]) == 0
    assert "ground truth" not in capsys.readouterr().err


def test_kinds_that_contradict_the_share(tmp_path: Path) -> None:
    for kinds, share in (("SYN_FLOOD", "0"), ("dns", "0.5")):
        with pytest.raises(ConfigError, match="--attack-share"):
            run(["sensor", "generate", "--kinds", kinds, "--attack-share", share, "--out", str(tmp_path / "x.pcap")])
    assert not list(tmp_path.iterdir())
