"""Exporters of others, each against the truth of the capture that it exported: what our own meter says of it, or a plain count.

Whole ones agree to the packet and to the byte, of what each takes for a byte: softflowd counts the padding of short frames, and so does
Open vSwitch in IPFIX; in NetFlow it counts whole frames. Of sampled ones the scaled total lies within four standard errors of the sample
(:func:`tests.integration.netflow.exporters.near`).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from infra.process import free_port
from jobs.flowexport.columns import FlowMark
from jobs.sources.netflow.exporting import ExportKind, ExportOptions
from tests.integration.netflow.exporters import (
    Receiver,
    export,
    make_capture,
    near,
    of_frames,
    program,
    run,
    running,
    totals,
    truth,
    until_bound,
    until_read,
)
from tests.integration.netflow.switch import inside, switch_of
from tests.unit.flowexport.exported import FlowKey, keyed, metered, of_version

pytestmark = pytest.mark.integration

#: Bytes of an Ethernet header.
ETHERNET = 14
Keyed = Counter[tuple[FlowKey, str]]


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_capture(tmp_path_factory.mktemp("exporters") / "made.pcap")


@pytest.fixture(scope="module")
def counted(capture: Path) -> Keyed:
    return metered(capture)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as made:
        yield made


def softflowd(capture: Path, receiver: Receiver, folder: Path, version: int, *more: str) -> None:
    to = f"127.0.0.1:{receiver.port}"
    common = ("-a", "-d", "-c", "none", "-p", folder / "pid", "-m", "200000")
    run(program("softflowd"), "-r", capture, "-n", to, "-v", str(version), *common, *more)


@pytest.mark.parametrize(("version", "more"), [(5, ()), (9, ("-6",)), (10, ("-6",)), (10, ("-6", "-A", "milli")), (10, ("-6", "-b"))])
def test_softflowd(capture: Path, receiver: Receiver, tmp_path: Path, version: int, more: tuple[str, ...]) -> None:
    softflowd(capture, receiver, tmp_path, version, *more)
    flows, counted = receiver.flows(), of_frames(capture, ETHERNET)
    assert keyed(flows) == (of_version(counted, 4) if version == 5 else counted)
    assert ((flows["marks"] & FlowMark.BIFLOW) > 0).all() == ("-b" in more)
    assert receiver.lost == 0


@pytest.mark.parametrize("version", [9, 10])
def test_sampled_softflowd(capture: Path, counted: Keyed, receiver: Receiver, tmp_path: Path, version: int) -> None:
    softflowd(capture, receiver, tmp_path, version, "-6", "-s", "10")
    flows = receiver.flows()
    assert set(flows["rate"].tolist()) == {10.0}
    assert near(totals(flows, scaled=True)[0], truth(counted)[0], 10)


def pmacctd(capture: Path, folder: Path, *lines: str) -> None:
    conf = folder / "pmacctd.conf"
    base = ("daemonize: false", f"pcap_savefile: {capture}", "aggregate: src_host, dst_host, src_port, dst_port, proto, tos, tcpflags")
    conf.write_text("\n".join([*base, *lines]) + "\n")
    with running(program("pmacctd"), "-f", conf) as process:
        try:
            process.wait(8)
        except Exception:  # it waits on with the file at its end
            process.terminate()
            process.wait(20)


@pytest.mark.parametrize("version", [9, 10])
def test_pmacctd_exports_flows(capture: Path, counted: Keyed, receiver: Receiver, tmp_path: Path, version: int) -> None:
    to = f"nfprobe_receiver: 127.0.0.1:{receiver.port}"
    pmacctd(capture, tmp_path, "plugins: nfprobe", to, f"nfprobe_version: {version}", "plugin_buffer_size: 1024000")
    flows = receiver.flows()
    assert keyed(flows) == counted
    assert receiver.lost == 0


def test_pmacctd_exports_samples(capture: Path, counted: Keyed, receiver: Receiver, tmp_path: Path) -> None:
    """Of every packet but the last of the file: it hands one on when the next one comes."""
    pmacctd(capture, tmp_path, "plugins: sfprobe", f"sfprobe_receiver: 127.0.0.1:{receiver.port}", "sfprobe_agentip: 127.0.0.1")
    flows = receiver.flows()
    missing = counted - keyed(flows)
    assert [n for (_, what), n in missing.items() if what == "packets"] in ([], [1])
    assert keyed(flows) + missing == counted
    assert set(flows["rate"].tolist()) == {1.0}
    assert receiver.lost == 0


@pytest.mark.parametrize("version", [5, 9])
def test_nfreplay(capture: Path, counted: Keyed, receiver: Receiver, tmp_path: Path, version: int) -> None:
    """What we exported was taken by nfcapd, and comes from nfreplay."""
    port = free_port()
    stored = tmp_path / "stored"
    stored.mkdir()
    with running(program("nfcapd"), "-w", stored, "-p", str(port), "-b", "127.0.0.1", "-B", "8000000", "-t", "3600") as collector:
        until_bound(port, collector)
        export(capture, port, ExportOptions(ExportKind.V9))
        until_read(port)
    for file in stored.glob("nfcapd.*"):
        run(program("nfreplay"), "-r", file, "-H", "127.0.0.1", "-p", str(receiver.port), "-v", str(version), "-d", "100")
    assert keyed(receiver.flows()) == (of_version(counted, 4) if version == 5 else counted)


@pytest.mark.slow
def test_open_vswitch(tmp_path: Path) -> None:
    """Of the same packets: sFlow of 1 in 4, NetFlow v5 and IPFIX of every one."""
    capture = make_capture(tmp_path / "wire.pcap", 3)
    counted = metered(capture)
    with switch_of(tmp_path) as switch:
        made = inside(switch.pid, lambda: [Receiver() for _ in range(3)])
        samples, five, ipfix = made
        to = [f'"127.0.0.1:{r.port}"' for r in made]
        switch.vsctl(
            *("--", "--id=@s", "create", "sFlow", "agent=lo", f"target={to[0]}", "sampling=4", "polling=1", "header=128"),
            *("--", "set", "Bridge", "br0", "sflow=@s"),
            *("--", "--id=@n", "create", "NetFlow", f"targets={to[1]}", "active_timeout=1"),
            *("--", "set", "Bridge", "br0", "netflow=@n"),
            *("--", "--id=@i", "create", "IPFIX", f"targets={to[2]}", "obs_domain_id=77", "sampling=1", "cache_active_timeout=1"),
            *("--", "set", "Bridge", "br0", "ipfix=@i"),
        )
        sent = switch.send(capture, 1500)
        time.sleep(5)  # beyond the switch's timeouts: it says nothing sooner
        packets, size = truth(counted)
        assert sent == packets
        flows = samples.flows()
        sampled = (flows["marks"] & FlowMark.PARTIAL_FRAME) == 0
        assert set(flows["rate"][:10].tolist()) == {4.0}
        lengths = flows["bytes"][sampled].astype(float)
        assert near(float(flows["scaled_packets"].sum()), packets, 4)
        assert near(float(flows["scaled_bytes"].sum()) / size * packets, packets, 4, float(np.std(lengths) / np.mean(lengths)))
        assert totals(five.flows()) == truth(of_version(of_frames(capture, 0), 4))
        told = ipfix.flows()
        came_in = told["direction"] == 0  # of what goes out by several ports it tells once more
        found = int(told["packets"][came_in].sum()), int(told["bytes"][came_in].sum())
        assert found == truth(of_frames(capture, ETHERNET))
        assert [receiver.lost for receiver in made] == [0, 0, 0], "IPFIX: one count for two domains, of which one has an options record"
        for receiver in made:
            receiver.__exit__(None, None, None)
