"""A software switch between two hosts, all in network namespaces of their own: Open vSwitch with its userspace datapath."""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from sensors.packets.capture import CaptureReader
from tests.integration.netflow.exporters import FOLDER, UNPACKED, environment, program, run

T = TypeVar("T")
_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)


def inside(pid: int, act: Callable[[], T]) -> T:
    """What a function gives in the network namespace of a process; sockets that it makes stay there."""
    found: list[T] = []
    failed: list[BaseException] = []

    def enter() -> None:
        try:
            with open(f"/proc/{pid}/ns/net") as namespace:
                if _LIBC.setns(namespace.fileno(), _CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
            found.append(act())
        except BaseException as e:
            failed.append(e)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return found[0]


class Switch:
    """The switch ``br0``, and a host on each of its two ports; ``pid`` is in its namespace."""

    def __init__(self, folder: Path, hub: int, host: int) -> None:
        self.pid, self._host = hub, host
        self._env = {**environment(), **{f"OVS_{name}": str(folder) for name in ("RUNDIR", "LOGDIR", "DBDIR", "SYSCONFDIR")}}
        self._database = f"unix:{folder}/db.sock"
        self._enter = ["nsenter", "--net", "--target", str(hub)]

    def vsctl(self, *words: str) -> None:
        """Change the switch's settings."""
        command = [*self._enter, program("ovs-vsctl", _HOW), f"--db={self._database}", "--timeout=20", *words]
        done = subprocess.run(command, capture_output=True, text=True, env=self._env, check=False)
        assert done.returncode == 0, done.stderr

    def send(self, capture: Path, packets_s: float) -> int:
        """Put the frames of a capture onto the wire of the first host, at a pace; how many."""

        def put() -> int:
            sent, began = 0, time.monotonic()
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
                wire.bind(("h0", 0))
                for frames in CaptureReader(capture, 65_535):
                    for i in range(len(frames)):
                        time.sleep(max(0.0, began + sent / packets_s - time.monotonic()))
                        wire.send(frames.frame(i))
                        sent += 1
            return sent

        return inside(self._host, put)


_HOW = f"apt install openvswitch-switch, or unpack openvswitch-switch, openvswitch-common and their libraries into {FOLDER}"


@contextmanager
def switch_of(folder: Path) -> Iterator[Switch]:
    """A running switch; skipped where it cannot be had, or namespaces cannot be made."""
    if os.geteuid() != 0 or not Path("/dev/net/tun").exists():
        pytest.skip("network namespaces and /dev/net/tun need root: run the tests as root")
    for name in ("ip", "nsenter", "unshare"):
        if shutil.which(name) is None:
            pytest.skip(f"the program {name} is not there: apt install iproute2 util-linux")
    daemon, server, tool = program("ovs-vswitchd", _HOW), program("ovsdb-server", _HOW), program("ovsdb-tool", _HOW)
    processes: list[subprocess.Popen[str]] = []

    def start(*words: str, env: dict[str, str] | None = None, out: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
        processes.append(subprocess.Popen(words, stdin=subprocess.PIPE, stdout=out, stderr=subprocess.DEVNULL, text=True, env=env))
        return processes[-1]

    def namespace() -> int:
        holder = start("unshare", "--net", "sh", "-c", "echo made; exec sleep 600", out=subprocess.PIPE)
        assert holder.stdout is not None
        if holder.stdout.readline() != "made\n":
            pytest.skip("no network namespace can be made here")
        return holder.pid

    try:
        hub, first, second = namespace(), namespace(), namespace()
        enter = {pid: ["nsenter", "--net", "--target", str(pid)] for pid in (hub, first, second)}
        for pid in enter:
            subprocess.run([*enter[pid], "sh", "-c", "for f in /proc/sys/net/ipv6/conf/*/disable_ipv6; do echo 1 > $f; done"], check=False)
            run(*enter[pid], "ip", "link", "set", "lo", "up")
        for number, host in enumerate((first, second)):
            run(*enter[hub], "ip", "link", "add", f"p{number}", "type", "veth", "peer", "name", f"h{number}", "netns", str(host))
            run(*enter[hub], "ip", "link", "set", f"p{number}", "up")
            run(*enter[host], "ip", "link", "set", f"h{number}", "up")
        made = Switch(folder, hub, first)
        run(tool, "create", folder / "conf.db", _schema())
        env = made._env
        start(*enter[hub], server, f"{folder}/conf.db", f"--remote=punix:{folder}/db.sock", f"--unixctl={folder}/db.ctl", env=env)
        _wait(folder / "db.sock")
        made.vsctl("--no-wait", "init")
        made.vsctl("--no-wait", "set", "Open_vSwitch", ".", "other_config:max-idle=1000")
        start(*enter[hub], daemon, f"unix:{folder}/db.sock", f"--unixctl={folder}/vswitchd.ctl", env=env)
        made.vsctl("add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev")
        for number in (0, 1):
            made.vsctl("add-port", "br0", f"p{number}")
        yield made
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()


def _schema() -> Path:
    for root in (UNPACKED or "/", "/"):
        found = Path(root, "usr/share/openvswitch/vswitch.ovsschema")
        if found.exists():
            return found
    pytest.skip(f"vswitch.ovsschema is not there: {_HOW}")


def _wait(path: Path) -> None:
    for _ in range(200):
        if path.exists():
            return
        time.sleep(0.05)
    raise AssertionError(f"{path} does not appear")
